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

/// The kernel of each operation, in a file of its name.
namespace kernel {
#define GDN_DECLARE_KERNEL(name, problem, args, workspace) extern const Kernel<op::name> name;
GDN_FOR_EACH_OPERATION(GDN_DECLARE_KERNEL)
#undef GDN_DECLARE_KERNEL
}  // namespace kernel

extern const KernelTable kTable;

}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_KERNELS_H_
