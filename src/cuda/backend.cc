#include "cuda/backend.h"

#include <array>
#include <string>

#include "cuda/operations.h"
#include "cuda/runtime.h"

namespace gdn::cuda {
namespace {

#if defined(GDN_CUDA_SM90)
enum IsaIndex : int32_t { kSm80 = 0, kSm90a = 1, kIsaCount = 2 };
constexpr std::array<Isa, kIsaCount> kIsas = {{{"sm80", false}, {"sm90a", false}}};
#else
enum IsaIndex : int32_t { kSm80 = 0, kSm90a = -2, kIsaCount = 1 };
constexpr std::array<Isa, kIsaCount> kIsas = {{{"sm80", false}}};
#endif

constexpr HeadDims kHeadDims = {16, 256};

bool runs(int32_t isa, const DeviceInfo &d) {
  return isa == kSm90a ? kIsaCount > 1 && d.major == 9 && d.minor == 0 : d.major >= 8;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend() : isas_(kIsas) {
    for (int i = 0; i < device_count(); ++i) {
      for (int32_t isa = 0; isa < kIsaCount; ++isa) {
        Isa &entry = isas_[static_cast<size_t>(isa)];
        entry.supported = entry.supported || runs(isa, *device_info(i));
      }
    }
  }

  const char *name() const override { return "cuda"; }
  Device device() const override { return {kDLCUDA, 0}; }
  bool serves(const Device &operands) const override { return operands.cuda(); }
  std::span<const Isa> isas() const override { return isas_; }

  Selection select(const Exec &exec) const override {
    if (exec.isa >= 0) return {exec.isa, "The caller named this instruction set.", 0};
    const DeviceInfo *d = device_info(exec.device);
    if (d != nullptr && runs(kSm90a, *d)) return {kSm90a, "The device is a Hopper GPU.", 0};
    return {kSm80, "The build or the device has no Hopper code path.", 0};
  }

  Status copy_to_host(void *host, const void *device, size_t bytes,
                      const Exec &exec) const override {
    if (bytes == 0) return {};
    return run(exec, [&](const Launch &l) {
      Status s = to_status(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, l.stream),
                           "Copying an index array to the host failed");
      if (!s.ok()) return s;
      return to_status(cudaStreamSynchronize(l.stream),
                       "Waiting for an index array to arrive failed");
    });
  }

  const OperationTable<Service> &operations() const override {
#define GDN_SERVICE(name, problem, args, workspace) service<op::name, cuda::name>(),
    static const OperationTable<Service> table = {GDN_FOR_EACH_OPERATION(GDN_SERVICE)};
#undef GDN_SERVICE
    return table;
  }

 private:
  template <class Op, Status (*Function)(const typename Op::Problem &, const Launch &)>
  static Service<Op> service() {
    return {[](const typename Op::Problem &p, const Exec &exec) {
              const auto &self = static_cast<const CudaBackend &>(backend());
              return self.run(exec, [&](const Launch &l) { return Function(p, l); });
            },
            nullptr, kHeadDims};
  }

  /// Checks the device, makes it current and calls f with the launch parameters.
  template <class F>
  Status run(const Exec &exec, F f) const {
    const DeviceInfo *d = device_info(exec.device);
    if (d == nullptr) {
      return {
          Code::unsupported,
          "The operands are on CUDA device " + std::to_string(exec.device) + ", but " +
              (device_count() == 0 ? std::string("no CUDA driver or GPU was found.")
                                   : "there are " + std::to_string(device_count()) + " devices.")};
    }
    const int32_t isa = select(exec).isa;
    if (!runs(isa, *d)) {
      return {Code::unsupported, std::string("CUDA device ") + std::to_string(exec.device) +
                                     " has compute capability " + std::to_string(d->major) + "." +
                                     std::to_string(d->minor) + ", which code path " +
                                     isas_[static_cast<size_t>(isa)].name + " does not run on."};
    }
    const DeviceScope scope(exec.device);
    if (!scope.status().ok()) return scope.status();
    Launch l;
    l.device = d;
    l.stream = static_cast<cudaStream_t>(exec.stream);
    l.hopper = isa == kSm90a;
    l.workspace = exec.workspace;
    return f(l);
  }

  std::array<Isa, kIsaCount> isas_;
};

}  // namespace

const Backend &backend() {
  static const CudaBackend instance;
  return instance;
}

}  // namespace gdn::cuda
