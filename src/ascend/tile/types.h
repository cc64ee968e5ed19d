#ifndef GDN_ASCEND_TILE_TYPES_H_
#define GDN_ASCEND_TILE_TYPES_H_

#include <cstdint>
#include <type_traits>

// GDN_NPU stands before every function that a core runs. The compiler of a device wants an
// attribute there, the model nothing.
#ifdef GDN_ASCEND_DEVICE
#include "ascend/device/target.h"
#else
#define GDN_NPU
#endif

namespace gdn::ascend {

/// 16-bit elements, as their bits.
struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

/// Memories: GM is everybody's; L1, L0A, L0B and L0C belong to a Cube core, UB to a Vector core.
enum class Space : uint8_t { gm, l1, l0a, l0b, l0c, ub };
inline constexpr int kSpaces = 6;

/// The pipes of a core. Each runs its instructions in order, all of them beside each other.
///
///     s      the scalar unit: runs the kernel's text and issues everything else
///     mte2   from GM to L1 and UB
///     mte1   from L1 to L0A and L0B
///     m      products, from L0A and L0B to L0C
///     fix    from L0C to GM
///     v      vectors, UB to UB
///     mte3   from UB to GM
enum class Pipe : uint8_t { s, mte2, mte1, m, fix, v, mte3 };
inline constexpr int kPipes = 7;

/// Bytes of the unit in which UB and L1 are addressed, and of a fractal.
inline constexpr int64_t kBlockBytes = 32;
inline constexpr int64_t kFractalBytes = 512;
/// Rows and columns of a fractal of 16-bit elements, and of one of L0C.
inline constexpr int64_t kFractal = 16;
/// f32 lanes of a vector instruction's repeat, and of a block.
inline constexpr int64_t kLanes = 64;
inline constexpr int64_t kBlockLanes = 8;
/// Most repeats of a vector instruction.
inline constexpr int64_t kMaxRepeats = 255;
/// What a buffer of a memory, and an address in it, is a multiple of.
GDN_NPU constexpr int64_t alignment(Space space) {
  if (space == Space::gm) return 1;
  return space == Space::l1 || space == Space::ub ? kBlockBytes : kFractalBytes;
}
/// Event ids of a pair of pipes.
inline constexpr int kEvents = 8;

/// Where an instruction stands in a kernel's text, for the model's messages. (std::source_location
/// would do, but for the clang of Debian 12.)
class Where {
 public:
#ifdef GDN_ASCEND_DEVICE
  GDN_NPU static constexpr Where current() { return {}; }
#else
  static constexpr Where current(const char *file = __builtin_FILE(),
                                 uint32_t line = __builtin_LINE()) {
    return {file, line};
  }

  constexpr const char *file_name() const { return file_; }
  constexpr uint32_t line() const { return line_; }

 private:
  constexpr Where(const char *file, uint32_t line) : file_(file), line_(line) {}

  const char *file_;
  uint32_t line_;
#endif
};

/// A place in an on-chip memory. Pointers of different memories do not convert.
template <Space S, class E>
struct Local {
  static constexpr Space kSpace = S;
  using Element = E;

  uint32_t buffer = 0;  ///< Which of the core's buffers; on a device where it begins.
  int64_t offset = 0;   ///< Elements from its begin.

  GDN_NPU Local operator+(int64_t elements) const { return {buffer, offset + elements}; }
  /// The same bytes as elements of another type.
  template <class Other>
  GDN_NPU Local<S, Other> as() const {
    return {buffer, offset * static_cast<int64_t>(sizeof(E)) / static_cast<int64_t>(sizeof(Other))};
  }
};

template <class E>
using L1 = Local<Space::l1, E>;
template <class E>
using L0a = Local<Space::l0a, E>;
template <class E>
using L0b = Local<Space::l0b, E>;
using L0c = Local<Space::l0c, float>;
template <class E>
using Ub = Local<Space::ub, E>;

/// A place in a tensor in GM.
template <class E>
struct Gm {
  uint64_t tensor = 0;  ///< Which of the launch's tensors; on a device where it begins.
  int64_t offset = 0;   ///< Elements from its begin.

  GDN_NPU Gm operator+(int64_t elements) const { return {tensor, offset + elements}; }
  /// As T * converts to const T *.
  template <class T = E, class = std::enable_if_t<!std::is_const_v<T>>>
  GDN_NPU operator Gm<const T>() const {
    return {tensor, offset};
  }
};

template <class E>
struct Undeduced {
  using Type = E;
};

/// The same, where E is deduced from other arguments.
template <class E>
using GmIn = Gm<const typename Undeduced<E>::Type>;

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_TILE_TYPES_H_
