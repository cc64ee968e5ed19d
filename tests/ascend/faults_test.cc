// Faults seeded into the kernels: every line that synchronises is left out, every event is changed
// or left out whole, every second slot is taken away or used instead of the first, every buffer is
// too small, one at a time. The model must find each of them, whatever the schedule. Without a
// fault it must find nothing.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <tuple>

#include "ascend/problems.h"
#include "ascend/swap_slots.h"

namespace gdn::ascend::testing {
namespace {

using model::CrossSet;
using model::CrossWait;
using model::Instruction;
using model::SetFlag;
using model::WaitFlag;

using Edit = std::function<bool(Instruction &)>;

/// A line of a kernel's text.
struct Line {
  std::string file;
  uint32_t number;

  auto operator<=>(const Line &) const = default;
};

std::string text_of(const Line &line) { return line.file + ":" + std::to_string(line.number); }

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

Status run(const Problem &problem, model::Options options, uint64_t seed) {
  options.blocks = 2;
  options.seed = seed;
  options.most_findings = 1;
  return problem.run(options);
}

model::Options with(const Edit &edit) {
  model::Options options;
  options.edit = edit;
  return options;
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
  const Status status = run(problem, with(look), 1);
  EXPECT_TRUE(status.ok()) << status.message();
  return found;
}

void expect_found(const Problem &problem, const model::Options &options, uint64_t seed,
                  const std::string &fault) {
  EXPECT_FALSE(run(problem, options, seed).ok()) << fault << ", schedule " << seed;
}

class Faults : public ::testing::TestWithParam<Problem> {};

TEST_P(Faults, NoneWithoutAFault) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Status status = run(GetParam(), model::Options(), seed);
    EXPECT_TRUE(status.ok()) << "schedule " << seed << ": " << status.message();
  }
}

TEST_P(Faults, EveryLineLeftOut) {
  for (const Line &line : synchronisation_of(GetParam()).lines) {
    const auto edit = [&](Instruction &i) { return !i.synchronises() || line_of(i) != line; };
    for (const uint64_t seed : {1, 2}) {
      expect_found(GetParam(), with(edit), seed, "without " + text_of(line));
    }
  }
}

TEST_P(Faults, EveryEventChangedInOneLine) {
  for (const Line &line : synchronisation_of(GetParam()).lines_with_event) {
    for (const Change change : kChanges) {
      bool changed = false;
      const auto edit = [&](Instruction &i) {
        if (line_of(i) == line) changed = change_event(&i, change) || changed;
        return true;
      };
      const bool found = !run(GetParam(), with(edit), line.number).ok();
      EXPECT_EQ(found, changed) << "with another event in " << text_of(line);
    }
  }
}

TEST_P(Faults, EveryEventLeftOutWhole) {
  for (const EventName &event : synchronisation_of(GetParam()).events) {
    const auto edit = [&](Instruction &i) { return event_of(i) != event; };
    const auto [from, to, id] = event;
    expect_found(GetParam(), with(edit), static_cast<uint64_t>(id + 1),
                 "without event " + std::to_string(id) + " of pipes " + std::to_string(from) +
                     " and " + std::to_string(to));
  }
}

TEST_P(Faults, EverySecondSlotTakenAway) {
  for (const char *const *name = GetParam().slots; *name != nullptr; ++name) {
    model::Options options;
    options.one_slot_of = *name;
    expect_found(GetParam(), options, 1, std::string("with one slot of ") + *name);
  }
}

/// The cores of a problem with their buffers, before anything runs.
std::vector<model::CoreState> cores_of(const Problem &problem) {
  std::vector<model::CoreState> found;
  model::Options options;
  options.look = [&](std::vector<model::CoreState> &cores, const std::vector<model::Buffer> &) {
    found = std::move(cores);
  };
  EXPECT_TRUE(run(problem, options, 1).ok());
  return found;
}

TEST_P(Faults, EveryBufferABlockTooSmall) {
  std::set<std::string> names;
  for (const model::CoreState &core : cores_of(GetParam())) {
    for (const model::Buffer &buffer : core.buffers) names.insert(buffer.name);
  }
  for (const std::string &name : names) {
    model::Options options;
    options.smaller = name;
    expect_found(GetParam(), options, 1, "with a smaller " + name);
  }
}

/// Clears both slots, one after the other: there the other slot is no fault.
bool clears_both(const Instruction &i) {
  return i.as<model::VDup>() != nullptr && line_of(i).file == "chunk_local_cumsum.h";
}

TEST_P(Faults, TheOtherSlotInOneLine) {
  std::vector<model::CoreState> cores = cores_of(GetParam());
  const Slots slots(cores, GetParam().slots);
  std::set<std::pair<Line, std::string>> uses;
  for (model::CoreState &core : cores) {
    for (Instruction &i : core.program) {
      for (const model::Ref *ref : refs_of(i)) {
        const std::string name = slots.name_of(*ref);
        if (!name.empty() && !clears_both(i)) uses.emplace(line_of(i), name);
      }
    }
  }
  for (const auto &[line, name] : uses) {
    const auto edit = [&, &line = line, &name = name](Instruction &i) {
      if (line_of(i) != line) return true;
      for (model::Ref *ref : refs_of(i)) {
        if (slots.name_of(*ref) == name) slots.swap(*ref);
      }
      return true;
    };
    expect_found(GetParam(), with(edit), line.number,
                 "with the other slot of " + name + " in " + text_of(line));
  }
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
  for (const auto &path : std::filesystem::directory_iterator(GDN_ASCEND_KERNELS)) {
    const std::string file = path.path().filename();
    std::ifstream text(path.path());
    std::string line;
    for (uint32_t number = 1; std::getline(text, line); ++number) {
      if (!std::regex_search(line, call)) continue;
      ++count;
      EXPECT_TRUE(run_lines[file].contains(number)) << file << ":" << number;
    }
  }
  RecordProperty("lines", static_cast<int>(count));
  EXPECT_GT(count, 0U);
}

}  // namespace
}  // namespace gdn::ascend::testing
