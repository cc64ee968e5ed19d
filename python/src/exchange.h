#ifndef GDN_PYTHON_EXCHANGE_H_
#define GDN_PYTHON_EXCHANGE_H_

// Two C tables through which array libraries describe their arrays without a Python call each.
// Declared here because neither needs to be a build dependency: dlpack.h of distributions is often
// older than DLPack's exchange table, and NumPy's headers would tie the wheel to a NumPy version.

#include <dlpack/dlpack.h>

#include <cstdint>

namespace gdn::python {

/// DLPack's table of exchange functions (DLPack 1.3), found in the capsule
/// `type(tensor).__dlpack_c_exchange_api__`.
struct ExchangeTable {
  uint32_t major_version;
  uint32_t minor_version;
  ExchangeTable *previous;
  int (*allocate)(DLTensor *, void **, void *, void (*)(void *, const char *, const char *));
  int (*export_managed)(void *, void **);
  int (*import_managed)(void *, void **);
  /// Describes an array in place; shape and strides belong to the array. May be null.
  int (*borrow)(void *array, DLTensor *out);
  int (*current_stream)(DLDeviceType type, int32_t device, void **out);
};

inline constexpr const char *kExchangeCapsule = "dlpack_exchange_api";
inline constexpr uint32_t kExchangeMajor = 1;

/// NumPy's array interface, found in the capsule `array.__array_struct__`.
struct ArrayInterface {
  int two;
  int rank;
  char type_kind;
  int item_size;
  int flags;
  intptr_t *shape;
  intptr_t *strides;  ///< In bytes.
  void *data;
  void *descriptor;
};

inline constexpr int kArrayNativeOrder = 0x200;
inline constexpr int kArrayWriteable = 0x400;

/// Codes of DLDataType that older headers do not name.
inline constexpr uint8_t kBoolCode = 6;

}  // namespace gdn::python

#endif  // GDN_PYTHON_EXCHANGE_H_
