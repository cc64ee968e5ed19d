#ifndef GDN_ASCEND_MODEL_RECORDER_H_
#define GDN_ASCEND_MODEL_RECORDER_H_

#include <array>
#include <string>
#include <vector>

#include "ascend/model/buffer.h"
#include "ascend/model/finding.h"
#include "ascend/model/instruction.h"
#include "ascend/model/options.h"

namespace gdn::ascend::model {

/// "kernel.h:12".
std::string text_of(const Where &where);

/// Takes down what a core's scalar unit issues when it runs a kernel's text. The text depends on
/// the launch's inputs alone, so that one pass serves every schedule.
class Recorder {
 public:
  Recorder(int64_t core, int64_t blocks, std::vector<Buffer> &tensors, const Options &options,
           Findings &findings)
      : core_(core),
        blocks_(blocks),
        tensors_(&tensors),
        options_(&options),
        findings_(&findings) {}

  int64_t core() const { return core_; }
  int64_t blocks() const { return blocks_; }
  CoreKind kind() const { return kind_of_core(core_); }
  std::vector<Instruction> &program() { return program_; }
  std::vector<Buffer> &buffers() { return buffers_; }

  uint32_t take(Space space, const char *name, int64_t bytes, const Where &where);
  void issue(Pipe pipe, const Action &action, const Where &where);
  int64_t scalar(const Ref &from, int64_t bytes, const Where &where);
  /// A finding about `where` unless `holds`. Returns `holds`.
  bool expect(bool holds, Kind kind, const Where &where, const std::string &text);

 private:
  int64_t core_;
  int64_t blocks_;
  std::vector<Buffer> *tensors_;
  const Options *options_;
  Findings *findings_;
  std::vector<Instruction> program_;
  std::vector<Buffer> buffers_;
  std::array<int64_t, 6> used_ = {};
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_RECORDER_H_
