// gdn verify: every named case against the float64 reference, on every code path of this machine.

#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "cases/case_run.h"
#include "cases/cases.h"
#include "cases/decode_run.h"
#include "cases/layer_run.h"
#include "cases/stage_run.h"
#include "tools/arguments.h"
#include "tools/commands.h"

namespace gdn::tools {
namespace {

using testing::Case;
using testing::Element;
using testing::LayerOperation;
using testing::Operation;
using testing::ResultNames;
using testing::StageVerdict;
using testing::Target;
using testing::Verdict;

struct VerifyOptions {
  std::string backend = "cpu";
  std::string isa;
  std::string dtype;
  std::string filter;
  std::string operation = "chunk";
  uint64_t seed = 0;
  bool full = false;
  bool list = false;
  bool json = false;
};

std::vector<Target> wanted_targets(const VerifyOptions &options) {
  gdn_exec exec{};
  exec.struct_size = sizeof(exec);
  exec.backend = options.backend.c_str();
  exec.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  gdn_selection selection{};
  check(gdn_select(&exec, &selection));
  std::vector<Target> targets = testing::targets_of(options.backend);
  std::erase_if(targets,
                [&](const Target &t) { return !options.isa.empty() && t.isa != options.isa; });
  return targets;
}

/// Groups of cases that --case knows besides names.
constexpr std::pair<std::string_view, testing::Tag> kGroups[] = {
    {"ladder", testing::kLadder},       {"whole", testing::kWhole},
    {"hard", testing::kHard},           {"semantics", testing::kSemantics},
    {"recurrent", testing::kRecurrent},
};

/// What the errors of an operation are those of.
ResultNames results_of(std::string_view operation) {
  if (operation == "stages") return {"error", ""};
  const std::optional<LayerOperation> layer = testing::layer_operation(operation);
  return layer ? testing::results_of(*layer) : ResultNames{"o", "state"};
}

/// Whether an operation knows what the case asks for.
bool served_by(std::string_view operation, const Case &c) {
  if (const auto layer = testing::layer_operation(operation)) return testing::for_layer(*layer, c);
  if (operation == "fused_gdn_decode") return testing::for_decode(c);
  if (operation == "recurrent") return c.checkpoint_every == 0 && c.chunk_size == 0;
  return !c.recurrent_only() && (operation != "stages" || testing::for_stages(c));
}

bool wanted(const Case &c, const VerifyOptions &options) {
  bool named = false;
  if (!options.filter.empty()) {
    named = c.name.find(options.filter) != std::string_view::npos;
    const bool grouped = std::ranges::any_of(kGroups, [&](const auto &group) {
      return group.first == options.filter && c.tagged(group.second);
    });
    if (!named && !grouped) return false;
  }
  if (!served_by(options.operation, c)) return false;
  return options.full || named || c.tagged(testing::kQuick);
}

/// The cases and types that the options leave, in table order.
std::vector<std::pair<const Case *, Element>> wanted_cases(const VerifyOptions &options) {
  std::vector<std::pair<const Case *, Element>> result;
  for (const Case &c : testing::cases()) {
    if (!wanted(c, options)) continue;
    for (const Element type : testing::types_of(c)) {
      if (options.dtype.empty() || options.dtype == testing::name_of(type)) {
        result.emplace_back(&c, type);
      }
    }
  }
  return result;
}

/// Prints one line per result, or collects them for JSON.
class Report {
 public:
  Report(bool json, bool stages, ResultNames results)
      : json_(json),
        color_(!json && isatty(STDOUT_FILENO) == 1),
        name_width_(stages ? 58 : 38),
        results_(results) {
    if (!json_) {
      fmt::print("{:<{}} {:<5} {:<16} {:>9} {:>9}\n", stages ? "case and stage" : "case",
                 name_width_, "type", "path", results.first, results.second);
    }
  }

  void skip(const Target &target) {
    ++skipped_;
    if (!json_) fmt::print("{} is not on this machine: skipped\n", target.name());
    skips_.push_back(target.name());
  }

  void add(const Case &c, Element type, const Target &target, const Verdict &verdict) {
    add({c.name,
         name_of(type),
         target,
         {},
         verdict.o.total,
         has_second() ? std::optional(verdict.state.total) : std::nullopt,
         verdict.failure,
         verdict.served});
  }

  void add(const Case &c, Element type, const Target &target, const StageVerdict &verdict) {
    add({c.name,
         name_of(type),
         target,
         verdict.part,
         verdict.error.total,
         {},
         verdict.failure,
         verdict.served});
  }

  /// Returns the exit code.
  int finish() const {
    if (json_) {
      const nlohmann::json out = {{"passed", passed_},
                                  {"failed", failed_},
                                  {"not_served", not_served_},
                                  {"skipped_paths", skips_},
                                  {"results", rows_}};
      fmt::print("{}\n", out.dump(1));
    } else {
      fmt::print("{} passed, {} failed, {} not served, {} code path(s) skipped\n", passed_, failed_,
                 not_served_, skipped_);
    }
    if (passed_ + failed_ == 0) {
      fmt::print(stderr, "gdn: nothing was verified: {}\n",
                 not_served_ > 0 ? "the backend serves none of these cases"
                                 : "this machine has none of the code paths");
      return 2;
    }
    return failed_ == 0 ? 0 : 1;
  }

 private:
  /// A line of the table.
  struct Row {
    std::string_view name;
    std::string_view type;
    const Target &target;
    std::string part;  ///< A stage; empty: the operation.
    double first;
    std::optional<double> second;
    std::string failure;
    bool served;
  };

  bool has_second() const { return *results_.second != '\0'; }

  void add(const Row &row) {
    const bool ok = row.failure.empty();
    ++(ok ? passed_ : row.served ? failed_ : not_served_);
    if (json_) {
      nlohmann::json out = {
          {"case", row.name},      {"dtype", row.type},         {"backend", row.target.backend},
          {"isa", row.target.isa}, {results_.first, row.first}, {"served", row.served},
          {"passed", ok},          {"failure", row.failure}};
      if (row.second) out[results_.second] = *row.second;
      if (!row.part.empty()) out["stage"] = row.part;
      rows_.push_back(std::move(out));
      return;
    }
    const std::string word = ok ? "ok" : row.served ? "FAILED" : "not served";
    const fmt::color color = ok           ? fmt::color::green
                             : row.served ? fmt::color::red
                                          : fmt::color::yellow;
    const auto error = [&](const std::optional<double> &e) {
      return e && row.served ? fmt::format("{:.2e}", *e) : "-";
    };
    const std::string name =
        row.part.empty() ? std::string(row.name) : fmt::format("{} {}", row.name, row.part);
    fmt::print("{:<{}} {:<5} {:<16} {:>9} {:>9}  {}\n", name, name_width_, row.type,
               row.target.name(), error(row.first), error(row.second),
               color_ ? fmt::format(fg(color), "{}", word) : word);
    if (!ok) fmt::print("    {}\n", row.failure);
  }

  bool json_;
  bool color_;
  int name_width_;
  ResultNames results_;
  int passed_ = 0;
  int failed_ = 0;
  int not_served_ = 0;
  int skipped_ = 0;
  nlohmann::json skips_ = nlohmann::json::array();
  nlohmann::json rows_ = nlohmann::json::array();
};

int verify(const VerifyOptions &options) {
  if (options.list) {
    for (const Case &c : testing::cases()) fmt::print("{}\n", c.name);
    return 0;
  }
  std::vector<Target> targets = wanted_targets(options);
  const auto cases = wanted_cases(options);
  if (cases.empty()) {
    throw std::runtime_error(fmt::format(
        "no case of --op {} has a name with \"{}\"{}; gdn verify --list shows all names",
        options.operation, options.filter,
        options.dtype.empty() ? "" : " and the type " + options.dtype));
  }
  const bool stages = options.operation == "stages";
  Report report(options.json, stages, results_of(options.operation));
  for (const Target &target : targets) {
    if (!target.supported) report.skip(target);
  }
  std::erase_if(targets, [](const Target &t) { return !t.supported; });
  const auto layer = testing::layer_operation(options.operation);
  const bool decode = options.operation == "fused_gdn_decode";
  const Operation operation =
      options.operation == "recurrent" ? Operation::recurrent : Operation::chunk;
  const auto run = [&](const Case &c, Element type, const Target &target) {
    if (layer) return testing::run_layer(*layer, c, type, target, options.seed);
    if (decode) return testing::run_decode(c, type, target, options.seed);
    return testing::run_case(operation, c, type, target, options.seed);
  };
  // Targets innermost: the reference result of a case is computed once and serves all.
  for (const auto &[c, type] : cases) {
    for (const Target &target : targets) {
      if (!stages) {
        report.add(*c, type, target, run(*c, type, target));
        continue;
      }
      for (const StageVerdict &verdict : testing::run_stages(*c, type, target, options.seed)) {
        report.add(*c, type, target, verdict);
      }
    }
  }
  return report.finish();
}

}  // namespace

void add_verify(CLI::App &app) {
  CLI::App *verify_command = app.add_subcommand(
      "verify",
      "Errors (relative RMS) of the named cases against the float64 reference, on every code path");
  const auto o = std::make_shared<VerifyOptions>();
  verify_command->add_option("--backend", o->backend, "See gdn info")->capture_default_str();
  verify_command->add_option("--isa", o->isa, "One instruction set; default: all");
  verify_command->add_option("--dtype", o->dtype, "f32, bf16 or f16; default: those of the case")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  verify_command->add_option(
      "--case", o->filter,
      "Only cases whose name contains this, or a group: ladder, whole, hard, "
      "semantics, recurrent");
  verify_command
      ->add_option(
          "--op", o->operation,
          "chunk, recurrent, fused_gdn_decode: a layer's step in one call, stages: each stage "
          "of the chunk algorithm, and their chain, or an operation around the rule by its name")
      ->check(CLI::IsMember(
          with_layer_operations({"chunk", "recurrent", "fused_gdn_decode", "stages"})))
      ->capture_default_str();
  verify_command->add_option("--seed", o->seed, "Draws other inputs")
      ->check(whole_number(0))
      ->capture_default_str();
  verify_command->add_flag("--full", o->full, "All cases (minutes) instead of the quick ones");
  verify_command->add_flag("--list", o->list, "Print the names of all cases");
  verify_command->add_flag("--json", o->json, "Print JSON");
  verify_command->callback([o] {
    if (const int code = verify(*o); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace gdn::tools
