#ifndef GDN_CPU_AMX_AVX512_H_
#define GDN_CPU_AMX_AVX512_H_

// The kernels of the avx512 set, which this set shares.

#define GDN_ISA avx512
#include "cpu/kernels/kernels.h"

#endif  // GDN_CPU_AMX_AVX512_H_
