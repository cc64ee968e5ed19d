// gdn bench: how long the operations take, beside what this machine can do at most.

#include <fmt/format.h>
#include <gdn/gdn.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "cases/cases.h"
#include "cases/decode_call.h"
#include "cases/delta_rule_call.h"
#include "cases/layer_run.h"
#include "cases/stage_call.h"
#include "cases/workspace.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/peak.h"

namespace gdn::tools {
namespace {

using testing::Element;
using testing::LayerOperation;
using testing::Target;

// So large that no machine holds them, so small that their products fit 64 bits.
constexpr int64_t kMostTokens = 100'000'000;
constexpr int64_t kMostHeads = 4096;
constexpr int64_t kWidestHead = 1024;

struct BenchOptions {
  std::vector<std::string> operations =
      with_layer_operations({"chunk", "stages", "recurrent", "fused_gdn_decode"});
  std::vector<int64_t> tokens = {2048};
  std::vector<int64_t> batch = {1, 64};
  std::vector<std::string> heads = {"16/16", "16/32"};
  int64_t key_dim = 128;
  int64_t value_dim = 128;
  std::string dtype = "bf16";
  std::string backend = "cpu";
  std::string isa;
  int threads = 0;
  double seconds = 1.0;
  bool peak_only = false;
  bool json = false;
};

/// One line of the result.
struct Row {
  std::string operation;
  int64_t batch, tokens, key_heads, value_heads;
  double median, best, worst;  ///< Milliseconds.
  double flop;                 ///< 0: not counted.
  double bytes;

  double gflops() const { return flop / median / 1e6; }
  double gbps() const { return bytes / median / 1e6; }
};

Row time_it(const std::string &operation, const testing::Case &c, double seconds,
            const std::function<std::string()> &call) {
  using Clock = std::chrono::steady_clock;
  const auto once = [&] {
    const auto start = Clock::now();
    if (const std::string failure = call(); !failure.empty()) throw std::runtime_error(failure);
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  once();
  std::vector<double> times;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (times.size() < 5 || (Clock::now() < end && times.size() < 100'000))
    times.push_back(once());
  std::sort(times.begin(), times.end());
  return {operation,     c.batch,      c.tokens, c.hk, c.hv, times[times.size() / 2],
          times.front(), times.back(), 0,        0};
}

double bytes_of(const std::optional<testing::Array> &a) {
  return a ? static_cast<double>(a->size()) * static_cast<double>(size_of(a->type())) : 0;
}

double bytes_of(const testing::Array &a) {
  return static_cast<double>(a.size()) * static_cast<double>(size_of(a.type()));
}

/// HK/HV, two whole numbers of which the second is a multiple of the first.
CLI::Validator head_pair() {
  return {[](std::string &text) {
            const size_t slash = std::min(text.find('/'), text.size());
            std::string key = text.substr(0, slash);
            std::string value = text.substr(std::min(slash + 1, text.size()));
            const CLI::Validator count = whole_number(1, kMostHeads);
            if (count(key).empty() && count(value).empty() &&
                std::stoll(value) % std::stoll(key) == 0) {
              return std::string();
            }
            return fmt::format(
                "expected HK/HV such as 16/32, HV a multiple of HK and at most {}, found {}",
                kMostHeads, text);
          },
          "", "heads"};
}

Element element_of(const std::string &name) {
  return name == "f32" ? Element::f32 : name == "bf16" ? Element::bf16 : Element::f16;
}

class Bench {
 public:
  explicit Bench(const BenchOptions &options) : options_(options) {
    gdn_exec exec{};
    exec.struct_size = sizeof(exec);
    exec.threads = options.threads;
    exec.backend = options.backend.c_str();
    exec.isa = options.isa.empty() ? nullptr : options.isa.c_str();
    check(gdn_select(&exec, &selection_));
    target_ = {selection_.backend, selection_.isa, true};
    for (int i = 0; i < gdn_isa_count(selection_.backend); ++i) {
      isas_.emplace_back(gdn_isa_name(selection_.backend, i));
      if (isas_.back() == selection_.isa) break;
    }
    peak_ = measure_peak(selection_.threads);
  }

  void run() {
    for (const std::string &heads : options_.heads) {
      const auto [hk, hv] = parse_heads(heads);
      for (const std::string &operation : options_.operations) {
        const bool decodes = operation == "recurrent" || operation == "fused_gdn_decode" ||
                             operation == name_of(LayerOperation::conv_update);
        for (const int64_t n : decodes ? options_.batch : options_.tokens) {
          run(operation, decodes ? make_case(n, 1, hk, hv) : make_case(1, n, hk, hv));
        }
      }
    }
  }

  void print() const {
    if (options_.json) {
      print_json();
      return;
    }
    fmt::print("{} / {}, {} thread(s), {}. {}\n", selection_.backend, selection_.isa,
               selection_.threads, options_.dtype, selection_.reason);
    fmt::print("Measured peaks in GFLOP/s:");
    for (const ProductRate &p : peak_.products) {
      fmt::print(" {} of {} {:.0f},", p.isa, p.type, p.gflops);
    }
    fmt::print(" copy {:.1f} GB/s.\n", peak_.copy_gbps);
    if (rows_.empty()) return;
    fmt::print(
        "Times are medians (best .. worst). chunk, recurrent and fused_gdn_decode count 6 DK DV "
        "FLOP per token and\nvalue head, stages their own products; GB/s counts every operand once "
        "(over 100 % of copy: caches).\n\n");
    fmt::print("{:<22} {:>5} {:>7} {:>7}  {:>30}  {:>8} {:>6}  {:>7} {:>6}\n", "operation", "B",
               "T", "HK/HV", "ms", "GFLOP/s", "peak", "GB/s", "copy");
    for (const Row &r : rows_) {
      const std::string time = fmt::format("{:.4f} ({:.4f} .. {:.4f})", r.median, r.best, r.worst);
      const std::string rate = r.flop > 0 ? fmt::format("{:>8.1f} {:>5.1f}%", r.gflops(),
                                                        100 * r.gflops() / flop_peak(r))
                                          : fmt::format("{:>8} {:>6}", "-", "-");
      fmt::print("{:<22} {:>5} {:>7} {:>7}  {:>30}  {}  {:>7.1f} {:>5.0f}%\n", r.operation, r.batch,
                 r.tokens, fmt::format("{}/{}", r.key_heads, r.value_heads), time, rate, r.gbps(),
                 100 * r.gbps() / peak_.copy_gbps);
    }
  }

 private:
  /// Of text that head_pair() let pass.
  static std::pair<int64_t, int64_t> parse_heads(const std::string &text) {
    const size_t slash = text.find('/');
    return {std::stoll(text.substr(0, slash)), std::stoll(text.substr(slash + 1))};
  }

  testing::Case make_case(int64_t batch, int64_t tokens, int64_t hk, int64_t hv) {
    lengths_.assign(static_cast<size_t>(batch), tokens);
    testing::Case c{};
    c.lengths = lengths_;
    c.name = "bench";
    c.batch = batch;
    c.tokens = tokens;
    c.hk = hk;
    c.hv = hv;
    c.dk = options_.key_dim;
    c.dv = options_.value_dim;
    c.recipe = testing::Recipe::ladder;
    c.options = testing::kInitialState;
    return c;
  }

  void run(const std::string &operation, const testing::Case &c) {
    if (const auto layer = testing::layer_operation(operation)) return around_rule(*layer, c);
    if (operation == "recurrent") return recurrent(c);
    if (operation == "fused_gdn_decode") return fused_decode(c);
    operation == "chunk" ? chunk(c) : stages(c);
  }

  void chunk(const testing::Case &c) { delta_rule(testing::Operation::chunk, "chunk", c); }

  void recurrent(const testing::Case &shape) {
    testing::Case c = shape;
    c.options |= testing::kInPlace;
    delta_rule(testing::Operation::recurrent, "recurrent", c);
  }

  void delta_rule(testing::Operation operation, const char *name, const testing::Case &c) {
    const testing::DeltaRuleCall call = testing::make_call(c, element_of(options_.dtype));
    const gdn_gated_delta_rule_args args = call.args();
    gdn_exec exec = testing::exec_for(target_, options_.threads);
    size_t size = 0;
    check(testing::workspace_size(operation, args, exec, &size));
    const testing::Workspace workspace(size);
    exec.workspace = workspace.data();
    exec.workspace_size = size;
    const Row row = time_it(name, c, options_.seconds, [&] {
      return testing::describe(testing::call_library(operation, args, exec));
    });
    add(row, c, call);
  }

  /// A step of a layer with a convolution of width 4, states as in the recurrent rows.
  void fused_decode(const testing::Case &c) {
    const Element type = element_of(options_.dtype);
    testing::DecodeCall call = testing::decode_call({.batch = c.batch,
                                                     .tokens = c.tokens,
                                                     .hk = c.hk,
                                                     .hv = c.hv,
                                                     .dk = c.dk,
                                                     .dv = c.dv,
                                                     .slots = c.batch,
                                                     .type = type,
                                                     .conv_state = type});
    const gdn_fused_gdn_decode_args args = call.args();
    gdn_exec exec = testing::exec_for(target_, options_.threads);
    check(gdn_fused_gdn_decode_workspace_size(&args, &exec, &exec.workspace_size));
    const testing::Workspace workspace(exec.workspace_size);
    exec.workspace = workspace.data();
    Row row = time_it("fused_gdn_decode", c, options_.seconds,
                      [&] { return testing::describe(gdn_fused_gdn_decode(&args, &exec)); });
    row.flop = rule_flop(c);
    for (const auto *operand : call.inputs()) row.bytes += bytes_of(*operand);
    row.bytes += bytes_of(call.o) + 2 * bytes_of(call.state) + 2 * bytes_of(call.conv_state);
    rows_.push_back(row);
  }

  /// An operation around the rule, on the operands that a layer has there.
  void around_rule(LayerOperation operation, const testing::Case &c) {
    testing::LayerCall any = make_layer_call(operation, c, element_of(options_.dtype));
    std::visit(
        [&](auto &call) {
          reset(call);
          Row row = time_it(name_of(operation), c, options_.seconds,
                            [&] { return call.run(target_, options_.threads); });
          for (const auto *operand : call.inputs()) row.bytes += bytes_of(*operand);
          for (const auto *operand : call.outputs()) row.bytes += bytes_of(*operand);
          if constexpr (requires { call.conv_state; }) row.bytes += bytes_of(call.conv_state);
          rows_.push_back(row);
        },
        any);
  }

  static double rule_flop(const testing::Case &c) {
    return 6.0 * static_cast<double>(c.dk * c.dv) * static_cast<double>(c.batch * c.tokens) *
           static_cast<double>(c.hv);
  }

  void add(Row row, const testing::Case &c, const testing::DeltaRuleCall &call) {
    row.flop = rule_flop(c);
    row.bytes = bytes_of(call.q) + bytes_of(call.k) + bytes_of(call.v) + bytes_of(call.g) +
                bytes_of(call.beta) + bytes_of(call.o) + bytes_of(call.initial_state);
    row.bytes += call.in_place ? bytes_of(call.initial_state) : bytes_of(call.final_state);
    rows_.push_back(row);
  }

  void stages(const testing::Case &c) {
    const Element type = element_of(options_.dtype);
    const testing::DeltaRuleCall call = testing::make_call(c, type);
    testing::StageCall stage_call(call, GDN_CHUNK_SIZE, {type, type});
    const double chunk = GDN_CHUNK_SIZE;
    const auto dk = static_cast<double>(c.dk);
    const auto dv = static_cast<double>(c.dv);
    const double tokens = static_cast<double>(c.batch * c.tokens) * static_cast<double>(c.hv);
    const double q = bytes_of(call.q), k = bytes_of(call.k), v = bytes_of(call.v);
    const double g = bytes_of(stage_call.g_cumsum), h = bytes_of(stage_call.h);
    const double w = bytes_of(stage_call.w);
    // Operations and operand bytes of the stages, in the order of the chain.
    const double flop[] = {0,
                           tokens * chunk * dk,
                           tokens * chunk * chunk / 3,
                           tokens * chunk * (dk + dv),
                           tokens * 4 * dk * dv,
                           tokens * (2 * dk * dv + chunk * (dk + dv))};
    const double bytes[] = {bytes_of(call.g) + g,
                            k + bytes_of(call.beta) + g + bytes_of(stage_call.A),
                            bytes_of(stage_call.A) + bytes_of(stage_call.T),
                            k + v + bytes_of(call.beta) + g + bytes_of(stage_call.T) + w + v,
                            k + w + v + g + h + v,
                            q + k + v + h + g + v};
    for (const testing::Stage stage : testing::kStages) {
      const auto i = static_cast<size_t>(stage);
      Row row = time_it(testing::name_of(stage), c, options_.seconds / 3,
                        [&] { return stage_call.run(stage, target_, options_.threads); });
      row.flop = flop[i];
      row.bytes = bytes[i];
      rows_.push_back(row);
    }
  }

  /// The rate that bounds an operation's products on the chosen code path: the chunk kernel uses
  /// products of its operands' type where the path has them, everything else those of float32.
  double flop_peak(const Row &row) const {
    return peak_.product_gflops(row.operation == "chunk" ? options_.dtype : "f32", isas_);
  }

  void print_json() const {
    nlohmann::json out = {
        {"backend", selection_.backend},
        {"isa", selection_.isa},
        {"threads", selection_.threads},
        {"dtype", options_.dtype},
        {"peak", {{"copy_gbps", peak_.copy_gbps}, {"products", nlohmann::json::array()}}},
        {"rows", nlohmann::json::array()}};
    for (const ProductRate &p : peak_.products) {
      out["peak"]["products"].push_back({{"isa", p.isa}, {"type", p.type}, {"gflops", p.gflops}});
    }
    for (const Row &r : rows_) {
      out["rows"].push_back({{"operation", r.operation},
                             {"batch", r.batch},
                             {"tokens", r.tokens},
                             {"key_heads", r.key_heads},
                             {"value_heads", r.value_heads},
                             {"median_ms", r.median},
                             {"best_ms", r.best},
                             {"worst_ms", r.worst},
                             {"gflops", r.gflops()},
                             {"peak_gflops", flop_peak(r)},
                             {"gbps", r.gbps()}});
    }
    fmt::print("{}\n", out.dump(2));
  }

  BenchOptions options_;
  gdn_selection selection_{};
  Target target_;
  std::vector<std::string> isas_;  ///< Of the backend, up to the chosen one: what kernels may use.
  Peak peak_;
  std::vector<int64_t> lengths_;  ///< Of the case at hand.
  std::vector<Row> rows_;
};

}  // namespace

void add_bench(CLI::App &app) {
  CLI::App *bench = app.add_subcommand(
      "bench", "Times, rates and percent of this machine's own measured peak, per operation");
  const auto o = std::make_shared<BenchOptions>();
  bench->add_option("--op", o->operations, "What to time")
      ->check(CLI::IsMember(o->operations))
      ->capture_default_str();
  bench->add_option("--tokens", o->tokens, "Sequence lengths (all but those of --batch)")
      ->check(whole_number(1, kMostTokens))
      ->capture_default_str();
  bench
      ->add_option("--batch", o->batch,
                   "Batch sizes (recurrent, fused_gdn_decode, causal_conv1d_update)")
      ->check(whole_number(1, kMostTokens))
      ->capture_default_str();
  bench->add_option("--heads", o->heads, "HK/HV pairs")->check(head_pair())->capture_default_str();
  bench->add_option("--key-dim", o->key_dim, "DK")
      ->check(whole_number(1, kWidestHead))
      ->capture_default_str();
  bench->add_option("--value-dim", o->value_dim, "DV")
      ->check(whole_number(1, kWidestHead))
      ->capture_default_str();
  bench->add_option("--dtype", o->dtype, "f32, bf16 or f16")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->capture_default_str();
  bench->add_option("--backend", o->backend, "See gdn info")->capture_default_str();
  bench->add_option("--isa", o->isa, "One instruction set; default: the chosen one");
  bench->add_option("--threads", o->threads, "0: what the process may use")->check(thread_count());
  bench->add_option("--seconds", o->seconds, "Time for each row, at most 3600")
      ->check(number(0, 3600))
      ->capture_default_str();
  bench->add_flag("--peak", o->peak_only, "Only the machine's peaks");
  bench->add_flag("--json", o->json, "Print JSON");
  bench->callback([o] {
    Bench program(*o);
    if (!o->peak_only) program.run();
    program.print();
  });
}

}  // namespace gdn::tools
