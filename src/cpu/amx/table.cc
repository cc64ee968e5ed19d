#include "cpu/amx/avx512.h"

namespace gdn::cpu::amx {

extern const Kernel<DeltaRule> kChunkGatedDeltaRule;
extern const KernelTable kTable;

// On processors with AMX an f32 multiply-add has twice the rate of vdpbf16ps, so the vector kernels
// are those of avx512.
const KernelTable kTable = {
    &kChunkGatedDeltaRule,      &avx512::kFusedRecurrentGatedDeltaRule,
    &avx512::kChunkLocalCumsum, &avx512::kChunkScaledDotKkt,
    &avx512::kSolveTril,        &avx512::kRecomputeWU,
    &avx512::kChunkFwdH,        &avx512::kChunkFwdO,
    &avx512::kCausalConv1dFwd,  &avx512::kCausalConv1dUpdate,
    &avx512::kFusedGdnGating,   &avx512::kL2Norm,
    &avx512::kRmsNormGated,
};

}  // namespace gdn::cpu::amx
