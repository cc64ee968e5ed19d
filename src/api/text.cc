#include "api/text.h"

#include <algorithm>
#include <cstdio>

namespace gdn::api {

void append(std::string *out, double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.9g", value);
  out->append(buffer);
}

std::string shape_text(const int64_t *shape, int32_t rank) {
  constexpr int32_t kPrinted = 8;
  std::string out = "[";
  for (int32_t i = 0; i < std::min(rank, kPrinted); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(shape[i]);
  }
  if (rank > kPrinted) out += ", ..";
  return out + "]";
}

std::string dtype_text(DLDataType type) {
  std::string out;
  switch (type.code) {
    case kDLInt:
      out = "int";
      break;
    case kDLUInt:
      out = "uint";
      break;
    case kDLFloat:
      out = "float";
      break;
    case kDLBfloat:
      out = "bfloat";
      break;
    case kDLComplex:
      out = "complex";
      break;
    case kBoolCode:
      out = "bool";
      break;
    default:
      out = cat("DLPack type code ", type.code, ", bits ");
  }
  append(&out, type.bits);
  if (type.lanes != 1) out += cat(" with ", type.lanes, " lanes");
  return out;
}

std::string device_text(int32_t type, int32_t id) {
  switch (type) {
    case kDLCPU:
      return "cpu";
    case kDLCUDA:
      return cat("cuda:", id);
    case kDLCUDAHost:
      return "cuda_host";
    case kDLCUDAManaged:
      return cat("cuda_managed:", id);
    default:
      return cat("DLPack device type ", type, ", id ", id);
  }
}

}  // namespace gdn::api
