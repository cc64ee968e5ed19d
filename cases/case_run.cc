#include "cases/case_run.h"

namespace gdn::testing {

std::vector<Element> types_of(const Case &c) {
  std::vector<Element> types;
  if ((c.dtypes & kF32) != 0) types.push_back(Element::f32);
  if ((c.dtypes & kBf16) != 0) types.push_back(Element::bf16);
  if ((c.dtypes & kF16) != 0) types.push_back(Element::f16);
  return types;
}

double work_of(const Case &c) {
  return 6.0 * static_cast<double>(c.dk * c.dv) * static_cast<double>(c.hv) *
         static_cast<double>(c.batch * c.tokens);
}

Prepared &prepare(const Case &c, Element type, uint64_t seed) {
  static Prepared latest;
  if (latest.c == &c && latest.type == type && latest.seed == seed) return latest;
  latest = {};  // Frees the memory of the one before.
  latest = {&c, type, seed, make_call(c, type, seed), {}, 0};
  latest.input_hash = latest.call.input_hash();
  latest.expected = expect(latest.call);
  return latest;
}

Verdict run_case(Operation operation, const Case &c, Element type, const Target &target,
                 uint64_t seed) {
  Prepared &p = prepare(c, type, seed);
  p.call.reset();
  gdn_status status = GDN_OK;
  const std::string failure = run(operation, p.call, target, 0, 0, &status);
  if (!failure.empty()) {
    Verdict verdict;
    verdict.failure = failure;
    verdict.served = status != GDN_UNSUPPORTED;
    return verdict;
  }
  Verdict verdict = judge(c, p.call, p.expected);
  if (p.call.input_hash() != p.input_hash) verdict.failure += "An input was modified. ";
  return verdict;
}

}  // namespace gdn::testing
