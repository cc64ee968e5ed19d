#ifndef GDN_TESTS_ABI_REFUSAL_H_
#define GDN_TESTS_ABI_REFUSAL_H_

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "abi/scenario.h"

namespace gdn::testing {

/// Runs broken calls of a scenario and checks how they are refused.
class Refusals {
 public:
  /// Runs the valid call once; its results are what every later valid call must give.
  explicit Refusals(Scenario *scenario);

  /// Breaks the call, runs it, and expects: the status; a message that starts with the operation's
  /// name, ends with a full stop and contains each of `parts`; untouched operands; and, restored,
  /// the right results of the next call.
  void expect(gdn_status status, const std::vector<std::string> &parts,
              const std::function<void()> &damage);

  /// The same with GDN_INVALID_ARGUMENT.
  void expect(const std::vector<std::string> &parts, const std::function<void()> &damage) {
    expect(GDN_INVALID_ARGUMENT, parts, damage);
  }

  /// Changes the call, runs it, expects GDN_OK and intact guards.
  void expect_valid(const std::function<void()> &change);

 private:
  using Bytes = std::vector<std::vector<unsigned char>>;

  Bytes contents() const;
  void expect_intact() const;

  Scenario &scenario_;
  Bytes right_;
};

}  // namespace gdn::testing

#endif  // GDN_TESTS_ABI_REFUSAL_H_
