#include GDN_TILE

#include "cpu/kernels/kernels.h"

namespace gdn::cpu::GDN_ISA {

const Kernel<op::fused_gdn_decode> kernel::fused_gdn_decode = {nullptr, nullptr};

}  // namespace gdn::cpu::GDN_ISA
