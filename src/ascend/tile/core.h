#ifndef GDN_ASCEND_TILE_CORE_H_
#define GDN_ASCEND_TILE_CORE_H_

#include "ascend/tile/types.h"

namespace gdn::ascend {

namespace model {
class Recorder;
}

/// A block is one Cube core with two Vector cores.
enum class CoreKind : uint8_t { cube, vector };
inline constexpr int kVectorCores = 2;

/// What a kernel's text runs on: one core of one block of a launch.
class Core {
 public:
  explicit Core(model::Recorder &recorder) : recorder_(&recorder) {}

  CoreKind kind() const;
  int64_t block() const;
  int64_t blocks() const;
  /// Which of the block's Vector cores: 0 or 1.
  int64_t vector() const;

  /// The next `elements` of a memory, under a name: take<Ub<float>>("gates", 128). Buffers follow
  /// each other in the order in which they are taken, at multiples of 32 bytes (512 in L0).
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

#endif  // GDN_ASCEND_TILE_CORE_H_
