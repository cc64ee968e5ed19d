#include "api/call.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace gdn::api {
namespace {

/// DLPack's enumeration may hold values that this header does not name; a plain load of those is
/// undefined in C++.
int32_t device_type(const DLTensor &t) {
  static_assert(sizeof t.device.device_type == sizeof(int32_t));
  int32_t type;
  std::memcpy(&type, &t.device.device_type, sizeof type);
  return type;
}

DType dtype_of(DLDataType type) {
  if (type.lanes != 1) return DType::none;
  if (type.code == kDLFloat && type.bits == 32) return DType::f32;
  if (type.code == kDLFloat && type.bits == 16) return DType::f16;
  if (type.code == kDLBfloat && type.bits == 16) return DType::bf16;
  return DType::none;
}

bool is(DLDataType type, uint8_t code, uint8_t bits) {
  return type.code == code && type.bits == bits && type.lanes == 1;
}

std::string types_text(Types types) {
  std::string out;
  for (const DType t : {DType::f32, DType::bf16, DType::f16}) {
    if ((types.bits & Types::bit(t)) == 0) continue;
    if (!out.empty()) out += " or ";
    out += dtype_name(t);
  }
  if (types.as != nullptr) out += cat(" (the type of ", types.as, ")");
  return out;
}

/// Where a checked operand's data is. Empty operands may come with a null pointer; kernels get
/// another, so that they may form addresses from it.
void *data_of(const Region &r) {
  alignas(64) static char nothing[64];
  // Integers, since an offset that is yet to be refused may leave the memory.
  return r.null ? nothing : reinterpret_cast<void *>(r.address);  // NOLINT(*-no-int-to-ptr)
}

/// "[1, T, HK, 128]": bound extents as numbers, others by name.
std::string expected_text(std::span<Dim *const> dims) {
  std::string out = "[";
  for (const Dim *d : dims) {
    if (out.size() > 1) out += ", ";
    out += d->bound() ? std::to_string(d->size) : std::string(d->name);
  }
  return out + "]";
}

}  // namespace

void Call::check_device(const char *name, const DLTensor &t) {
  const Device found{device_type(t), t.device.device_id};
  if (region_count_ == 0) {
    device_ = found;
    return;
  }
  // Managed memory belongs to every GPU; the operand in plain device memory decides.
  if (found.cuda() && device_.cuda()) {
    if (device_.type == kDLCUDAManaged) device_ = found;
    if (found.type == kDLCUDAManaged || found.id == device_.id) return;
  } else if (found.host() ? device_.host() : found.type == device_.type && found.id == device_.id) {
    return;
  }
  invalid(name, " is on ", device_text(found.type, found.id), ", but ", regions_[0].name, " is on ",
          device_text(device_.type, device_.id), "; expected one device for all tensors.");
}

bool Call::open(const char *name, const DLTensor *t, Dims dims) {
  if (!ok()) return false;
  if (t == nullptr) {
    invalid(name, " is NULL, expected a tensor of shape ", expected_text(dims), ".");
    return false;
  }
  if (t->ndim > 0 && t->shape == nullptr) {
    invalid(name, " has a null shape pointer, expected shape ", expected_text(dims), ".");
    return false;
  }
  if (t->ndim != static_cast<int32_t>(dims.size())) {
    invalid(name, " has rank ", t->ndim, " (shape ", shape_text(t->shape, t->ndim),
            "), expected rank ", dims.size(), ": ", expected_text(dims), ".");
    return false;
  }
  check_device(name, *t);
  return ok();
}

DType Call::check_type(const char *name, const DLTensor &t, Types types) {
  const DType found = dtype_of(t.dtype);
  if ((Types::bit(found) & types.bits) != 0) return found;
  invalid(name, " has type ", dtype_text(t.dtype), ", expected ", types_text(types), ".");
  return DType::none;
}

void Call::check_shape(const char *name, const DLTensor &t, Dims dims) {
  for (size_t i = 0; i < dims.size(); ++i) {
    Dim &d = *dims[i];
    const int64_t found = t.shape[i];
    if (found < 0) {
      invalid(name, " has shape ", shape_text(t.shape, t.ndim), "; extents cannot be negative.");
    } else if (!d.bound()) {
      if (found < d.minimum) {
        invalid(name, " has shape ", shape_text(t.shape, t.ndim), ", expected ",
                expected_text(dims), " with ", d.name, " >= ", d.minimum, ".");
      }
      d.size = found;
      d.from = name;
    } else if (found != d.size) {
      invalid(name, " has shape ", shape_text(t.shape, t.ndim), ", expected ", expected_text(dims),
              " (", d.name, " = ", d.size, " as in ", d.from, ").");
    }
  }
}

const Region *Call::add(const char *name, const DLTensor &t, int64_t item, Dims dims, Layout layout,
                        Use use) {
  if (!ok()) return nullptr;
  check_shape(name, t, dims);
  if (!ok()) return nullptr;
  if (region_count_ == kMaxRegions) {
    fail(Code::internal_error, "more operands than the check has room for.");
    return nullptr;
  }
  Region &r = regions_[region_count_];
  r.name = name;
  r.use = use;
  r.item = item;
  r.rank = t.ndim;
  bool overflow = false;
  bool empty = false;
  int64_t compact = 1;  // Elements of the dimensions after d, counting an extent of 0 as 1.
  int64_t lowest = 0;
  int64_t highest = 0;
  for (int32_t d = r.rank - 1; d >= 0; --d) {
    const int64_t extent = t.shape[d];
    r.shape[d] = extent;
    empty |= extent == 0;
    if (extent > 1) {
      r.stride[d] = t.strides != nullptr ? t.strides[d] : compact;
      int64_t span = 0;
      overflow |= __builtin_mul_overflow(extent - 1, r.stride[d], &span);
      overflow |=
          __builtin_add_overflow(span < 0 ? lowest : highest, span, span < 0 ? &lowest : &highest);
    } else {
      // The stride of a single element or of none means nothing; give it the compact continuation,
      // so that no kernel meets a wild number.
      int64_t inner = 1;
      if (d + 1 < r.rank && __builtin_mul_overflow(
                                r.stride[d + 1], r.shape[d + 1] > 0 ? r.shape[d + 1] : 1, &inner)) {
        inner = 0;
      }
      r.stride[d] = inner;
    }
    overflow |= __builtin_mul_overflow(compact, extent > 0 ? extent : 1, &compact);
  }
  overflow |= __builtin_mul_overflow(compact, item, &compact);
  overflow |= __builtin_add_overflow(highest, 1, &highest);
  overflow |= __builtin_mul_overflow(highest, item, &highest);
  overflow |= __builtin_mul_overflow(lowest, item, &lowest);
  constexpr int64_t kMaxSpan = int64_t{1} << 62;  // Sums of two spans fit too.
  if (overflow || highest > kMaxSpan || lowest < -kMaxSpan) {
    invalid(name, " with shape ", shape_text(t.shape, t.ndim),
            t.strides != nullptr ? cat(" and strides ", shape_text(t.strides, t.ndim)) : "",
            " spans more than 2^62 bytes.");
    return nullptr;
  }
  if (layout == Layout::unit_last && !empty && r.stride[r.rank - 1] != 1) {
    invalid(name, " has strides ", shape_text(t.strides, t.ndim), " (shape ",
            shape_text(t.shape, t.ndim), "), expected a last stride of 1.");
    return nullptr;
  }
  r.lowest = empty ? 0 : lowest;
  r.end = empty ? 0 : highest;
  r.null = t.data == nullptr;
  r.address = r.null ? 0 : reinterpret_cast<uintptr_t>(t.data) + t.byte_offset;
  ++region_count_;
  return &r;
}

Tensor Call::tensor(const char *name, const DLTensor *t, Types types,
                    std::initializer_list<Dim *> dims, Layout layout, Use use) {
  Tensor out;
  const Dims span(dims.begin(), dims.size());
  if (!open(name, t, span)) return out;
  const DType type = check_type(name, *t, types);
  const Region *r = add(name, *t, static_cast<int64_t>(dtype_size(type)), span, layout, use);
  if (r == nullptr) return out;
  out.data = data_of(*r);
  out.dtype = type;
  out.rank = r->rank;
  for (int32_t d = 0; d < r->rank; ++d) {
    out.shape[d] = r->shape[d];
    out.stride[d] = r->stride[d];
  }
  return out;
}

Tensor Call::optional(const char *name, const DLTensor *t, Types types,
                      std::initializer_list<Dim *> dims, Layout layout, Use use) {
  return t == nullptr ? Tensor() : tensor(name, t, types, dims, layout, use);
}

IndexArray Call::indices(const char *name, const DLTensor *t, std::initializer_list<Dim *> dims) {
  IndexArray out;
  const Dims span(dims.begin(), dims.size());
  if (t == nullptr || !open(name, t, span)) return out;
  if (!is(t->dtype, kDLInt, 32) && !is(t->dtype, kDLInt, 64)) {
    invalid(name, " has type ", dtype_text(t->dtype), ", expected int32 or int64.");
    return out;
  }
  const Region *r = add(name, *t, t->dtype.bits / 8, span, Layout::any, Use::input);
  if (r == nullptr) return out;
  out.data = data_of(*r);
  out.present = true;
  out.is_64bit = r->item == 8;
  out.rows = r->shape[0];
  out.row_stride = r->stride[0];
  if (r->rank == 2) {
    out.columns = r->shape[1];
    out.column_stride = r->stride[1];
  }
  return out;
}

FlagArray Call::flags(const char *name, const DLTensor *t, Dim *count) {
  FlagArray out;
  const Dims span(&count, 1);
  if (t == nullptr || !open(name, t, span)) return out;
  const DLDataType type = t->dtype;
  if (!is(type, kBoolCode, 8) && !is(type, kDLInt, 8) && !is(type, kDLUInt, 8) &&
      !is(type, kDLInt, 32)) {
    invalid(name, " has type ", dtype_text(type), ", expected bool, int8, uint8 or int32.");
    return out;
  }
  const Region *r = add(name, *t, type.bits / 8, span, Layout::any, Use::input);
  if (r == nullptr) return out;
  out.data = data_of(*r);
  out.present = true;
  out.bytes = static_cast<int32_t>(r->item);
  out.count = r->shape[0];
  out.stride = r->stride[0];
  return out;
}

Tensor Call::rows(const char *name, const DLTensor *t, Types types, RowsShape *shape, Use use) {
  constexpr int32_t kRank = Tensor::kMaxRank;
  static constexpr const char *kNames[kRank] = {"D0", "D1", "D2", "D3", "D"};
  if (ok() && t != nullptr && shape->rank == 0) {
    if (t->ndim < 1 || t->ndim > kRank) {
      invalid(name, " has rank ", t->ndim, ", expected rank 1 to 5: [.., D].");
    }
    shape->rank = t->ndim;
    for (int32_t d = 0; d < kRank; ++d) shape->dims[d].name = kNames[d];
    shape->dims[kRank - 1].minimum = 1;
  }
  if (!ok()) return Tensor();
  Dim *const all[kRank] = {&shape->dims[0], &shape->dims[1], &shape->dims[2], &shape->dims[3],
                           &shape->dims[4]};
  const int32_t pad = kRank - (shape->rank > 0 ? shape->rank : 1);
  const Dims dims(all + pad, static_cast<size_t>(kRank - pad));
  Tensor out;
  if (!open(name, t, dims)) return out;
  const DType type = check_type(name, *t, types);
  const Region *r =
      add(name, *t, static_cast<int64_t>(dtype_size(type)), dims, Layout::unit_last, use);
  if (r == nullptr) return out;
  out.data = data_of(*r);
  out.dtype = type;
  out.rank = kRank;
  for (int32_t d = 0; d < kRank; ++d) {
    out.shape[d] = d < pad ? 1 : r->shape[d - pad];
    out.stride[d] = d < pad ? 0 : r->stride[d - pad];
  }
  return out;
}

void Call::check_flags(uint32_t flags, uint32_t known) {
  if ((flags & ~known) != 0) {
    invalid("flags is ", flags, ", whose bits ", flags & ~known,
            " this operation does not know; expected only bits of ", known, ".");
  }
}

void Call::check_zero(const char *name, int64_t value) {
  if (value != 0) invalid(name, " is ", value, ", expected 0.");
}

void Call::check_finite(const char *name, double value) {
  // Kernels compute with float. The comparison is false for NaN.
  if (!(std::fabs(value) <= std::numeric_limits<float>::max())) {
    invalid(name, " is ", value, ", expected a finite float32 number.");
  }
}

void Call::require(const char *name, const DLTensor *t, const char *why) {
  if (t == nullptr) invalid(name, " is NULL, expected a tensor ", why, ".");
}

void Call::refuse(const char *name, const DLTensor *t, const char *why) {
  if (t != nullptr) invalid(name, " is given, expected NULL ", why, ".");
}

bool Call::nothing_to_write() const {
  for (const Region &r : regions()) {
    if (r.use == Use::output && !r.empty()) return false;
  }
  return true;
}

}  // namespace gdn::api
