#ifndef GDN_CPU_AMX_FETCH_H_
#define GDN_CPU_AMX_FETCH_H_

// Prefetches of the rows that the next key head will meet. Rows of one head lie HK DK elements
// apart, most often in different pages, where the hardware's prefetchers do not follow.

#include <immintrin.h>

#include "cpu/amx/layout.h"

namespace gdn::cpu::amx {
namespace {

/// Where the tokens, heads and columns of one step lie.
struct StepPlace {
  int64_t batch;
  int64_t token;
  int count;
  int64_t key_head;
  int64_t group_begin, group_end;  ///< Value heads of the key head.
  int64_t column_begin, column_end;
};

/// Walks the rows of q and k, then of v and o of each value head.
class Fetch {
 public:
  Fetch(const DeltaRule &p, const StepPlace &place)
      : p_(p), place_(place), streams_(2 + 2 * (place.group_end - place.group_begin)) {
    if (place.count > 0) open();
  }

  /// Fetches up to n rows; does nothing once all are fetched.
  [[gnu::always_inline]] void rows(int n) {
    if (stream_ >= streams_ || place_.count <= 0) return;
    for (; n > 0; --n) {
      const uint8_t *row = first_ + row_ * stride_;
      for (int64_t i = 0; i < bytes_; i += 64) {
        if (write_) {
          asm volatile("prefetchw %0" ::"m"(row[i]));
        } else {
          _mm_prefetch(reinterpret_cast<const char *>(row + i), _MM_HINT_T1);
        }
      }
      if (++row_ < place_.count) continue;
      row_ = 0;
      if (++stream_ >= streams_) return;
      open();
    }
  }

 private:
  void open() {
    const int64_t i = (stream_ - 2) / 2 + place_.group_begin;
    const Tensor *x = &p_.q;
    int64_t head = place_.key_head;
    int64_t begin = 0;
    int64_t end = p_.key_dim;
    if (stream_ == 1) x = &p_.k;
    if (stream_ >= 2) {
      x = (stream_ & 1) == 0 ? &p_.v : &p_.o;
      head = p_.heads.value_head(place_.key_head, i);
      begin = place_.column_begin;
      end = place_.column_end;
    }
    write_ = x == &p_.o;
    first_ =
        reinterpret_cast<const uint8_t *>(x->at<uint16_t>(place_.batch, place_.token, head, begin));
    stride_ = x->stride[1] * 2;
    bytes_ = (end - begin) * 2;
  }

  const DeltaRule &p_;
  StepPlace place_;
  int64_t streams_;
  int64_t stream_ = 0;
  int64_t row_ = 0;
  const uint8_t *first_ = nullptr;
  int64_t stride_ = 0;
  int64_t bytes_ = 0;
  bool write_ = false;
};

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_FETCH_H_
