#ifndef GDN_BENCH_GPU_DECODE_BENCH_CUH_
#define GDN_BENCH_GPU_DECODE_BENCH_CUH_

// Decode and verify steps in CUDA graphs: the recurrent operation, and a whole layer's step beside
// the five calls that it replaces.

#include <gdn/gdn.h>

#include <string>
#include <vector>

#include "device_bench.cuh"

namespace gdn::bench {

/// How a decode call comes: `packed` as one row cut at cu_seqlens, else a row a sequence.
struct DecodeForm {
  bool narrow = false;  ///< bf16 state.
  bool packed = false;
  bool v_first = false;
  int tokens = 1;          ///< Of a sequence.
  bool per_token = false;  ///< A verify step: a slot for the state after each token.
  bool rounded = false;    ///< GDN_ROUND_STATES.
};

inline std::string name_of(const char *operation, const DecodeForm &form, int batch) {
  std::string name = std::string(operation) + (form.narrow ? " bf16 state" : " f32 state");
  if (form.packed) name += ", packed";
  if (form.v_first) name += ", V first";
  if (form.tokens > 1) name += ", " + std::to_string(form.tokens) + " tokens";
  if (form.per_token) name += " with slots";
  if (form.rounded) name += ", rounded";
  return name + ", batch " + std::to_string(batch);
}

/// Slots of a batch in reverse order, one for each sequence or token.
inline std::vector<int32_t> reversed_slots(int batch, int columns) {
  std::vector<int32_t> slots;
  for (int i = batch - 1; i >= 0; --i) {
    for (int t = 0; t < columns; ++t) slots.push_back(i * columns + t);
  }
  return slots;
}

/// States read once and written once, or once a token.
inline double state_traffic(const Tensor &pool, const DecodeForm &form) {
  return form.per_token ? pool.bytes() * (1.0 + 1.0 / form.tokens) : 2.0 * pool.bytes();
}

inline std::vector<int64_t> pool_shape(const Options &o, int slots, int hv, bool v_first) {
  return {slots, hv, v_first ? o.dv : o.dk, v_first ? o.dk : o.dv};
}

inline void fill_pool(Tensor &pool, bool narrow) {
  if (narrow) {
    pool.rows(6, false);
  } else {
    pool.gates(6, Gate::beta);
  }
}

inline void recurrent(const Options &o, Report &report, int batch, const DecodeForm &form) {
  constexpr int kKeyHeads = 16, kValueHeads = 32;
  const int64_t rows = form.packed ? 1 : batch,
                length = form.packed ? batch * form.tokens : form.tokens;
  const int columns = form.per_token ? form.tokens : 1;
  Tensor q(kBf16, {rows, length, kKeyHeads, o.dk}), k(kBf16, {rows, length, kKeyHeads, o.dk}),
      v(kBf16, {rows, length, kValueHeads, o.dv}), out(kBf16, {rows, length, kValueHeads, o.dv}),
      g(kF32, {rows, length, kValueHeads}), beta(kF32, {rows, length, kValueHeads}),
      offsets(kI32, {batch + 1}), accepted(kI32, {batch});
  Tensor slots(kI32,
               form.per_token ? std::vector<int64_t>{batch, columns} : std::vector<int64_t>{batch});
  Tensor pool(form.narrow ? kBf16 : kF32,
              pool_shape(o, batch * columns, kValueHeads, form.v_first));
  q.rows(1, true);
  k.rows(2, true);
  v.rows(3, false);
  g.gates(4, Gate::decay);
  beta.gates(5, Gate::beta);
  fill_pool(pool, form.narrow);
  std::vector<int32_t> cu = {0}, counts;
  for (int i = 0; i < batch; ++i) {
    cu.push_back(cu.back() + form.tokens);
    counts.push_back(1 + i % columns);
  }
  slots.ints(reversed_slots(batch, columns));
  offsets.ints(cu);
  accepted.ints(counts);
  gdn_gated_delta_rule_args args = {};
  args.struct_size = sizeof(args);
  if (form.v_first) args.flags |= GDN_STATE_V_FIRST;
  if (form.rounded) args.flags |= GDN_ROUND_STATES;
  args.q = q.get(), args.k = k.get(), args.v = v.get(), args.g = g.get(), args.beta = beta.get();
  args.initial_state = pool.get(), args.state_indices = slots.get(), args.o = out.get();
  if (form.packed) args.cu_seqlens = offsets.get();
  if (form.per_token) args.num_accepted_tokens = accepted.get();
  const Times t = time_graph(o.repeat, [&](cudaStream_t s) {
    const gdn_exec e = exec_of(o, s);
    require(gdn_fused_recurrent_gated_delta_rule(&args, &e));
  });
  report.row(label(name_of("recurrent", form, batch).c_str(), "", kKeyHeads, kValueHeads), t,
             state_traffic(pool, form) + q.bytes() + k.bytes() + v.bytes() + out.bytes());
}

inline void recurrent_calls(const Options &o, Report &report) {
  for (const bool narrow : {false, true}) {
    for (const int batch : {1, 8, 64, 256}) {
      recurrent(o, report, batch, {.narrow = narrow});
      recurrent(o, report, batch, {.narrow = narrow, .v_first = true});
    }
    for (const int batch : {1, 64}) {
      recurrent(o, report, batch, {.narrow = narrow, .packed = true});
      recurrent(o, report, batch, {.narrow = narrow, .tokens = 4});
    }
    for (const bool rounded : {false, true}) {
      if (rounded && !narrow) continue;
      for (const int tokens : {2, 4, 8}) {
        for (const int batch : {1, 64, 256}) {
          recurrent(o, report, batch,
                    {.narrow = narrow,
                     .packed = true,
                     .tokens = tokens,
                     .per_token = true,
                     .rounded = rounded});
        }
      }
    }
  }
}

/// A layer's step of one token a sequence. The convolution's slots lie as vLLM has them, channels
/// next to each other.
inline void decode_step(const Options &o, Report &report, int batch, int hv,
                        const DecodeForm &form) {
  constexpr int kKeyHeads = 16, kWidth = 4;
  const int64_t keys = kKeyHeads * o.dk, channels = 2 * keys + hv * o.dv;
  Tensor mixed(kBf16, {batch, 1, channels}), weight(kBf16, {channels, kWidth}),
      conv(kBf16, {batch, kWidth - 1, channels}), a(kF32, {batch, 1, hv}), b(kF32, {batch, 1, hv}),
      A_log(kF32, {hv}), z(kBf16, {batch, 1, hv, o.dv}), norm(kF32, {o.dv}),
      out(kBf16, {batch, 1, hv, o.dv}), slots(kI32, {batch}),
      pool(form.narrow ? kBf16 : kF32, pool_shape(o, batch, hv, form.v_first));
  for (Tensor *t : {&mixed, &weight, &conv, &z}) t->rows(1, false);
  for (Tensor *t : {&a, &b, &A_log, &norm}) t->gates(4, Gate::beta);
  fill_pool(pool, form.narrow);
  slots.ints(reversed_slots(batch, 1));
  const auto view = [](const Tensor &t, const int64_t *shape, const int64_t *strides, int rank,
                       int64_t offset = 0) {
    DLTensor d = *t.get();
    d.shape = const_cast<int64_t *>(shape), d.strides = const_cast<int64_t *>(strides);
    d.ndim = rank;
    d.byte_offset = static_cast<uint64_t>(offset) * 2;
    return d;
  };
  const int64_t conv_shape[] = {batch, channels, kWidth - 1},
                conv_strides[] = {channels * (kWidth - 1), 1, channels};
  const DLTensor conv_state = view(conv, conv_shape, conv_strides, 3);
  const double bytes = 2.0 * pool.bytes() + 2.0 * conv.bytes() + mixed.bytes() + weight.bytes() +
                       z.bytes() + out.bytes();
  const uint32_t layout = form.v_first ? GDN_STATE_V_FIRST : 0;

  gdn_fused_gdn_decode_args fused = {};
  fused.struct_size = sizeof(fused);
  fused.flags = layout;
  fused.mixed_qkv = mixed.get(), fused.conv_weight = weight.get(), fused.conv_state = &conv_state;
  fused.a = a.get(), fused.b = b.get(), fused.A_log = A_log.get(), fused.z = z.get();
  fused.norm_weight = norm.get(), fused.state = pool.get(), fused.state_indices = slots.get();
  fused.o = out.get();
  size_t scratch_bytes = 0;
  const gdn_exec any = exec_of(o, nullptr);
  require(gdn_fused_gdn_decode_workspace_size(&fused, &any, &scratch_bytes));
  const Tensor scratch(kF32, {static_cast<int64_t>(scratch_bytes / sizeof(float))});
  report.row(label(name_of("fused_gdn_decode", form, batch).c_str(), "", kKeyHeads, hv),
             time_graph(o.repeat,
                        [&](cudaStream_t s) {
                          gdn_exec e = exec_of(o, s);
                          e.workspace = scratch.get()->data, e.workspace_size = scratch_bytes;
                          require(gdn_fused_gdn_decode(&fused, &e));
                        }),
             bytes);

  // One by one: q and k are normalised together.
  Tensor y(kBf16, {batch, 1, channels}), g(kF32, {batch, 1, hv}), beta(kF32, {batch, 1, hv}),
      raw(kBf16, {batch, 1, hv, o.dv}), unit(kBf16, {batch, 1, 2 * kKeyHeads, o.dk});
  const int64_t by_channel[] = {batch, channels, 1}, channel_strides[] = {channels, 1, channels};
  const DLTensor x_view = view(mixed, by_channel, channel_strides, 3),
                 y_view = view(y, by_channel, channel_strides, 3);
  gdn_causal_conv1d_update_args update = {};
  update.struct_size = sizeof(update), update.flags = GDN_SILU;
  update.x = &x_view, update.weight = weight.get(), update.conv_state = &conv_state;
  update.state_indices = slots.get(), update.y = &y_view;
  const int64_t both_shape[] = {batch, 1, 2 * kKeyHeads, o.dk},
                one_shape[] = {batch, 1, kKeyHeads, o.dk}, v_shape[] = {batch, 1, hv, o.dv},
                key_strides[] = {channels, channels, o.dk, 1},
                unit_strides[] = {2 * keys, 2 * keys, o.dk, 1},
                v_strides[] = {channels, channels, o.dv, 1};
  const DLTensor both = view(y, both_shape, key_strides, 4),
                 q = view(unit, one_shape, unit_strides, 4),
                 k = view(unit, one_shape, unit_strides, 4, keys),
                 v = view(y, v_shape, v_strides, 4, 2 * keys);
  gdn_l2norm_args l2 = {};
  l2.struct_size = sizeof(l2), l2.x = &both, l2.y = unit.get();
  gdn_fused_gdn_gating_args gating = {};
  gating.struct_size = sizeof(gating), gating.A_log = A_log.get();
  gating.a = a.get(), gating.b = b.get(), gating.g = g.get(), gating.beta = beta.get();
  gdn_gated_delta_rule_args rule = {};
  rule.struct_size = sizeof(rule), rule.flags = layout;
  rule.q = &q, rule.k = &k, rule.v = &v, rule.g = g.get(), rule.beta = beta.get();
  rule.initial_state = pool.get(), rule.state_indices = slots.get(), rule.o = raw.get();
  gdn_rms_norm_gated_args rms = {};
  rms.struct_size = sizeof(rms), rms.x = raw.get(), rms.z = z.get(), rms.weight = norm.get();
  rms.y = out.get();
  report.row(label(name_of("five calls", form, batch).c_str(), "", kKeyHeads, hv),
             time_graph(o.repeat,
                        [&](cudaStream_t s) {
                          const gdn_exec e = exec_of(o, s);
                          require(gdn_causal_conv1d_update(&update, &e));
                          require(gdn_l2norm(&l2, &e));
                          require(gdn_fused_gdn_gating(&gating, &e));
                          require(gdn_fused_recurrent_gated_delta_rule(&rule, &e));
                          require(gdn_rms_norm_gated(&rms, &e));
                        }),
             bytes);
}

inline void decode_steps(const Options &o, Report &report) {
  for (const bool narrow : {false, true}) {
    for (const bool v_first : {false, true}) {
      for (const int batch : {1, 8, 16, 32, 64, 256}) {
        decode_step(o, report, batch, 32, {.narrow = narrow, .v_first = v_first});
      }
      decode_step(o, report, 1, 64, {.narrow = narrow, .v_first = v_first});
    }
  }
}

}  // namespace gdn::bench

#endif  // GDN_BENCH_GPU_DECODE_BENCH_CUH_
