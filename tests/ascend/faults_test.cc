// Faults seeded into the kernels: every line that synchronises is left out, every event is changed
// or left out whole, every second slot is taken away, one at a time. The model must find each of
// them, whatever the schedule. Without a fault it must find nothing.

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <tuple>

#include "ascend/problems.h"

namespace gdn::ascend::testing {
namespace {

using model::CrossSet;
using model::CrossWait;
using model::Edit;
using model::Instruction;
using model::Ref;
using model::SetFlag;
using model::WaitFlag;

constexpr uint64_t kSeeds[] = {1, 2, 3};

/// A line of a kernel's text.
struct Line {
  std::string file;
  uint32_t number;

  auto operator<=>(const Line &) const = default;
};

Line line_of(const Instruction &i) {
  const std::string path = i.where.file_name();
  return {path.substr(path.rfind('/') + 1), i.where.line()};
}

/// An event by its pipes, or a flag between cores.
using EventName = std::tuple<int, int, int>;

EventName event_of(const Instruction &i) {
  if (const auto *set = i.as<SetFlag>()) {
    return {static_cast<int>(i.pipe), static_cast<int>(set->to), set->event};
  }
  if (const auto *wait = i.as<WaitFlag>()) {
    return {static_cast<int>(wait->from), static_cast<int>(i.pipe), wait->event};
  }
  if (const auto *set = i.as<CrossSet>()) return {-1, -1, set->flag};
  if (const auto *wait = i.as<CrossWait>()) return {-1, -1, wait->flag};
  return {-1, -1, -1};
}

bool has_event(const Instruction &i) { return std::get<2>(event_of(i)) >= 0; }

/// What becomes of the number of an event.
using Change = int (*)(int);
constexpr Change kChanges[] = {
    [](int event) { return event ^ 4; },   // One that nobody uses.
    [](int event) { return event & ~1; },  // The first slot's for both slots.
    [](int event) { return event | 1; },   // The second slot's.
};

/// Returns whether it is another one then.
bool change_event(Instruction *i, Change change) {
  const int before = std::get<2>(event_of(*i));
  if (auto *set = i->as<SetFlag>()) set->event = change(before);
  if (auto *wait = i->as<WaitFlag>()) wait->event = change(before);
  if (auto *set = i->as<CrossSet>()) set->flag = change(before);
  if (auto *wait = i->as<CrossWait>()) wait->flag = change(before);
  return std::get<2>(event_of(*i)) != before;
}

Status run(const Problem &problem, const Edit &edit, uint64_t seed) {
  model::Options options;
  options.blocks = 2;
  options.seed = seed;
  options.edit = edit;
  options.most_findings = 1;
  return problem.run(options);
}

/// What synchronises in a kernel.
struct Synchronisation {
  std::set<Line> lines;
  std::set<Line> lines_with_event;
  std::set<EventName> events;
};

Synchronisation synchronisation_of(const Problem &problem) {
  Synchronisation found;
  const Edit look = [&](Instruction &i) {
    if (!i.synchronises()) return true;
    found.lines.insert(line_of(i));
    if (has_event(i)) {
      found.lines_with_event.insert(line_of(i));
      found.events.insert(event_of(i));
    }
    return true;
  };
  const Status status = run(problem, look, 1);
  EXPECT_TRUE(status.ok()) << status.message();
  return found;
}

void expect_found(const Problem &problem, const Edit &edit, const std::string &fault) {
  for (const uint64_t seed : kSeeds) {
    const Status status = run(problem, edit, seed);
    EXPECT_FALSE(status.ok()) << fault << ", schedule " << seed;
  }
}

class Faults : public ::testing::TestWithParam<Problem> {};

TEST_P(Faults, NoneWithoutAFault) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Status status = run(GetParam(), {}, seed);
    EXPECT_TRUE(status.ok()) << "schedule " << seed << ": " << status.message();
  }
}

TEST_P(Faults, EveryLineLeftOut) {
  for (const Line &line : synchronisation_of(GetParam()).lines) {
    expect_found(
        GetParam(), [&](Instruction &i) { return !i.synchronises() || line_of(i) != line; },
        "without line " + std::to_string(line.number));
  }
}

TEST_P(Faults, EveryEventChangedInOneLine) {
  for (const Line &line : synchronisation_of(GetParam()).lines_with_event) {
    for (const Change change : kChanges) {
      const auto edit = [&](Instruction &i) {
        if (line_of(i) == line) change_event(&i, change);
        return true;
      };
      bool changed = false;
      const Edit look = [&](Instruction &i) {
        if (line_of(i) == line) changed = change_event(&i, change) || changed;
        return true;
      };
      EXPECT_NE(run(GetParam(), look, 1).ok(), changed) << line.number;
      if (changed) {
        expect_found(GetParam(), edit, "with another event in line " + std::to_string(line.number));
      }
    }
  }
}

TEST_P(Faults, EveryEventLeftOutWhole) {
  for (const EventName &event : synchronisation_of(GetParam()).events) {
    expect_found(
        GetParam(), [&](Instruction &i) { return event_of(i) != event; },
        "without event " + std::to_string(std::get<2>(event)) + " of pipes " +
            std::to_string(std::get<0>(event)) + " and " + std::to_string(std::get<1>(event)));
  }
}

/// Calls f for each place that an instruction reads or writes.
template <class F>
void for_each_ref(Instruction *i, F f) {
  std::visit(
      [&](auto &a) {
        if constexpr (requires { a.to.at; }) f(a.to.at);
        if constexpr (requires { a.to.byte; }) f(a.to);
        if constexpr (requires { a.from.byte; }) f(a.from);
        if constexpr (requires { a.a.at; }) f(a.a.at);
        if constexpr (requires { a.b.at; }) f(a.b.at);
        if constexpr (requires { a.a.byte; }) f(a.a), f(a.b), f(a.c);
        if constexpr (requires { a.mask.byte; }) f(a.mask);
      },
      i->action);
}

/// Buffers in the order in which the kernels take them: those of the second slot follow those of
/// the first. How many a slot has, on a Vector core and on a Cube core.
struct SlotBuffers {
  uint32_t vector;
  uint32_t cube;
};

TEST_P(Faults, EverySecondSlotTakenAway) {
  const std::map<std::string, SlotBuffers> slots = {
      {"chunk_local_cumsum.h", {2, 0}},
      {"chunk_scaled_dot_kkt.h", {4, 4}},
      {"solve_tril.h", {1, 0}},
  };
  const SlotBuffers buffers = slots.at(GetParam().file);
  const auto take_away = [&](bool cube, uint32_t buffer, uint32_t count) {
    expect_found(
        GetParam(),
        [&](Instruction &i) {
          for_each_ref(&i, [&](Ref &ref) {
            const bool here = ref.space != Space::gm && (ref.space != Space::ub) == cube;
            if (here && ref.buffer == count + buffer) ref.buffer = buffer;
          });
          return true;
        },
        "with one slot of buffer " + std::to_string(buffer));
  };
  for (uint32_t b = 0; b < buffers.vector; ++b) take_away(false, b, buffers.vector);
  for (uint32_t b = 0; b < buffers.cube; ++b) take_away(true, b, buffers.cube);
}

INSTANTIATE_TEST_SUITE_P(Kernels, Faults, ::testing::ValuesIn(kProblems),
                         [](const auto &problem) { return std::string(problem.param.name); });

// What the tests above leave out must be all that there is: each line of the kernels' text that
// synchronises runs in one of the problems.
TEST(FaultsOfText, EveryLineRuns) {
  std::map<std::string, std::set<uint32_t>> run_lines;
  for (const Problem &problem : kProblems) {
    for (const Line &line : synchronisation_of(problem).lines) {
      run_lines[line.file].insert(line.number);
    }
  }
  const std::regex call(R"(\b(set_flag|wait_flag|pipe_barrier|cross_set|cross_wait)\()");
  size_t count = 0;
  for (const Problem &problem : kProblems) {
    std::ifstream text(std::string(GDN_ASCEND_KERNELS) + "/" + problem.file);
    ASSERT_TRUE(text) << problem.file;
    std::string line;
    for (uint32_t number = 1; std::getline(text, line); ++number) {
      if (!std::regex_search(line, call)) continue;
      ++count;
      EXPECT_TRUE(run_lines[problem.file].contains(number)) << problem.file << ":" << number;
    }
  }
  EXPECT_GT(count, 0U);
}

}  // namespace
}  // namespace gdn::ascend::testing
