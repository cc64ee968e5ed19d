#include "cases/results.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace gdn::testing {
namespace {

// JSON has no NaN.
std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", x);
  return std::isfinite(x) ? text : "null";
}

}  // namespace

void record_result(const Case &c, Element type, const Target &target, const Verdict &verdict) {
  const char *path = std::getenv("GDN_TEST_RESULTS");
  if (path == nullptr) return;
  std::FILE *file = std::fopen(path, "a");
  if (file == nullptr) return;
  std::fprintf(file,
               "{\"case\": \"%s\", \"dtype\": \"%s\", \"backend\": \"%s\", \"isa\": \"%s\", "
               "\"o\": %s, \"state\": %s, \"passed\": %s}\n",
               std::string(c.name).c_str(), name_of(type), target.backend.c_str(),
               target.isa.c_str(), number(verdict.o.total).c_str(),
               number(verdict.state.total).c_str(), verdict.failure.empty() ? "true" : "false");
  std::fclose(file);
}

}  // namespace gdn::testing
