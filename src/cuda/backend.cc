#include "cuda/backend.h"

#include <string>
#include <vector>

#include "cuda/paths.h"
#include "cuda/runtime.h"

namespace gdn::cuda {
namespace {

constexpr HeadDims kHeadDims = {256, 1024};

Selection select_path(const Exec &exec) {
  if (exec.isa >= 0) return {exec.isa, nullptr, 0};
  const DeviceInfo *d = device_info(exec.device);
  size_t best = 0;
  for (size_t i = 1; i < paths().size(); ++i) {
    if (d != nullptr && paths()[i].runs(*d)) best = i;
  }
  return {static_cast<int32_t>(best), paths()[best].reason, 0};
}

const Path &path_of(const Exec &exec) {
  return paths()[static_cast<size_t>(select_path(exec).isa)];
}

/// Checks the device, makes it current and calls f with the launch parameters.
template <class F>
Status on_device(const Exec &exec, F f) {
  const DeviceInfo *d = device_info(exec.device);
  if (d == nullptr) {
    return {
        Code::unsupported,
        "The operands are on CUDA device " + std::to_string(exec.device) + ", but " +
            (device_count() == 0 ? std::string("no CUDA driver or GPU was found.")
                                 : "there are " + std::to_string(device_count()) + " devices.")};
  }
  const Path &path = path_of(exec);
  if (!path.runs(*d)) {
    return {Code::unsupported, "CUDA device " + std::to_string(exec.device) +
                                   " has compute capability " + std::to_string(d->major) + "." +
                                   std::to_string(d->minor) + ", which code path " + path.name +
                                   " does not run on."};
  }
  const DeviceScope scope(exec.device);
  if (!scope.status().ok()) return scope.status();
  Launch l;
  l.device = d;
  l.stream = static_cast<cudaStream_t>(exec.stream);
  l.workspace = exec.workspace;
  l.no_split = exec.no_split;
  return f(l);
}

template <class Op>
Status run(const typename Op::Problem &p, const Exec &exec) {
  return on_device(
      exec, [&](const Launch &l) { return path_of(exec).kernels.template at<Op>().run(p, l); });
}

template <class Op>
size_t workspace(const typename Op::Problem &p, const Exec &exec) {
  const KernelOf<Op> &kernel = path_of(exec).kernels.template at<Op>();
  return kernel.workspace != nullptr ? kernel.workspace(p, exec.no_split) : 0;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend() {
    for (const Path &path : paths()) {
      Isa isa = {path.name, false};
      for (int i = 0; i < device_count(); ++i) {
        isa.supported = isa.supported || path.runs(*device_info(i));
      }
      isas_.push_back(isa);
    }
  }

  const char *name() const override { return "cuda"; }
  Device device() const override { return {kDLCUDA, 0}; }
  bool serves(const Device &operands) const override { return operands.cuda(); }
  std::span<const Isa> isas() const override { return isas_; }

  Selection select(const Exec &exec) const override { return select_path(exec); }

  Status copy_to_host(void *host, const void *device, size_t bytes,
                      const Exec &exec) const override {
    if (bytes == 0) return {};
    return on_device(exec, [&](const Launch &l) {
      Status s = to_status(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, l.stream),
                           "Copying an index array to the host failed");
      if (!s.ok()) return s;
      return to_status(cudaStreamSynchronize(l.stream),
                       "Waiting for an index array to arrive failed");
    });
  }

  const OperationTable<Service> &operations() const override {
    static const OperationTable<Service> table = Operations::table<Service>([]<class Op>(Op) {
      return Service<Op>{run<Op>, workspace<Op>, kHeadDims};
    });
    return table;
  }

 private:
  std::vector<Isa> isas_;
};

}  // namespace

const Backend &backend() {
  static const CudaBackend instance;
  return instance;
}

}  // namespace gdn::cuda
