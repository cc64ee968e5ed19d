#ifndef GDN_ASCEND_DEVICE_ENTRY_H_
#define GDN_ASCEND_DEVICE_ENTRY_H_

// From an entry's arguments to a kernel: every form of each stage.

#include "ascend/kernels/chunk_fwd_h.h"
#include "ascend/kernels/chunk_fwd_o.h"
#include "ascend/kernels/chunk_local_cumsum.h"
#include "ascend/kernels/chunk_scaled_dot_kkt.h"
#include "ascend/kernels/forms.h"
#include "ascend/kernels/recompute_w_u.h"
#include "ascend/kernels/solve_tril.h"

namespace gdn::ascend::device {

/// What was packed for a kernel (packing.h), read word by word as numbers are.
template <class Tensors>
GDN_NPU Tensors unpacked(__gm__ uint8_t *arguments) {
  static_assert(sizeof(Tensors) % sizeof(uint64_t) == 0);
  union Words {
    GDN_NPU Words() {}
    Tensors tensors;
    uint64_t word[sizeof(Tensors) / sizeof(uint64_t)];
  };
  Words words;
  const auto *from = reinterpret_cast<__gm__ uint64_t *>(arguments);
  for (uint64_t i = 0; i < sizeof(Tensors) / sizeof(uint64_t); ++i) words.word[i] = from[i];
  return words.tensors;
}

// A form of each stage, if it is the one that was asked for.

template <class G, int64_t C>
GDN_NPU void cumsum_form(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  if (form != kernels::form_number<C, G>()) return;
  const auto tensors = unpacked<kernels::ChunkLocalCumsumTensors<G>>(arguments);
  Core core(sync_base);
  kernels::chunk_local_cumsum<G, C>(core, tensors);
}

template <class E, class B, int64_t C>
GDN_NPU void kkt_form(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  if (form != kernels::form_number<C, E, B>()) return;
  const auto tensors = unpacked<kernels::ChunkScaledDotKktTensors<E, B>>(arguments);
  Core core(sync_base);
  kernels::chunk_scaled_dot_kkt<E, B, C>(core, tensors);
}

template <class R, int64_t C>
GDN_NPU void solve_form(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  if (form != kernels::form_number<C, R>()) return;
  const auto tensors = unpacked<kernels::SolveTrilTensors<R>>(arguments);
  Core core(sync_base);
  kernels::solve_tril<R, C>(core, tensors);
}

template <class E, class B, class S, int64_t C>
GDN_NPU void w_u_form(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  if (form != kernels::form_number<C, E, B, S>()) return;
  const auto tensors = unpacked<kernels::RecomputeWUTensors<E, B, S>>(arguments);
  Core core(sync_base);
  kernels::recompute_w_u<E, B, S, C>(core, tensors);
}

template <class E, class H, int64_t C>
GDN_NPU void h_form(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  if (form != kernels::form_number<C, E, H>()) return;
  const auto tensors = unpacked<kernels::ChunkFwdHTensors<E, H>>(arguments);
  Core core(sync_base);
  kernels::chunk_fwd_h<E, H, C>(core, tensors);
}

template <class E, class H, int64_t C>
GDN_NPU void o_form(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  if (form != kernels::form_number<C, E, H>()) return;
  const auto tensors = unpacked<kernels::ChunkFwdOTensors<E, H>>(arguments);
  Core core(sync_base);
  kernels::chunk_fwd_o<E, H, C>(core, tensors);
}

// The stages, with chunks of both sizes.

template <int64_t C>
GDN_NPU void chunk_local_cumsum_of(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  cumsum_form<float, C>(arguments, form, sync_base);
  cumsum_form<f16, C>(arguments, form, sync_base);
  cumsum_form<bf16, C>(arguments, form, sync_base);
}
GDN_NPU inline void chunk_local_cumsum(__gm__ uint8_t *arguments, uint32_t form,
                                       uint64_t sync_base) {
  chunk_local_cumsum_of<64>(arguments, form, sync_base);
  chunk_local_cumsum_of<128>(arguments, form, sync_base);
}

template <class E, int64_t C>
GDN_NPU void chunk_scaled_dot_kkt_of(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  kkt_form<E, float, C>(arguments, form, sync_base);
  kkt_form<E, E, C>(arguments, form, sync_base);
}
GDN_NPU inline void chunk_scaled_dot_kkt(__gm__ uint8_t *arguments, uint32_t form,
                                         uint64_t sync_base) {
  chunk_scaled_dot_kkt_of<f16, 64>(arguments, form, sync_base);
  chunk_scaled_dot_kkt_of<f16, 128>(arguments, form, sync_base);
  chunk_scaled_dot_kkt_of<bf16, 64>(arguments, form, sync_base);
  chunk_scaled_dot_kkt_of<bf16, 128>(arguments, form, sync_base);
}

template <int64_t C>
GDN_NPU void solve_tril_of(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  solve_form<float, C>(arguments, form, sync_base);
  solve_form<f16, C>(arguments, form, sync_base);
  solve_form<bf16, C>(arguments, form, sync_base);
}
GDN_NPU inline void solve_tril(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  solve_tril_of<64>(arguments, form, sync_base);
  solve_tril_of<128>(arguments, form, sync_base);
}

template <class E, int64_t C>
GDN_NPU void recompute_w_u_of(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  w_u_form<E, float, float, C>(arguments, form, sync_base);
  w_u_form<E, float, E, C>(arguments, form, sync_base);
  w_u_form<E, E, float, C>(arguments, form, sync_base);
  w_u_form<E, E, E, C>(arguments, form, sync_base);
}
GDN_NPU inline void recompute_w_u(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  recompute_w_u_of<f16, 64>(arguments, form, sync_base);
  recompute_w_u_of<f16, 128>(arguments, form, sync_base);
  recompute_w_u_of<bf16, 64>(arguments, form, sync_base);
  recompute_w_u_of<bf16, 128>(arguments, form, sync_base);
}

template <class E, int64_t C>
GDN_NPU void chunk_fwd_h_of(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  h_form<E, float, C>(arguments, form, sync_base);
  h_form<E, E, C>(arguments, form, sync_base);
}
GDN_NPU inline void chunk_fwd_h(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  chunk_fwd_h_of<f16, 64>(arguments, form, sync_base);
  chunk_fwd_h_of<f16, 128>(arguments, form, sync_base);
  chunk_fwd_h_of<bf16, 64>(arguments, form, sync_base);
  chunk_fwd_h_of<bf16, 128>(arguments, form, sync_base);
}

template <class E, int64_t C>
GDN_NPU void chunk_fwd_o_of(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  o_form<E, float, C>(arguments, form, sync_base);
  o_form<E, E, C>(arguments, form, sync_base);
}
GDN_NPU inline void chunk_fwd_o(__gm__ uint8_t *arguments, uint32_t form, uint64_t sync_base) {
  chunk_fwd_o_of<f16, 64>(arguments, form, sync_base);
  chunk_fwd_o_of<f16, 128>(arguments, form, sync_base);
  chunk_fwd_o_of<bf16, 64>(arguments, form, sync_base);
  chunk_fwd_o_of<bf16, 128>(arguments, form, sync_base);
}

}  // namespace gdn::ascend::device

#endif  // GDN_ASCEND_DEVICE_ENTRY_H_
