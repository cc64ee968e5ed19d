#include "tools/tensor_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <system_error>

namespace gdn::tools {

Bytes allocate(size_t size, const std::string &what) {
  const size_t rounded =
      (size + GDN_WORKSPACE_ALIGNMENT) / GDN_WORKSPACE_ALIGNMENT * GDN_WORKSPACE_ALIGNMENT;
  void *p = std::aligned_alloc(GDN_WORKSPACE_ALIGNMENT, rounded);
  if (p == nullptr) {
    throw std::runtime_error(fmt::format("not enough memory for {} ({} bytes)", what, size));
  }
  return Bytes(static_cast<std::byte *>(p));
}

DLTensor HostTensor::view() {
  static const std::map<std::string, DLDataType> types = {
      {"F32", {kDLFloat, 32, 1}}, {"F16", {kDLFloat, 16, 1}}, {"BF16", {kDLBfloat, 16, 1}},
      {"F64", {kDLFloat, 64, 1}}, {"I32", {kDLInt, 32, 1}},   {"I64", {kDLInt, 64, 1}},
      {"I16", {kDLInt, 16, 1}},   {"I8", {kDLInt, 8, 1}},     {"U8", {kDLUInt, 8, 1}},
      {"U16", {kDLUInt, 16, 1}},  {"U32", {kDLUInt, 32, 1}},  {"U64", {kDLUInt, 64, 1}},
      {"BOOL", {kDLUInt, 8, 1}}};
  DLTensor t{};
  t.data = data.get();
  t.device = {kDLCPU, 0};
  t.ndim = static_cast<int32_t>(shape.size());
  t.dtype = types.at(dtype);
  t.shape = shape.data();
  return t;
}

HostTensor make_tensor(const std::string &name, const std::string &dtype,
                       std::vector<int64_t> shape) {
  HostTensor t;
  t.dtype = dtype;
  t.size = safetensors_element_size(dtype);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(t.size, static_cast<size_t>(extent), &t.size)) {
      throw std::runtime_error(
          fmt::format("not enough memory for {} of shape [{}]", name, fmt::join(shape, ", ")));
    }
  }
  t.shape = std::move(shape);
  t.data = allocate(t.size, name);
  return t;
}

TensorFile::TensorFile(const std::string &path) : path_(path) {
  std::error_code error;
  const auto size = static_cast<size_t>(std::filesystem::file_size(path, error));
  if (error) throw std::runtime_error(fmt::format("cannot read {}: {}", path, error.message()));
  std::ifstream in(path, std::ios::binary);
  bytes_ = allocate(size, path);
  in.read(reinterpret_cast<char *>(bytes_.get()), static_cast<std::streamsize>(size));
  if (!in) throw std::runtime_error(fmt::format("cannot read {}", path));
  try {
    index_ = parse_safetensors({bytes_.get(), size});
  } catch (const std::runtime_error &e) {
    throw std::runtime_error(fmt::format("{}: {}", path, e.what()));
  }
}

std::optional<HostTensor> TensorFile::find(const std::string &name) const {
  const auto entry = index_.entries.find(name);
  if (entry == index_.entries.end()) return std::nullopt;
  const std::string quoted = fmt::format("\"{}\"", name);
  if (safetensors_element_size(entry->second.dtype) == 0) {
    throw std::runtime_error(fmt::format("{}: {} has the type {}, which gdn does not know", path_,
                                         quoted, entry->second.dtype));
  }
  HostTensor t = make_tensor(quoted, entry->second.dtype, entry->second.shape);
  std::memcpy(t.data.get(), bytes_.get() + index_.data_offset + entry->second.begin, t.size);
  return t;
}

void TensorFile::refuse_others(const std::vector<std::string> &names) const {
  for (const auto &[name, unused] : index_.entries) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw std::runtime_error(fmt::format("{}: \"{}\" is not a tensor that is read; those are {}",
                                           path_, name, fmt::join(names, ", ")));
    }
  }
}

HostTensor TensorFile::require(const std::string &name, size_t rank) const {
  std::optional<HostTensor> t = find(name);
  if (!t) {
    std::string names;
    for (const auto &[known, unused] : index_.entries) {
      names += (names.empty() ? "" : ", ") + known;
    }
    throw std::runtime_error(
        fmt::format("{} has no tensor \"{}\"; it has: {}", path_, name, names));
  }
  if (t->shape.size() != rank) {
    throw std::runtime_error(fmt::format("{}: \"{}\" has {} dimensions, expected {}", path_, name,
                                         t->shape.size(), rank));
  }
  return std::move(*t);
}

}  // namespace gdn::tools
