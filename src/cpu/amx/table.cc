#include "cpu/amx/avx512.h"

namespace gdn::cpu::avx512bf16 {

extern const Kernel<DeltaRule> kFusedRecurrentGatedDeltaRule;
extern const Kernel<CausalConv1dFwd> kCausalConv1dFwd;
extern const Kernel<CausalConv1dUpdate> kCausalConv1dUpdate;
extern const Kernel<L2Norm> kL2Norm;
extern const Kernel<RmsNormGated> kRmsNormGated;

}  // namespace gdn::cpu::avx512bf16

namespace gdn::cpu::amx {

extern const Kernel<DeltaRule> kChunkGatedDeltaRule;
extern const KernelTable kTable;

// On processors with AMX an f32 multiply-add has twice the rate of vdpbf16ps, so kernels with
// matrix products are those of avx512. The others have none, and avx512bf16 rounds to bf16 in one
// instruction: decode with a bf16 state takes 0.060 ms instead of 0.082 (16/32 heads, one thread).
const KernelTable kTable = {
    &kChunkGatedDeltaRule,         &avx512bf16::kFusedRecurrentGatedDeltaRule,
    &avx512::kChunkLocalCumsum,    &avx512::kChunkScaledDotKkt,
    &avx512::kSolveTril,           &avx512::kRecomputeWU,
    &avx512::kChunkFwdH,           &avx512::kChunkFwdO,
    &avx512bf16::kCausalConv1dFwd, &avx512bf16::kCausalConv1dUpdate,
    &avx512::kFusedGdnGating,      &avx512bf16::kL2Norm,
    &avx512bf16::kRmsNormGated,
};

}  // namespace gdn::cpu::amx
