#ifndef GDN_TOOLS_PEAK_H_
#define GDN_TOOLS_PEAK_H_

#include <string>
#include <string_view>
#include <vector>

namespace gdn::tools {

/// The products that an instruction set brings, on operands of one type, and how many it does.
struct ProductRate {
  std::string isa;
  std::string type;
  double gflops;
};

/// What this machine can do at most, measured by loops that do nothing else.
struct Peak {
  std::vector<ProductRate> products;  ///< Of the instruction sets of this machine, slowest first.
  double copy_gbps = 0;               ///< Copy of memory that exceeds the caches, read + written.

  /// The rate that bounds products of operands of a type where code may use `isas`: that of their
  /// last one for the type, or else for f32. Where none of them was measured, the last one for f32.
  double product_gflops(std::string_view type, const std::vector<std::string> &isas) const;
};

/// Measures with that many threads at once; takes about a second.
Peak measure_peak(int threads);

}  // namespace gdn::tools

#endif  // GDN_TOOLS_PEAK_H_
