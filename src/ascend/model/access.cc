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

// A stamp is dropped once whatever is ordered after the new access is ordered after it too: what a
// write covers, and earlier reads that a read covers. The new one takes the place of one of them.
void Access::touch_cell(Buffer &buffer, int64_t cell, uint32_t mask, bool write) {
  Stamps &stamps = *stamps_;
  int32_t &head = buffer.stamps[static_cast<size_t>(cell)];
  int32_t place = -1;
  int32_t before = -1;
  for (int32_t i = head; i >= 0;) {
    const Stamp &stamp = stamps[i];
    const int32_t next = stamp.next;
    const bool own = stamp.instruction == now_.number;
    if (own && stamp.write == write && stamp.mask == mask) return;
    const bool in_order = own || ordered(stamp);
    if (!in_order && (write || stamp.write) && (stamp.mask & mask) != 0) {
      watcher_->race(now_, stamp, buffer, cell * kBlockBytes, write);
    }
    const bool covered = (stamp.mask & ~mask) == 0;
    if (!covered || !(write || (!stamp.write && in_order))) {
      before = i;
    } else if (place < 0) {
      place = before = i;
    } else {
      stamps[before].next = next;
      stamps.remove(i);
    }
    i = next;
  }
  if (place < 0) {
    place = head = stamps.add({head, 0, 0, 0, 0, 0, false});
  }
  stamps[place] = {stamps[place].next, now_.time, now_.number, mask, block_, in_block_, write};
}

}  // namespace gdn::ascend::model
