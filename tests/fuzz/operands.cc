#include "fuzz/operands.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gdn::fuzz {
namespace {

constexpr __int128 kMost = 1 << 20;

int64_t item_size(DLDataType type) { return (type.bits * int64_t{type.lanes} + 7) / 8; }

}  // namespace

template <class F>
void Operands::for_each_element(const Entry &e, F f) {
  std::vector<int64_t> index(e.shape.size(), 0);
  for (const int64_t extent : e.shape) {
    if (extent <= 0) return;
  }
  while (true) {
    int64_t at = 0;
    for (size_t d = 0; d < index.size(); ++d) at += index[d] * e.strides[d];
    f(at);
    size_t d = index.size();
    while (d > 0 && ++index[d - 1] == e.shape[d - 1]) index[--d] = 0;
    if (d == 0) return;
  }
}

Operands::Entry *Operands::add(DLDataType type, std::initializer_list<int64_t> shape,
                               bool written) {
  entries_.emplace_back();
  Entry *e = &entries_.back();
  e->written = written;
  e->header.device.device_type = kDLCPU;
  e->header.dtype = type;
  e->shape.assign(shape);
  e->strides.assign(shape.size(), 1);
  if (in_.rarely()) damage(e);
  stride(e);
  allocate(e);
  e->header.ndim = static_cast<int32_t>(e->shape.size());
  e->header.shape = e->shape.data();
  e->header.strides = e->strides.data();
  return e;
}

void Operands::stride(Entry *e) {
  // Compact, or with gaps, or dimensions in another order; sometimes anything.
  const int64_t kind = in_.below(8);
  if (kind == 7) {
    for (int64_t &s : e->strides) s = in_.rarely() ? in_.odd_number() : in_.below(40) - 4;
    return;
  }
  __int128 next = 1;
  const size_t rank = e->shape.size();
  for (size_t i = rank; i-- > 0;) {
    // Kind 6 swaps the first two dimensions.
    const size_t d = kind == 6 && rank >= 2 && i < 2 ? 1 - i : i;
    e->strides[d] = next > INT64_MAX ? 1 : static_cast<int64_t>(next);
    if (e->shape[d] > 1) next *= e->shape[d];
    if (next > INT64_MAX) next = 1;
    if (kind == 5) next += in_.below(5);
  }
}

void Operands::damage(Entry *e) {
  const auto d = static_cast<size_t>(in_.below(static_cast<int64_t>(e->shape.size())));
  switch (in_.below(8)) {
    case 0:
      e->shape[d] = in_.odd_number();
      break;
    case 1:
      e->shape[d] += in_.pick<int64_t>({1, -1, 8, -8});
      break;
    case 2:
      e->shape.pop_back();
      e->strides.pop_back();
      break;
    case 3:
      e->shape.push_back(1 + in_.below(3));
      e->strides.push_back(1);
      break;
    case 4:
      e->header.dtype = in_.pick<DLDataType>({kF32, kBf16, kF16, kI32, kI64, kU8});
      break;
    case 5:
      e->header.dtype = {in_.byte(), in_.byte(), in_.byte()};
      break;
    case 6: {
      const int type = in_.byte();
      std::memcpy(&e->header.device.device_type, &type, sizeof type);
      e->header.device.device_id = in_.below(3) - 1;
      break;
    }
    default:
      e->header.byte_offset = 1;
  }
}

void Operands::allocate(Entry *e) {
  const int64_t item = item_size(e->header.dtype);
  __int128 lowest = 0;
  __int128 highest = 0;
  __int128 elements = 1;
  for (size_t d = 0; d < e->shape.size(); ++d) {
    elements = e->shape[d] <= 0 || elements > kMost ? 0 : elements * e->shape[d];
    if (e->shape[d] <= 1) continue;
    const __int128 span = (__int128{e->shape[d]} - 1) * e->strides[d];
    (span < 0 ? lowest : highest) += span;
  }
  const __int128 bytes = (highest - lowest + 1) * item;
  if (elements == 0 || elements > kMost || bytes > kMost) return;
  // A broken byte offset moves the elements; room for it in front and behind.
  const auto shift = static_cast<size_t>(e->header.byte_offset);
  e->bytes = static_cast<size_t>(bytes) + shift;
  e->origin = static_cast<int64_t>(-lowest * item) + static_cast<int64_t>(shift);
  e->memory = std::make_unique<uint8_t[]>(e->bytes);
  // Small numbers in every type: 0x3c3c is about 1 in float16 and 0.01 in bfloat16 and float32.
  const uint8_t high = in_.pick<uint8_t>({0x3c, 0x38, 0xbc, 0x00, 0x7f, 0xff});
  for (size_t i = 0; i < e->bytes; ++i) e->memory[i] = static_cast<uint8_t>(high ^ (i * 37 & 3));
  e->header.data = e->memory.get() + (-lowest * item);
  // What byte_offset does, seen from the other side.
  if (shift == 0 && in_.rarely()) {
    e->header.data = static_cast<uint8_t *>(e->header.data) - 64;
    e->header.byte_offset = 64;
  }
}

const DLTensor *Operands::tensor(DLDataType type, std::initializer_list<int64_t> shape,
                                 bool written) {
  Entry *e = add(type, shape, written);
  return in_.rarely() && in_.rarely() ? nullptr : &e->header;
}

const DLTensor *Operands::optional(DLDataType type, std::initializer_list<int64_t> shape,
                                   bool written) {
  return in_.often() ? tensor(type, shape, written) : nullptr;
}

const DLTensor *Operands::integers(DLDataType type, std::initializer_list<int64_t> shape,
                                   const std::vector<int64_t> &values) {
  Entry *e = add(type, shape, false);
  if (e->memory == nullptr || item_size(e->header.dtype) != item_size(type)) return &e->header;
  const int64_t item = item_size(type);
  size_t next = 0;
  for_each_element(*e, [&](int64_t at) {
    const int64_t value = next < values.size() ? values[next++] : 0;
    // Little endian: the low bytes come first.
    std::memcpy(e->memory.get() + e->origin + at * item, &value, static_cast<size_t>(item));
  });
  return &e->header;
}

void Operands::remember() {
  for (Entry &e : entries_) e.before.assign(e.memory.get(), e.memory.get() + e.bytes);
}

void Operands::check(bool succeeded) const {
  for (const Entry &e : entries_) {
    if (e.bytes == 0) continue;
    std::vector<uint8_t> now(e.memory.get(), e.memory.get() + e.bytes);
    if (succeeded && e.written) {
      const auto item = static_cast<size_t>(item_size(e.header.dtype));
      for_each_element(e, [&](int64_t at) {
        const auto byte = static_cast<size_t>(e.origin + at * static_cast<int64_t>(item));
        std::memcpy(now.data() + byte, e.before.data() + byte, item);
      });
    }
    if (now != e.before) {
      std::fprintf(stderr, "A call that %s changed bytes that it must not.\n",
                   succeeded ? "succeeded" : "failed");
      std::abort();
    }
  }
}

}  // namespace gdn::fuzz
