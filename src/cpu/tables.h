#ifndef GDN_CPU_TABLES_H_
#define GDN_CPU_TABLES_H_

#include "cpu/kernel_table.h"

namespace gdn::cpu {

// The kernel tables of the instruction sets. A build has those of its processor family.

namespace generic {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}
namespace avx512bf16 {
extern const KernelTable kTable;
}
namespace amx {
const KernelTable &table();
}
namespace neon {
extern const KernelTable kTable;
}

}  // namespace gdn::cpu

#endif  // GDN_CPU_TABLES_H_
