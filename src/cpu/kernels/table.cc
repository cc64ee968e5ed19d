#include "cpu/kernels/kernels.h"

namespace gdn::cpu::GDN_ISA {

#define GDN_KERNEL(name, problem, args, workspace) KernelOf<op::name>{&kernel::name},
const KernelTable kTable = {GDN_FOR_EACH_OPERATION(GDN_KERNEL)};
#undef GDN_KERNEL

}  // namespace gdn::cpu::GDN_ISA
