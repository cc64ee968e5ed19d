#ifndef GDN_ASCEND_KERNELS_ITEMS_H_
#define GDN_ASCEND_KERNELS_ITEMS_H_

#include "ascend/kernels/numbers.h"

namespace gdn::ascend::kernels {

/// The sequences of a launch: `count` rows of `tokens` tokens, or one row cut at offsets, count + 1
/// of them.
struct SequenceTable {
  int64_t count = 0;
  int64_t tokens = 0;
  bool packed = false;
  bool wide = false;  ///< Which of the two holds the offsets.
  Gm<const int64_t> offsets64;
  Gm<const int32_t> offsets32;
};

GDN_NPU inline int64_t first_token(Core &core, const SequenceTable &s, int64_t sequence) {
  if (!s.packed) return sequence * s.tokens;
  return s.wide ? scalar_load(core, s.offsets64 + sequence)
                : scalar_load(core, s.offsets32 + sequence);
}

/// Tokens of one sequence, among the tokens of all rows.
struct Chunk {
  int64_t begin;
  int64_t length;
  int64_t index;  ///< Among the chunks of all sequences.
};

/// This worker's share of all (chunk, part), part < parts: while (items.next()) use(items.chunk(),
/// items.part()). Workers take turns.
template <int64_t C>
class Items {
 public:
  GDN_NPU Items(Core &core, const SequenceTable &s, int64_t parts, int64_t worker, int64_t workers)
      : core_(core),
        s_(s),
        parts_(parts),
        workers_(workers),
        next_(worker - workers),
        begin_(first_token(core, s, 0)),
        end_(begin_) {}

  GDN_NPU bool next() {
    next_ += workers_;
    while (true) {
      if (begin_ < end_) {
        if (next_ < parts_) return true;
        begin_ += C;
        next_ -= parts_;
        ++index_;
      } else {
        if (sequence_ == s_.count) return false;
        begin_ = end_;
        end_ = first_token(core_, s_, ++sequence_);
      }
    }
  }
  GDN_NPU Chunk chunk() const { return {begin_, smaller(C, end_ - begin_), index_}; }
  GDN_NPU int64_t part() const { return next_; }

 private:
  Core &core_;
  const SequenceTable &s_;
  int64_t parts_, workers_;
  int64_t next_;  ///< The next item of this worker, counted from the chunk at hand.
  int64_t begin_, end_;
  int64_t sequence_ = 0;  ///< How many were begun.
  int64_t index_ = 0;
};

/// One sequence of a launch.
struct Sequence {
  int64_t index;
  int64_t begin;        ///< Its first token, among the tokens of all rows.
  int64_t end;          ///< Behind its last token.
  int64_t first_chunk;  ///< Among the chunks of all sequences.
};

/// This worker's share of all (sequence, part), part < parts: while (sequences.next())
/// use(sequences.sequence(), sequences.part()). Workers take turns.
template <int64_t C>
class Sequences {
 public:
  GDN_NPU Sequences(Core &core, const SequenceTable &s, int64_t parts, int64_t worker,
                    int64_t workers)
      : core_(core),
        s_(s),
        parts_(parts),
        workers_(workers),
        next_(worker - workers + parts),
        at_{-1, 0, first_token(core, s, 0), 0} {
    at_.begin = at_.end;
  }

  GDN_NPU bool next() {
    next_ += workers_;
    while (next_ >= parts_ || at_.index < 0) {
      if (at_.index + 1 == s_.count) return false;
      next_ -= parts_;
      at_.first_chunk += (at_.end - at_.begin + C - 1) / C;
      ++at_.index;
      at_.begin = at_.end;
      at_.end = first_token(core_, s_, at_.index + 1);
    }
    return true;
  }
  GDN_NPU const Sequence &sequence() const { return at_; }
  GDN_NPU int64_t part() const { return next_; }

 private:
  Core &core_;
  const SequenceTable &s_;
  int64_t parts_, workers_;
  int64_t next_;  ///< The next item of this worker, counted from the sequence at hand.
  Sequence at_;
};

/// The chunks of a sequence: while (chunks.next()) use(chunks.chunk()).
template <int64_t C>
class Chunks {
 public:
  GDN_NPU explicit Chunks(const Sequence &s)
      : at_{s.begin - C, 0, s.first_chunk - 1}, end_(s.end) {}

  GDN_NPU bool next() {
    at_.begin += C;
    at_.length = smaller(C, end_ - at_.begin);
    ++at_.index;
    return at_.length > 0;
  }
  GDN_NPU const Chunk &chunk() const { return at_; }

 private:
  Chunk at_;
  int64_t end_;
};

/// DK and DV.
inline constexpr int64_t kHeadWidth = 128;

/// Two of everything: what one item fills while another one uses it.
inline constexpr int kSlots = 2;

/// The part of a kernel for a kind of core that it does not need.
struct Rest {
  template <class Tensors>
  GDN_NPU Rest(Core &, const Tensors &) {}
  GDN_NPU void run() {}
};

/// Runs the part of a kernel that is for this kind of core. A device compiles each kind by itself,
/// and has no instructions there that the other one's part could be made of.
template <class Cube, class Vector, class Tensors>
GDN_NPU void run_part(Core &core, const Tensors &t) {
  if constexpr (Core::may_be(CoreKind::cube)) {
    if (core.kind() == CoreKind::cube) Cube(core, t).run();
  }
  if constexpr (Core::may_be(CoreKind::vector)) {
    if (core.kind() == CoreKind::vector) Vector(core, t).run();
  }
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_ITEMS_H_
