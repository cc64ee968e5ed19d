#ifndef GDN_ASCEND_DEVICE_VECTOR_H_
#define GDN_ASCEND_DEVICE_VECTOR_H_

#include "ascend/device/address.h"
#include "ascend/tile/move.h"
#include "ascend/tile/vector.h"

namespace gdn::ascend {
namespace device {

template <class E>
GDN_NPU __ubuf__ Native<E> *pointer(Ub<E> at) {
  return reinterpret_cast<__ubuf__ Native<E> *>(byte_of(at));
}

/// Sets the mask for an instruction, which reads it when it is issued.
GDN_NPU inline uint8_t use(Core &core, Repeats repeats) {
  if (!core.has_lanes(repeats.lanes)) {
    ::set_vector_mask(0, ~0ULL >> (kLanes - repeats.lanes));
  }
  return static_cast<uint8_t>(repeats.count);
}

/// The strides of an operand, as the instructions take them.
template <class E>
GDN_NPU uint8_t block(const Lanes<E> &lanes) {
  return static_cast<uint8_t>(lanes.block_stride);
}
template <class E>
GDN_NPU uint8_t repeat(const Lanes<E> &lanes) {
  return static_cast<uint8_t>(lanes.repeat_stride);
}

/// Bytes left out behind each row in GM.
GDN_NPU inline uint32_t gap_of(const Rows &rows, int64_t size) {
  return rows.count == 1 ? 0 : static_cast<uint32_t>((rows.stride - rows.width) * size);
}

/// Elements that fill up a row's last block in UB.
GDN_NPU inline uint8_t fill_of(const Rows &rows, int64_t size) {
  const int64_t unit = kBlockBytes / size;
  return static_cast<uint8_t>((unit - rows.width % unit) % unit);
}

}  // namespace device

template <class E>
GDN_NPU void load(Core &, Ub<E> to, GmIn<E> from, Rows rows, Where) {
  constexpr int64_t kSize = sizeof(E);
  const auto count = static_cast<uint16_t>(rows.count);
  const auto bytes = static_cast<uint32_t>(rows.width * kSize);
  const uint8_t filled = device::fill_of(rows, kSize);
  const uint32_t gap = device::gap_of(rows, kSize);
  const auto blocks = static_cast<uint32_t>(rows.gap);
  if constexpr (kSize == 1) {
    ::copy_gm_to_ubuf_align_b8(device::pointer(to), device::pointer(from), 0, count, bytes, 0,
                               filled, gap, blocks);
  } else if constexpr (kSize == 2) {
    ::copy_gm_to_ubuf_align_b16(device::pointer(to), device::pointer(from), 0, count, bytes, 0,
                                filled, gap, blocks);
  } else {
    ::copy_gm_to_ubuf_align_b32(device::pointer(to), device::pointer(from), 0, count, bytes, 0,
                                filled, gap, blocks);
  }
}

template <class E>
GDN_NPU void store(Core &, Gm<E> to, Ub<E> from, Rows rows, Where) {
  constexpr int64_t kSize = sizeof(E);
  const auto count = static_cast<uint16_t>(rows.count);
  const auto bytes = static_cast<uint32_t>(rows.width * kSize);
  const uint32_t gap = device::gap_of(rows, kSize);
  const auto blocks = static_cast<uint32_t>(rows.gap);
  if constexpr (kSize == 2) {
    ::copy_ubuf_to_gm_align_b16(device::pointer(to), device::pointer(from), 0, count, bytes, 0, 0,
                                blocks, gap);
  } else {
    ::copy_ubuf_to_gm_align_b32(device::pointer(to), device::pointer(from), 0, count, bytes, 0, 0,
                                blocks, gap);
  }
}

GDN_NPU inline void vbinary(Core &core, Binary op, Lanes<float> to, Lanes<float> a, Lanes<float> b,
                            Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  if (op == Binary::add) {
    ::vadd(pointer(to.at), pointer(a.at), pointer(b.at), count, block(to), block(a), block(b),
           repeat(to), repeat(a), repeat(b));
  } else if (op == Binary::sub) {
    ::vsub(pointer(to.at), pointer(a.at), pointer(b.at), count, block(to), block(a), block(b),
           repeat(to), repeat(a), repeat(b));
  } else if (op == Binary::mul) {
    ::vmul(pointer(to.at), pointer(a.at), pointer(b.at), count, block(to), block(a), block(b),
           repeat(to), repeat(a), repeat(b));
  } else {
    ::vmax(pointer(to.at), pointer(a.at), pointer(b.at), count, block(to), block(a), block(b),
           repeat(to), repeat(a), repeat(b));
  }
}

GDN_NPU inline void vmla(Core &core, Lanes<float> to, Lanes<float> a, Lanes<float> b,
                         Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  ::vmla(pointer(to.at), pointer(a.at), pointer(b.at), count, block(to), block(a), block(b),
         repeat(to), repeat(a), repeat(b));
}

GDN_NPU inline void vexp(Core &core, Lanes<float> to, Lanes<float> a, Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  ::vexp(pointer(to.at), pointer(a.at), count, block(to), block(a), repeat(to), repeat(a));
}

GDN_NPU inline void vdup(Core &core, Lanes<float> to, float value, Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  // It has strides of a source, which it does not use.
  ::vector_dup(pointer(to.at), value, count, block(to), 0, repeat(to), 0);
}

template <class E>
GDN_NPU void vcast(Core &core, Lanes<float> to, Lanes<E> a, Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  if constexpr (std::is_same_v<E, f16>) {
    ::vconv_f162f32(pointer(to.at), pointer(a.at), count, block(to), block(a), repeat(to),
                    repeat(a));
  } else {
    ::vconv_bf162f32(pointer(to.at), pointer(a.at), count, block(to), block(a), repeat(to),
                     repeat(a));
  }
}

template <class E>
GDN_NPU void vround(Core &core, Lanes<E> to, Lanes<float> a, Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  if constexpr (std::is_same_v<E, f16>) {
    ::vconv_f322f16r(pointer(to.at), pointer(a.at), count, block(to), block(a), repeat(to),
                     repeat(a));
  } else {
    ::vconv_f322bf16r(pointer(to.at), pointer(a.at), count, block(to), block(a), repeat(to),
                      repeat(a));
  }
}

GDN_NPU inline void vselect(Core &core, Lanes<float> to, Ub<uint8_t> mask, Lanes<float> a,
                            Ub<float> otherwise, Repeats repeats, Where) {
  using device::block, device::pointer, device::repeat;
  const uint8_t count = device::use(core, repeats);
  // Mode 1: the other number is in a register, and the mask lies where the second source would.
  ::set_cmpmask(pointer(otherwise));
  ::pipe_barrier(PIPE_V);
  ::vsel(pointer(to.at), pointer(a.at), pointer(mask), count, block(to), block(a), 1, repeat(to),
         repeat(a), 1, 1);
}

GDN_NPU inline void vbrcb(Core &, Ub<float> to, Ub<float> from, int64_t repeats, Where) {
  ::vbrcb(reinterpret_cast<__ubuf__ uint32_t *>(device::byte_of(to)),
          reinterpret_cast<__ubuf__ uint32_t *>(device::byte_of(from)), 1, kBlockLanes,
          static_cast<uint8_t>(repeats));
}

GDN_NPU inline void vtranspose(Core &, Ub<float> to, Ub<float> from, int64_t repeats,
                               TransposeStrides strides, Where) {
  // Four registers of 8 addresses: the two halves of what is written, a row's two blocks beside
  // each other, and the two halves of the 16 rows that are read.
  constexpr int64_t kRows = 8;
  uint64_t to_low[kRows], to_high[kRows], from_low[kRows], from_high[kRows];
  const uint64_t read = device::byte_of(from);
  const uint64_t written = device::byte_of(to);
  for (int64_t i = 0; i < kRows; ++i) {
    from_low[i] = read + static_cast<uint64_t>(i * strides.from_row * kBlockBytes);
    from_high[i] = read + static_cast<uint64_t>((i + kRows) * strides.from_row * kBlockBytes);
    const int64_t second = i % 2;
    to_low[i] = written + static_cast<uint64_t>((i / 2 * strides.to_row + second) * kBlockBytes);
    to_high[i] =
        written + static_cast<uint64_t>(((i + kRows) / 2 * strides.to_row + second) * kBlockBytes);
  }
  ::set_va_reg_sb(VA0, to_low);
  ::set_va_reg_sb(VA1, to_high);
  ::set_va_reg_sb(VA2, from_low);
  ::set_va_reg_sb(VA3, from_high);
  // A single repeat takes no stride.
  ::scatter_vnchwconv_b32(VA0, VA2, static_cast<uint8_t>(repeats),
                          static_cast<uint16_t>(repeats == 1 ? 0 : strides.to_repeat),
                          static_cast<uint16_t>(repeats == 1 ? 0 : strides.from_repeat));
}

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_DEVICE_VECTOR_H_
