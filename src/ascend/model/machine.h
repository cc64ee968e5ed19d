#ifndef GDN_ASCEND_MODEL_MACHINE_H_
#define GDN_ASCEND_MODEL_MACHINE_H_

#include "ascend/tile/tile.h"

namespace gdn::ascend::model {

// The machine: an Ascend 910B, whose block is one Cube core and two Vector cores.

inline constexpr int kCoresOfBlock = 1 + kVectorCores;
inline constexpr int kAgentsOfBlock = kCoresOfBlock * kPipes;
/// Cube cores of a 910B1; other variants have 20.
inline constexpr int64_t kBlocks = 24;

/// Bytes of a core's memory.
constexpr int64_t capacity(Space space) {
  switch (space) {
    case Space::l1:
      return 512 << 10;
    case Space::l0a:
    case Space::l0b:
      return 64 << 10;
    case Space::l0c:
      return 128 << 10;
    case Space::ub:
      return 192 << 10;
    case Space::gm:
      break;
  }
  return INT64_MAX;
}

constexpr bool has_space(CoreKind kind, Space space) {
  return space == Space::gm || (kind == CoreKind::vector) == (space == Space::ub);
}

constexpr bool has_pipe(CoreKind kind, Pipe pipe) {
  switch (pipe) {
    case Pipe::s:
    case Pipe::mte2:
      return true;
    case Pipe::mte1:
    case Pipe::m:
    case Pipe::fix:
      return kind == CoreKind::cube;
    case Pipe::v:
    case Pipe::mte3:
      return kind == CoreKind::vector;
  }
  return false;
}

constexpr const char *name_of(Pipe pipe) {
  constexpr const char *kNames[] = {"S", "MTE2", "MTE1", "M", "FIX", "V", "MTE3"};
  return kNames[static_cast<int>(pipe)];
}

constexpr const char *name_of(Space space) {
  constexpr const char *kNames[] = {"GM", "L1", "L0A", "L0B", "L0C", "UB"};
  return kNames[static_cast<int>(space)];
}

/// The cores of a launch are numbered block by block, the Cube core first.
constexpr CoreKind kind_of_core(int64_t core) {
  return core % kCoresOfBlock == 0 ? CoreKind::cube : CoreKind::vector;
}

/// The pipes of all cores are numbered core by core.
struct Agent {
  int32_t index;

  Agent(int64_t core, Pipe pipe)
      : index(static_cast<int32_t>(core * kPipes + static_cast<int>(pipe))) {}
  explicit Agent(int32_t i) : index(i) {}
  /// The one at that place of a block's clocks.
  static Agent of(int64_t block, int64_t in_block) {
    return Agent(static_cast<int32_t>(block * kAgentsOfBlock + in_block));
  }

  int64_t core() const { return index / kPipes; }
  Pipe pipe() const { return static_cast<Pipe>(index % kPipes); }
  int64_t block() const { return index / kAgentsOfBlock; }
  /// Its place in the clocks of its block.
  size_t in_block() const { return static_cast<size_t>(index % kAgentsOfBlock); }
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_MACHINE_H_
