#include "ascend/backend.h"

#include <cstring>

#include "ascend/kernels/items.h"
#include "ascend/operations/operations.h"

namespace gdn::ascend {
namespace {

constexpr Isa kIsas[] = {{"model", true}};

template <class Op, Status (*Function)(const typename Op::Problem &, const model::Options &)>
Service<Op> service(HeadDims head_dims = {}) {
  return {[](const typename Op::Problem &p, const Exec &) -> Status {
            model::Options options;
            Status status = read_environment(&options);
            return status.ok() ? Function(p, options) : status;
          },
          nullptr, head_dims};
}

class AscendBackend final : public Backend {
 public:
  const char *name() const override { return "ascend"; }
  Device device() const override { return {kDLCPU, 0}; }
  bool serves(const Device &operands) const override { return operands.host(); }
  std::span<const Isa> isas() const override { return kIsas; }

  Selection select(const Exec &) const override {
    return {0, "The kernels run on a model of the machine, on one thread.", 1};
  }

  Status copy_to_host(void *host, const void *device, size_t bytes, const Exec &) const override {
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }

  const OperationTable<Service> &operations() const override {
    static const OperationTable<Service> table = [] {
      OperationTable<Service> t;
      constexpr HeadDims kHeadDims = {kernels::kHeadWidth, kernels::kHeadWidth,
                                      kernels::kHeadWidth};
      t.at<op::chunk_local_cumsum>() = service<op::chunk_local_cumsum, chunk_local_cumsum>();
      t.at<op::chunk_scaled_dot_kkt>() =
          service<op::chunk_scaled_dot_kkt, chunk_scaled_dot_kkt>(kHeadDims);
      t.at<op::solve_tril>() = service<op::solve_tril, solve_tril>();
      t.at<op::recompute_w_u>() = service<op::recompute_w_u, recompute_w_u>(kHeadDims);
      t.at<op::chunk_fwd_h>() = service<op::chunk_fwd_h, chunk_fwd_h>(kHeadDims);
      t.at<op::chunk_fwd_o>() = service<op::chunk_fwd_o, chunk_fwd_o>(kHeadDims);
      return t;
    }();
    return table;
  }
};

}  // namespace

const Backend &backend() {
  static const AscendBackend instance;
  return instance;
}

}  // namespace gdn::ascend
