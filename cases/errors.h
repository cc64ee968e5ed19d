#ifndef GDN_CASES_ERRORS_H_
#define GDN_CASES_ERRORS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cases/element.h"

namespace gdn::testing {

/// How far a result is from the float64 reference.
struct Error {
  double total = 0.0;        ///< ||a - e|| / ||e|| over everything.
  double worst_block = 0.0;  ///< The same over the worst block.
  int64_t block = -1;        ///< Which block that is.
  bool finite = true;        ///< No NaN or infinity where the reference has none.
};

/// Compares rows of `width` elements; row r belongs to block block_of_row[r]. A difference of up to
/// the type's smallest normal (bf16, f32: kernels may flush below it) or subnormal (f16) number an
/// element does not count: without that a block of zeros would have no relative error.
Error compare(std::span<const float> actual, std::span<const float> expected, int64_t width,
              std::span<const int64_t> block_of_row, Element stored_as);

/// The ladder's own rule for stages: |a - e| <= 1e-5 + 1e-2 |e| everywhere, or RMSE / mean |e| <=
/// 0.05 and R2 >= 0.99; never an error over 1, all finite. Returns "" or what is violated.
std::string stage_rule(std::span<const float> actual, std::span<const float> expected);

}  // namespace gdn::testing

#endif  // GDN_CASES_ERRORS_H_
