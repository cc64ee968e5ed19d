#include "abi/refusal.h"

namespace gdn::testing {

Refusals::Refusals(Scenario *scenario) : scenario_(*scenario) {
  scenario_.reset();
  EXPECT_EQ(scenario_.run(), GDN_OK) << gdn_last_error();
  expect_intact();
  right_ = contents();
}

Refusals::Bytes Refusals::contents() const {
  Bytes out;
  for (const Operand &o : scenario_.operands()) out.push_back(o.array.bytes());
  return out;
}

void Refusals::expect_intact() const {
  for (const Operand &o : scenario_.operands()) EXPECT_EQ(o.array.damage(), "") << o.name;
}

void Refusals::expect(gdn_status status, const std::vector<std::string> &parts,
                      const std::function<void()> &damage) {
  scenario_.reset();
  damage();
  const Bytes before = contents();
  EXPECT_EQ(scenario_.run(), status) << gdn_last_error();
  const std::string message = gdn_last_error();
  EXPECT_EQ(message.rfind(scenario_.operation() + ": ", 0), 0U) << message;
  EXPECT_EQ(message.back(), '.') << message;
  for (const std::string &part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << "\"" << part << "\" in: " << message;
  }
  EXPECT_TRUE(contents() == before) << "operands were touched; " << message;
  expect_intact();
  scenario_.reset();
  EXPECT_EQ(scenario_.run(), GDN_OK) << "after: " << message << "\n" << gdn_last_error();
  EXPECT_TRUE(contents() == right_) << "wrong results after: " << message;
}

void Refusals::expect_valid(const std::function<void()> &change) {
  scenario_.reset();
  change();
  EXPECT_EQ(scenario_.run(), GDN_OK) << gdn_last_error();
  expect_intact();
}

}  // namespace gdn::testing
