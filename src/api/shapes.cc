#include "api/shapes.h"

#include <cmath>
#include <utility>

namespace gdn::api {

Sequences read_sequences(Call *call, uint32_t flags, const DLTensor *cu_seqlens, const Dim &B,
                         const Dim &T, Dim *N) {
  Sequences out;
  out.padded = (flags & GDN_PADDED) != 0;
  if (out.padded) call->require("cu_seqlens", cu_seqlens, "with GDN_PADDED");
  out.batch = B.size;
  out.tokens = T.size;
  Dim entries{"N + 1", 1};
  out.cu_seqlens = call->indices("cu_seqlens", cu_seqlens, {&entries});
  if (!call->ok()) return out;
  if (!out.packed()) {
    N->bind(B.size, B.from);
  } else {
    N->bind(entries.size - 1, "cu_seqlens");
    if (B.size != 1) {
      call->invalid(B.from, " has batch B = ", B.size, ", expected B = 1 with cu_seqlens.");
    }
  }
  out.count = N->size;
  return out;
}

HeadMap read_heads(Call *call, int32_t head_map, const Shapes &s) {
  HeadMap out;
  if (head_map != GDN_HEAD_MAP_BLOCK && head_map != GDN_HEAD_MAP_INTERLEAVED) {
    call->invalid("head_map is ", head_map,
                  ", expected GDN_HEAD_MAP_BLOCK (0) or GDN_HEAD_MAP_INTERLEAVED (1).");
  }
  if (!call->ok()) return out;
  if (s.HV.size % s.HK.size != 0) {
    call->invalid(s.HV.from, " has HV = ", s.HV.size,
                  " heads, expected a multiple of HK = ", s.HK.size, " (as in ", s.HK.from, ").");
  }
  out.key_heads = s.HK.size;
  out.value_heads = s.HV.size;
  out.interleaved = head_map == GDN_HEAD_MAP_INTERLEAVED;
  return out;
}

int64_t read_chunk_size(Call *call, int32_t chunk_size) {
  switch (chunk_size) {
    case 0:
      return GDN_CHUNK_SIZE;
    case 16:
    case 32:
    case 64:
    case 128:
      return chunk_size;
    default:
      call->invalid("chunk_size is ", chunk_size, ", expected 0 (", GDN_CHUNK_SIZE,
                    "), 16, 32, 64 or 128.");
      return GDN_CHUNK_SIZE;
  }
}

float read_scale(Call *call, uint32_t flags, double scale, const Shapes &s) {
  if ((flags & GDN_HAS_SCALE) != 0) {
    call->check_finite("scale", scale);
    return call->ok() ? static_cast<float>(scale) : 0.0F;
  }
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.DK.size)));
}

float read_eps(Call *call, uint32_t flags, double eps) {
  if ((flags & GDN_HAS_EPS) == 0) return 1e-6F;
  call->check_finite("eps", eps);
  if (eps < 0) call->invalid("eps is ", eps, ", expected 0 or more.");
  return call->ok() ? static_cast<float>(eps) : 0.0F;
}

Tensor read_state(Call *call, const char *name, const DLTensor *t, Types types, Dim *rows,
                  Shapes *s, bool v_first, Use use) {
  if (!v_first) {
    return call->optional(name, t, types, {rows, &s->HV, &s->DK, &s->DV}, Layout::unit_last, use);
  }
  Tensor out =
      call->optional(name, t, types, {rows, &s->HV, &s->DV, &s->DK}, Layout::unit_last, use);
  std::swap(out.shape[2], out.shape[3]);
  std::swap(out.stride[2], out.stride[3]);
  return out;
}

}  // namespace gdn::api
