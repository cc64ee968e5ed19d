#ifndef GDN_ASCEND_MODEL_CORE_H_
#define GDN_ASCEND_MODEL_CORE_H_

#include "ascend/tile/core.h"

namespace gdn::ascend {

namespace model {
class Recorder;
}

/// A core of the model: what is issued to it is recorded.
class Core {
 public:
  explicit Core(model::Recorder &recorder) : recorder_(&recorder) {}

  static constexpr bool may_be(CoreKind) { return true; }
  CoreKind kind() const;
  int64_t block() const;
  int64_t blocks() const;
  int64_t vector() const;

  template <class Pointer>
  Pointer take(const char *name, int64_t elements, Where where = Where::current()) {
    const int64_t bytes = elements * static_cast<int64_t>(sizeof(typename Pointer::Element));
    return {take_bytes(Pointer::kSpace, name, bytes, where), 0};
  }

  model::Recorder &recorder() { return *recorder_; }

 private:
  uint32_t take_bytes(Space space, const char *name, int64_t bytes, Where where);

  model::Recorder *recorder_;
};

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_MODEL_CORE_H_
