#include "cases/array.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

namespace gdn::testing {
namespace {

constexpr unsigned char kPattern = 0xff;
constexpr size_t kFrontGuard = 192;

Shape compact_strides(const Shape &shape) {
  Shape strides(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    step *= shape[d] > 0 ? shape[d] : 1;
  }
  return strides;
}

}  // namespace

struct Array::Memory {
  unsigned char *mapping = nullptr;
  size_t mapped = 0;  // With the inaccessible pages at both ends.
  size_t page = 0;
  unsigned char *first = nullptr;   // Element at the lowest address.
  unsigned char *origin = nullptr;  // Element at index 0; above `first` with negative strides.
  size_t extent = 0;                // Bytes from `first` to the end of the element highest up.
  Shape shape, strides;
  DLTensor tensor = {};

  Memory(size_t extent_bytes, size_t spare_bytes) : extent(extent_bytes) {
    page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t used = kFrontGuard + extent + spare_bytes;
    const size_t accessible = (used + page - 1) / page * page;
    mapped = accessible + 2 * page;
    void *p = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    mapping = static_cast<unsigned char *>(p);
    if (mprotect(mapping + page, accessible, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    std::memset(mapping + page, kPattern, accessible);
    first = mapping + page + accessible - spare_bytes - extent;
  }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  ~Memory() { munmap(mapping, mapped); }

  unsigned char *begin() const { return mapping + page; }
  unsigned char *end() const { return mapping + mapped - page; }
};

Shape padded_strides(const Shape &shape, const std::vector<int> &order, int64_t gap) {
  Shape strides(shape.size());
  int64_t step = 1;
  for (size_t i = order.size(); i-- > 0;) {
    const auto d = static_cast<size_t>(order[i]);
    strides[d] = step;
    step = step * (shape[d] > 0 ? shape[d] : 1) + gap;
  }
  return strides;
}

Array::Array(Element type, Shape shape, Layout layout)
    : type_(type),
      shape_(std::move(shape)),
      strides_(layout.strides.empty() ? compact_strides(shape_) : std::move(layout.strides)) {
  compact_ = strides_ == compact_strides(shape_);
  int64_t low = 0;
  int64_t high = 0;
  for (size_t d = 0; d < shape_.size(); ++d) {
    (strides_[d] < 0 ? low : high) += (shape_[d] - 1) * strides_[d];
  }
  if (size() == 0) low = 0;
  const int64_t extent = size() == 0 ? 0 : high - low + 1;
  memory_ = std::make_shared<Memory>(static_cast<size_t>(extent) * size_of(type),
                                     static_cast<size_t>(layout.spare) * size_of(type));
  Memory &m = *memory_;
  m.shape = shape_;
  m.strides = strides_;
  m.tensor.data = m.begin();
  m.origin = m.first - low * static_cast<int64_t>(size_of(type));
  m.tensor.byte_offset = static_cast<uint64_t>(m.origin - m.begin());
  m.tensor.device = {kDLCPU, 0};
  m.tensor.ndim = static_cast<int32_t>(shape_.size());
  m.tensor.dtype = dlpack_of(type);
  m.tensor.shape = m.shape.data();
  m.tensor.strides = m.strides.data();
}

int64_t Array::size() const {
  int64_t n = 1;
  for (const int64_t d : shape_) n *= d;
  return n;
}

const DLTensor *Array::tensor() const { return &memory_->tensor; }

// Calls f(first element's pointer, elements, stride) for each run along the last dimension, in
// row-major order.
template <class F>
void Array::for_each_row(F f) const {
  if (size() == 0) return;
  if (compact_) {
    f(memory_->first, size(), int64_t{1});
    return;
  }
  const size_t rank = shape_.size();
  Shape index(rank, 0);
  const auto width = static_cast<int64_t>(size_of(type_));
  for (bool more = true; more;) {
    int64_t offset = 0;
    for (size_t d = 0; d + 1 < rank; ++d) offset += index[d] * strides_[d];
    f(memory_->origin + offset * width, shape_[rank - 1], strides_[rank - 1]);
    more = false;
    for (size_t d = rank - 1; d-- > 0 && !more;) {
      more = ++index[d] < shape_[d];
      if (!more) index[d] = 0;
    }
  }
}

void Array::poison() {
  for_each_row([&](unsigned char *row, int64_t n, int64_t stride) {
    const size_t width = size_of(type_);
    for (int64_t i = 0; i < n; ++i) {
      std::memset(row + i * stride * static_cast<int64_t>(width), kPattern, width);
    }
  });
}

void Array::assign(std::span<const float> values) {
  const float *next = values.data();
  for_each_row([&](unsigned char *row, int64_t n, int64_t stride) {
    for (int64_t i = 0; i < n; ++i, ++next) {
      if (type_ == Element::f32) {
        reinterpret_cast<float *>(row)[i * stride] = *next;
      } else {
        reinterpret_cast<uint16_t *>(row)[i * stride] =
            type_ == Element::bf16 ? to_bf16(*next) : to_f16(*next);
      }
    }
  });
}

void Array::assign(std::span<const int64_t> values) {
  const int64_t *next = values.data();
  for_each_row([&](unsigned char *row, int64_t n, int64_t stride) {
    for (int64_t i = 0; i < n; ++i, ++next) {
      if (type_ == Element::i64) {
        reinterpret_cast<int64_t *>(row)[i * stride] = *next;
      } else if (type_ == Element::i32) {
        reinterpret_cast<int32_t *>(row)[i * stride] = static_cast<int32_t>(*next);
      } else {
        row[i * stride] = static_cast<unsigned char>(*next);
      }
    }
  });
}

std::vector<float> Array::values() const {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(size()));
  for_each_row([&](const unsigned char *row, int64_t n, int64_t stride) {
    for (int64_t i = 0; i < n; ++i) {
      if (type_ == Element::f32) {
        out.push_back(reinterpret_cast<const float *>(row)[i * stride]);
      } else {
        const uint16_t bits = reinterpret_cast<const uint16_t *>(row)[i * stride];
        out.push_back(type_ == Element::bf16 ? from_bf16(bits) : from_f16(bits));
      }
    }
  });
  return out;
}

std::vector<int64_t> Array::integers() const {
  std::vector<int64_t> out;
  for_each_row([&](const unsigned char *row, int64_t n, int64_t stride) {
    for (int64_t i = 0; i < n; ++i) {
      if (type_ == Element::i64) {
        out.push_back(reinterpret_cast<const int64_t *>(row)[i * stride]);
      } else if (type_ == Element::i32) {
        out.push_back(reinterpret_cast<const int32_t *>(row)[i * stride]);
      } else {
        out.push_back(row[i * stride]);
      }
    }
  });
  return out;
}

std::vector<unsigned char> Array::bytes() const {
  std::vector<unsigned char> out;
  const size_t width = size_of(type_);
  out.reserve(static_cast<size_t>(size()) * width);
  for_each_row([&](const unsigned char *row, int64_t n, int64_t stride) {
    if (stride == 1) {
      out.insert(out.end(), row, row + n * static_cast<int64_t>(width));
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      const unsigned char *e = row + i * stride * static_cast<int64_t>(width);
      out.insert(out.end(), e, e + width);
    }
  });
  return out;
}

Array Array::widened() const {
  if (type_ != Element::f32 && type_ != Element::bf16 && type_ != Element::f16) return *this;
  Array wide(Element::f32, shape_);
  wide.assign(values());
  return wide;
}

std::string Array::damage() const {
  const Memory &m = *memory_;
  const auto intact = [](const unsigned char *from, const unsigned char *to) {
    for (; from < to; ++from) {
      if (*from != kPattern) return false;
    }
    return true;
  };
  if (!intact(m.begin(), m.first)) return "bytes before the first element were written";
  if (!intact(m.first + m.extent, m.end())) return "bytes after the last element were written";
  if (compact_) return "";
  std::vector<unsigned char> rest(m.first, m.first + m.extent);
  for_each_row([&](const unsigned char *row, int64_t n, int64_t stride) {
    const auto width = static_cast<int64_t>(size_of(type_));
    for (int64_t i = 0; i < n; ++i) {
      std::memset(rest.data() + (row - m.first) + i * stride * width, kPattern, size_of(type_));
    }
  });
  return intact(rest.data(), rest.data() + rest.size()) ? ""
                                                        : "bytes between elements were written";
}

}  // namespace gdn::testing
