#include "cases/drawn.h"

#include <vector>

#include "cases/random.h"

namespace gdn::testing {

Array drawn(uint64_t seed, Element type, const Shape &shape, const std::string &stream,
            float factor) {
  Array array(type, shape);
  Random random(7 + seed, stream);
  std::vector<float> values(static_cast<size_t>(array.size()));
  for (float &e : values) e = factor * random.normal();
  array.assign(values);
  return array;
}

}  // namespace gdn::testing
