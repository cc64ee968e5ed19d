// Lets the test programs, whose operands lie in host memory, drive the CUDA backend: loaded before
// libgdn (LD_PRELOAD), it takes each call that names the backend "cuda", copies the operands to the
// device at the same alignment with guard bytes around each, calls the library with them and copies
// them back. All other calls pass through. So the tests of the CPU backend, their cases, references
// and checks of guard bytes and inputs serve the GPU as they are:
//
//   LD_PRELOAD=libgdn_gpu_mirror.so GDN_TEST_BACKEND=cuda chunk_test

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <gdn/gdn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

namespace {

constexpr size_t kGuard = 512;
constexpr unsigned char kPattern = 0xff;

[[noreturn]] void fail(const char *what) {
  std::fprintf(stderr, "gpu mirror: %s\n", what);
  std::abort();
}

void check(cudaError_t error, const char *what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu mirror: %s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

/// One block of device memory that calls carve their operands from.
class Arena {
 public:
  static Arena &instance() {
    static Arena arena;
    return arena;
  }

  /// Memory for a whole call: `bytes` at a device address that is `address` modulo the guard's
  /// size.
  unsigned char *take(size_t bytes, uintptr_t address) {
    size_t begin = (used_ + kGuard - 1) / kGuard * kGuard + kGuard + address % kGuard;
    if (begin + bytes + kGuard > kBytes) fail("the arena is too small for this case");
    used_ = begin + bytes + kGuard;
    return base_ + begin;
  }
  void reset() { used_ = 0; }

 private:
  static constexpr size_t kBytes = size_t{8} << 30;

  Arena() {
    void *p = nullptr;
    check(cudaMalloc(&p, kBytes), "cudaMalloc of the arena");
    base_ = static_cast<unsigned char *>(p);
  }
  unsigned char *base_;
  size_t used_ = 0;
};

/// The operands of one call on the device.
class Mirror {
 public:
  const DLTensor *on_device(const DLTensor *t) {
    if (t == nullptr) return nullptr;
    const Extent e = extent(t);
    unsigned char *const host = t->data == nullptr
                                    ? nullptr
                                    : static_cast<unsigned char *>(t->data) +
                                          static_cast<int64_t>(t->byte_offset) + e.begin;
    Copy *copy = nullptr;
    for (Copy &c : copies_) {
      if (c.host == host && host != nullptr) copy = &c;
    }
    if (copy == nullptr) {
      copies_.push_back({host, static_cast<size_t>(e.end - e.begin), nullptr});
      copy = &copies_.back();
      if (copy->host != nullptr) {
        copy->device = Arena::instance().take(copy->bytes, reinterpret_cast<uintptr_t>(copy->host));
        check(cudaMemset(copy->device - kGuard, kPattern, copy->bytes + 2 * kGuard), "cudaMemset");
        check(cudaMemcpy(copy->device, copy->host, copy->bytes, cudaMemcpyHostToDevice),
              "copy to the device");
      }
    }
    tensors_.push_back(*t);
    DLTensor &d = tensors_.back();
    d.device = {kDLCUDA, 0};
    d.data = copy->device == nullptr ? nullptr : copy->device - e.begin;
    d.byte_offset = 0;
    return &d;
  }

  void *workspace(size_t bytes) {
    copies_.push_back({nullptr, bytes, Arena::instance().take(bytes, 0)});
    check(cudaMemset(copies_.back().device - kGuard, kPattern, bytes + 2 * kGuard), "cudaMemset");
    return copies_.back().device;
  }

  /// Brings everything back; false if a guard byte has changed.
  bool bring_back() {
    bool intact = true;
    for (const Copy &c : copies_) {
      if (c.device == nullptr) continue;
      unsigned char guard[2 * kGuard];
      check(cudaMemcpy(guard, c.device - kGuard, kGuard, cudaMemcpyDeviceToHost),
            "copy of a guard");
      check(cudaMemcpy(guard + kGuard, c.device + c.bytes, kGuard, cudaMemcpyDeviceToHost),
            "copy of a guard");
      for (const unsigned char g : guard) intact = intact && g == kPattern;
      if (c.host != nullptr) {
        check(cudaMemcpy(c.host, c.device, c.bytes, cudaMemcpyDeviceToHost), "copy to the host");
      }
    }
    return intact;
  }

 private:
  struct Copy {
    unsigned char *host;
    size_t bytes;
    unsigned char *device;
  };

  /// First and last byte of a tensor's elements, from its data pointer on; strides may be negative.
  struct Extent {
    int64_t begin = 0, end = 0;
  };

  static Extent extent(const DLTensor *t) {
    int64_t first = 0, last = 0, compact = 1;
    for (int i = t->ndim; i-- > 0;) {
      if (t->shape[i] == 0) return {};
      const int64_t way = (t->shape[i] - 1) * (t->strides != nullptr ? t->strides[i] : compact);
      (way < 0 ? first : last) += way;
      compact *= t->shape[i];
    }
    const int64_t size = t->dtype.bits / 8;
    return {first * size, (last + 1) * size};
  }

  std::deque<Copy> copies_;
  std::deque<DLTensor> tensors_;
};

std::mutex one_call;

template <class F>
F *next_function(const char *name) {
  void *f = dlsym(RTLD_NEXT, name);
  if (f == nullptr) fail(name);
  return reinterpret_cast<F *>(f);
}

bool concerns_us(const gdn_exec *exec) {
  return exec != nullptr && exec->backend != nullptr && std::strcmp(exec->backend, "cuda") == 0;
}

template <class Args>
using Fields = std::vector<const DLTensor * Args::*>;

/// Calls f(mirror, args of the operands on the device), one call at a time.
template <class Args, class F>
gdn_status with_mirror(const Args *args, const Fields<Args> &fields, F f) {
  const std::lock_guard<std::mutex> lock(one_call);
  Arena::instance().reset();
  Mirror mirror;
  Args device_args = *args;
  for (const auto field : fields) device_args.*field = mirror.on_device(args->*field);
  return f(mirror, device_args);
}

/// Calls the library with the operands on the device.
template <class Args>
gdn_status forward(const char *name, const Args *args, const gdn_exec *exec,
                   const Fields<Args> &fields) {
  using Function = gdn_status(const Args *, const gdn_exec *);
  Function *const function = next_function<Function>(name);
  if (!concerns_us(exec)) return function(args, exec);
  return with_mirror(args, fields, [&](Mirror &mirror, const Args &device_args) {
    gdn_exec device_exec = *exec;
    device_exec.threads = 0;
    if (exec->workspace != nullptr) device_exec.workspace = mirror.workspace(exec->workspace_size);
    const gdn_status status = function(&device_args, &device_exec);
    check(cudaDeviceSynchronize(), name);
    if (!mirror.bring_back()) {
      std::fprintf(stderr, "gpu mirror: %s wrote outside an operand\n", name);
      return GDN_INTERNAL_ERROR;
    }
    return status;
  });
}

/// A workspace query, whose operands say where they lie too.
template <class Args>
gdn_status forward_query(const char *name, const Args *args, const gdn_exec *exec, size_t *bytes,
                         const Fields<Args> &fields) {
  using Function = gdn_status(const Args *, const gdn_exec *, size_t *);
  Function *const function = next_function<Function>(name);
  if (!concerns_us(exec)) return function(args, exec, bytes);
  return with_mirror(args, fields, [&](Mirror &, const Args &device_args) {
    return function(&device_args, exec, bytes);
  });
}

using Rule = gdn_gated_delta_rule_args;
const Fields<Rule> kRuleFields = {&Rule::q,
                                  &Rule::k,
                                  &Rule::v,
                                  &Rule::g,
                                  &Rule::beta,
                                  &Rule::A_log,
                                  &Rule::dt_bias,
                                  &Rule::cu_seqlens,
                                  &Rule::initial_state,
                                  &Rule::final_state,
                                  &Rule::state_indices,
                                  &Rule::num_accepted_tokens,
                                  &Rule::checkpoints,
                                  &Rule::output_state_indices,
                                  &Rule::has_initial_state,
                                  &Rule::checkpoint_indices,
                                  &Rule::positions,
                                  &Rule::o};

using Decode = gdn_fused_gdn_decode_args;
const Fields<Decode> kDecodeFields = {&Decode::mixed_qkv,
                                      &Decode::conv_weight,
                                      &Decode::conv_bias,
                                      &Decode::conv_state,
                                      &Decode::a,
                                      &Decode::b,
                                      &Decode::A_log,
                                      &Decode::dt_bias,
                                      &Decode::z,
                                      &Decode::norm_weight,
                                      &Decode::state,
                                      &Decode::state_indices,
                                      &Decode::output_state_indices,
                                      &Decode::conv_state_indices,
                                      &Decode::num_accepted_tokens,
                                      &Decode::cu_seqlens,
                                      &Decode::o};

}  // namespace

extern "C" {

gdn_status gdn_chunk_gated_delta_rule_workspace_size(const Rule *args, const gdn_exec *exec,
                                                     size_t *bytes) {
  return forward_query("gdn_chunk_gated_delta_rule_workspace_size", args, exec, bytes, kRuleFields);
}

gdn_status gdn_chunk_gated_delta_rule(const Rule *args, const gdn_exec *exec) {
  return forward("gdn_chunk_gated_delta_rule", args, exec, kRuleFields);
}

gdn_status gdn_fused_recurrent_gated_delta_rule(const Rule *args, const gdn_exec *exec) {
  return forward("gdn_fused_recurrent_gated_delta_rule", args, exec, kRuleFields);
}

// A stage or layer operation: its name and its tensor fields.
#define GDN_MIRROR(operation, ...)                                                       \
  gdn_status gdn_##operation(const gdn_##operation##_args *args, const gdn_exec *exec) { \
    using A = gdn_##operation##_args;                                                    \
    return forward<A>("gdn_" #operation, args, exec, {__VA_ARGS__});                     \
  }
GDN_MIRROR(chunk_local_cumsum, &A::g, &A::cu_seqlens, &A::g_cumsum)
GDN_MIRROR(chunk_scaled_dot_kkt, &A::k, &A::beta, &A::g_cumsum, &A::cu_seqlens, &A::A)
GDN_MIRROR(solve_tril, &A::A, &A::cu_seqlens, &A::T)
GDN_MIRROR(recompute_w_u, &A::k, &A::v, &A::beta, &A::g_cumsum, &A::T, &A::cu_seqlens, &A::w, &A::u)
GDN_MIRROR(chunk_fwd_h, &A::k, &A::w, &A::u, &A::g_cumsum, &A::cu_seqlens, &A::initial_state, &A::h,
           &A::v_new, &A::final_state)
GDN_MIRROR(chunk_fwd_o, &A::q, &A::k, &A::v_new, &A::h, &A::g_cumsum, &A::cu_seqlens, &A::o)
GDN_MIRROR(causal_conv1d_fwd, &A::x, &A::weight, &A::bias, &A::cu_seqlens, &A::conv_state,
           &A::state_indices, &A::has_initial_state, &A::y)
GDN_MIRROR(causal_conv1d_update, &A::x, &A::weight, &A::bias, &A::conv_state, &A::state_indices,
           &A::num_accepted_tokens, &A::y, &A::cu_seqlens)
GDN_MIRROR(fused_gdn_gating, &A::A_log, &A::a, &A::b, &A::dt_bias, &A::g, &A::beta)
GDN_MIRROR(l2norm, &A::x, &A::y)
GDN_MIRROR(rms_norm_gated, &A::x, &A::z, &A::weight, &A::y)
#undef GDN_MIRROR

gdn_status gdn_fused_gdn_decode(const Decode *args, const gdn_exec *exec) {
  return forward("gdn_fused_gdn_decode", args, exec, kDecodeFields);
}

gdn_status gdn_fused_gdn_decode_workspace_size(const Decode *args, const gdn_exec *exec,
                                               size_t *bytes) {
  return forward_query("gdn_fused_gdn_decode_workspace_size", args, exec, bytes, kDecodeFields);
}

}  // extern "C"
