// y = x rsqrt(mean x^2 + eps) * weight * silu(z) (or sigmoid(z)), row by row, in f32 and rounded
// once.
//
// Operations: 4 D a row and D exponentials with a division, which set the pace (about one cycle an
// element on AVX-512); memory: two reads and one write of the tensor.
// An item is a run of rows.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/row_norm.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/strided.h"

#include "cpu/kernels/gated_row.h"

namespace gdn::cpu::GDN_ISA {
namespace {

template <class E, class W, bool kWeighted, bool kGated>
void run_rows(const RmsNormGated &p, int64_t first, int64_t last) {
  for_each_row(p.x, first, last, [&](const RowIndex &row) {
    const E *z = nullptr;
    if constexpr (kGated) z = static_cast<const E *>(p.z.data) + row.offset(p.z);
    gated_row<kWeighted, kGated>(static_cast<const E *>(p.x.data) + row.offset(p.x), z,
                                 static_cast<const W *>(p.weight.data), p.weight.stride[0],
                                 p.x.shape[4], p.eps, p.sigmoid_gate,
                                 static_cast<E *>(p.y.data) + row.offset(p.y));
  });
}

int64_t items(const RmsNormGated &p, int32_t) { return row_items(p.x); }

void run(const RmsNormGated &p, int32_t, int64_t first, int64_t last, void *) {
  with_element(p.x.dtype, [&](auto element) {
    using E = decltype(element);
    const bool gated = p.z.present();
    if (!p.weight.present()) {
      gated ? run_rows<E, E, false, true>(p, first, last)
            : run_rows<E, E, false, false>(p, first, last);
    } else if (p.weight.dtype == DType::f32) {
      gated ? run_rows<E, float, true, true>(p, first, last)
            : run_rows<E, float, true, false>(p, first, last);
    } else {
      gated ? run_rows<E, E, true, true>(p, first, last)
            : run_rows<E, E, true, false>(p, first, last);
    }
  });
}

}  // namespace

const Kernel<op::rms_norm_gated> kernel::rms_norm_gated = {items, run};

}  // namespace gdn::cpu::GDN_ISA
