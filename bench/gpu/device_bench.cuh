#ifndef GDN_BENCH_GPU_DEVICE_BENCH_CUH_
#define GDN_BENCH_GPU_DEVICE_BENCH_CUH_

// Operands in device memory, filled as the public ladder asks, and the timing of calls.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gdn/gdn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace gdn::bench {

#define CHECK_CUDA(call)                                                                  \
  do {                                                                                    \
    const cudaError_t e = (call);                                                         \
    if (e != cudaSuccess) {                                                               \
      std::fprintf(stderr, "%s: %s (line %d)\n", #call, cudaGetErrorString(e), __LINE__); \
      std::exit(1);                                                                       \
    }                                                                                     \
  } while (0)

__device__ inline float uniform(uint64_t i) {
  uint64_t z = i + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return (static_cast<float>(z >> 40) + 0.5F) / 16777216.0F;
}
__device__ inline float normal(uint64_t i) {
  return sqrtf(-2.0F * logf(uniform(2 * i))) * cosf(6.2831853F * uniform(2 * i + 1));
}

/// Rows of 128 bf16, a warp a row.
static __global__ void fill_rows(__nv_bfloat16 *p, int64_t rows, uint64_t seed, bool unit) {
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
static __global__ void fill_gates(float *p, int64_t n, uint64_t seed, Gate kind) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float x = normal(seed + static_cast<uint64_t>(i));
  p[i] = kind == Gate::decay  ? -log1pf(expf(-x))
         : kind == Gate::beta ? uniform(seed + static_cast<uint64_t>(i))
                              : 0.0F;
}

inline DLDataType type_of(int bits, DLDataTypeCode code) {
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1};
}
inline const DLDataType kF32 = type_of(32, kDLFloat), kBf16 = type_of(16, kDLBfloat),
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
  int64_t dk = 128, dv = 128;  ///< Head widths.
};

inline gdn_exec exec_of(const Options &o, cudaStream_t stream) {
  gdn_exec e = {};
  e.struct_size = sizeof(e);
  e.stream = stream;
  e.isa = o.isa.empty() ? nullptr : o.isa.c_str();
  return e;
}

inline std::string label(const char *what, const std::string &shape, int hk, int hv) {
  return std::string(what) + " " + shape + ", " + std::to_string(hk) + "/" + std::to_string(hv);
}

struct Times {
  double median, least, largest;  ///< Milliseconds.
};

inline void require(gdn_status status) {
  if (status == GDN_OK) return;
  std::fprintf(stderr, "%s: %s\n", gdn_status_string(status), gdn_last_error());
  std::exit(1);
}

inline Times summary(std::vector<float> ms) {
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms.front(), ms.back()};
}

inline Times time_calls(int repeat, const std::function<void(cudaStream_t)> &call) {
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

inline Times time_graph(int repeat, const std::function<void(cudaStream_t)> &call) {
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

}  // namespace gdn::bench

#endif  // GDN_BENCH_GPU_DEVICE_BENCH_CUH_
