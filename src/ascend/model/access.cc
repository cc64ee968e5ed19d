#include "ascend/model/access.h"

#include <algorithm>

namespace gdn::ascend::model {
namespace {

/// Bits of the bytes begin .. end - 1 of a cell.
uint32_t bits(int64_t begin, int64_t end) {
  const uint32_t below_end = end >= kBlockBytes ? ~0U : (1U << end) - 1U;
  return below_end & ~((1U << begin) - 1U);
}

}  // namespace

unsigned char *Access::touch(const Ref &at, int64_t bytes, bool write) {
  Buffer &buffer = (at.space == Space::gm ? *tensors_ : *own_)[at.buffer];
  if (at.byte < 0 || bytes < 0 || at.byte + bytes > buffer.bytes) {
    watcher_->bad_access(Kind::bounds, now_, buffer, at.byte, bytes);
    throw Abandoned();
  }
  if (buffer.role == Role::input) {
    if (!write) return buffer.data + at.byte;
    watcher_->bad_access(Kind::input_written, now_, buffer, at.byte, bytes);
    throw Abandoned();
  }
  const int64_t end = at.byte + bytes;
  for (int64_t cell = at.byte / kBlockBytes; cell * kBlockBytes < end; ++cell) {
    const int64_t first = cell * kBlockBytes;
    const uint32_t mask =
        bits(std::max<int64_t>(at.byte - first, 0), std::min(end - first, kBlockBytes));
    uint32_t &written = buffer.written[static_cast<size_t>(cell)];
    if (write) {
      written |= mask;
    } else if ((written & mask) != mask) {
      watcher_->bad_access(Kind::unwritten, now_, buffer, first,
                           std::min(kBlockBytes, end - first));
      written |= mask;
    }
    touch_cell(buffer, cell, mask, write);
  }
  return buffer.data + at.byte;
}

/// Nothing orders the blocks of a launch.
bool Access::ordered(const Stamp &earlier) const {
  return earlier.block == block_ && now_.clock->finished[earlier.in_block] >= earlier.time;
}

/// Reports a race with an earlier access. Returns whether the new one takes its place: whatever is
/// ordered after the new one is ordered after it too. So it is for what a write covers, and for
/// earlier reads that a read covers.
bool Access::replaces(const Stamp &stamp, Buffer &buffer, int64_t cell, uint32_t mask, bool write) {
  const bool in_order = stamp.instruction == now_.number || ordered(stamp);
  if (!in_order && (write || stamp.write) && (stamp.mask & mask) != 0) {
    watcher_->race(now_, stamp, buffer, cell * kBlockBytes, write);
  }
  const bool covered = (stamp.mask & ~mask) == 0;
  return covered && (write || (!stamp.write && in_order));
}

void Access::touch_cell(Buffer &buffer, int64_t cell, uint32_t mask, bool write) {
  Stamps &stamps = *stamps_;
  Stamp &first = buffer.stamps[static_cast<size_t>(cell)];
  const Stamp now{-1, now_.time, now_.number, mask, block_, in_block_, write};
  if (first.time == 0) {
    first = now;
    return;
  }
  int32_t *link = &first.next;
  while (*link >= 0) {
    Stamp &stamp = stamps[*link];
    if (is_now(stamp, mask, write)) return;
    if (replaces(stamp, buffer, cell, mask, write)) {
      const int32_t dropped = *link;
      *link = stamp.next;
      stamps.remove(dropped);
    } else {
      link = &stamp.next;
    }
  }
  if (is_now(first, mask, write)) return;
  const int32_t next = first.next;
  if (replaces(first, buffer, cell, mask, write)) {
    first = now;
    first.next = next;
  } else {
    const int32_t added = stamps.add(now);
    stamps[added].next = next;
    first.next = added;
  }
}

}  // namespace gdn::ascend::model
