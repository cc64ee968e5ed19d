#ifndef GDN_CPU_PROCESSOR_H_
#define GDN_CPU_PROCESSOR_H_

namespace gdn::cpu {

/// What the processor has and the operating system saves across context switches. Each of the sets
/// includes those before it.
struct Processor {
  bool amd = false;
  bool avx2 = false;    ///< With FMA, F16C and BMI2.
  bool avx512 = false;  ///< F, BW, DQ and VL.
  bool avx512bf16 = false;
  bool amx = false;  ///< Tiles with bf16 products.
};

/// Asks once. Linux grants the tile registers on request, to a process with all its threads: the
/// first call asks for them too.
const Processor &processor();

}  // namespace gdn::cpu

#endif  // GDN_CPU_PROCESSOR_H_
