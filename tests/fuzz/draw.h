#ifndef GDN_TESTS_FUZZ_DRAW_H_
#define GDN_TESTS_FUZZ_DRAW_H_

#include <cstdint>
#include <vector>

#include "fuzz/bytes.h"
#include "fuzz/operands.h"

namespace gdn::fuzz {

/// Scalars and extents that the operations draw from.
struct Draw {
  explicit Draw(Bytes *bytes) : in(*bytes), operands(bytes) {
    type = in.pick<DLDataType>({kF32, kBf16, kF16});
    packed = in.often();
    const int64_t row = in.below(3);
    B = packed ? 1 : row;
    N = packed ? in.below(5) : B;
    T = 0;
    for (int64_t n = 0; n < (packed ? N : 1); ++n) {
      T += in.rarely() ? in.below(300) : in.below(9);
      ends.push_back(T);
    }
    padded = packed && in.rarely();
    if (padded) T += in.below(20);
    HK = 1 + in.below(2);
    HV = HK * (1 + in.below(3));
    DK = in.often() ? 8 * (1 + in.below(4)) : 1 + in.below(40);
    DV = in.often() ? 8 * (1 + in.below(4)) : 1 + in.below(40);
    chunk_size = in.pick<int32_t>({0, 64, 16, 32, 128});
    C = chunk_size == 0 ? 64 : chunk_size;
    v_first = in.rarely();
    flags = in.rarely() ? 1U << in.below(32) : 0;
    head_map = in.rarely() ? static_cast<int32_t>(in.odd_number()) : in.byte() & 1;
    reserved = in.rarely() && in.rarely() ? 1 : 0;
    if (in.rarely()) chunk_size = static_cast<int32_t>(in.odd_number());
  }

  int64_t parts(int64_t size, bool round_up) const {
    int64_t out = 0;
    for (int64_t n = 0; n < N; ++n) {
      const int64_t length =
          packed ? ends[static_cast<size_t>(n)] - (n > 0 ? ends[static_cast<size_t>(n) - 1] : 0)
                 : T;
      out += (length + (round_up ? size - 1 : 0)) / size;
    }
    return out;
  }

  const DLTensor *cu_seqlens() {
    if (!packed) return nullptr;
    std::vector<int64_t> values = {0};
    values.insert(values.end(), ends.begin(), ends.end());
    if (in.rarely()) values[static_cast<size_t>(in.below(N + 1))] = in.odd_number();
    return operands.integers(in.pick({kI32, kI64}), {N + 1}, values);
  }

  /// N * columns slots of a pool, mostly distinct.
  const DLTensor *slots(int64_t count, int64_t columns) {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < N * columns; ++i) {
      values.push_back(in.rarely() ? in.odd_number() : in.often() ? i % count : -1);
    }
    if (columns == 1) return operands.integers(in.pick({kI32, kI64}), {N}, values);
    return operands.integers(in.pick({kI32, kI64}), {N, columns}, values);
  }

  const DLTensor *accepted(int64_t most) {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < N; ++i) {
      values.push_back(in.rarely() ? in.odd_number() : 1 + in.below(most > 0 ? most : 1));
    }
    return operands.integers(in.pick({kI32, kI64}), {N}, values);
  }

  /// Rows of h.
  int64_t chunks() { return padded ? (T + C - 1) / C + N : parts(C, true); }

  const DLTensor *positions() {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < N; ++i) {
      values.push_back(in.rarely() ? in.odd_number() : in.below(200));
    }
    return operands.integers(in.pick({kI32, kI64}), {N}, values);
  }

  const DLTensor *sequence_flags() {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < N; ++i) values.push_back(in.below(3));
    return operands.integers(in.pick({kU8, kI32}), {N}, values);
  }

  DLDataType any_float() { return in.pick<DLDataType>({kF32, kBf16, kF16}); }

  const DLTensor *q_like(bool written = false) {
    return operands.tensor(type, {B, T, HK, DK}, written);
  }
  const DLTensor *v_like(bool written) { return operands.tensor(type, {B, T, HV, DV}, written); }
  const DLTensor *gate(DLDataType t) { return operands.optional(t, {B, T, HV}, false); }
  const DLTensor *triangle(DLDataType t, bool written) {
    return operands.tensor(t, {B, T, HV, C}, written);
  }
  const DLTensor *state(DLDataType t, int64_t rows, bool written) {
    return v_first ? operands.tensor(t, {rows, HV, DV, DK}, written)
                   : operands.tensor(t, {rows, HV, DK, DV}, written);
  }
  const DLTensor *maybe_state(DLDataType t, int64_t rows, bool written) {
    return in.often() ? state(t, rows, written) : nullptr;
  }
  double number() {
    constexpr double kHuge = 1e300;
    return in.pick<double>({1.0, 0.0, -1.0, 1e-6, kHuge, kHuge * kHuge, kHuge * kHuge * 0.0});
  }

  Bytes &in;
  Operands operands;
  DLDataType type;
  bool packed, padded, v_first;
  int64_t B, N, T, HK, HV, DK, DV, C;
  int32_t chunk_size, head_map, reserved;
  uint32_t flags;
  std::vector<int64_t> ends;
};

}  // namespace gdn::fuzz

#endif  // GDN_TESTS_FUZZ_DRAW_H_
