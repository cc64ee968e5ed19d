#include <algorithm>
#include <cmath>
#include <cstring>

#include "ascend/model/convert.h"
#include "ascend/model/execute.h"

namespace gdn::ascend::model {
namespace {

/// The lanes of one repeat.
struct Row {
  float lane[kLanes];
};

/// Calls f(at, first lane, lanes) for each piece of a repeat's lanes that lies without gaps.
template <class F>
void for_each_piece(const Operand &o, int64_t repeat, int64_t lanes, F f) {
  const Ref at = o.at + repeat * o.repeat_stride * kBlockBytes;
  if (o.block_stride == 1) return f(at, int64_t{0}, lanes);
  const int64_t in_block = kBlockBytes / o.element_size;
  for (int64_t lane = 0; lane < lanes; lane += in_block) {
    f(at + lane / in_block * o.block_stride * kBlockBytes, lane, std::min(in_block, lanes - lane));
  }
}

Row read_row(const Operand &o, Type type, int64_t repeat, int64_t lanes, Access &memory) {
  Row row;
  for_each_piece(o, repeat, lanes, [&](const Ref &at, int64_t lane, int64_t count) {
    const unsigned char *from = memory.read(at, count * o.element_size);
    if (type == Type::f32) {
      std::memcpy(row.lane + lane, from, static_cast<size_t>(count) * sizeof(float));
    } else {
      for (int64_t l = 0; l < count; ++l) row.lane[lane + l] = widen_at(from, type, l);
    }
  });
  return row;
}

Row read_row(const Operand &o, int64_t repeat, int64_t lanes, Access &memory) {
  return read_row(o, Type::f32, repeat, lanes, memory);
}

void write_row(const Operand &o, Type type, int64_t repeat, int64_t lanes, const Row &row,
               Access &memory) {
  for_each_piece(o, repeat, lanes, [&](const Ref &at, int64_t lane, int64_t count) {
    unsigned char *to = memory.write(at, count * o.element_size);
    if (type == Type::f32) {
      std::memcpy(to, row.lane + lane, static_cast<size_t>(count) * sizeof(float));
    } else {
      for (int64_t l = 0; l < count; ++l) narrow_at(to, type, l, row.lane[lane + l]);
    }
  });
}

/// Each repeat of `to` becomes f(repeat), a row.
template <class F>
void for_each_repeat(const Operand &to, Type type, const Repeats &repeats, Access &memory, F f) {
  for (int64_t r = 0; r < repeats.count; ++r) {
    write_row(to, type, r, repeats.lanes, f(r), memory);
  }
}

float apply(Binary op, float a, float b) {
  switch (op) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::max:
      return std::max(a, b);
  }
  return 0.0F;
}

}  // namespace

void execute(const VBinary &i, Access &memory) {
  const int64_t lanes = i.repeats.lanes;
  for_each_repeat(i.to, Type::f32, i.repeats, memory, [&](int64_t r) {
    Row a = read_row(i.a, r, lanes, memory);
    const Row b = read_row(i.b, r, lanes, memory);
    for (int64_t l = 0; l < lanes; ++l) a.lane[l] = apply(i.op, a.lane[l], b.lane[l]);
    return a;
  });
}

void execute(const VMla &i, Access &memory) {
  const int64_t lanes = i.repeats.lanes;
  for_each_repeat(i.to, Type::f32, i.repeats, memory, [&](int64_t r) {
    const Row a = read_row(i.a, r, lanes, memory);
    const Row b = read_row(i.b, r, lanes, memory);
    Row sum = read_row(i.to, r, lanes, memory);
    for (int64_t l = 0; l < lanes; ++l) sum.lane[l] += a.lane[l] * b.lane[l];
    return sum;
  });
}

void execute(const VExp &i, Access &memory) {
  const int64_t lanes = i.repeats.lanes;
  for_each_repeat(i.to, Type::f32, i.repeats, memory, [&](int64_t r) {
    Row a = read_row(i.a, r, lanes, memory);
    for (int64_t l = 0; l < lanes; ++l) a.lane[l] = std::exp(a.lane[l]);
    return a;
  });
}

void execute(const VDup &i, Access &memory) {
  Row row;
  std::fill_n(row.lane, kLanes, i.value);
  for_each_repeat(i.to, Type::f32, i.repeats, memory, [&](int64_t) { return row; });
}

void execute(const VCast &i, Access &memory) {
  for_each_repeat(i.to, i.to_type, i.repeats, memory,
                  [&](int64_t r) { return read_row(i.a, i.type, r, i.repeats.lanes, memory); });
}

void execute(const VSelect &i, Access &memory) {
  const int64_t lanes = i.repeats.lanes;
  for_each_repeat(i.to, Type::f32, i.repeats, memory, [&](int64_t r) {
    const unsigned char *bits = memory.read(i.mask + r * kLanes / 8, (lanes + 7) / 8);
    const float otherwise = *memory.read<float>(i.otherwise, 1);
    Row a = read_row(i.a, r, lanes, memory);
    for (int64_t l = 0; l < lanes; ++l) {
      if ((bits[l / 8] >> l % 8 & 1) == 0) a.lane[l] = otherwise;
    }
    return a;
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
