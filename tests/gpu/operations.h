#ifndef GDN_TESTS_GPU_OPERATIONS_H_
#define GDN_TESTS_GPU_OPERATIONS_H_

#include <functional>

#include "device_call.h"

namespace gdn::testing {

using Bytes = std::vector<unsigned char>;

/// Code paths of the CUDA backend that this machine's GPU runs.
std::vector<std::string> code_paths();

/// "" or status and message.
std::string outcome(gdn_status status);

/// A call of one operation with operands of its own on the device.
class DeviceOperation {
 public:
  using Call = std::function<gdn_status(const gdn_exec *)>;

  /// `used` lives as long as the object; `outputs`, in it or not, are what the call writes.
  DeviceOperation(std::string name, Call call, std::vector<std::shared_ptr<DeviceTensor>> used,
                  std::vector<std::shared_ptr<DeviceTensor>> outputs);

  const std::string &name() const { return name_; }
  /// flags: gdn_exec_flag bits.
  std::string run(const std::string &isa, cudaStream_t stream = nullptr, uint32_t flags = 0) const;
  /// Outputs become what they were before the first call: poison, or the old state.
  void reset();
  /// Bytes of each output.
  std::vector<Bytes> results() const;

 private:
  std::string name_;
  Call call_;
  std::vector<std::shared_ptr<DeviceTensor>> used_, outputs_;
  std::vector<Bytes> before_;
};

/// Every operation of the library on a problem's data, packed: the fused call with checkpoints, the
/// recurrent one on a pool, the stages (each fed with what the one before it made), convolution,
/// gating, norms. Sequences, tokens and chunks are the outermost dimension of every output.
/// `shift`: elements past alignment of every operand. `cu_seqlens`: gets the one tensor that all of
/// them read.
std::vector<DeviceOperation> all_operations(const HostProblem &p, const std::string &isa,
                                            size_t shift = 0,
                                            std::shared_ptr<DeviceTensor> *cu_seqlens = nullptr);

/// The fixture of tests that run on every code path.
class GpuTest : public ::testing::TestWithParam<std::string> {
 protected:
  /// No test leaves an error behind, asynchronous ones included.
  void TearDown() override {
    ASSERT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(cudaPeekAtLastError());
  }
};

#define GDN_GPU_SUITE(suite)                                               \
  INSTANTIATE_TEST_SUITE_P(Cuda, suite, ::testing::ValuesIn(code_paths()), \
                           [](const auto &param_info) { return param_info.param; })

}  // namespace gdn::testing

#endif  // GDN_TESTS_GPU_OPERATIONS_H_
