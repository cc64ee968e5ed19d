#ifndef GDN_ASCEND_MODEL_FINDING_H_
#define GDN_ASCEND_MODEL_FINDING_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace gdn::ascend::model {

/// What the model holds against a kernel.
enum class Kind {
  race,            ///< Two accesses that nothing orders, one of them a write.
  unwritten,       ///< A read of bytes that nothing has written.
  bounds,          ///< An access past the end of a buffer or tensor.
  alignment,       ///< An address that the instruction cannot take.
  operand,         ///< A size, stride or number that it cannot take.
  capacity,        ///< Buffers that do not fit their memory.
  wrong_core,      ///< An instruction of a pipe that the core lacks.
  input_written,   ///< A write to a tensor that is an input.
  flag_set_twice,  ///< An event that may be set while it is set.
  flag_left,       ///< An event or a flag that is still set at the end.
  flag_overflow,   ///< A flag between cores that may pass 15.
  deadlock,        ///< Cores that wait for what does not come.
};

/// One of them, in full sentences.
struct Finding {
  Kind kind;
  std::string text;
};

/// The first findings of a run; later ones are often their consequences.
class Findings {
 public:
  static constexpr size_t kMost = 32;

  explicit Findings(size_t most = kMost) : most_(most) {}

  bool full() const { return all_.size() >= most_; }
  void add(Kind kind, std::string text) {
    if (!full()) all_.push_back({kind, std::move(text)});
  }
  const std::vector<Finding> &all() const { return all_; }

 private:
  size_t most_;
  std::vector<Finding> all_;
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_FINDING_H_
