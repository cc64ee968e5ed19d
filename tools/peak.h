#ifndef GDN_TOOLS_PEAK_H_
#define GDN_TOOLS_PEAK_H_

namespace gdn::tools {

/// What this machine can do at most, measured by loops that do nothing else. 0: it cannot.
struct Peak {
  double fma_gflops = 0;       ///< float32 multiply-adds, widest vectors of this machine.
  double bf16_dot_gflops = 0;  ///< vdpbf16ps.
  double amx_gflops = 0;       ///< tdpbf16ps.
  double copy_gbps = 0;        ///< Copy of memory that exceeds the caches, read + written.
};

/// Measures with that many threads at once; takes about a second.
Peak measure_peak(int threads);

}  // namespace gdn::tools

#endif  // GDN_TOOLS_PEAK_H_
