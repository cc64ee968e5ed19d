// How long the operations take on a GPU, beside what its memory allows.
//
//   gdn_gpu_bench [--json FILE] [--isa NAME] [--only fused|stages|decode|layer] [--repeat N]
//
// Prefill and stages: device time of one call, CUDA events around each of N calls, median, least
// and largest. Decode: a CUDA graph of 20 calls, time of a replay over 20. Inputs are those of the
// public ladder (q, k of length 1, g = logsigmoid(randn), beta = rand), drawn on the device; final
// state out, no initial state, as the peers are measured. The floor is the bytes that a call must
// move at least (each input and output once) at the copy bandwidth measured in the same run.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gdn/gdn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

#define CHECK_CUDA(call)                                                                  \
  do {                                                                                    \
    const cudaError_t e = (call);                                                         \
    if (e != cudaSuccess) {                                                               \
      std::fprintf(stderr, "%s: %s (line %d)\n", #call, cudaGetErrorString(e), __LINE__); \
      std::exit(1);                                                                       \
    }                                                                                     \
  } while (0)

__device__ float uniform(uint64_t i) {
  uint64_t z = i + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return (static_cast<float>(z >> 40) + 0.5F) / 16777216.0F;
}
__device__ float normal(uint64_t i) {
  return sqrtf(-2.0F * logf(uniform(2 * i))) * cosf(6.2831853F * uniform(2 * i + 1));
}

/// Rows of 128 bf16, a warp a row.
__global__ void fill_rows(__nv_bfloat16 *p, int64_t rows, uint64_t seed, bool unit) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  const int lane = threadIdx.x & 31;
  if (row >= rows) return;
  float x[4], sum = 0.0F;
  for (int i = 0; i < 4; ++i) {
    x[i] = normal(seed + static_cast<uint64_t>(row * 128 + lane * 4 + i));
    sum += x[i] * x[i];
  }
  for (int i = 16; i > 0; i >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, i);
  const float f = unit ? rsqrtf(sum + 1e-6F) : 1.0F;
  for (int i = 0; i < 4; ++i) p[row * 128 + lane * 4 + i] = __float2bfloat16(x[i] * f);
}

enum class Gate { decay, beta, zero };
__global__ void fill_gates(float *p, int64_t n, uint64_t seed, Gate kind) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float x = normal(seed + static_cast<uint64_t>(i));
  p[i] = kind == Gate::decay  ? -log1pf(expf(-x))
         : kind == Gate::beta ? uniform(seed + static_cast<uint64_t>(i))
                              : 0.0F;
}

DLDataType type_of(int bits, DLDataTypeCode code) {
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1};
}
const DLDataType kF32 = type_of(32, kDLFloat), kBf16 = type_of(16, kDLBfloat),
                 kI32 = type_of(32, kDLInt);

class Tensor {
 public:
  Tensor(DLDataType type, std::vector<int64_t> shape) : shape_(std::move(shape)) {
    elements_ = 1;
    for (const int64_t s : shape_) elements_ *= s;
    bytes_ = static_cast<size_t>(elements_) * type.bits / 8;
    CHECK_CUDA(cudaMalloc(&data_, std::max<size_t>(bytes_, 1)));
    t_ = {};
    t_.data = data_;
    t_.device = {kDLCUDA, 0};
    t_.ndim = static_cast<int32_t>(shape_.size());
    t_.dtype = type;
    t_.shape = shape_.data();
  }
  ~Tensor() { cudaFree(data_); }
  Tensor(const Tensor &) = delete;
  Tensor &operator=(const Tensor &) = delete;

  const DLTensor *get() const { return &t_; }
  double bytes() const { return static_cast<double>(bytes_); }

  void rows(uint64_t seed, bool unit) {
    const int64_t n = elements_ / 128;
    fill_rows<<<static_cast<unsigned>((n + 7) / 8), 256>>>(static_cast<__nv_bfloat16 *>(data_), n,
                                                           seed << 40, unit);
  }
  void gates(uint64_t seed, Gate kind) {
    fill_gates<<<static_cast<unsigned>((elements_ + 255) / 256), 256>>>(
        static_cast<float *>(data_), elements_, seed << 40, kind);
  }
  void ints(const std::vector<int32_t> &v) {
    CHECK_CUDA(cudaMemcpy(data_, v.data(), v.size() * 4, cudaMemcpyHostToDevice));
  }

 private:
  std::vector<int64_t> shape_;
  int64_t elements_;
  size_t bytes_;
  void *data_ = nullptr;
  DLTensor t_;
};

struct Options {
  std::string json, isa, only;
  int repeat = 20;
};

struct Times {
  double median, least, largest;  ///< Milliseconds.
};

void require(gdn_status status) {
  if (status == GDN_OK) return;
  std::fprintf(stderr, "%s: %s\n", gdn_status_string(status), gdn_last_error());
  std::exit(1);
}

Times summary(std::vector<float> ms) {
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms.front(), ms.back()};
}

Times time_calls(int repeat, const std::function<void(cudaStream_t)> &call) {
  cudaEvent_t a, b;
  CHECK_CUDA(cudaEventCreate(&a));
  CHECK_CUDA(cudaEventCreate(&b));
  std::vector<float> ms;
  for (int i = -std::min(5, repeat); i < repeat; ++i) {
    CHECK_CUDA(cudaEventRecord(a));
    call(nullptr);
    CHECK_CUDA(cudaEventRecord(b));
    CHECK_CUDA(cudaEventSynchronize(b));
    float x;
    CHECK_CUDA(cudaEventElapsedTime(&x, a, b));
    if (i >= 0) ms.push_back(x);
  }
  cudaEventDestroy(a);
  cudaEventDestroy(b);
  return summary(std::move(ms));
}

Times time_graph(int repeat, const std::function<void(cudaStream_t)> &call) {
  constexpr int kCalls = 20;
  cudaStream_t stream;
  CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kCalls; ++i) call(stream);
  cudaGraph_t graph;
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t exec;
  CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t a, b;
  CHECK_CUDA(cudaEventCreate(&a));
  CHECK_CUDA(cudaEventCreate(&b));
  std::vector<float> ms;
  for (int i = -std::min(3, repeat); i < repeat; ++i) {
    CHECK_CUDA(cudaEventRecord(a, stream));
    CHECK_CUDA(cudaGraphLaunch(exec, stream));
    CHECK_CUDA(cudaEventRecord(b, stream));
    CHECK_CUDA(cudaEventSynchronize(b));
    float x;
    CHECK_CUDA(cudaEventElapsedTime(&x, a, b));
    if (i >= 0) ms.push_back(x / kCalls);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaEventDestroy(a);
  cudaEventDestroy(b);
  cudaStreamDestroy(stream);
  return summary(std::move(ms));
}

class Report {
 public:
  explicit Report(const Options &o) : options_(o) {}

  void copy_bandwidth() {
    constexpr size_t kBytes = size_t{4} << 30;
    void *a, *b;
    CHECK_CUDA(cudaMalloc(&a, kBytes));
    CHECK_CUDA(cudaMalloc(&b, kBytes));
    CHECK_CUDA(cudaMemset(a, 0x5a, kBytes));
    const Times t = time_calls(10, [&](cudaStream_t s) {
      CHECK_CUDA(cudaMemcpyAsync(b, a, kBytes, cudaMemcpyDeviceToDevice, s));
    });
    cudaFree(a);
    cudaFree(b);
    tbps_ = 2.0 * kBytes / t.median / 1e9;
    std::printf("copy %.2f TB/s (read + written)\n", tbps_);
  }

  void row(const std::string &name, const Times &t, double bytes) {
    const double floor = bytes / tbps_ / 1e9;
    std::printf("%-44s %9.4f ms (%.4f - %.4f)  floor %8.4f  %5.1f %% of copy bandwidth\n",
                name.c_str(), t.median, t.least, t.largest, floor, 100.0 * floor / t.median);
    std::fflush(stdout);
    char text[512];
    std::snprintf(text, sizeof(text),
                  "%s{\"name\": \"%s\", \"median_ms\": %.6f, \"least_ms\": %.6f, \"largest_ms\": "
                  "%.6f, \"floor_ms\": %.6f}",
                  rows_.empty() ? "" : ",\n  ", name.c_str(), t.median, t.least, t.largest, floor);
    rows_ += text;
  }

  void write() const {
    if (options_.json.empty()) return;
    cudaDeviceProp p;
    CHECK_CUDA(cudaGetDeviceProperties(&p, 0));
    FILE *f = std::fopen(options_.json.c_str(), "w");
    if (f == nullptr) return;
    std::fprintf(
        f, "{\"device\": \"%s\", \"copy_tbps\": %.4f, \"isa\": \"%s\", \"rows\": [\n  %s\n]}\n",
        p.name, tbps_, options_.isa.c_str(), rows_.c_str());
    std::fclose(f);
  }

 private:
  Options options_;
  double tbps_ = 1.0;
  std::string rows_;
};

gdn_exec exec_of(const Options &o, cudaStream_t stream) {
  gdn_exec e = {};
  e.struct_size = sizeof(e);
  e.stream = stream;
  e.isa = o.isa.empty() ? nullptr : o.isa.c_str();
  return e;
}

std::string label(const char *what, const std::string &shape, int hk, int hv) {
  return std::string(what) + " " + shape + ", " + std::to_string(hk) + "/" + std::to_string(hv);
}

void fused(const Options &o, Report &report, const std::string &shape, std::vector<int32_t> lengths,
           int hk, int hv) {
  std::vector<int32_t> cu = {0};
  for (const int32_t n : lengths) cu.push_back(cu.back() + n);
  const int64_t tokens = cu.back(), n = static_cast<int64_t>(lengths.size());
  Tensor q(kBf16, {1, tokens, hk, 128}), k(kBf16, {1, tokens, hk, 128}),
      v(kBf16, {1, tokens, hv, 128}), out(kBf16, {1, tokens, hv, 128}), g(kF32, {1, tokens, hv}),
      beta(kF32, {1, tokens, hv}), state(kF32, {n, hv, 128, 128}), offsets(kI32, {n + 1});
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
  const Times t = time_calls(o.repeat, [&](cudaStream_t s) {
    const gdn_exec e = exec_of(o, s);
    require(gdn_chunk_gated_delta_rule(&args, &e));
  });
  report.row(
      label("fused", shape, hk, hv), t,
      q.bytes() + k.bytes() + v.bytes() + out.bytes() + g.bytes() + beta.bytes() + state.bytes());
}

void stages(const Options &o, Report &report, int sequences, int length, int hk, int hv) {
  const int64_t tokens = static_cast<int64_t>(sequences) * length, nt = tokens / 64;
  Tensor q(kBf16, {1, tokens, hk, 128}), k(kBf16, {1, tokens, hk, 128}),
      v(kBf16, {1, tokens, hv, 128}), out(kBf16, {1, tokens, hv, 128}),
      w(kBf16, {1, tokens, hv, 128}), u(kBf16, {1, tokens, hv, 128}),
      v_new(kBf16, {1, tokens, hv, 128}), g(kF32, {1, tokens, hv}), c(kF32, {1, tokens, hv}),
      beta(kF32, {1, tokens, hv}), A(kF32, {1, tokens, hv, 64}), T(kBf16, {1, tokens, hv, 64}),
      h(kBf16, {nt, hv, 128, 128}), state(kF32, {sequences, hv, 128, 128}),
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

void decode(const Options &o, Report &report, int batch, int hk, int hv, bool narrow) {
  Tensor q(kBf16, {batch, 1, hk, 128}), k(kBf16, {batch, 1, hk, 128}),
      v(kBf16, {batch, 1, hv, 128}), out(kBf16, {batch, 1, hv, 128}), g(kF32, {batch, 1, hv}),
      beta(kF32, {batch, 1, hv}), slots(kI32, {batch});
  Tensor pool(narrow ? kBf16 : kF32, {batch, hv, 128, 128});
  q.rows(1, true);
  k.rows(2, true);
  v.rows(3, false);
  g.gates(4, Gate::decay);
  beta.gates(5, Gate::beta);
  if (narrow) {
    pool.rows(6, false);
  } else {
    pool.gates(6, Gate::beta);
  }
  std::vector<int32_t> order;
  for (int i = 0; i < batch; ++i) order.push_back(batch - 1 - i);
  slots.ints(order);
  gdn_gated_delta_rule_args args = {};
  args.struct_size = sizeof(args);
  args.q = q.get(), args.k = k.get(), args.v = v.get(), args.g = g.get(), args.beta = beta.get();
  args.initial_state = pool.get(), args.state_indices = slots.get(), args.o = out.get();
  const Times t = time_graph(o.repeat, [&](cudaStream_t s) {
    const gdn_exec e = exec_of(o, s);
    require(gdn_fused_recurrent_gated_delta_rule(&args, &e));
  });
  report.row(label(narrow ? "decode bf16 state, batch" : "decode f32 state, batch",
                   std::to_string(batch), hk, hv),
             t, 2.0 * pool.bytes() + q.bytes() + k.bytes() + v.bytes() + out.bytes());
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
  report.row("causal_conv1d_fwd 65536 tokens, 8192 channels",
             time_calls(o.repeat,
                        [&](cudaStream_t s) {
                          const gdn_exec e = exec_of(o, s);
                          require(gdn_causal_conv1d_fwd(&conv, &e));
                        }),
             x.bytes() + y.bytes());
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

int main(int argc, char **argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--json") o.json = argv[i + 1];
    if (name == "--isa") o.isa = argv[i + 1];
    if (name == "--only") o.only = argv[i + 1];
    if (name == "--repeat") o.repeat = std::atoi(argv[i + 1]);
  }
  const auto wanted = [&](const char *part) { return o.only.empty() || o.only == part; };
  Report report(o);
  report.copy_bandwidth();
  const auto same = [](int n, int length) {
    return std::vector<int32_t>(static_cast<size_t>(n), length);
  };
  if (wanted("fused")) {
    for (const int hv : {16, 32, 48, 64}) fused(o, report, "16 x 16384", same(16, 16384), 16, hv);
    fused(o, report, "1 x 32768", same(1, 32768), 16, 32);
    fused(o, report, "1 x 32768", same(1, 32768), 16, 16);
    fused(o, report, "1 x 131072", same(1, 131072), 16, 32);
    fused(o, report, "8 x 4096", same(8, 4096), 16, 32);
    fused(o, report, "1 x 2048", same(1, 2048), 16, 32);
    fused(o, report, "1 x 8192", same(1, 8192), 16, 64);
    fused(o, report, "64 x 512", same(64, 512), 16, 32);
    std::vector<int32_t> mixed;
    for (int i = 0; i < 16; ++i) {
      for (const int n : {1, 63, 64, 65, 127, 128, 129, 447, 512, 640, 1920}) mixed.push_back(n);
    }
    fused(o, report, "mixed lengths x 16", mixed, 16, 32);
    fused(o, report, "1 x 32768", same(1, 32768), 2, 4);
  }
  if (wanted("stages")) stages(o, report, 16, 16384, 16, 16);
  if (wanted("decode")) {
    for (const bool narrow : {false, true}) {
      for (const int batch : {1, 8, 64, 256}) decode(o, report, batch, 16, 32, narrow);
    }
  }
  if (wanted("layer")) layer(o, report);
  report.write();
  return 0;
}
