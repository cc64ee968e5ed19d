#ifndef GDN_ASCEND_MODEL_ACCESS_H_
#define GDN_ASCEND_MODEL_ACCESS_H_

#include <array>
#include <cstring>
#include <vector>

#include "ascend/model/buffer.h"
#include "ascend/model/finding.h"
#include "ascend/model/instruction.h"

namespace gdn::ascend::model {

/// What has finished before something starts: for each pipe of a block, how many of its
/// instructions.
struct Clock {
  std::array<uint32_t, kAgentsOfBlock> finished = {};

  uint32_t &operator[](const Agent &agent) { return finished[agent.in_block()]; }
  uint32_t operator[](const Agent &agent) const { return finished[agent.in_block()]; }
  void join(const Clock &other) {
    for (size_t i = 0; i < finished.size(); ++i) {
      finished[i] = finished[i] < other.finished[i] ? other.finished[i] : finished[i];
    }
  }
};

/// An instruction that runs: who runs it, as the how manieth, and what is known to have finished
/// before it starts.
struct Running {
  Agent agent;
  uint32_t time;
  uint32_t number;
  const Clock *clock;
};

/// Where accesses report what is wrong with them.
class Watcher {
 public:
  virtual void race(const Running &now, const Stamp &earlier, const Buffer &buffer, int64_t byte,
                    bool write) = 0;
  virtual void bad_access(Kind kind, const Running &now, const Buffer &buffer, int64_t byte,
                          int64_t bytes) = 0;

 protected:
  ~Watcher() = default;
};

/// The memory as one running instruction sees it: every access is checked for bounds, for bytes
/// that nothing has written, and for order with earlier accesses.
class Access {
 public:
  /// Thrown at an access that has no memory: the rest of the instruction is left out.
  struct Abandoned {};

  Access(const Running &now, std::vector<Buffer> &own, std::vector<Buffer> &tensors, Stamps &stamps,
         Watcher &watcher)
      : now_(now),
        block_(static_cast<uint16_t>(now.agent.block())),
        in_block_(static_cast<uint8_t>(now.agent.in_block())),
        own_(&own),
        tensors_(&tensors),
        stamps_(&stamps),
        watcher_(&watcher) {}

  const unsigned char *read(const Ref &at, int64_t bytes) { return touch(at, bytes, false); }
  unsigned char *write(const Ref &at, int64_t bytes) { return touch(at, bytes, true); }

  template <class E>
  const E *read(const Ref &at, int64_t count) {
    return reinterpret_cast<const E *>(read(at, count * static_cast<int64_t>(sizeof(E))));
  }
  template <class E>
  E *write(const Ref &at, int64_t count) {
    return reinterpret_cast<E *>(write(at, count * static_cast<int64_t>(sizeof(E))));
  }

 private:
  unsigned char *touch(const Ref &at, int64_t bytes, bool write);
  bool ordered(const Stamp &earlier) const;
  bool is_now(const Stamp &stamp, uint32_t mask, bool write) const {
    return stamp.instruction == now_.number && stamp.write == write && stamp.mask == mask;
  }
  bool replaces(const Stamp &stamp, Buffer &buffer, int64_t cell, uint32_t mask, bool write);
  void touch_cell(Buffer &buffer, int64_t cell, uint32_t mask, bool write);

  Running now_;
  uint16_t block_;
  uint8_t in_block_;
  std::vector<Buffer> *own_;
  std::vector<Buffer> *tensors_;
  Stamps *stamps_;
  Watcher *watcher_;
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_ACCESS_H_
