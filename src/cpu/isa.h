#ifndef GDN_CPU_ISA_H_
#define GDN_CPU_ISA_H_

#include <cstdint>
#include <span>

#include "core/backend.h"
#include "cpu/kernel_table.h"

namespace gdn::cpu {

/// The instruction sets that are compiled in, slowest first, and whether this machine runs them.
std::span<const Isa> isas();

/// Kernels of instruction set i of isas().
const KernelTable &kernels(int32_t isa);

struct IsaChoice {
  int32_t isa;         ///< Index into isas().
  const char *reason;  ///< A sentence; static storage.
};

/// The set that is used where none is asked for. It depends on the processor model alone, not on a
/// timing, so that a program computes the same bits in every run on one machine.
IsaChoice choose_isa();

}  // namespace gdn::cpu

#endif  // GDN_CPU_ISA_H_
