// Structs of callers of another version: shorter ones read as zero-extended, longer ones count only
// with zeros behind what this version knows. For the args of every operation, and for gdn_exec.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "abi/refusal.h"

namespace gdn::testing {
namespace {

using Tail = std::vector<unsigned char>;

Tail zeros_but(size_t size, size_t at, unsigned char byte) {
  Tail tail(size, 0);
  tail[at] = byte;
  return tail;
}

class ResizedStructs : public ::testing::TestWithParam<ScenarioMaker> {
 protected:
  ResizedStructs() : scenario_(GetParam().make()) {}

  // Any one bit behind the known fields refuses the call, wherever it is.
  void expect_refused(const char *name, size_t size, const Resized &args, const Resized &exec,
                      size_t at) {
    scenario_->reset();
    EXPECT_EQ(scenario_->run_resized(args, exec), GDN_INVALID_ARGUMENT) << name << " byte " << at;
    const std::string message = gdn_last_error();
    EXPECT_NE(message.find(std::string(name) + "->struct_size is "), std::string::npos) << message;
    EXPECT_NE(message.find("byte " + std::to_string(size + at) + " is not zero"), std::string::npos)
        << message;
  }

  std::unique_ptr<Scenario> scenario_;
};

TEST_P(ResizedStructs, LongerWithZeros) {
  for (const size_t longer : {8U, 16U, 64U}) {
    scenario_->reset();
    EXPECT_EQ(scenario_->run_resized({.tail = Tail(longer)}, {.tail = Tail(longer)}), GDN_OK)
        << gdn_last_error();
    for (const Operand &o : scenario_->operands()) EXPECT_EQ(o.array.damage(), "") << o.name;
  }
}

TEST_P(ResizedStructs, LongerWithOneByte) {
  for (const size_t longer : {8U, 24U}) {
    for (size_t at = 0; at < longer; ++at) {
      const unsigned char byte = at % 2 == 0 ? 1 : 0x80;
      expect_refused("args", scenario_->args_size(), {.tail = zeros_but(longer, at, byte)}, {}, at);
      expect_refused("exec", sizeof(gdn_exec), {}, {.tail = zeros_but(longer, at, byte)}, at);
    }
  }
}

TEST_P(ResizedStructs, TheLongestIsReadToItsEnd) {
  const size_t longer = 4096 - scenario_->args_size();
  scenario_->reset();
  EXPECT_EQ(scenario_->run_resized({.tail = Tail(longer)}, {}), GDN_OK) << gdn_last_error();
  expect_refused("args", scenario_->args_size(), {.tail = zeros_but(longer, longer - 1, 1)}, {},
                 longer - 1);
}

TEST_P(ResizedStructs, ShorterExec) {
  // An older caller's exec ends before these fields; what lies there is not the library's to read.
  for (const size_t keep : {offsetof(gdn_exec, backend), offsetof(gdn_exec, isa)}) {
    scenario_->reset();
    scenario_->exec.isa = "no such instruction set";
    if (keep <= offsetof(gdn_exec, backend)) scenario_->exec.backend = "no such backend";
    EXPECT_EQ(scenario_->run_resized({}, {.keep = keep}), GDN_OK) << gdn_last_error();
  }
}

INSTANTIATE_TEST_SUITE_P(All, ResizedStructs, ::testing::ValuesIn(scenario_makers()),
                         [](const auto &maker) { return std::string(maker.param.name); });

TEST(StructSize, Wrong) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  for (const size_t wrong : {size_t{0}, size_t{4}, size_t{9}, size_t{5000}, SIZE_MAX}) {
    refusals.expect({"args->struct_size is " + std::to_string(wrong), "expected the sizeof"},
                    [&] { s->args.struct_size = wrong; });
  }
  // An older caller's struct ends before o, which then is missing.
  refusals.expect({"o is NULL"},
                  [&] { s->args.struct_size = offsetof(gdn_gated_delta_rule_args, o); });
  EXPECT_EQ(gdn_chunk_gated_delta_rule(nullptr, &s->exec), GDN_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(gdn_last_error(), "args is NULL"), nullptr) << gdn_last_error();
}

}  // namespace
}  // namespace gdn::testing
