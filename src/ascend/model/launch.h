#ifndef GDN_ASCEND_MODEL_LAUNCH_H_
#define GDN_ASCEND_MODEL_LAUNCH_H_

#include <functional>
#include <vector>

#include "ascend/model/finding.h"
#include "ascend/model/options.h"
#include "ascend/model/recorder.h"

namespace gdn::ascend::model {

/// Tensors in GM and kernels that run on them, one after the other.
class Launch {
 public:
  template <class E>
  Gm<const E> input(const char *name, const E *data, int64_t elements) {
    // The model refuses every write to an input.
    return {add(name, Role::input, const_cast<E *>(data), elements * sizeof(E)), 0};
  }
  template <class E>
  Gm<E> output(const char *name, E *data, int64_t elements) {
    return {add(name, Role::output, data, elements * sizeof(E)), 0};
  }
  /// Memory of the launch itself.
  template <class E>
  Gm<E> scratch(const char *name, int64_t elements) {
    return {add(name, Role::scratch, nullptr, elements * sizeof(E)), 0};
  }

  /// Runs `kernel` once on each core of each block. Returns what is wrong with it.
  std::vector<Finding> run(const std::function<void(Core &)> &kernel, const Options &options);

 private:
  uint32_t add(const char *name, Role role, void *data, int64_t bytes);

  std::vector<Buffer> tensors_;
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_LAUNCH_H_
