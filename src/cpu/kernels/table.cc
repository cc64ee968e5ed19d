#include "cpu/kernels/kernels.h"

namespace gdn::cpu::GDN_ISA {

const KernelTable kTable = {
    &kChunkGatedDeltaRule, &kFusedRecurrentGatedDeltaRule,
    &kChunkLocalCumsum,    &kChunkScaledDotKkt,
    &kSolveTril,           &kRecomputeWU,
    &kChunkFwdH,           &kChunkFwdO,
    &kCausalConv1dFwd,     &kCausalConv1dUpdate,
    &kFusedGdnGating,      &kL2Norm,
    &kRmsNormGated,
};

}  // namespace gdn::cpu::GDN_ISA
