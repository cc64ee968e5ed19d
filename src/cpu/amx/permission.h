#ifndef GDN_CPU_AMX_PERMISSION_H_
#define GDN_CPU_AMX_PERMISSION_H_

namespace gdn::cpu::amx {

/// True if this processor has AMX with bf16 products beside the AVX-512 sets that the kernel needs,
/// and the system lets this process use it. Linux grants the tile registers on request, once for a
/// process and all its threads; the first call asks, later calls repeat the answer.
bool amx_available();

}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PERMISSION_H_
