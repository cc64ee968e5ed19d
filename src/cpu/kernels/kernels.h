#ifndef GDN_CPU_KERNELS_KERNELS_H_
#define GDN_CPU_KERNELS_KERNELS_H_

// Every file of this folder is compiled once per instruction set with
//   GDN_ISA      the set's name, also the namespace of its symbols (avx2, avx512, ..)
//   GDN_TILE     its tile header ("cpu/tiles/tile_avx2.h")
// Nothing that such a unit emits may be a weak (inline, template) symbol of external linkage: the
// linker could pick it for the whole program. Helpers live in unnamed namespaces; std:: templates
// are avoided.

#include "cpu/kernel_table.h"

namespace gdn::cpu::GDN_ISA {

extern const Kernel<DeltaRule> kChunkGatedDeltaRule;
extern const Kernel<DeltaRule> kFusedRecurrentGatedDeltaRule;
extern const Kernel<ChunkLocalCumsum> kChunkLocalCumsum;
extern const Kernel<ChunkScaledDotKkt> kChunkScaledDotKkt;
extern const Kernel<SolveTril> kSolveTril;
extern const Kernel<RecomputeWU> kRecomputeWU;
extern const Kernel<ChunkFwdH> kChunkFwdH;
extern const Kernel<ChunkFwdO> kChunkFwdO;
extern const Kernel<CausalConv1dFwd> kCausalConv1dFwd;
extern const Kernel<CausalConv1dUpdate> kCausalConv1dUpdate;
extern const Kernel<FusedGdnGating> kFusedGdnGating;
extern const Kernel<L2Norm> kL2Norm;
extern const Kernel<RmsNormGated> kRmsNormGated;

extern const KernelTable kTable;

}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_KERNELS_H_
