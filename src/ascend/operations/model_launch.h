#ifndef GDN_ASCEND_OPERATIONS_MODEL_LAUNCH_H_
#define GDN_ASCEND_OPERATIONS_MODEL_LAUNCH_H_

#include "ascend/kernels/forms.h"
#include "ascend/model/launch.h"
#include "core/status.h"

namespace gdn::ascend {

/// A launch on the model.
class ModelLaunch : public model::Launch {
 public:
  explicit ModelLaunch(const model::Options &options) : options_(&options) {}

  int64_t blocks() const { return options_->blocks; }

  /// An input that the operation itself makes.
  template <class E>
  Gm<const E> constant(const char *name, const E *data, int64_t elements) {
    return input(name, data, elements);
  }

  /// Runs a kernel on its tensors. The first fault that the model finds is the status' sentence.
  template <auto Kernel, class Tensors>
  Status run(kernels::Form, const Tensors &t) {
    return status_of(model::Launch::run([&](Core &core) { Kernel(core, t); }, *options_));
  }

 private:
  static Status status_of(const std::vector<model::Finding> &findings);

  const model::Options *options_;
};

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_OPERATIONS_MODEL_LAUNCH_H_
