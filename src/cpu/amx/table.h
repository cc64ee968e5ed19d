#ifndef GDN_CPU_AMX_TABLE_H_
#define GDN_CPU_AMX_TABLE_H_

#include "cpu/kernel_table.h"

namespace gdn::cpu::amx {

/// The chunk kernel on AMX tiles, the one kernel of this set's own.
namespace kernel {
extern const Kernel<op::chunk_gated_delta_rule> chunk_gated_delta_rule;
}

const KernelTable &table();

}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_TABLE_H_
