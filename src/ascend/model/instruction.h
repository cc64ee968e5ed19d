#ifndef GDN_ASCEND_MODEL_INSTRUCTION_H_
#define GDN_ASCEND_MODEL_INSTRUCTION_H_

#include <variant>

#include "ascend/tile/tile.h"

namespace gdn::ascend::model {

/// Element types, where an instruction depends on them.
enum class Type : uint8_t { f32, f16, bf16 };

template <class E>
inline constexpr Type kTypeOf = Type::f32;
template <>
inline constexpr Type kTypeOf<f16> = Type::f16;
template <>
inline constexpr Type kTypeOf<bf16> = Type::bf16;

constexpr int64_t size_of(Type type) { return type == Type::f32 ? 4 : 2; }

/// A place in a memory, without its type: a buffer of the core or a tensor in GM.
struct Ref {
  Space space = Space::gm;
  uint32_t buffer = 0;
  int64_t byte = 0;

  Ref operator+(int64_t bytes) const { return {space, buffer, byte + bytes}; }
};

/// An operand of a vector instruction. Strides in blocks.
struct Operand {
  Ref at;
  int64_t block_stride;
  int64_t repeat_stride;
  int64_t element_size;
};

// What instructions do, a struct each, named as the primitives. Sizes and strides are in bytes
// unless they count rows, elements of a matrix, fractals or repeats.
struct Load {
  Ref to, from;
  int64_t rows, width, stride, pitch, element_size;
};
struct Store {
  Ref to, from;
  int64_t rows, width, stride, pitch, element_size;
};
struct LoadNd2Nz {
  Ref to, from;
  int64_t rows, columns, stride, height;
};
struct FillL1 {
  Ref to;
  int64_t bytes;
};
struct StoreNz2Nd {
  Ref to, from;
  Type type;
  int64_t rows, columns, stride, height;
};
struct StoreL1 {
  Ref to, from;
  Type type;
  int64_t rows, columns;
  Heights heights;
};
struct LoadL0 {
  Ref to, from;
  Fractals fractals;
  bool transposed;
};
struct Mmad {
  Ref c, a, b;
  Type type;
  int64_t m, k, n;
  Sum sum;
};
struct VBinary {
  Binary op;
  Operand to, a, b;
  Repeats repeats;
};
struct VMla {
  Operand to, a, b;
  Repeats repeats;
};
struct VExp {
  Operand to, a;
  Repeats repeats;
};
struct VDup {
  Operand to;
  float value;
  Repeats repeats;
};
struct VCast {
  Operand to, a;
  Type to_type, type;
  Repeats repeats;
};
struct VSelect {
  Operand to, a;
  Ref mask, otherwise;
  Repeats repeats;
};
struct VBrcb {
  Ref to, from;
  int64_t repeats;
};
struct VTranspose {
  Ref to, from;
  int64_t repeats;
  TransposeStrides strides;
};
struct ScalarLoad {
  Ref from;
  int64_t bytes;
};
struct SetFlag {
  Pipe to;
  int event;
};
struct WaitFlag {
  Pipe from;
  int event;
};
struct PipeBarrier {};
struct CrossSet {
  int flag;
};
struct CrossWait {
  int flag;
};

using Action = std::variant<Load, Store, LoadNd2Nz, FillL1, StoreNz2Nd, StoreL1, LoadL0, Mmad,
                            VBinary, VMla, VExp, VDup, VCast, VSelect, VBrcb, VTranspose,
                            ScalarLoad, SetFlag, WaitFlag, PipeBarrier, CrossSet, CrossWait>;

/// One instruction of a core's program. `pipe` runs it.
struct Instruction {
  Pipe pipe;
  Action action;
  Where where;

  template <class A>
  const A *as() const {
    return std::get_if<A>(&action);
  }
  template <class A>
  A *as() {
    return std::get_if<A>(&action);
  }
  /// Orders others and moves nothing.
  bool synchronises() const {
    return as<SetFlag>() != nullptr || as<WaitFlag>() != nullptr || as<PipeBarrier>() != nullptr ||
           as<CrossSet>() != nullptr || as<CrossWait>() != nullptr;
  }
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_INSTRUCTION_H_
