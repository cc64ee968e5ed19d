#ifndef GDN_TESTS_ABI_SCENARIO_H_
#define GDN_TESTS_ABI_SCENARIO_H_

#include <gdn/gdn.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "cases/array.h"
#include "cases/workspace.h"

namespace gdn::testing {

/// What a test may expect of an operand.
enum Trait : unsigned {
  kOutput = 1,    ///< Written.
  kInOut = 2,     ///< Read and written.
  kRequired = 4,  ///< NULL is refused.
  kUnitLast = 8,  ///< The last stride must be 1.
  kIndex = 16,    ///< int32 or int64.
};

/// One tensor of a call: guarded memory, and a header that a test may break.
struct Operand {
  Operand(std::string name, Array array, unsigned traits, const DLTensor **slot);

  bool is(Trait t) const { return (traits & t) != 0; }
  bool written() const { return is(kOutput) || is(kInOut); }
  /// Gives header and contents their valid values again.
  void reset();
  /// Replaces the contents that reset() restores.
  void fill(std::vector<int64_t> values);

  std::string name;
  Array array;
  unsigned traits;
  const DLTensor **slot;  ///< Field of the args struct.
  DLTensor header;
  Shape shape;    ///< header.shape points here.
  Shape strides;  ///< header.strides points here.
  std::vector<float> floats;
  std::vector<int64_t> integers;
};

/// How a struct is passed on: cut to `keep` bytes, or whole with `tail` behind it.
struct Resized {
  size_t keep = SIZE_MAX;
  std::vector<unsigned char> tail = {};

  /// The first bytes of a struct and the tail, with struct_size telling their number.
  std::vector<uint64_t> copy_of(const void *value, size_t size) const;
};

/// A valid call of one operation, whose parts a test can break and restore.
class Scenario {
 public:
  explicit Scenario(std::string name, std::string operation)
      : name_(std::move(name)), operation_(std::move(operation)) {}
  virtual ~Scenario() = default;
  Scenario(const Scenario &) = delete;
  Scenario &operator=(const Scenario &) = delete;

  const std::string &name() const { return name_; }
  const std::string &operation() const { return operation_; }
  std::deque<Operand> &operands() { return operands_; }
  Operand &operator[](std::string_view name);
  bool has(std::string_view name) const;

  virtual gdn_status run() = 0;
  /// Bytes of the args struct.
  virtual size_t args_size() const = 0;
  /// Runs with resized copies of both structs in memory that ends with their last byte: the
  /// structs of callers of another version.
  virtual gdn_status run_resized(const Resized &args, const Resized &exec) = 0;
  /// Makes the call valid again, with fresh contents.
  virtual void reset();

  gdn_exec exec{};

 protected:
  std::string name_;
  std::string operation_;
  std::deque<Operand> operands_;
};

/// A scenario with its args struct in sight.
template <class Args>
class TypedScenario : public Scenario {
 public:
  using Function = gdn_status (*)(const Args *, const gdn_exec *);
  using WorkspaceFunction = gdn_status (*)(const Args *, const gdn_exec *, size_t *);

  TypedScenario(std::string name, std::string operation, Function function)
      : Scenario(std::move(name), std::move(operation)), function_(function) {
    valid_.struct_size = sizeof(Args);
  }

  /// Adds an operand of random numbers.
  Operand &add(const DLTensor *Args::*field, const char *operand, Element type, Shape shape,
               unsigned traits) {
    operands_.emplace_back(operand, Array(type, std::move(shape)), traits, &(args.*field));
    return operands_.back();
  }

  /// To be called when all is added.
  void finish(WorkspaceFunction query = nullptr) {
    reset();
    size_t bytes = 0;
    if (query != nullptr && query(&args, &exec, &bytes) == GDN_OK && bytes > 0) {
      workspace_ = std::make_unique<Workspace>(bytes);
      workspace_bytes_ = bytes;
    }
    reset();
  }

  /// The args of a valid call, without its operands.
  Args &valid() { return valid_; }
  size_t workspace_bytes() const { return workspace_bytes_; }

  gdn_status run() override { return function_(&args, &exec); }
  size_t args_size() const override { return sizeof(Args); }
  gdn_status run_resized(const Resized &of_args, const Resized &of_exec) override {
    const std::vector<uint64_t> a = of_args.copy_of(&args, sizeof args);
    const std::vector<uint64_t> e = of_exec.copy_of(&exec, sizeof exec);
    return function_(reinterpret_cast<const Args *>(a.data()),
                     reinterpret_cast<const gdn_exec *>(e.data()));
  }

  void reset() override {
    args = valid_;
    Scenario::reset();
    if (workspace_ != nullptr) {
      exec.workspace = workspace_->data();
      exec.workspace_size = workspace_bytes_;
    }
  }

  Args args{};

 private:
  Function function_;
  Args valid_{};
  std::unique_ptr<Workspace> workspace_;
  size_t workspace_bytes_ = 0;
};

using DeltaRuleScenario = TypedScenario<gdn_gated_delta_rule_args>;

/// Packed sequences of 0, 70 and 60 tokens with every operand that goes with fresh states.
std::unique_ptr<DeltaRuleScenario> chunk_scenario();
/// The same on a pool, without checkpoints, with gates and logits computed in the kernel.
std::unique_ptr<DeltaRuleScenario> chunk_pool_scenario();
/// A pool with slots to read, to write and for checkpoints, in a padded buffer.
std::unique_ptr<DeltaRuleScenario> chunk_cache_scenario();
/// The recurrent operation over one token for each of three sequences on a pool.
std::unique_ptr<DeltaRuleScenario> recurrent_pool_scenario();
/// Speculative verify: a slot for each token.
std::unique_ptr<DeltaRuleScenario> verify_scenario();
std::unique_ptr<TypedScenario<gdn_causal_conv1d_fwd_args>> conv_fwd_scenario();
std::unique_ptr<TypedScenario<gdn_causal_conv1d_update_args>> conv_update_scenario();
/// Steps of 3, 0 and 2 tokens packed in a buffer of 8, after rejected drafts; the last one's slot
/// is the null slot.
std::unique_ptr<TypedScenario<gdn_causal_conv1d_update_args>> conv_verify_scenario();

using DecodeScenario = TypedScenario<gdn_fused_gdn_decode_args>;
/// One token for each of three sequences.
std::unique_ptr<DecodeScenario> fused_decode_scenario();
/// Steps of 3, 0 and 2 tokens packed in a buffer of 8, after rejected drafts, with a slot for the
/// state after each token; the last one is skipped.
std::unique_ptr<DecodeScenario> fused_verify_scenario();

/// A maker of every scenario, the stages' and the norms' too, by name.
struct ScenarioMaker {
  const char *name;
  std::function<std::unique_ptr<Scenario>()> make;

  friend std::ostream &operator<<(std::ostream &out, const ScenarioMaker &maker) {
    return out << maker.name;
  }
};
const std::vector<ScenarioMaker> &scenario_makers();

}  // namespace gdn::testing

#endif  // GDN_TESTS_ABI_SCENARIO_H_
