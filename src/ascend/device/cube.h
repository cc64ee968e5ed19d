#ifndef GDN_ASCEND_DEVICE_CUBE_H_
#define GDN_ASCEND_DEVICE_CUBE_H_

#include "ascend/device/address.h"
#include "ascend/tile/cube.h"
#include "ascend/tile/move.h"

namespace gdn::ascend {
namespace device {

template <class E>
GDN_NPU __cbuf__ Native<E> *pointer(L1<E> at) {
  return reinterpret_cast<__cbuf__ Native<E> *>(byte_of(at));
}
template <class E>
GDN_NPU __ca__ Native<E> *pointer(L0a<E> at) {
  return reinterpret_cast<__ca__ Native<E> *>(byte_of(at));
}
template <class E>
GDN_NPU __cb__ Native<E> *pointer(L0b<E> at) {
  return reinterpret_cast<__cb__ Native<E> *>(byte_of(at));
}
GDN_NPU inline __cc__ float *pointer(L0c at) {
  return reinterpret_cast<__cc__ float *>(byte_of(at));
}

/// What FIX does to f32 on its way out.
template <class E>
inline constexpr QuantMode_t kRounding = QuantMode_t::NoQuant;
template <>
inline constexpr QuantMode_t kRounding<f16> = QuantMode_t::F322F16;
template <>
inline constexpr QuantMode_t kRounding<bf16> = QuantMode_t::F322BF16;

}  // namespace device

template <class E>
GDN_NPU void load_nd2nz(Core &, L1<E> to, GmIn<E> from, Rows rows, int64_t height, Where) {
  // One matrix. A row of a fractal takes 1 block, the next column of fractals begins after
  // `height`.
  ::copy_gm_to_cbuf_multi_nd2nz_b16(
      device::pointer(to), device::pointer(from), 0, 1, static_cast<uint16_t>(rows.count),
      static_cast<uint16_t>(rows.width), 0, static_cast<uint16_t>(rows.stride),
      static_cast<uint16_t>(height), 1, 1);
}

template <class E>
GDN_NPU void fill_l1(Core &, L1<E> to, int64_t elements, Where) {
  // One repeat, of so many blocks. Zero is the same bits in both types.
  const int64_t blocks = elements * static_cast<int64_t>(sizeof(E)) / kBlockBytes;
  ::create_cbuf_matrix(reinterpret_cast<__cbuf__ half *>(device::byte_of(to)), 1 | blocks << 16,
                       half(0));
}

template <class E>
GDN_NPU void store_nz2nd(Core &, Gm<E> to, L0c from, Rows rows, int64_t height, Where) {
  ::copy_matrix_cc_to_gm(device::pointer(to), device::pointer(from), 0,
                         static_cast<uint16_t>(rows.width), static_cast<uint16_t>(rows.count),
                         static_cast<uint32_t>(rows.stride), static_cast<uint16_t>(height), 0,
                         device::kRounding<E>, 0, false, true);
}

template <class E>
GDN_NPU void store_l1(Core &, L1<E> to, L0c from, int64_t rows, int64_t columns, Heights heights,
                      Where) {
  // The next column of fractals begins after so many blocks of L1.
  ::copy_matrix_cc_to_cbuf(device::pointer(to), device::pointer(from), 0,
                           static_cast<uint16_t>(columns), static_cast<uint16_t>(rows),
                           static_cast<uint32_t>(heights.to), static_cast<uint16_t>(heights.from),
                           0, device::kRounding<E>, 0, false, false);
}

template <class E>
GDN_NPU void load_a(Core &, L0a<E> to, L1<E> from, Fractals fractals, Where) {
  ::load_cbuf_to_ca(device::pointer(to), device::pointer(from), 0,
                    static_cast<uint8_t>(fractals.count), static_cast<uint16_t>(fractals.stride), 0,
                    0, false, inc);
}

template <class E>
GDN_NPU void load_a_transposed(Core &, L0a<E> to, L1<E> from, Fractals fractals, Where) {
  ::load_cbuf_to_ca(device::pointer(to), device::pointer(from), 0,
                    static_cast<uint8_t>(fractals.count), static_cast<uint16_t>(fractals.stride), 0,
                    0, true, inc);
}

template <class E>
GDN_NPU void load_b(Core &, L0b<E> to, L1<E> from, Fractals fractals, Where) {
  ::load_cbuf_to_cb(device::pointer(to), device::pointer(from), 0,
                    static_cast<uint8_t>(fractals.count), static_cast<uint16_t>(fractals.stride), 0,
                    0, false, inc);
}

template <class E>
GDN_NPU void load_b_transposed(Core &, L0b<E> to, L1<E> from, Fractals fractals, Where) {
  ::load_cbuf_to_cb(device::pointer(to), device::pointer(from), 0,
                    static_cast<uint8_t>(fractals.count), static_cast<uint16_t>(fractals.stride), 0,
                    0, true, inc);
}

template <class E>
GDN_NPU void mmad(Core &, L0c c, L0a<E> a, L0b<E> b, int64_t m, int64_t k, int64_t n, Sum sum,
                  Where) {
  ::mad(device::pointer(c), device::pointer(a), device::pointer(b), static_cast<uint16_t>(m),
        static_cast<uint16_t>(k), static_cast<uint16_t>(n), 0, false, false, sum == Sum::fresh);
}

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_DEVICE_CUBE_H_
