#ifndef GDN_TESTS_ASCEND_PROBLEMS_H_
#define GDN_TESTS_ASCEND_PROBLEMS_H_

// Small problems for the kernels: a few sequences with tails, so that every core has several items
// and every line of a kernel runs.

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "ascend/device/packing.h"
#include "ascend/operations/operations.h"

namespace gdn::ascend::testing {

/// A compact tensor in memory of its own, filled with numbers between -1 and 0.
class Data {
 public:
  Data(DType type, std::vector<int64_t> shape) {
    tensor_.dtype = type;
    tensor_.rank = static_cast<int32_t>(shape.size());
    int64_t size = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      tensor_.shape[d] = shape[d];
      tensor_.stride[d] = size;
      size *= shape[d];
    }
    bytes_.resize(static_cast<size_t>(size) * dtype_size(type));
    for (int64_t i = 0; i < size; ++i) {
      const float x = -0.5F + 0.5F * std::sin(static_cast<float>(i) * 1.7F);
      const uint32_t bits = std::bit_cast<uint32_t>(x);
      if (type == DType::f32) {
        std::memcpy(&bytes_[static_cast<size_t>(i) * 4], &bits, 4);
      } else {
        // Bits of bf16 are small numbers as f16 too.
        const auto half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(&bytes_[static_cast<size_t>(i) * 2], &half, 2);
      }
    }
    tensor_.data = bytes_.data();
  }
  Data(const Data &) = delete;
  Data &operator=(const Data &) = delete;

  const Tensor &tensor() const { return tensor_; }
  const std::vector<unsigned char> &bytes() const { return bytes_; }

 private:
  std::vector<unsigned char> bytes_;
  Tensor tensor_;
};

/// Offsets of sequences of the given lengths.
class Offsets {
 public:
  explicit Offsets(const std::vector<int64_t> &lengths) {
    for (const int64_t length : lengths) offsets_.push_back(offsets_.back() + length);
  }
  Sequences sequences() const {
    Sequences s;
    s.count = static_cast<int64_t>(offsets_.size()) - 1;
    s.batch = 1;
    s.tokens = offsets_.back();
    s.cu_seqlens = {offsets_.data(), true, true, s.count + 1, 1, 1, 0};
    return s;
  }

 private:
  std::vector<int64_t> offsets_ = {0};
};

/// A problem's sequences, chunks and heads.
template <class Problem>
Problem shaped(const Offsets &offsets, int64_t chunk_size, int64_t key_heads, int64_t value_heads) {
  Problem p;
  p.sequences = offsets.sequences();
  p.chunk_size = chunk_size;
  p.heads.key_heads = key_heads;
  p.heads.value_heads = value_heads;
  return p;
}

template <class Target>
Status run_cumsum(DType type, int64_t chunk_size, Target &target) {
  const Offsets offsets({130, 0, 17, 300, 1});
  auto p = shaped<ChunkLocalCumsum>(offsets, chunk_size, 44, 44);
  const Data g(type, {1, p.sequences.tokens, 44});
  const Data g_cumsum(DType::f32, {1, p.sequences.tokens, 44});
  p.g = g.tensor();
  p.g_cumsum = g_cumsum.tensor();
  return chunk_local_cumsum(p, target);
}

template <class Target>
Status run_kkt(DType type, DType beta_type, int64_t chunk_size, Target &target) {
  const Offsets offsets({130, 0, 17, 140, 1});
  auto p = shaped<ChunkScaledDotKkt>(offsets, chunk_size, 2, 18);
  p.key_dim = 128;
  const int64_t T = p.sequences.tokens;
  const Data k(type, {1, T, 2, 128});
  const Data beta(beta_type, {1, T, 18});
  const Data g_cumsum(DType::f32, {1, T, 18});
  const Data A(DType::f32, {1, T, 18, chunk_size});
  p.k = k.tensor();
  p.beta = beta.tensor();
  p.g_cumsum = g_cumsum.tensor();
  p.A = A.tensor();
  return chunk_scaled_dot_kkt(p, target);
}

template <class Target>
Status run_solve(DType type, int64_t chunk_size, Target &target) {
  // Blocks end with different slots, and with a merge.
  const Offsets offsets({130, 0, 17, 65, 1, 250});
  auto p = shaped<SolveTril>(offsets, chunk_size, 3, 3);
  const Data A(DType::f32, {1, p.sequences.tokens, 3, chunk_size});
  const Data T(type, {1, p.sequences.tokens, 3, chunk_size});
  p.A = A.tensor();
  p.T = T.tensor();
  return solve_tril(p, target);
}

template <class Target>
Status run_w_u(DType type, DType gate_type, DType inverse_type, int64_t chunk_size,
               Target &target) {
  const Offsets offsets({130, 0, 17, 140, 1});
  auto p = shaped<RecomputeWU>(offsets, chunk_size, 3, 3);
  p.key_dim = p.value_dim = 128;
  const int64_t T = p.sequences.tokens;
  const Data k(type, {1, T, 3, 128});
  const Data v(type, {1, T, 3, 128});
  const Data beta(gate_type, {1, T, 3});
  const Data g_cumsum(DType::f32, {1, T, 3});
  const Data inverse(inverse_type, {1, T, 3, chunk_size});
  const Data w(type, {1, T, 3, 128});
  const Data u(type, {1, T, 3, 128});
  p.k = k.tensor();
  p.v = v.tensor();
  p.beta = beta.tensor();
  p.g_cumsum = g_cumsum.tensor();
  p.T = inverse.tensor();
  p.w = w.tensor();
  p.u = u.tensor();
  return recompute_w_u(p, target);
}

template <class Target>
Status run_fwd_h(DType type, DType h_type, bool states, int64_t chunk_size, Target &target) {
  const Offsets offsets({130, 0, 17, 300, 1});
  auto p = shaped<ChunkFwdH>(offsets, chunk_size, 1, 2);
  p.key_dim = p.value_dim = 128;
  const int64_t T = p.sequences.tokens;
  const int64_t chunks = chunk_size == 64 ? 3 + 1 + 5 + 1 : 2 + 1 + 3 + 1;
  const Data k(type, {1, T, 1, 128});
  const Data w(type, {1, T, 2, 128});
  const Data u(type, {1, T, 2, 128});
  const Data g_cumsum(DType::f32, {1, T, 2});
  const Data initial_state(DType::f32, {5, 2, 128, 128});
  const Data h(h_type, {chunks, 2, 128, 128});
  const Data v_new(type, {1, T, 2, 128});
  const Data final_state(DType::f32, {5, 2, 128, 128});
  p.k = k.tensor();
  p.w = w.tensor();
  p.u = u.tensor();
  p.g_cumsum = g_cumsum.tensor();
  p.h = h.tensor();
  p.v_new = v_new.tensor();
  if (states) {
    p.initial_state = initial_state.tensor();
    p.final_state = final_state.tensor();
  }
  return chunk_fwd_h(p, target);
}

template <class Target>
Status run_fwd_o(DType type, DType h_type, int64_t chunk_size, Target &target) {
  const Offsets offsets({130, 0, 17, 140, 1});
  auto p = shaped<ChunkFwdO>(offsets, chunk_size, 1, 9);
  p.key_dim = p.value_dim = 128;
  const int64_t T = p.sequences.tokens;
  const int64_t chunks = chunk_size == 64 ? 3 + 1 + 3 + 1 : 2 + 1 + 2 + 1;
  const Data q(type, {1, T, 1, 128});
  const Data k(type, {1, T, 1, 128});
  const Data v_new(type, {1, T, 9, 128});
  const Data h(h_type, {chunks, 9, 128, 128});
  const Data g_cumsum(DType::f32, {1, T, 9});
  const Data o(type, {1, T, 9, 128});
  p.q = q.tensor();
  p.k = k.tensor();
  p.v_new = v_new.tensor();
  p.h = h.tensor();
  p.g_cumsum = g_cumsum.tensor();
  p.o = o.tensor();
  return chunk_fwd_o(p, target);
}

/// A kernel on one of these problems, in one of its forms.
struct Problem {
  const char *name;
  Pipe binds;                ///< The busiest pipe of a Vector core.
  const char *const *slots;  ///< Buffers that it has two of, then nullptr.
  Status (*run)(const model::Options &options);
  Status (*pack)(device::Packing &packing);
};

/// Of a function that takes either.
template <class F>
constexpr Problem problem(const char *name, Pipe binds, const char *const *slots, F f) {
  return {name, binds, slots, f, f};
}

inline constexpr const char *kCumsumSlots[] = {"g", "sums", nullptr};
inline constexpr const char *kKktSlots[] = {"keys", "rows", "columns", "products",
                                            "A",    "c",    "beta",    nullptr};
inline constexpr const char *kSolveSlots[] = {"M",     "high", "low", "P in parts", "left",
                                              "right", "P",    "Q",   nullptr};

inline constexpr const char *kWUSlots[] = {"operands", "values",   "keys", "rows",
                                           "columns",  "products", "T",    "high",
                                           "low",      "c",        "beta", nullptr};

inline constexpr const char *kFwdHSlots[] = {"K", nullptr};

inline constexpr const char *kFwdOSlots[] = {"operands", "values",  "left",
                                             "right",    "rounded", nullptr};

inline constexpr Problem kProblems[] = {
    problem("cumsum_f32_64", Pipe::mte2, kCumsumSlots,
            [](auto &target) { return run_cumsum(DType::f32, 64, target); }),
    problem("cumsum_f32_128", Pipe::mte2, kCumsumSlots,
            [](auto &target) { return run_cumsum(DType::f32, 128, target); }),
    problem("cumsum_bf16_128", Pipe::v, kCumsumSlots,
            [](auto &target) { return run_cumsum(DType::bf16, 128, target); }),
    problem("kkt_bf16_f32_128", Pipe::v, kKktSlots,
            [](auto &target) { return run_kkt(DType::bf16, DType::f32, 128, target); }),
    problem("kkt_f16_f16_64", Pipe::v, kKktSlots,
            [](auto &target) { return run_kkt(DType::f16, DType::f16, 64, target); }),
    problem("solve_f32_64", Pipe::v, kSolveSlots,
            [](auto &target) { return run_solve(DType::f32, 64, target); }),
    problem("solve_bf16_128", Pipe::v, kSolveSlots,
            [](auto &target) { return run_solve(DType::bf16, 128, target); }),
    problem("w_u_bf16_f32_128", Pipe::v, kWUSlots,
            [](auto &target) { return run_w_u(DType::bf16, DType::f32, DType::f32, 128, target); }),
    problem("w_u_f16_f16_64", Pipe::v, kWUSlots,
            [](auto &target) { return run_w_u(DType::f16, DType::f16, DType::f16, 64, target); }),
    problem("fwd_h_bf16_f32_128", Pipe::mte3, kFwdHSlots,
            [](auto &target) { return run_fwd_h(DType::bf16, DType::f32, true, 128, target); }),
    problem("fwd_h_f16_f16_64", Pipe::mte2, kFwdHSlots,
            [](auto &target) { return run_fwd_h(DType::f16, DType::f16, false, 64, target); }),
    problem("fwd_o_bf16_f32_128", Pipe::v, kFwdOSlots,
            [](auto &target) { return run_fwd_o(DType::bf16, DType::f32, 128, target); }),
    problem("fwd_o_f16_f16_64", Pipe::mte3, kFwdOSlots,
            [](auto &target) { return run_fwd_o(DType::f16, DType::f16, 64, target); }),
};

}  // namespace gdn::ascend::testing

#endif  // GDN_TESTS_ASCEND_PROBLEMS_H_
