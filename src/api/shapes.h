#ifndef GDN_API_SHAPES_H_
#define GDN_API_SHAPES_H_

#include "api/call.h"
#include "core/delta_rule.h"

namespace gdn::api {

/// The extents that operations share, bound as operands are read.
struct Shapes {
  Dim B{"B"};
  Dim T{"T"};
  Dim N{"N"};
  Dim HK{"HK", 1};
  Dim HV{"HV", 1};
  Dim DK{"DK", 1};
  Dim DV{"DV", 1};
};

/// Reads cu_seqlens (may be NULL, but not with GDN_PADDED) and binds N. B and T are bound.
Sequences read_sequences(Call *call, uint32_t flags, const DLTensor *cu_seqlens, const Dim &B,
                         const Dim &T, Dim *N);

/// The index that names no slot, of args structs with GDN_HAS_NULL_SLOT. The pool's size is yet to
/// be filled in.
template <class Args>
Slots read_null_slot(const Args &a) {
  Slots slots;
  slots.has_null = (a.flags & GDN_HAS_NULL_SLOT) != 0;
  slots.null = a.null_slot;
  return slots;
}

/// HV is a multiple of HK; both are bound.
HeadMap read_heads(Call *call, int32_t head_map, const Shapes &s);

/// A chunk_size of 0 (64), 16, 32, 64 or 128.
int64_t read_chunk_size(Call *call, int32_t chunk_size);

/// The factor of o: args.scale with GDN_HAS_SCALE, else DK^-0.5.
float read_scale(Call *call, uint32_t flags, double scale, const Shapes &s);

/// What a norm adds under its root: args.eps with GDN_HAS_EPS, else 1e-6.
float read_eps(Call *call, uint32_t flags, double eps);

/// A state [rows, HV, DK, DV], or [rows, HV, DV, DK] with v_first; absent if t is NULL. Presented
/// with DK before DV.
Tensor read_state(Call *call, const char *name, const DLTensor *t, Types types, Dim *rows,
                  Shapes *s, bool v_first, Use use);

}  // namespace gdn::api

#endif  // GDN_API_SHAPES_H_
