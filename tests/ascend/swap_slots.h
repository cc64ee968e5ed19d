#ifndef GDN_TESTS_ASCEND_SWAP_SLOTS_H_
#define GDN_TESTS_ASCEND_SWAP_SLOTS_H_

// A fault: an instruction takes the other slot of a buffer that has two.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ascend/model/executor.h"

namespace gdn::ascend::testing {

/// The places in the core's memory and in GM that an instruction names.
struct RefsOf {
  std::vector<model::Ref *> operator()(model::FillL1 &a) const { return {&a.to}; }
  std::vector<model::Ref *> operator()(model::Mmad &a) const { return {&a.c, &a.a, &a.b}; }
  std::vector<model::Ref *> operator()(model::VBinary &a) const {
    return {&a.to.at, &a.a.at, &a.b.at};
  }
  std::vector<model::Ref *> operator()(model::VMla &a) const {
    return {&a.to.at, &a.a.at, &a.b.at};
  }
  std::vector<model::Ref *> operator()(model::VExp &a) const { return {&a.to.at, &a.a.at}; }
  std::vector<model::Ref *> operator()(model::VDup &a) const { return {&a.to.at}; }
  std::vector<model::Ref *> operator()(model::VCast &a) const { return {&a.to.at, &a.a.at}; }
  std::vector<model::Ref *> operator()(model::VSelect &a) const {
    return {&a.to.at, &a.a.at, &a.mask, &a.otherwise};
  }
  std::vector<model::Ref *> operator()(model::ScalarLoad &) const { return {}; }
  std::vector<model::Ref *> operator()(model::SetFlag &) const { return {}; }
  std::vector<model::Ref *> operator()(model::WaitFlag &) const { return {}; }
  std::vector<model::Ref *> operator()(model::PipeBarrier &) const { return {}; }
  std::vector<model::Ref *> operator()(model::CrossSet &) const { return {}; }
  std::vector<model::Ref *> operator()(model::CrossWait &) const { return {}; }
  template <class Move>
  std::vector<model::Ref *> operator()(Move &a) const {
    return {&a.to, &a.from};
  }
};
inline std::vector<model::Ref *> refs_of(model::Instruction &i) {
  return std::visit(RefsOf(), i.action);
}

/// Which buffers are the two slots of one, by the memory that they are in.
class Slots {
 public:
  /// Of a block's Cube core and one of its Vector cores. Of the buffers of a name the first half is
  /// the one slot, the second half the other.
  Slots(const std::vector<model::CoreState> &cores, const char *const *names) {
    for (; *names != nullptr; ++names) {
      for (const model::CoreState *core : {&cores[0], &cores[1]}) {
        std::map<Space, std::vector<uint32_t>> found;
        for (uint32_t i = 0; i < core->buffers.size(); ++i) {
          if (core->buffers[i].name == *names) found[core->buffers[i].space].push_back(i);
        }
        for (const auto &[space, buffers] : found) {
          const size_t half = buffers.size() / 2;
          for (size_t i = 0; i < half; ++i) {
            other_[{space, buffers[i]}] = {*names, buffers[half + i]};
            other_[{space, buffers[half + i]}] = {*names, buffers[i]};
          }
        }
      }
    }
  }

  /// The name of the buffer if it has two slots, else "".
  std::string name_of(const model::Ref &ref) const {
    const auto found = other_.find({ref.space, ref.buffer});
    return found == other_.end() ? "" : found->second.name;
  }
  /// The same place in the other slot.
  void swap(model::Ref &ref) const { ref.buffer = other_.at({ref.space, ref.buffer}).buffer; }

 private:
  struct Other {
    std::string name;
    uint32_t buffer;
  };
  std::map<std::pair<Space, uint32_t>, Other> other_;
};

}  // namespace gdn::ascend::testing

#endif  // GDN_TESTS_ASCEND_SWAP_SLOTS_H_
