#include "ascend/model/access.h"

#include <algorithm>

namespace gdn::ascend::model {
namespace {

/// Nothing orders the blocks of a launch.
bool ordered(const Stamp &earlier, const Running &now) {
  const Agent agent(earlier.agent);
  return agent.block() == now.agent.block() && (*now.clock)[agent] >= earlier.time;
}

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
      watcher_->bad_access(Kind::unwritten, now_, buffer, at.byte, bytes);
      written |= mask;
    }
    touch_cell(buffer, cell, mask, write);
  }
  return buffer.data + at.byte;
}

// A stamp is dropped once whatever is ordered after the new access is ordered after it too: what a
// write covers, and earlier reads that a read covers.
void Access::touch_cell(Buffer &buffer, int64_t cell, uint32_t mask, bool write) {
  Stamps &stamps = *stamps_;
  int32_t &head = buffer.stamps[static_cast<size_t>(cell)];
  int32_t before = -1;
  for (int32_t i = head; i >= 0;) {
    const Stamp stamp = stamps[i];
    const bool own = stamp.instruction == now_.number;
    if (own && stamp.write == write && stamp.mask == mask) return;
    const bool conflict = !own && (write || stamp.write) && (stamp.mask & mask) != 0;
    const bool in_order = own || stamp.agent == now_.agent.index || ordered(stamp, now_);
    if (conflict && !ordered(stamp, now_)) {
      watcher_->race(now_, stamp, buffer, cell * kBlockBytes, write);
    }
    const bool covered = (stamp.mask & ~mask) == 0;
    if (covered && (write || (!stamp.write && in_order))) {
      (before < 0 ? head : stamps[before].next) = stamp.next;
      stamps.remove(i);
    } else {
      before = i;
    }
    i = stamp.next;
  }
  head = stamps.add({head, now_.time, now_.number, mask, now_.agent.index, write});
}

}  // namespace gdn::ascend::model
