#ifndef GDN_ASCEND_DEVICE_ADDRESS_H_
#define GDN_ASCEND_DEVICE_ADDRESS_H_

#include "ascend/tile/core.h"

namespace gdn::ascend::device {

/// Bytes from the begin of its memory; in GM, the address.
template <Space S, class E>
GDN_NPU uint64_t byte_of(Local<S, E> at) {
  return at.buffer + static_cast<uint64_t>(at.offset * static_cast<int64_t>(sizeof(E)));
}
template <class E>
GDN_NPU uint64_t byte_of(Gm<E> at) {
  return at.tensor + static_cast<uint64_t>(at.offset * static_cast<int64_t>(sizeof(E)));
}

/// The compiler's type of an element.
template <class E>
struct NativeType {
  using Type = E;
};
template <>
struct NativeType<f16> {
  using Type = half;
};
template <>
struct NativeType<bf16> {
  using Type = bfloat16_t;
};
template <class E>
using Native = typename NativeType<std::remove_const_t<E>>::Type;

template <class E>
GDN_NPU __gm__ Native<E> *pointer(Gm<E> at) {
  return reinterpret_cast<__gm__ Native<E> *>(byte_of(at));
}

}  // namespace gdn::ascend::device

#endif  // GDN_ASCEND_DEVICE_ADDRESS_H_
