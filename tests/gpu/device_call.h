#ifndef GDN_TESTS_GPU_DEVICE_CALL_H_
#define GDN_TESTS_GPU_DEVICE_CALL_H_

#include <cuda_runtime.h>
#include <gdn/gdn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cases/element.h"
#include "cases/random.h"

namespace gdn::testing {

#define ASSERT_CUDA(call) ASSERT_EQ(call, cudaSuccess) << cudaGetErrorString(cudaGetLastError())

/// A tensor in device memory of its own, at a chosen number of bytes past an aligned address.
class DeviceTensor {
 public:
  DeviceTensor(Element type, std::vector<int64_t> shape, size_t shift = 0,
               std::vector<int64_t> strides = {})
      : shape_(std::move(shape)), strides_(std::move(strides)), type_(type) {
    if (strides_.empty()) {
      strides_.assign(shape_.size(), 1);
      for (size_t i = shape_.size() - 1; i-- > 0;) strides_[i] = strides_[i + 1] * shape_[i + 1];
    }
    int64_t last = 0;
    for (size_t i = 0; i < shape_.size(); ++i) last += (shape_[i] - 1) * strides_[i];
    bytes_ = static_cast<size_t>(last + 1) * size_of(type);
    void *p = nullptr;
    EXPECT_EQ(cudaMalloc(&p, bytes_ + shift), cudaSuccess);
    memory_.reset(p, [](void *q) { cudaFree(q); });
    data_ = static_cast<char *>(p) + shift;
    cudaMemset(data_, 0xff, bytes_);
    tensor_ = {};
    tensor_.data = data_;
    tensor_.device = {kDLCUDA, 0};
    tensor_.ndim = static_cast<int32_t>(shape_.size());
    tensor_.dtype = dlpack_of(type);
    tensor_.shape = shape_.data();
    tensor_.strides = strides_.data();
  }
  DeviceTensor(const DeviceTensor &) = delete;
  DeviceTensor &operator=(const DeviceTensor &) = delete;

  const DLTensor *tensor() const { return &tensor_; }
  void *data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Element type() const { return type_; }

  std::vector<unsigned char> download() const {
    std::vector<unsigned char> host(bytes_);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
  }
  void upload(const void *from, size_t bytes) {
    EXPECT_EQ(cudaMemcpy(data_, from, bytes, cudaMemcpyHostToDevice), cudaSuccess);
  }

 private:
  std::vector<int64_t> shape_, strides_;
  Element type_;
  size_t bytes_;
  std::shared_ptr<void> memory_;
  char *data_;
  DLTensor tensor_;
};

/// Elements of type `type` out of floats.
inline std::vector<unsigned char> encoded(Element type, const std::vector<float> &values) {
  std::vector<unsigned char> bytes(values.size() * size_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = type == Element::bf16 ? to_bf16(values[i]) : to_f16(values[i]);
    if (type == Element::f32) {
      std::memcpy(&bytes[4 * i], &values[i], 4);
    } else {
      std::memcpy(&bytes[2 * i], &half, 2);
    }
  }
  return bytes;
}

/// Rows of `width` normal numbers, of length 1 if `unit`.
inline std::vector<float> drawn_rows(int64_t rows, int64_t width, bool unit, const char *stream) {
  Random random(11, stream);
  std::vector<float> x(static_cast<size_t>(rows * width));
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 1e-6F;
    for (int64_t i = 0; i < width; ++i) {
      float &e = x[static_cast<size_t>(r * width + i)];
      e = random.normal();
      sum += e * e;
    }
    if (!unit) continue;
    for (int64_t i = 0; i < width; ++i) x[static_cast<size_t>(r * width + i)] /= std::sqrt(sum);
  }
  return x;
}

/// Host values of a packed call: all that its results depend on.
struct HostProblem {
  Element type = Element::bf16;
  std::vector<int64_t> lengths;
  int64_t hk, hv, dk, dv;
  std::vector<float> q, k, v, g, beta, state;

  /// value_width 0: as width.
  HostProblem(Element t, std::vector<int64_t> l, int64_t key_heads, int64_t value_heads,
              int64_t width = 128, int64_t value_width = 0)
      : type(t),
        lengths(std::move(l)),
        hk(key_heads),
        hv(value_heads),
        dk(width),
        dv(value_width == 0 ? width : value_width) {
    int64_t tokens = 0;
    for (const int64_t n : lengths) tokens += n;
    q = drawn_rows(tokens * hk, dk, true, "q");
    k = drawn_rows(tokens * hk, dk, true, "k");
    v = drawn_rows(tokens * hv, dv, false, "v");
    state = drawn_rows(static_cast<int64_t>(lengths.size()) * hv * dk, dv, false, "state");
    Random random(11, "gates");
    for (int64_t i = 0; i < tokens * hv; ++i) {
      g.push_back(-std::log1p(std::exp(-random.normal())));
      beta.push_back(random.uniform());
    }
  }
  int64_t tokens() const { return static_cast<int64_t>(g.size()) / hv; }

  /// The tokens [from, from + count) as one sequence that starts from sequence `n`'s state.
  HostProblem part(int64_t from, int64_t count, size_t n) const {
    HostProblem p(*this);
    const auto cut = [&](std::vector<float> &x, int64_t row) {
      x = {x.begin() + from * row, x.begin() + (from + count) * row};
    };
    cut(p.q, hk * dk);
    cut(p.k, hk * dk);
    cut(p.v, hv * dv);
    cut(p.g, hv);
    cut(p.beta, hv);
    const auto size = static_cast<int64_t>(hv * dk * dv);
    const auto first = state.begin() + static_cast<int64_t>(n) * size;
    p.state = {first, first + size};
    p.lengths = {count};
    return p;
  }
};

/// Workspace of a chunked call, set in exec; poisoned. Of a call that will be refused there is
/// none.
inline std::shared_ptr<DeviceTensor> workspace_for(const gdn_gated_delta_rule_args &args,
                                                   gdn_exec *exec) {
  size_t bytes = 0;
  if (gdn_chunk_gated_delta_rule_workspace_size(&args, exec, &bytes) != GDN_OK || bytes == 0) {
    return nullptr;
  }
  auto memory =
      std::make_shared<DeviceTensor>(Element::f32, std::vector{static_cast<int64_t>(bytes / 4)});
  exec->workspace = memory->data();
  exec->workspace_size = bytes;
  return memory;
}

/// The same on the device, with outputs. `shift`: bytes past alignment of every operand.
struct DeviceCall {
  DeviceTensor q, k, v, g, beta, cu_seqlens, initial_state, final_state, o;
  gdn_gated_delta_rule_args args = {};
  std::shared_ptr<DeviceTensor> workspace;  ///< Of the last run.

  explicit DeviceCall(const HostProblem &p, size_t shift = 0)
      : q(p.type, {1, p.tokens(), p.hk, p.dk}, shift),
        k(p.type, {1, p.tokens(), p.hk, p.dk}, shift),
        v(p.type, {1, p.tokens(), p.hv, p.dv}, shift),
        g(Element::f32, {1, p.tokens(), p.hv}, shift * 2),
        beta(Element::f32, {1, p.tokens(), p.hv}, shift * 2),
        cu_seqlens(Element::i32, {static_cast<int64_t>(p.lengths.size()) + 1}),
        initial_state(Element::f32, {count(p), p.hv, p.dk, p.dv}),
        final_state(Element::f32, {count(p), p.hv, p.dk, p.dv}),
        o(p.type, {1, p.tokens(), p.hv, p.dv}, shift) {
    const auto fill = [](DeviceTensor &t, const std::vector<float> &values) {
      const std::vector<unsigned char> bytes = encoded(t.type(), values);
      t.upload(bytes.data(), bytes.size());
    };
    fill(q, p.q);
    fill(k, p.k);
    fill(v, p.v);
    fill(g, p.g);
    fill(beta, p.beta);
    fill(initial_state, p.state);
    std::vector<int32_t> cu = {0};
    for (const int64_t n : p.lengths) cu.push_back(cu.back() + static_cast<int32_t>(n));
    cu_seqlens.upload(cu.data(), cu.size() * sizeof(int32_t));
    args.struct_size = sizeof(args);
    args.q = q.tensor();
    args.k = k.tensor();
    args.v = v.tensor();
    args.g = g.tensor();
    args.beta = beta.tensor();
    args.cu_seqlens = cu_seqlens.tensor();
    args.initial_state = initial_state.tensor();
    args.final_state = final_state.tensor();
    args.o = o.tensor();
  }

  static int64_t count(const HostProblem &p) { return static_cast<int64_t>(p.lengths.size()); }

  /// flags: gdn_exec_flag bits.
  std::string run(const std::string &isa, cudaStream_t stream = nullptr, bool recurrent = false,
                  uint32_t flags = 0) {
    gdn_exec exec = {};
    exec.struct_size = sizeof(exec);
    exec.stream = stream;
    exec.flags = flags;
    exec.isa = isa.c_str();
    if (!recurrent) workspace = workspace_for(args, &exec);
    const gdn_status status = recurrent ? gdn_fused_recurrent_gated_delta_rule(&args, &exec)
                                        : gdn_chunk_gated_delta_rule(&args, &exec);
    if (status == GDN_OK) return "";
    return std::string(gdn_status_string(status)) + ": " + gdn_last_error();
  }
};

}  // namespace gdn::testing

#endif  // GDN_TESTS_GPU_DEVICE_CALL_H_
