#ifndef GDN_TESTS_CASE_TEST_H_
#define GDN_TESTS_CASE_TEST_H_

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <utility>

#include "cases/case_run.h"
#include "cases/cases.h"

namespace gdn::testing {

/// A test of one case, type and instruction set. What this machine cannot run is skipped by name,
/// and GoogleTest counts it.
class CaseTest : public ::testing::Test {
 public:
  CaseTest(const Case &c, Element type, Target target)
      : case_(c), type_(type), target_(std::move(target)) {}

 protected:
  void SetUp() override {
    if (!target_.supported) GTEST_SKIP() << target_.name() << " cannot run on this machine";
  }

  const Case &case_;
  Element type_;
  Target target_;
};

/// Registers Test (a CaseTest) for all types and instruction sets of the CPU backend as
/// SUITE.CASE/TYPE/TARGET.
template <class Test>
void register_case(const char *suite, const Case &c) {
  for (const Element type : types_of(c)) {
    for (const Target &target : tested_targets()) {
      const std::string name = std::string(c.name) + "/" + name_of(type) + "/" + target.name();
      ::testing::RegisterTest(
          suite, name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
          [&c, type, target]() -> CaseTest * { return new Test(c, type, target); });
    }
  }
}

/// "small" (cheap enough for sanitizer builds), "quick" or "full", by tag and work.
inline const char *suite_of(const Case &c, double small_work, double quick_work) {
  if (!c.tagged(kQuick) || work_of(c) > quick_work) return "full";
  return work_of(c) <= small_work ? "small" : "quick";
}

/// The main function of a program whose tests `register_all` registers.
inline int case_test_main(int argc, char **argv, void (*register_all)()) {
  ::testing::InitGoogleTest(&argc, argv);
  if (tested_targets().empty()) {
    std::fputs("The library lacks the backend under test.\n", stderr);
    return 1;
  }
  register_all();
  return RUN_ALL_TESTS();
}

/// The case of that name.
inline const Case &case_named(std::string_view name) {
  for (const Case &c : cases()) {
    if (c.name == name) return c;
  }
  ADD_FAILURE() << "no case " << name;
  return cases().front();
}

}  // namespace gdn::testing

#endif  // GDN_TESTS_CASE_TEST_H_
