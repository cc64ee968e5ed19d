#ifndef GDN_CASES_RANDOM_H_
#define GDN_CASES_RANDOM_H_

#include <cstdint>
#include <string_view>

namespace gdn::testing {

/// Seeded random numbers, the same on every machine up to the rounding of log and cos.
class Random {
 public:
  /// Streams with different names are independent.
  Random(uint64_t seed, std::string_view stream);

  uint64_t bits();
  float uniform();  ///< In [0, 1).
  float normal();
  int64_t below(int64_t n);  ///< In [0, n).

 private:
  uint64_t state_;
  float spare_ = 0.0F;
  bool has_spare_ = false;
};

/// Hash of a text (FNV-1a), for seeds.
uint64_t hash_of(std::string_view text);

}  // namespace gdn::testing

#endif  // GDN_CASES_RANDOM_H_
