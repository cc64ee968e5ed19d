#ifndef GDN_CASES_DRAWN_H_
#define GDN_CASES_DRAWN_H_

#include <cstdint>
#include <string>

#include "cases/array.h"

namespace gdn::testing {

/// Normal numbers times `factor`, the same for the same seed and stream.
Array drawn(uint64_t seed, Element type, const Shape &shape, const std::string &stream,
            float factor = 1.0F);

}  // namespace gdn::testing

#endif  // GDN_CASES_DRAWN_H_
