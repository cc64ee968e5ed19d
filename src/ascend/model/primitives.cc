// The tile layer's primitives on the model: each checks what its instruction asks of its operands
// and issues it.

#include "ascend/model/recorder.h"

namespace gdn::ascend {

using model::Kind;
using model::Operand;
using model::Recorder;
using model::Ref;

CoreKind Core::kind() const { return recorder_->kind(); }
int64_t Core::block() const { return recorder_->core() / model::kCoresOfBlock; }
int64_t Core::blocks() const { return recorder_->blocks(); }
int64_t Core::vector() const { return recorder_->core() % model::kCoresOfBlock - 1; }

uint32_t Core::take_bytes(Space space, const char *name, int64_t bytes, Where where) {
  return recorder_->take(space, name, bytes, where);
}

namespace {

template <Space S, class E>
Ref ref(Local<S, E> at) {
  return {S, at.buffer, at.offset * static_cast<int64_t>(sizeof(E))};
}

template <class E>
Ref ref(Gm<E> at) {
  return {Space::gm, static_cast<uint32_t>(at.tensor), at.offset * static_cast<int64_t>(sizeof(E))};
}

template <class E>
Operand operand(const Lanes<E> &lanes) {
  return {ref(lanes.at), lanes.block_stride, lanes.repeat_stride, sizeof(E)};
}

/// Bytes from row to row in UB.
int64_t pitch_of(const Rows &rows, int64_t size) {
  return ((rows.width * size + kBlockBytes - 1) / kBlockBytes + rows.gap) * kBlockBytes;
}

/// Bytes that an instruction touches, from the first to the last.
struct Bytes {
  Ref at;
  int64_t count;
};

/// Collects what is wrong with one instruction's operands.
class Checks {
 public:
  Checks(Core &core, const Where &where) : recorder_(&core.recorder()), where_(where) {}

  bool ok() const { return ok_; }

  Checks &range(const char *what, int64_t value, int64_t low, int64_t high) {
    return expect(value >= low && value <= high, Kind::operand, what, value,
                  std::to_string(low) + " to " + std::to_string(high));
  }
  Checks &multiple(const char *what, int64_t value, int64_t unit) {
    return expect(value > 0 && value % unit == 0, Kind::operand, what, value,
                  "a multiple of " + std::to_string(unit));
  }
  Checks &aligned(const char *what, const Ref &at) {
    const int64_t unit = alignment(at.space);
    return expect(at.byte % unit == 0, Kind::alignment, what, at.byte,
                  "a byte that is a multiple of " + std::to_string(unit));
  }
  Checks &rows(const Rows &rows) {
    return range("rows.count", rows.count, 1, kMaxRows)
        .range("rows.width", rows.width, 1, INT32_MAX)
        .range("rows.stride", rows.stride, rows.count > 1 ? rows.width : 0, INT64_MAX)
        .range("rows.gap", rows.gap, 0, INT16_MAX);
  }
  Checks &repeats(const Repeats &repeats) {
    return range("repeats.count", repeats.count, 1, kMaxRepeats)
        .range("repeats.lanes", repeats.lanes, 1, kLanes);
  }
  Checks &vector(const char *what, const Operand &operand) {
    return aligned(what, operand.at)
        .range("block_stride", operand.block_stride, 0, kMaxRepeats)
        .range("repeat_stride", operand.repeat_stride, 0, kMaxRepeats);
  }
  /// What is written may be what is read, lane for lane; else the two must not overlap.
  Checks &apart(const Operand &to, const Operand &from, const Repeats &repeats) {
    const bool same = to.at.byte == from.at.byte && to.block_stride == from.block_stride &&
                      to.repeat_stride == from.repeat_stride &&
                      to.element_size == from.element_size;
    return same ? *this : apart(bytes(to, repeats), bytes(from, repeats));
  }
  Checks &apart(const Operand &to, const Bytes &from, const Repeats &repeats) {
    return apart(bytes(to, repeats), from);
  }
  Checks &apart(const Bytes &to, const Bytes &from) {
    const bool overlap = to.at.buffer == from.at.buffer && to.at.byte < from.at.byte + from.count &&
                         from.at.byte < to.at.byte + to.count;
    return expect(!overlap, Kind::operand, "an operand that overlaps the result", from.at.byte,
                  "the result's own or memory apart from it");
  }
  /// The scalar unit finishes each instruction before the next.
  Checks &barred(Pipe pipe) {
    return expect(pipe != Pipe::s, Kind::operand,
                  "pipe is S, expected one whose instructions may overlap.");
  }
  /// Events are between two pipes that work beside each other.
  Checks &two_pipes(Pipe from, Pipe to) {
    return expect(
        from != to, Kind::operand,
        std::string("from and to are both ") + model::name_of(from) + ", expected two pipes.");
  }

 private:
  static Bytes bytes(const Operand &operand, const Repeats &repeats) {
    return {operand.at, end(operand, repeats) - operand.at.byte};
  }
  static int64_t end(const Operand &operand, const Repeats &repeats) {
    const int64_t in_block = kBlockBytes / operand.element_size;
    const int64_t blocks = (repeats.lanes + in_block - 1) / in_block;
    return operand.at.byte + kBlockBytes * ((repeats.count - 1) * operand.repeat_stride +
                                            (blocks - 1) * operand.block_stride + 1);
  }

  Checks &expect(bool holds, Kind kind, const char *what, int64_t value,
                 const std::string &expected) {
    return expect(
        holds, kind,
        std::string(what) + " is " + std::to_string(value) + ", expected " + expected + ".");
  }
  Checks &expect(bool holds, Kind kind, const std::string &text) {
    ok_ = recorder_->expect(holds, kind, where_, text) && ok_;
    return *this;
  }

  Recorder *recorder_;
  Where where_;
  bool ok_ = true;
};

void issue(Core &core, Pipe pipe, const model::Action &action, const Where &where) {
  core.recorder().issue(pipe, action, where);
}

}  // namespace

void set_flag(Core &core, Pipe from, Pipe to, int event, Where where) {
  if (!Checks(core, where).two_pipes(from, to).range("event", event, 0, kEvents - 1).ok()) return;
  issue(core, from, model::SetFlag{to, event}, where);
}

void wait_flag(Core &core, Pipe from, Pipe to, int event, Where where) {
  if (!Checks(core, where).two_pipes(from, to).range("event", event, 0, kEvents - 1).ok()) return;
  issue(core, to, model::WaitFlag{from, event}, where);
}

void pipe_barrier(Core &core, Pipe pipe, Where where) {
  if (!Checks(core, where).barred(pipe).ok()) return;
  issue(core, pipe, model::PipeBarrier{}, where);
}

void cross_set(Core &core, Pipe pipe, int flag, Where where) {
  if (!Checks(core, where).range("flag", flag, 0, kCrossFlags - 1).ok()) return;
  issue(core, pipe, model::CrossSet{flag}, where);
}

void cross_wait(Core &core, int flag, Where where) {
  if (!Checks(core, where).range("flag", flag, 0, kCrossFlags - 1).ok()) return;
  issue(core, Pipe::s, model::CrossWait{flag}, where);
}

template <class E>
void load(Core &core, Ub<E> to, GmIn<E> from, Rows rows, Where where) {
  if (!Checks(core, where).rows(rows).aligned("to", ref(to)).ok()) return;
  constexpr int64_t kSize = sizeof(E);
  issue(core, Pipe::mte2,
        model::Load{ref(to), ref(from), rows.count, rows.width * kSize, rows.stride * kSize,
                    pitch_of(rows, kSize), kSize},
        where);
}

template <class E>
void store(Core &core, Gm<E> to, Ub<E> from, Rows rows, Where where) {
  if (!Checks(core, where).rows(rows).aligned("from", ref(from)).ok()) return;
  constexpr int64_t kSize = sizeof(E);
  issue(core, Pipe::mte3,
        model::Store{ref(to), ref(from), rows.count, rows.width * kSize, rows.stride * kSize,
                     pitch_of(rows, kSize), kSize},
        where);
}

template <class E>
void load_nd2nz(Core &core, L1<E> to, GmIn<E> from, Rows rows, int64_t height, Where where) {
  if (!Checks(core, where)
           .rows(rows)
           .aligned("to", ref(to))
           .multiple("rows.width", rows.width, kFractal)
           .multiple("height", height, kFractal)
           .range("rows.count", rows.count, 1, height)
           .range("rows.stride", rows.stride, 0, UINT16_MAX)
           .ok()) {
    return;
  }
  issue(core, Pipe::mte2,
        model::LoadNd2Nz{ref(to), ref(from), rows.count, rows.width,
                         rows.stride * static_cast<int64_t>(sizeof(E)), height},
        where);
}

template <class E>
void fill_l1(Core &core, L1<E> to, int64_t elements, Where where) {
  if (!Checks(core, where)
           .aligned("to", ref(to))
           .multiple("elements", elements, kFractal)
           .range("elements", elements, 1, kMaxFilled)
           .ok()) {
    return;
  }
  issue(core, Pipe::mte2, model::FillL1{ref(to), elements * static_cast<int64_t>(sizeof(E))},
        where);
}

template <class E>
void store_nz2nd(Core &core, Gm<E> to, L0c from, Rows rows, int64_t height, Where where) {
  if (!Checks(core, where)
           .rows(rows)
           .aligned("from", ref(from))
           .multiple("height", height, kFractal)
           .range("rows.count", rows.count, 1, height)
           .ok()) {
    return;
  }
  issue(core, Pipe::fix,
        model::StoreNz2Nd{ref(to), ref(from), model::kTypeOf<E>, rows.count, rows.width,
                          rows.stride * static_cast<int64_t>(sizeof(E)), height},
        where);
}

template <class E>
void store_l1(Core &core, L1<E> to, L0c from, int64_t rows, int64_t columns, Heights heights,
              Where where) {
  if (!Checks(core, where)
           .aligned("to", ref(to))
           .aligned("from", ref(from))
           .multiple("rows", rows, kFractal)
           .multiple("columns", columns, kFractal)
           .multiple("heights.to", heights.to, kFractal)
           .multiple("heights.from", heights.from, kFractal)
           .range("heights.to", heights.to, rows, UINT16_MAX)
           .range("heights.from", heights.from, rows, UINT16_MAX)
           .ok()) {
    return;
  }
  issue(core, Pipe::fix,
        model::StoreL1{ref(to), ref(from), model::kTypeOf<E>, rows, columns, heights}, where);
}

template <class I>
int64_t scalar_load(Core &core, Gm<const I> from, Where where) {
  return core.recorder().scalar(ref(from), sizeof(I), where);
}

namespace {

void load_l0(Core &core, const model::LoadL0 &action, const Where &where) {
  if (!Checks(core, where)
           .aligned("to", action.to)
           .aligned("from", action.from)
           .range("fractals.count", action.fractals.count, 1, kMaxRepeats)
           .range("fractals.stride", action.fractals.stride, 0, UINT16_MAX)
           .ok()) {
    return;
  }
  issue(core, Pipe::mte1, action, where);
}

}  // namespace

template <class E>
void load_a(Core &core, L0a<E> to, L1<E> from, Fractals fractals, Where where) {
  load_l0(core, {ref(to), ref(from), fractals, false}, where);
}

template <class E>
void load_a_transposed(Core &core, L0a<E> to, L1<E> from, Fractals fractals, Where where) {
  load_l0(core, {ref(to), ref(from), fractals, true}, where);
}

template <class E>
void load_b(Core &core, L0b<E> to, L1<E> from, Fractals fractals, Where where) {
  load_l0(core, {ref(to), ref(from), fractals, false}, where);
}

template <class E>
void load_b_transposed(Core &core, L0b<E> to, L1<E> from, Fractals fractals, Where where) {
  load_l0(core, {ref(to), ref(from), fractals, true}, where);
}

template <class E>
void mmad(Core &core, L0c c, L0a<E> a, L0b<E> b, int64_t m, int64_t k, int64_t n, Sum sum,
          Where where) {
  if (!Checks(core, where)
           .aligned("c", ref(c))
           .aligned("a", ref(a))
           .aligned("b", ref(b))
           .multiple("m", m, kFractal)
           .multiple("k", k, kFractal)
           .multiple("n", n, kFractal)
           .ok()) {
    return;
  }
  issue(core, Pipe::m, model::Mmad{ref(c), ref(a), ref(b), model::kTypeOf<E>, m, k, n, sum}, where);
}

void vbinary(Core &core, Binary op, Lanes<float> to, Lanes<float> a, Lanes<float> b,
             Repeats repeats, Where where) {
  const model::VBinary action{op, operand(to), operand(a), operand(b), repeats};
  if (!Checks(core, where)
           .vector("to", action.to)
           .vector("a", action.a)
           .vector("b", action.b)
           .repeats(repeats)
           .apart(action.to, action.a, repeats)
           .apart(action.to, action.b, repeats)
           .ok()) {
    return;
  }
  issue(core, Pipe::v, action, where);
}

void vmla(Core &core, Lanes<float> to, Lanes<float> a, Lanes<float> b, Repeats repeats,
          Where where) {
  const model::VMla action{operand(to), operand(a), operand(b), repeats};
  if (!Checks(core, where)
           .vector("to", action.to)
           .vector("a", action.a)
           .vector("b", action.b)
           .repeats(repeats)
           .apart(action.to, action.a, repeats)
           .apart(action.to, action.b, repeats)
           .ok()) {
    return;
  }
  issue(core, Pipe::v, action, where);
}

void vexp(Core &core, Lanes<float> to, Lanes<float> a, Repeats repeats, Where where) {
  const model::VExp action{operand(to), operand(a), repeats};
  if (!Checks(core, where)
           .vector("to", action.to)
           .vector("a", action.a)
           .repeats(repeats)
           .apart(action.to, action.a, repeats)
           .ok()) {
    return;
  }
  issue(core, Pipe::v, action, where);
}

void vdup(Core &core, Lanes<float> to, float value, Repeats repeats, Where where) {
  const model::VDup action{operand(to), value, repeats};
  if (!Checks(core, where).vector("to", action.to).repeats(repeats).ok()) return;
  issue(core, Pipe::v, action, where);
}

namespace {

void cast(Core &core, const model::VCast &action, const Where &where) {
  if (!Checks(core, where)
           .vector("to", action.to)
           .vector("a", action.a)
           .repeats(action.repeats)
           .apart(action.to, action.a, action.repeats)
           .ok()) {
    return;
  }
  issue(core, Pipe::v, action, where);
}

}  // namespace

template <class E>
void vcast(Core &core, Lanes<float> to, Lanes<E> a, Repeats repeats, Where where) {
  cast(core, {operand(to), operand(a), model::Type::f32, model::kTypeOf<E>, repeats}, where);
}

template <class E>
void vround(Core &core, Lanes<E> to, Lanes<float> a, Repeats repeats, Where where) {
  cast(core, {operand(to), operand(a), model::kTypeOf<E>, model::Type::f32, repeats}, where);
}

void vselect(Core &core, Lanes<float> to, Ub<uint8_t> mask, Lanes<float> a, Ub<float> otherwise,
             Repeats repeats, Where where) {
  const model::VSelect action{operand(to), operand(a), ref(mask), ref(otherwise), repeats};
  if (!Checks(core, where)
           .vector("to", action.to)
           .vector("a", action.a)
           .aligned("mask", action.mask)
           .aligned("otherwise", action.otherwise)
           .repeats(repeats)
           .apart(action.to, action.a, repeats)
           .apart(action.to, Bytes{action.mask, repeats.count * kLanes / 8}, repeats)
           .apart(action.to, Bytes{action.otherwise, kBlockBytes}, repeats)
           .ok()) {
    return;
  }
  issue(core, Pipe::v, action, where);
}

void vbrcb(Core &core, Ub<float> to, Ub<float> from, int64_t repeats, Where where) {
  if (!Checks(core, where)
           .aligned("to", ref(to))
           .aligned("from", ref(from))
           .range("repeats", repeats, 1, kMaxRepeats)
           .apart({ref(to), repeats * kBlockLanes * kBlockBytes},
                  {ref(from), repeats * kBlockBytes})
           .ok()) {
    return;
  }
  issue(core, Pipe::v, model::VBrcb{ref(to), ref(from), repeats}, where);
}

void vtranspose(Core &core, Ub<float> to, Ub<float> from, int64_t repeats, TransposeStrides strides,
                Where where) {
  // From the first block to the last, of `rows` rows of `blocks` blocks a repeat.
  const auto bytes = [repeats](const Ref &at, int64_t rows, int64_t row, int64_t repeat,
                               int64_t blocks) -> Bytes {
    return {at, ((repeats - 1) * repeat + (rows - 1) * row + blocks) * kBlockBytes};
  };
  if (!Checks(core, where)
           .aligned("to", ref(to))
           .aligned("from", ref(from))
           .range("repeats", repeats, 1, kMaxRepeats)
           .range("strides.from_row", strides.from_row, 0, UINT16_MAX)
           .range("strides.from_repeat", strides.from_repeat, 0, UINT16_MAX)
           .range("strides.to_row", strides.to_row, 0, UINT16_MAX)
           .range("strides.to_repeat", strides.to_repeat, 0, UINT16_MAX)
           .apart(bytes(ref(to), kBlockLanes, strides.to_row, strides.to_repeat, 2),
                  bytes(ref(from), kFractal, strides.from_row, strides.from_repeat, 1))
           .ok()) {
    return;
  }
  issue(core, Pipe::v, model::VTranspose{ref(to), ref(from), repeats, strides}, where);
}

template void load<uint8_t>(Core &, Ub<uint8_t>, GmIn<uint8_t>, Rows, Where);
template void load<float>(Core &, Ub<float>, GmIn<float>, Rows, Where);
template void load<f16>(Core &, Ub<f16>, GmIn<f16>, Rows, Where);
template void load<bf16>(Core &, Ub<bf16>, GmIn<bf16>, Rows, Where);
template void store<float>(Core &, Gm<float>, Ub<float>, Rows, Where);
template void store<f16>(Core &, Gm<f16>, Ub<f16>, Rows, Where);
template void store<bf16>(Core &, Gm<bf16>, Ub<bf16>, Rows, Where);
template void load_nd2nz<f16>(Core &, L1<f16>, GmIn<f16>, Rows, int64_t, Where);
template void load_nd2nz<bf16>(Core &, L1<bf16>, GmIn<bf16>, Rows, int64_t, Where);
template void fill_l1<f16>(Core &, L1<f16>, int64_t, Where);
template void fill_l1<bf16>(Core &, L1<bf16>, int64_t, Where);
template void store_nz2nd<float>(Core &, Gm<float>, L0c, Rows, int64_t, Where);
template void store_nz2nd<f16>(Core &, Gm<f16>, L0c, Rows, int64_t, Where);
template void store_nz2nd<bf16>(Core &, Gm<bf16>, L0c, Rows, int64_t, Where);
template void store_l1<f16>(Core &, L1<f16>, L0c, int64_t, int64_t, Heights, Where);
template void store_l1<bf16>(Core &, L1<bf16>, L0c, int64_t, int64_t, Heights, Where);
template int64_t scalar_load<int32_t>(Core &, Gm<const int32_t>, Where);
template int64_t scalar_load<int64_t>(Core &, Gm<const int64_t>, Where);
template void load_a<f16>(Core &, L0a<f16>, L1<f16>, Fractals, Where);
template void load_a<bf16>(Core &, L0a<bf16>, L1<bf16>, Fractals, Where);
template void load_a_transposed<f16>(Core &, L0a<f16>, L1<f16>, Fractals, Where);
template void load_a_transposed<bf16>(Core &, L0a<bf16>, L1<bf16>, Fractals, Where);
template void load_b<f16>(Core &, L0b<f16>, L1<f16>, Fractals, Where);
template void load_b<bf16>(Core &, L0b<bf16>, L1<bf16>, Fractals, Where);
template void load_b_transposed<f16>(Core &, L0b<f16>, L1<f16>, Fractals, Where);
template void load_b_transposed<bf16>(Core &, L0b<bf16>, L1<bf16>, Fractals, Where);
template void mmad<f16>(Core &, L0c, L0a<f16>, L0b<f16>, int64_t, int64_t, int64_t, Sum, Where);
template void mmad<bf16>(Core &, L0c, L0a<bf16>, L0b<bf16>, int64_t, int64_t, int64_t, Sum, Where);
template void vcast<f16>(Core &, Lanes<float>, Lanes<f16>, Repeats, Where);
template void vcast<bf16>(Core &, Lanes<float>, Lanes<bf16>, Repeats, Where);
template void vround<f16>(Core &, Lanes<f16>, Lanes<float>, Repeats, Where);
template void vround<bf16>(Core &, Lanes<bf16>, Lanes<float>, Repeats, Where);

}  // namespace gdn::ascend
