// gdn run: reads q, k, v, g, beta and friends from a safetensors file by name, runs the gated delta
// rule and writes o (and final_state, checkpoints) to another.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gdn/gdn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include "cases/delta_rule_call.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/safetensors_output.h"
#include "tools/tensor_file.h"

namespace gdn::tools {
namespace {

struct RunOptions {
  std::string input;
  std::string output;
  std::string operation = "chunk";
  std::string head_map = "block";
  std::optional<double> scale;
  bool l2norm = false;
  bool gate = false;
  bool sigmoid = false;
  bool allow_neg_eigval = false;
  bool v_first = false;
  int64_t checkpoint_every = 0;
  int threads = 0;
  std::string backend;
  std::string isa;
};

/// What is read, if it is there, of the input.
const std::vector<std::string> kTensors = {
    "q", "k", "v", "g", "beta", "A_log", "dt_bias", "cu_seqlens", "initial_state"};

/// The part of the input that one call works on.
struct Piece {
  int64_t sequence;
  int64_t batch;    ///< Row of the tensors; -1: none, for a call without any sequence.
  int64_t begin;    ///< First token.
  int64_t count;    ///< Tokens.
  int64_t written;  ///< Checkpoints before it.
  int64_t taken;    ///< Checkpoints in it.
};

/// A view of `length` rows of dimension `dim` from `begin` on, of one row of dimension 0 or, with
/// batch < 0, of none.
struct Slice {
  DLTensor tensor{};
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;

  Slice(const Slice &) = delete;
  Slice(Slice &&) = default;
  Slice &operator=(const Slice &) = delete;
  Slice(const DLTensor &t, int dim, int64_t begin, int64_t length, int64_t batch)
      : tensor(t), shape(t.shape, t.shape + t.ndim), strides(static_cast<size_t>(t.ndim), 1) {
    tensor.shape = shape.data();
    shape[static_cast<size_t>(dim)] = length;
    if (batch < 0) {
      shape[0] = 0;
      return;
    }
    for (size_t d = strides.size() - 1; d > 0; --d) strides[d - 1] = strides[d] * t.shape[d];
    const int64_t element = t.dtype.bits / 8;
    tensor.byte_offset +=
        static_cast<uint64_t>(begin * strides[static_cast<size_t>(dim)] * element);
    if (dim > 0) {
      tensor.byte_offset += static_cast<uint64_t>(batch * strides[0] * element);
      shape[0] = 1;
    }
    tensor.strides = strides.data();
  }
};

class Runner {
 public:
  explicit Runner(const RunOptions &options)
      : options_(options), file_(options.input), output_(options.output) {
    file_.refuse_others(kTensors);
    q_ = file_.require("q", 4);
    k_ = file_.require("k", 4);
    v_ = file_.require("v", 4);
    g_ = file_.find("g");
    beta_ = file_.find("beta");
    A_log_ = file_.find("A_log");
    dt_bias_ = file_.find("dt_bias");
    cu_seqlens_ = file_.find("cu_seqlens");
    initial_ = file_.find("initial_state");
    check_options();
    check_tokens(k_, "k", 4);
    check_tokens(v_, "v", 4);
    if (g_) check_tokens(*g_, "g", 3);
    if (beta_) check_tokens(*beta_, "beta", 3);
    o_ = make_tensor("o", v_.dtype, v_.shape);
    exec_.struct_size = sizeof(exec_);
    exec_.threads = options.threads;
    exec_.backend = options.backend.empty() ? nullptr : options.backend.c_str();
    exec_.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  }

  void run() {
    const std::vector<int64_t> bounds = sequence_bounds();
    const auto n = static_cast<int64_t>(bounds.size()) - 1;
    const bool packed = cu_seqlens_.has_value();
    const int64_t dk = q_.shape[3];
    const int64_t dv = v_.shape[3];
    std::vector<int64_t> state_shape = {n, v_.shape[2], options_.v_first ? dv : dk,
                                        options_.v_first ? dk : dv};
    state_ = make_tensor("final_state", "F32", state_shape);
    load_initial_state();
    if (options_.checkpoint_every > 0) {
      state_shape[0] = 0;
      for (int64_t s = 0; s < n; ++s) {
        state_shape[0] += (bounds[s + 1] - bounds[s]) / options_.checkpoint_every;
      }
      checkpoints_ = make_tensor("checkpoints", "F32", state_shape);
    }

    // Pieces that end at multiples of 64 tokens give the same bits as one call and allow a report
    // of progress; each continues from the state that the one before left.
    const int64_t unit = std::lcm<int64_t>(64, std::max<int64_t>(options_.checkpoint_every, 1));
    const int64_t piece = std::max(unit, 4096 / unit * unit);
    Progress progress(bounds.back());
    if (n == 0) call({0, -1, 0, q_.shape[1], 0, 0});  // nothing to do, but to be checked
    int64_t checkpoint = 0;
    for (int64_t s = 0; s < n; ++s) {
      const int64_t begin = packed ? bounds[s] : 0;
      const int64_t length = bounds[s + 1] - bounds[s];
      int64_t t = 0;
      do {  // an empty sequence is a call too: it is checked like any other
        const int64_t count = std::min(piece, length - t);
        const int64_t taken = options_.checkpoint_every > 0 ? count / options_.checkpoint_every : 0;
        call({s, packed ? 0 : s, begin + t, count, checkpoint, taken});
        checkpoint += taken;
        progress.advance(count);
        t += piece;
      } while (t < length);
    }
  }

  void write() {
    std::vector<SafetensorsOutput> outputs;
    const auto add = [&](const char *name, const HostTensor &t) {
      outputs.push_back({name, t.dtype, t.shape, {t.data.get(), t.size}});
    };
    add("o", o_);
    add("final_state", state_);
    if (checkpoints_) add("checkpoints", *checkpoints_);
    // A report would fall among the bytes of a file that goes to standard output.
    std::FILE *const report = output_.is(STDOUT_FILENO) ? stderr : stdout;
    write_safetensors(&output_, outputs);
    output_.commit();
    for (const SafetensorsOutput &t : outputs) {
      fmt::print(report, "{}: {} {} [{}]\n", output_.path(), t.name, t.dtype,
                 fmt::join(t.shape, ", "));
    }
  }

 private:
  /// Options and tensors that need each other.
  void check_options() const {
    const auto need = [&](bool wanted, const char *option, const auto &tensor, const char *name) {
      if (wanted && !tensor) {
        throw std::runtime_error(fmt::format("{} needs {} in {}", option, name, options_.input));
      }
    };
    need(options_.gate, "--gate", g_, "g");
    need(options_.gate, "--gate", A_log_, "A_log");
    need(options_.sigmoid, "--sigmoid", beta_, "beta");
    if (!options_.gate && (A_log_ || dt_bias_)) {
      throw std::runtime_error(fmt::format("{}: {} counts only with --gate", options_.input,
                                           A_log_ ? "A_log" : "dt_bias"));
    }
    if (options_.operation == "recurrent" && options_.checkpoint_every != 0) {
      throw std::runtime_error("--checkpoint-every needs --op chunk");
    }
  }

  /// First token of each sequence in running order, and the end.
  std::vector<int64_t> sequence_bounds() {
    std::vector<int64_t> bounds = {0};
    if (!cu_seqlens_) {
      for (int64_t b = 0; b < q_.shape[0]; ++b) bounds.push_back(bounds.back() + q_.shape[1]);
      return bounds;
    }
    const HostTensor &cu = *cu_seqlens_;
    const bool wide = cu.dtype == "I64";
    if ((!wide && cu.dtype != "I32") || cu.shape.size() != 1 || cu.shape[0] < 1) {
      throw std::runtime_error("\"cu_seqlens\" must be one-dimensional, I32 or I64, not empty");
    }
    if (q_.shape[0] != 1) throw std::runtime_error("\"cu_seqlens\" needs a batch of 1");
    for (int64_t i = 0; i < cu.shape[0]; ++i) {
      int64_t value = 0;
      if (wide) {
        std::memcpy(&value, cu.data.get() + i * 8, 8);
      } else {
        int32_t narrow = 0;
        std::memcpy(&narrow, cu.data.get() + i * 4, 4);
        value = narrow;
      }
      if (value < bounds.back() || (i == 0 && value != 0)) {
        throw std::runtime_error(fmt::format(
            "\"cu_seqlens\" must begin with 0 and not decrease, found {} at {}", value, i));
      }
      if (i > 0) bounds.push_back(value);
    }
    if (bounds.back() != q_.shape[1]) {
      throw std::runtime_error(fmt::format("\"cu_seqlens\" ends at {}, expected the {} tokens of q",
                                           bounds.back(), q_.shape[1]));
    }
    return bounds;
  }

  void load_initial_state() {
    if (!initial_) {
      std::memset(state_.data.get(), 0, state_.size);
      return;
    }
    if (initial_->shape != state_.shape) {
      throw std::runtime_error(fmt::format("\"initial_state\" has shape [{}], expected [{}]",
                                           fmt::join(initial_->shape, ", "),
                                           fmt::join(state_.shape, ", ")));
    }
    if (initial_->dtype != "F32") {
      throw std::runtime_error(
          fmt::format("\"initial_state\" is {}, expected F32", initial_->dtype));
    }
    std::memcpy(state_.data.get(), initial_->data.get(), state_.size);
  }

  void call(const Piece &piece) {
    const auto tokens = [&](HostTensor &t) {
      return Slice(t.view(), 1, piece.begin, piece.count, piece.batch);
    };
    const Slice q = tokens(q_);
    const Slice k = tokens(k_);
    const Slice v = tokens(v_);
    const Slice o = tokens(o_);
    const Slice state(state_.view(), 0, piece.sequence, 1, piece.batch);
    std::optional<Slice> g;
    std::optional<Slice> beta;
    std::optional<Slice> saved;
    if (g_) g.emplace(tokens(*g_));
    if (beta_) beta.emplace(tokens(*beta_));
    if (checkpoints_) {
      saved.emplace(checkpoints_->view(), 0, piece.written, piece.taken, piece.batch);
    }
    std::optional<DLTensor> A_log;
    std::optional<DLTensor> dt_bias;
    if (A_log_) A_log = A_log_->view();
    if (dt_bias_) dt_bias = dt_bias_->view();

    gdn_gated_delta_rule_args args{};
    args.struct_size = sizeof(args);
    args.flags = flags();
    args.head_map = options_.head_map == "block" ? GDN_HEAD_MAP_BLOCK : GDN_HEAD_MAP_INTERLEAVED;
    args.scale = options_.scale.value_or(0);
    args.q = &q.tensor;
    args.k = &k.tensor;
    args.v = &v.tensor;
    args.g = g ? &g->tensor : nullptr;
    args.beta = beta ? &beta->tensor : nullptr;
    args.A_log = A_log ? &*A_log : nullptr;
    args.dt_bias = dt_bias ? &*dt_bias : nullptr;
    args.initial_state = &state.tensor;
    args.final_state = &state.tensor;
    args.checkpoints = saved ? &saved->tensor : nullptr;
    args.checkpoint_every = options_.checkpoint_every;
    args.o = &o.tensor;
    const testing::Operation operation =
        options_.operation == "chunk" ? testing::Operation::chunk : testing::Operation::recurrent;
    size_t bytes = 0;
    check(testing::workspace_size(operation, args, exec_, &bytes));
    if (bytes > exec_.workspace_size) {
      workspace_ = allocate(bytes, "the workspace");
      exec_.workspace = workspace_.get();
      exec_.workspace_size = bytes;
    }
    check(testing::call_library(operation, args, exec_));
  }

  /// Slicing trusts [B, T, ..], so that much is checked here; the rest by the library.
  void check_tokens(const HostTensor &t, const char *name, size_t rank) const {
    if (t.shape.size() != rank || t.shape[0] != q_.shape[0] || t.shape[1] != q_.shape[1]) {
      throw std::runtime_error(fmt::format("\"{}\" has shape [{}], expected [{}, {}, ..] as q",
                                           name, fmt::join(t.shape, ", "), q_.shape[0],
                                           q_.shape[1]));
    }
  }

  uint32_t flags() const {
    const std::pair<bool, gdn_flag> bits[] = {{options_.scale.has_value(), GDN_HAS_SCALE},
                                              {options_.l2norm, GDN_USE_QK_L2NORM},
                                              {options_.gate, GDN_USE_GATE},
                                              {options_.sigmoid, GDN_USE_BETA_SIGMOID},
                                              {options_.allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL},
                                              {options_.v_first, GDN_STATE_V_FIRST}};
    uint32_t value = 0;
    for (const auto &[wanted, bit] : bits) value |= wanted ? static_cast<uint32_t>(bit) : 0U;
    return value;
  }

  RunOptions options_;
  TensorFile file_;
  OutputFile output_;
  HostTensor q_, k_, v_, o_, state_;
  std::optional<HostTensor> g_, beta_, A_log_, dt_bias_, cu_seqlens_, initial_, checkpoints_;
  gdn_exec exec_{};
  Bytes workspace_;
};

}  // namespace

void add_run(CLI::App &app) {
  CLI::App *run = app.add_subcommand(
      "run",
      "Gated delta rule over a safetensors file: reads q, k [B, T, HK, DK], v [B, T, HV, DV] and, "
      "if there, g, beta [B, T, HV], A_log, dt_bias [HV], cu_seqlens [N + 1], initial_state "
      "[N, HV, DK, DV]; writes o and final_state. A file with other tensors is refused.");
  const auto o = std::make_shared<RunOptions>();
  run->add_option("input", o->input, "File to read")->required();
  run->add_option("output", o->output,
                  "File to write, not the input; what is there is replaced when all is done; or a "
                  "device or pipe")
      ->required();
  run->add_option("--op", o->operation, "chunk (prefill) or recurrent (token by token)")
      ->check(CLI::IsMember({"chunk", "recurrent"}))
      ->capture_default_str();
  run->add_option("--scale", o->scale, "Factor of the output; default DK^-0.5");
  run->add_flag("--l2norm", o->l2norm, "Normalise q and k");
  run->add_flag("--gate", o->gate, "g holds raw gates; needs A_log");
  CLI::Option *sigmoid = run->add_flag("--sigmoid", o->sigmoid, "beta holds logits");
  run->add_flag("--allow-neg-eigval", o->allow_neg_eigval, "beta = 2 sigmoid")->needs(sigmoid);
  run->add_flag("--v-first", o->v_first, "States are [.., DV, DK]");
  run->add_option("--head-map", o->head_map, "block or interleaved")
      ->check(CLI::IsMember({"block", "interleaved"}))
      ->capture_default_str();
  run->add_option("--checkpoint-every", o->checkpoint_every,
                  "Also write the states after each so many tokens (a multiple of 64)")
      ->check(multiple_of(GDN_CHUNK_SIZE));
  run->add_option("--threads", o->threads, "0: what the process may use")->check(thread_count());
  run->add_option("--backend", o->backend, "See gdn info");
  run->add_option("--isa", o->isa, "See gdn info");
  run->callback([o] {
    std::error_code none;
    if (std::filesystem::equivalent(o->input, o->output, none)) {
      throw std::runtime_error(fmt::format("{} is the input; expected another output", o->output));
    }
    Runner runner(*o);
    runner.run();
    runner.write();
  });
}

}  // namespace gdn::tools
