#include <cstring>

#include "ascend/model/convert.h"
#include "ascend/model/execute.h"

namespace gdn::ascend::model {
void execute(const Load &i, Access &memory) {
  const int64_t whole = (i.width + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  for (int64_t r = 0; r < i.rows; ++r) {
    const unsigned char *from = memory.read(i.from + r * i.stride, i.width);
    unsigned char *to = memory.write(i.to + r * i.pitch, whole);
    std::memcpy(to, from, static_cast<size_t>(i.width));
    std::memset(to + i.width, 0, static_cast<size_t>(whole - i.width));
  }
}

void execute(const Store &i, Access &memory) {
  for (int64_t r = 0; r < i.rows; ++r) {
    const unsigned char *from = memory.read(i.from + r * i.pitch, i.width);
    std::memcpy(memory.write(i.to + r * i.stride, i.width), from, static_cast<size_t>(i.width));
  }
}

void execute(const LoadNd2Nz &i, Access &memory) {
  for (int64_t r = 0; r < i.rows; ++r) {
    const unsigned char *from = memory.read(i.from + r * i.stride, i.columns * 2);
    for (int64_t c = 0; c < i.columns; c += kFractal) {
      unsigned char *to = memory.write(i.to + (c * i.height + r * kFractal) * 2, kFractal * 2);
      std::memcpy(to, from + c * 2, kFractal * 2);
    }
  }
}

void execute(const FillL1 &i, Access &memory) {
  std::memset(memory.write(i.to, i.bytes), 0, static_cast<size_t>(i.bytes));
}

void execute(const StoreNz2Nd &i, Access &memory) {
  for (int64_t r = 0; r < i.rows; ++r) {
    unsigned char *to = memory.write(i.to + r * i.stride, i.columns * size_of(i.type));
    for (int64_t c = 0; c < i.columns; c += kFractal) {
      const int64_t count = i.columns - c < kFractal ? i.columns - c : kFractal;
      const auto *from = memory.read<float>(i.from + (c * i.height + r * kFractal) * 4, count);
      for (int64_t j = 0; j < count; ++j) narrow_at(to, i.type, c + j, from[j]);
    }
  }
}

void execute(const StoreL1 &i, Access &memory) {
  for (int64_t c = 0; c < i.columns; c += kFractal) {
    const int64_t count = i.rows * kFractal;
    const auto *from = memory.read<float>(i.from + c * i.heights.from * 4, count);
    unsigned char *to = memory.write(i.to + c * i.heights.to * 2, count * 2);
    for (int64_t e = 0; e < count; ++e) narrow_at(to, i.type, e, from[e]);
  }
}

}  // namespace gdn::ascend::model
