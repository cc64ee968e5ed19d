#include "reference/backend.h"

#include <cstring>

#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

constexpr Isa kIsas[] = {{"f64", true}};

/// The function of an operation, as a backend's service. It serves every head width.
template <class Op, void (*Function)(const typename Op::Problem &, int32_t)>
Service<Op> service() {
  return {[](const typename Op::Problem &p, const Exec &exec) -> Status {
    Function(p, exec.threads);
    return {};
  }};
}

class ReferenceBackend final : public Backend {
 public:
  const char *name() const override { return "reference"; }
  Device device() const override { return {kDLCPU, 0}; }
  bool serves(const Device &operands) const override { return operands.host(); }
  std::span<const Isa> isas() const override { return kIsas; }

  Selection select(const Exec &exec) const override {
    return {0, "The reference has one code path, in float64.", thread_count(exec.threads)};
  }

  Status copy_to_host(void *host, const void *device, size_t bytes, const Exec &) const override {
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }

  const OperationTable<Service> &operations() const override {
#define GDN_SERVICE(name, problem, args, workspace) service<op::name, reference::name>(),
    static const OperationTable<Service> table = {GDN_FOR_EACH_OPERATION(GDN_SERVICE)};
#undef GDN_SERVICE
    return table;
  }
};

}  // namespace

const Backend &backend() {
  static const ReferenceBackend instance;
  return instance;
}

}  // namespace gdn::reference
