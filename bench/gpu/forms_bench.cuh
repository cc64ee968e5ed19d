#ifndef GDN_BENCH_GPU_FORMS_BENCH_CUH_
#define GDN_BENCH_GPU_FORMS_BENCH_CUH_

// The chunked call on few heads by how fast gates forget, which decides what its forms cost: uncut,
// as the library chooses, and segments of all heads. In turn, behind a fill that hides the launches
// and empties the cache.

#include <gdn/gdn.h>

#include <string>
#include <vector>

#include "device_bench.cuh"

namespace gdn::bench {

static __global__ void scale_gates(float *p, int64_t n, float factor, float least) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) p[i] = fmaxf(p[i] * factor, least);
}

/// One way to run a call.
struct Form {
  const char *name, *isa;
  uint32_t flags;
};
constexpr Form kForms[] = {
    {"uncut", "sm90a", GDN_EXEC_NO_SPLIT}, {"chosen", "sm90a", 0}, {"segments", "sm90a_split", 0}};

/// A call of `sequences` x `length` tokens with gates of the ladder times `factor`, bounded from
/// below.
inline void time_forms(const Options &o, const char *gates, float factor, float least,
                       int sequences, int length, int hk, int hv) {
  constexpr size_t kFill = size_t{2} << 30;
  const int64_t tokens = static_cast<int64_t>(sequences) * length, d = 128;
  std::vector<int32_t> cu = {0};
  for (int i = 1; i <= sequences; ++i) cu.push_back(i * length);
  Tensor q(kBf16, {1, tokens, hk, d}), k(kBf16, {1, tokens, hk, d}), v(kBf16, {1, tokens, hv, d}),
      out(kBf16, {1, tokens, hv, d}), g(kF32, {1, tokens, hv}), beta(kF32, {1, tokens, hv}),
      state(kF32, {sequences, hv, d, d}), offsets(kI32, {sequences + 1}),
      fill(kF32, {static_cast<int64_t>(kFill / sizeof(float))});
  q.rows(1, true);
  k.rows(2, true);
  v.rows(3, false);
  g.gates(4, Gate::decay);
  beta.gates(5, Gate::beta);
  scale_gates<<<static_cast<unsigned>((tokens * hv + 255) / 256), 256>>>(
      static_cast<float *>(g.get()->data), tokens * hv, factor, least);
  offsets.ints(cu);
  gdn_gated_delta_rule_args args = {};
  args.struct_size = sizeof(args);
  args.q = q.get(), args.k = k.get(), args.v = v.get(), args.g = g.get(), args.beta = beta.get();
  args.cu_seqlens = offsets.get(), args.final_state = state.get(), args.o = out.get();
  cudaEvent_t a, b;
  CHECK_CUDA(cudaEventCreate(&a));
  CHECK_CUDA(cudaEventCreate(&b));
  constexpr size_t kCount = std::size(kForms);
  std::vector<float> ms[kCount];
  for (int i = -2; i < o.repeat; ++i) {
    for (size_t f = 0; f < kCount; ++f) {
      gdn_exec exec = exec_of(o, nullptr);
      exec.isa = kForms[f].isa;
      exec.flags = kForms[f].flags;
      require(gdn_chunk_gated_delta_rule_workspace_size(&args, &exec, &exec.workspace_size));
      const Tensor workspace(kF32, {static_cast<int64_t>(exec.workspace_size / sizeof(float))});
      exec.workspace = workspace.get()->data;
      CHECK_CUDA(cudaMemsetAsync(fill.get()->data, 0, kFill));
      CHECK_CUDA(cudaEventRecord(a));
      require(gdn_chunk_gated_delta_rule(&args, &exec));
      CHECK_CUDA(cudaEventRecord(b));
      CHECK_CUDA(cudaEventSynchronize(b));
      float x;
      CHECK_CUDA(cudaEventElapsedTime(&x, a, b));
      if (i >= 0) ms[f].push_back(x);
    }
  }
  cudaEventDestroy(a);
  cudaEventDestroy(b);
  const std::string shape = std::to_string(sequences) + " x " + std::to_string(length) + ", " +
                            std::to_string(hk) + "/" + std::to_string(hv);
  std::printf("%-20s %-12s", shape.c_str(), gates);
  for (size_t f = 0; f < kCount; ++f) {
    const Times t = summary(ms[f]);
    std::printf("  %s %.4f (%.4f - %.4f)", kForms[f].name, t.median, t.least, t.largest);
  }
  std::printf("\n");
  std::fflush(stdout);
}

/// The calls of docs/lab/hopper_few.md.
inline void forms(const Options &o) {
  const struct {
    int sequences, length, hk, hv;
  } shapes[] = {{1, 32768, 16, 32}, {1, 32768, 16, 16}, {1, 32768, 2, 4},  {1, 131072, 16, 32},
                {1, 65536, 2, 8},   {1, 8192, 16, 64},  {1, 2048, 16, 32}, {2, 4096, 16, 32}};
  for (const auto &s : shapes) {
    time_forms(o, "log sigmoid", 1.0F, -1e30F, s.sequences, s.length, s.hk, s.hv);
    time_forms(o, "/ 16", 1.0F / 16, -1e30F, s.sequences, s.length, s.hk, s.hv);
    time_forms(o, "-1e-3", 1.0F, -1e-3F, s.sequences, s.length, s.hk, s.hv);
  }
}

}  // namespace gdn::bench

#endif  // GDN_BENCH_GPU_FORMS_BENCH_CUH_
