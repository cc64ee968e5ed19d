#include <algorithm>
#include <cmath>

#include "ascend/model/convert.h"
#include "ascend/model/execute.h"

namespace gdn::ascend::model {
namespace {

/// Where an operand's block of a repeat begins.
Ref block_at(const Operand &o, int64_t repeat, int64_t block) {
  return o.at + (repeat * o.repeat_stride + block * o.block_stride) * kBlockBytes;
}

/// Where a lane lies.
Ref lane_at(const Operand &o, int64_t repeat, int64_t lane) {
  const int64_t in_block = kBlockBytes / o.element_size;
  return block_at(o, repeat, lane / in_block) + lane % in_block * o.element_size;
}

/// Calls f(repeat, first lane, lanes) for each block of 8 lanes.
template <class F>
void for_each_block(const Repeats &repeats, F f) {
  for (int64_t r = 0; r < repeats.count; ++r) {
    for (int64_t lane = 0; lane < repeats.lanes; lane += kBlockLanes) {
      f(r, lane, std::min(kBlockLanes, repeats.lanes - lane));
    }
  }
}

/// The `count` lanes from `lane` on.
const float *read_lanes(const Operand &o, int64_t repeat, int64_t lane, int64_t count,
                        Access &memory) {
  return memory.read<float>(block_at(o, repeat, lane / kBlockLanes), count);
}
float *write_lanes(const Operand &o, int64_t repeat, int64_t lane, int64_t count, Access &memory) {
  return memory.write<float>(block_at(o, repeat, lane / kBlockLanes), count);
}

float apply(Binary op, float a, float b) {
  switch (op) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::min:
      return std::min(a, b);
    case Binary::max:
      return std::max(a, b);
  }
  return 0.0F;
}

}  // namespace

void execute(const VBinary &i, Access &memory) {
  for_each_block(i.repeats, [&](int64_t r, int64_t lane, int64_t count) {
    const float *a = read_lanes(i.a, r, lane, count, memory);
    const float *b = read_lanes(i.b, r, lane, count, memory);
    float *to = write_lanes(i.to, r, lane, count, memory);
    for (int64_t l = 0; l < count; ++l) to[l] = apply(i.op, a[l], b[l]);
  });
}

void execute(const VMla &i, Access &memory) {
  for_each_block(i.repeats, [&](int64_t r, int64_t lane, int64_t count) {
    const float *a = read_lanes(i.a, r, lane, count, memory);
    const float *b = read_lanes(i.b, r, lane, count, memory);
    const float *sum = read_lanes(i.to, r, lane, count, memory);
    float *to = write_lanes(i.to, r, lane, count, memory);
    for (int64_t l = 0; l < count; ++l) to[l] = sum[l] + a[l] * b[l];
  });
}

void execute(const VExp &i, Access &memory) {
  for_each_block(i.repeats, [&](int64_t r, int64_t lane, int64_t count) {
    const float *a = read_lanes(i.a, r, lane, count, memory);
    float *to = write_lanes(i.to, r, lane, count, memory);
    for (int64_t l = 0; l < count; ++l) to[l] = std::exp(a[l]);
  });
}

void execute(const VDup &i, Access &memory) {
  for_each_block(i.repeats, [&](int64_t r, int64_t lane, int64_t count) {
    std::fill_n(write_lanes(i.to, r, lane, count, memory), count, i.value);
  });
}

void execute(const VCast &i, Access &memory) {
  for_each_block(i.repeats, [&](int64_t r, int64_t lane, int64_t count) {
    const unsigned char *a = memory.read(lane_at(i.a, r, lane), count * i.a.element_size);
    unsigned char *to = memory.write(lane_at(i.to, r, lane), count * i.to.element_size);
    for (int64_t l = 0; l < count; ++l) narrow_at(to, i.to_type, l, widen_at(a, i.type, l));
  });
}

void execute(const VSelect &i, Access &memory) {
  for_each_block(i.repeats, [&](int64_t r, int64_t lane, int64_t count) {
    const unsigned char bits = *memory.read(i.mask + (r * kLanes + lane) / 8, 1);
    const float *a = read_lanes(i.a, r, lane, count, memory);
    float *to = write_lanes(i.to, r, lane, count, memory);
    for (int64_t l = 0; l < count; ++l) to[l] = (bits >> l & 1) != 0 ? a[l] : i.otherwise;
  });
}

void execute(const VBrcb &i, Access &memory) {
  for (int64_t r = 0; r < i.repeats * kBlockLanes; ++r) {
    const float value = *memory.read<float>(i.from + r * 4, 1);
    std::fill_n(memory.write<float>(i.to + r * kBlockBytes, kBlockLanes), kBlockLanes, value);
  }
}

void execute(const VTranspose &i, Access &memory) {
  const TransposeStrides &s = i.strides;
  for (int64_t repeat = 0; repeat < i.repeats; ++repeat) {
    float values[kBlockLanes][kFractal];
    for (int64_t r = 0; r < kFractal; ++r) {
      const Ref at = i.from + (repeat * s.from_repeat + r * s.from_row) * kBlockBytes;
      const auto *row = memory.read<float>(at, kBlockLanes);
      for (int64_t c = 0; c < kBlockLanes; ++c) values[c][r] = row[c];
    }
    for (int64_t c = 0; c < kBlockLanes; ++c) {
      const Ref at = i.to + (repeat * s.to_repeat + c * s.to_row) * kBlockBytes;
      std::copy_n(values[c], kFractal, memory.write<float>(at, kFractal));
    }
  }
}

}  // namespace gdn::ascend::model
