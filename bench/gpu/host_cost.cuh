#ifndef GDN_BENCH_GPU_HOST_COST_CUH_
#define GDN_BENCH_GPU_HOST_COST_CUH_

// What a C call costs the host's thread: time to queue calls that the device finishes faster.

#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "device_bench.cuh"

namespace gdn::bench {

/// Parameters of the size that the operations pass to their kernels.
struct Parameters {
  int64_t words[176];
};
static __global__ void least_kernel() {}
static __global__ void parameter_kernel(Parameters) {}

/// Median microseconds to queue one call, over runs of 100 calls between synchronisations.
inline double host_microseconds(const std::function<void()> &call) {
  std::vector<double> us;
  for (int run = 0; run < 65; ++run) {
    CHECK_CUDA(cudaDeviceSynchronize());
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i) call();
    const std::chrono::duration<double, std::micro> t = std::chrono::steady_clock::now() - start;
    if (run >= 5) us.push_back(t.count() / 100);
  }
  CHECK_CUDA(cudaDeviceSynchronize());
  std::sort(us.begin(), us.end());
  return us[us.size() / 2];
}

/// Prints the cost of one token (1/2 heads of 128), in place and as a prefill, beside that of
/// plain launches.
inline void host_cost() {
  const auto print = [](const char *name, const std::function<void()> &call) {
    std::printf("host: %-40s %6.2f us a call\n", name, host_microseconds(call));
  };
  Tensor q(kBf16, {1, 1, 1, 128}), v(kBf16, {1, 1, 2, 128}), out(kBf16, {1, 1, 2, 128}),
      g(kF32, {1, 1, 2}), state(kF32, {1, 2, 128, 128});
  q.rows(1, true);
  v.rows(2, false);
  g.gates(3, Gate::decay);
  state.gates(4, Gate::zero);
  gdn_gated_delta_rule_args args = {};
  args.struct_size = sizeof(args);
  args.q = args.k = q.get(), args.v = v.get(), args.g = args.beta = g.get(), args.o = out.get();
  args.initial_state = args.final_state = state.get();
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  print("least kernel, <<<>>>", [] { least_kernel<<<1, 32>>>(); });
  print("1408 bytes of parameters, <<<>>>", [] { parameter_kernel<<<1, 32>>>(Parameters{}); });
  print("cudaGetDevice", [] {
    int device;
    CHECK_CUDA(cudaGetDevice(&device));
  });
  print("gdn_fused_recurrent_gated_delta_rule",
        [&] { require(gdn_fused_recurrent_gated_delta_rule(&args, &exec)); });
  args.initial_state = nullptr;
  print("gdn_chunk_gated_delta_rule", [&] { require(gdn_chunk_gated_delta_rule(&args, &exec)); });
}

}  // namespace gdn::bench

#endif  // GDN_BENCH_GPU_HOST_COST_CUH_
