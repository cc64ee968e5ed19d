// How long the operations take on a GPU, beside what its memory allows.
//
//   gdn_gpu_bench [--json FILE] [--isa NAME]
//                 [--only chunk|forms|stages|recurrent|fused_gdn_decode|layer|host]
//   [--repeat N] [--dk N] [--dv N]
//
// forms (forms_bench.cuh), of a Hopper GPU alone, has to be asked for.
// --dk and --dv: head widths of chunk, stages and recurrent, 128 by default.
//
// Prefill and stages: device time of one call, CUDA events around each of N calls, median, least
// and largest. Decode (decode_bench.cuh): a CUDA graph of 20 calls, time of a replay over 20.
// Inputs are those of the public ladder (q, k of length 1, g = logsigmoid(randn), beta = rand),
// drawn on the device; final state out, no initial state, as the peers are measured. The floor is
// the bytes that a call must move at least (each input and output once) at the copy bandwidth
// measured in the same run.

#include <gdn/gdn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "decode_bench.cuh"
#include "device_bench.cuh"
#include "forms_bench.cuh"
#include "host_cost.cuh"

namespace gdn::bench {
namespace {

void chunk(const Options &o, Report &report, const std::string &shape, std::vector<int32_t> lengths,
           int hk, int hv) {
  std::vector<int32_t> cu = {0};
  for (const int32_t n : lengths) cu.push_back(cu.back() + n);
  const int64_t tokens = cu.back(), n = static_cast<int64_t>(lengths.size());
  Tensor q(kBf16, {1, tokens, hk, o.dk}), k(kBf16, {1, tokens, hk, o.dk}),
      v(kBf16, {1, tokens, hv, o.dv}), out(kBf16, {1, tokens, hv, o.dv}), g(kF32, {1, tokens, hv}),
      beta(kF32, {1, tokens, hv}), state(kF32, {n, hv, o.dk, o.dv}), offsets(kI32, {n + 1});
  q.rows(1, true);
  k.rows(2, true);
  v.rows(3, false);
  g.gates(4, Gate::decay);
  beta.gates(5, Gate::beta);
  offsets.ints(cu);
  gdn_gated_delta_rule_args args = {};
  args.struct_size = sizeof(args);
  args.q = q.get(), args.k = k.get(), args.v = v.get(), args.g = g.get(), args.beta = beta.get();
  args.cu_seqlens = offsets.get(), args.final_state = state.get(), args.o = out.get();
  gdn_exec exec = exec_of(o, nullptr);
  require(gdn_chunk_gated_delta_rule_workspace_size(&args, &exec, &exec.workspace_size));
  Tensor workspace(kF32, {static_cast<int64_t>(exec.workspace_size / sizeof(float))});
  exec.workspace = workspace.get()->data;
  const Times t = time_calls(o.repeat, [&](cudaStream_t s) {
    exec.stream = s;
    require(gdn_chunk_gated_delta_rule(&args, &exec));
  });
  report.row(
      label("chunk", shape, hk, hv), t,
      q.bytes() + k.bytes() + v.bytes() + out.bytes() + g.bytes() + beta.bytes() + state.bytes());
}

void stages(const Options &o, Report &report, int sequences, int length, int hk, int hv) {
  const int64_t tokens = static_cast<int64_t>(sequences) * length, nt = tokens / 64;
  Tensor q(kBf16, {1, tokens, hk, o.dk}), k(kBf16, {1, tokens, hk, o.dk}),
      v(kBf16, {1, tokens, hv, o.dv}), out(kBf16, {1, tokens, hv, o.dv}),
      w(kBf16, {1, tokens, hv, o.dk}), u(kBf16, {1, tokens, hv, o.dv}),
      v_new(kBf16, {1, tokens, hv, o.dv}), g(kF32, {1, tokens, hv}), c(kF32, {1, tokens, hv}),
      beta(kF32, {1, tokens, hv}), A(kF32, {1, tokens, hv, 64}), T(kBf16, {1, tokens, hv, 64}),
      h(kBf16, {nt, hv, o.dk, o.dv}), state(kF32, {sequences, hv, o.dk, o.dv}),
      offsets(kI32, {sequences + 1});
  q.rows(1, true);
  k.rows(2, true);
  v.rows(3, false);
  g.gates(4, Gate::decay);
  beta.gates(5, Gate::beta);
  std::vector<int32_t> cu;
  for (int i = 0; i <= sequences; ++i) cu.push_back(i * length);
  offsets.ints(cu);
  const std::string shape = std::to_string(sequences) + " x " + std::to_string(length);
  const auto time = [&](const char *name, double bytes, auto args, auto function) {
    args.struct_size = sizeof(args);
    args.chunk_size = 64;
    args.cu_seqlens = offsets.get();
    const Times t = time_calls(o.repeat, [&](cudaStream_t s) {
      const gdn_exec e = exec_of(o, s);
      require(function(&args, &e));
    });
    report.row(label(name, shape, hk, hv), t, bytes);
  };
  gdn_chunk_local_cumsum_args a1 = {};
  a1.g = g.get(), a1.g_cumsum = c.get();
  time("chunk_local_cumsum", g.bytes() + c.bytes(), a1, gdn_chunk_local_cumsum);
  gdn_chunk_scaled_dot_kkt_args a2 = {};
  a2.k = k.get(), a2.beta = beta.get(), a2.g_cumsum = c.get(), a2.A = A.get();
  time("chunk_scaled_dot_kkt", k.bytes() + beta.bytes() + c.bytes() + A.bytes(), a2,
       gdn_chunk_scaled_dot_kkt);
  gdn_solve_tril_args a3 = {};
  a3.A = A.get(), a3.T = T.get();
  time("solve_tril", A.bytes() + T.bytes(), a3, gdn_solve_tril);
  gdn_recompute_w_u_args a4 = {};
  a4.k = k.get(), a4.v = v.get(), a4.beta = beta.get(), a4.g_cumsum = c.get(), a4.T = T.get();
  a4.w = w.get(), a4.u = u.get();
  time("recompute_w_u", k.bytes() + v.bytes() + T.bytes() + w.bytes() + u.bytes(), a4,
       gdn_recompute_w_u);
  gdn_chunk_fwd_h_args a5 = {};
  a5.k = k.get(), a5.w = w.get(), a5.u = u.get(), a5.g_cumsum = c.get(), a5.h = h.get();
  a5.v_new = v_new.get(), a5.final_state = state.get();
  time("chunk_fwd_h", k.bytes() + w.bytes() + u.bytes() + v_new.bytes() + h.bytes(), a5,
       gdn_chunk_fwd_h);
  gdn_chunk_fwd_o_args a6 = {};
  a6.q = q.get(), a6.k = k.get(), a6.v_new = v_new.get(), a6.h = h.get(), a6.g_cumsum = c.get();
  a6.o = out.get();
  time("chunk_fwd_o", q.bytes() + k.bytes() + v_new.bytes() + h.bytes() + out.bytes(), a6,
       gdn_chunk_fwd_o);
}

void layer(const Options &o, Report &report) {
  constexpr int64_t kTokens = 65536, kChannels = 8192, kHeads = 32;
  Tensor x(kBf16, {1, kTokens, kChannels}), y(kBf16, {1, kTokens, kChannels}),
      weight(kF32, {kChannels, 4});
  x.rows(1, false);
  weight.gates(2, Gate::beta);
  // [1, C, T] with the channels contiguous, as a projection leaves them.
  const int64_t shape[3] = {1, kChannels, kTokens},
                strides[3] = {kTokens * kChannels, 1, kChannels};
  DLTensor xt = *x.get(), yt = *y.get();
  for (DLTensor *t : {&xt, &yt}) {
    t->shape = const_cast<int64_t *>(shape);
    t->strides = const_cast<int64_t *>(strides);
  }
  gdn_causal_conv1d_fwd_args conv = {};
  conv.struct_size = sizeof(conv);
  conv.flags = GDN_SILU;
  conv.x = &xt, conv.weight = weight.get(), conv.y = &yt;
  const auto time_conv = [&](const char *name) {
    report.row(name,
               time_calls(o.repeat,
                          [&](cudaStream_t s) {
                            const gdn_exec e = exec_of(o, s);
                            require(gdn_causal_conv1d_fwd(&conv, &e));
                          }),
               x.bytes() + y.bytes());
  };
  time_conv("causal_conv1d_fwd 65536 tokens, 8192 channels");
  xt.strides = yt.strides = nullptr;
  time_conv("causal_conv1d_fwd, the tokens contiguous");
  Tensor a(kBf16, {1, kTokens, kHeads, 128}), z(kBf16, {1, kTokens, kHeads, 128}),
      n(kBf16, {1, kTokens, kHeads, 128}), scale(kF32, {128});
  a.rows(3, false);
  z.rows(4, false);
  scale.gates(5, Gate::beta);
  gdn_rms_norm_gated_args norm = {};
  norm.struct_size = sizeof(norm);
  norm.x = a.get(), norm.z = z.get(), norm.weight = scale.get(), norm.y = n.get();
  report.row("rms_norm_gated 65536 tokens, 32 heads",
             time_calls(o.repeat,
                        [&](cudaStream_t s) {
                          const gdn_exec e = exec_of(o, s);
                          require(gdn_rms_norm_gated(&norm, &e));
                        }),
             3.0 * a.bytes());
  gdn_l2norm_args l2 = {};
  l2.struct_size = sizeof(l2);
  l2.x = a.get(), l2.y = n.get();
  report.row("l2norm 65536 tokens, 32 heads",
             time_calls(o.repeat,
                        [&](cudaStream_t s) {
                          const gdn_exec e = exec_of(o, s);
                          require(gdn_l2norm(&l2, &e));
                        }),
             2.0 * a.bytes());
}

}  // namespace
}  // namespace gdn::bench

int main(int argc, char **argv) {
  using namespace gdn::bench;  // NOLINT(google-build-using-namespace): the program's own.
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--json") o.json = argv[i + 1];
    if (name == "--isa") o.isa = argv[i + 1];
    if (name == "--only") o.only = argv[i + 1];
    if (name == "--repeat") o.repeat = std::atoi(argv[i + 1]);
    if (name == "--dk") o.dk = std::atoi(argv[i + 1]);
    if (name == "--dv") o.dv = std::atoi(argv[i + 1]);
  }
  const auto wanted = [&](const char *part) { return o.only.empty() || o.only == part; };
  Report report(o);
  report.copy_bandwidth();
  const auto same = [](int n, int length) {
    return std::vector<int32_t>(static_cast<size_t>(n), length);
  };
  if (wanted("chunk")) {
    for (const int hv : {16, 32, 48, 64}) chunk(o, report, "16 x 16384", same(16, 16384), 16, hv);
    chunk(o, report, "1 x 32768", same(1, 32768), 16, 32);
    chunk(o, report, "1 x 32768", same(1, 32768), 16, 16);
    chunk(o, report, "1 x 131072", same(1, 131072), 16, 32);
    chunk(o, report, "8 x 4096", same(8, 4096), 16, 32);
    chunk(o, report, "2 x 4096", same(2, 4096), 16, 32);
    chunk(o, report, "1 x 65536", same(1, 65536), 2, 8);
    chunk(o, report, "1 x 2048", same(1, 2048), 16, 32);
    chunk(o, report, "1 x 8192", same(1, 8192), 16, 64);
    chunk(o, report, "64 x 512", same(64, 512), 16, 32);
    std::vector<int32_t> mixed;
    for (int i = 0; i < 16; ++i) {
      for (const int n : {1, 63, 64, 65, 127, 128, 129, 447, 512, 640, 1920}) mixed.push_back(n);
    }
    chunk(o, report, "mixed lengths x 16", mixed, 16, 32);
    chunk(o, report, "1 x 32768", same(1, 32768), 2, 4);
  }
  if (o.only == "forms") forms(o);
  if (wanted("stages")) {
    for (const int hv : {16, 32, 48, 64}) stages(o, report, 16, 16384, 16, hv);
  }
  if (wanted("recurrent")) recurrent_calls(o, report);
  if (wanted("fused_gdn_decode")) decode_steps(o, report);
  if (wanted("layer")) layer(o, report);
  if (wanted("host")) host_cost();
  report.write();
  return 0;
}
