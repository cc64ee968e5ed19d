// The mapping from the tile layer to the device's intrinsics: each kernel, compiled against a stub
// of their names, must make the calls that follow from what the model records, in the same order
// and with the same arguments. The launcher and the packing of arguments are on the way.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>

#include "ascend/device/packing.h"
#include "ascend/expected_calls.h"
#include "ascend/problems.h"

namespace gdn::ascend::testing {
namespace {

using npu_stub::Call;

constexpr int64_t kBlocks = 2;
constexpr uint64_t kSyncBase = 0x5000;
/// The stub never looks there.
constexpr uint64_t kWorkspace = 0x400000000000;

/// The place of a launch's arguments in "GM".
alignas(512) unsigned char argument_place[GDN_ASCEND_ARGUMENT_BYTES];

/// A form of a stage on a small problem, for both targets.
struct Form {
  std::string name;
  std::function<Status(const model::Options &)> run;
  std::function<Status(device::Packing &)> pack;
};

/// What the device's compiler would make for one kind of core.
class Library {
 public:
  explicit Library(const char *path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    launch_ = reinterpret_cast<decltype(launch_)>(dlsym(handle_, "gdn_ascend_launch"));
    calls_ = reinterpret_cast<decltype(calls_)>(dlsym(handle_, "npu_stub_calls"));
  }
  Library(const Library &) = delete;
  Library &operator=(const Library &) = delete;
  ~Library() { dlclose(handle_); }

  std::vector<Call> run(const device::Packed &packed, void *arguments) const {
    calls_()->clear();
    launch_(static_cast<uint32_t>(packed.form.stage), packed.form.number,
            static_cast<uint32_t>(packed.blocks), nullptr, arguments, kSyncBase);
    return *calls_();
  }

 private:
  void *handle_;
  decltype(&gdn_ascend_launch) launch_;
  std::vector<Call> *(*calls_)();
};

/// The calls of each core of a launch, in the order of the model's cores.
using Calls = std::vector<std::vector<Call>>;

Calls calls_of(const device::Packed &packed) {
  static const Library cube(GDN_ASCEND_STUB_CUBE);
  static const Library vector(GDN_ASCEND_STUB_VECTOR);
  std::copy(packed.arguments.begin(), packed.arguments.end(), argument_place);
  Calls calls(kBlocks * model::kCoresOfBlock);
  for (const Call &call : cube.run(packed, argument_place)) {
    calls[static_cast<size_t>(call.place.block * model::kCoresOfBlock)].push_back(call);
  }
  for (const Call &call : vector.run(packed, argument_place)) {
    calls[static_cast<size_t>(call.place.block * model::kCoresOfBlock + 1 + call.place.core)]
        .push_back(call);
  }
  return calls;
}

/// What the model makes of a form.
struct Recorded {
  std::vector<model::CoreState> cores;
  std::vector<std::string> tensors;
  int64_t scratch_bytes = 0;
};

Recorded record(const Form &form) {
  Recorded recorded;
  model::Options options;
  options.blocks = kBlocks;
  options.look = [&](std::vector<model::CoreState> &cores,
                     const std::vector<model::Buffer> &tensors) {
    recorded.cores = std::move(cores);
    for (const model::Buffer &tensor : tensors) {
      recorded.tensors.push_back(tensor.name);
      if (tensor.role == model::Role::scratch) recorded.scratch_bytes += tensor.bytes;
    }
  };
  const Status status = form.run(options);
  EXPECT_TRUE(status.ok()) << status.message();
  return recorded;
}

std::string text_of(const std::string &name, const std::vector<int64_t> &arguments) {
  std::ostringstream text;
  text << name;
  for (const int64_t argument : arguments) text << " " << argument;
  return text.str();
}

/// Stops at the first difference.
void expect_calls(const std::vector<ExpectedCall> &expected, const std::vector<Call> &calls) {
  for (size_t i = 0; i < std::min(expected.size(), calls.size()); ++i) {
    const ExpectedCall &e = expected[i];
    ASSERT_EQ(text_of(calls[i].name, calls[i].arguments), text_of(e.name, e.arguments))
        << "call " << i << ", " << e.line;
  }
  EXPECT_EQ(calls.size(), expected.size());
}

/// Packs a form and gives each core's calls, and those that are expected of it, to `use`.
template <class Use>
void for_each_core(const Form &form, Use use) {
  const Recorded recorded = record(form);
  std::vector<uint64_t> addresses;
  device::Packing *packing = nullptr;
  const auto launch = [&](const device::Packed &packed) -> Status {
    // Both have packed the same tensors.
    EXPECT_EQ(packing->places().size(), recorded.tensors.size());
    for (const device::Packing::Place &place : packing->places()) {
      EXPECT_EQ(place.name, recorded.tensors[addresses.size()]);
      addresses.push_back(place.address);
    }
    EXPECT_GE(packed.workspace_bytes, static_cast<uint64_t>(recorded.scratch_bytes));
    const Calls calls = calls_of(packed);
    for (size_t core = 0; core < calls.size(); ++core) {
      const CoreKind kind = model::kind_of_core(static_cast<int64_t>(core));
      const ExpectedCalls expected(recorded.cores[core], kind, addresses, kSyncBase);
      use(core, expected.all(), calls[core]);
    }
    return {};
  };
  device::Packing target(kBlocks, reinterpret_cast<uint64_t>(argument_place), kWorkspace, launch);
  packing = &target;
  const Status status = form.pack(target);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_FALSE(addresses.empty()) << "nothing was launched";
}

const char *name_of(DType type) {
  return type == DType::f32 ? "f32" : type == DType::f16 ? "f16" : "bf16";
}

template <class Target>
Status run_solve_of(const Sequences &sequences, Target &target) {
  SolveTril p;
  p.sequences = sequences;
  p.chunk_size = 64;
  p.heads.key_heads = p.heads.value_heads = 3;
  const Data A(DType::f32, {sequences.batch, sequences.tokens, 3, 64});
  const Data T(DType::f32, {sequences.batch, sequences.tokens, 3, 64});
  p.A = A.tensor();
  p.T = T.tensor();
  return solve_tril(p, target);
}

/// Every form of every stage, and every form of sequences.
std::vector<Form> forms() {
  std::vector<Form> all;
  const auto add = [&](const std::string &name, auto run) { all.push_back({name, run, run}); };
  using enum DType;
  for (const int64_t chunk : {64, 128}) {
    const std::string size = std::to_string(chunk);
    for (const DType type : {f32, f16, bf16}) {
      const std::string end = std::string("_") + name_of(type) + "_" + size;
      add("cumsum" + end, [=](auto &target) { return run_cumsum(type, chunk, target); });
      add("solve" + end, [=](auto &target) { return run_solve(type, chunk, target); });
    }
    for (const DType type : {f16, bf16}) {
      for (const DType second : {f32, type}) {
        const std::string end =
            std::string("_") + name_of(type) + "_" + name_of(second) + "_" + size;
        add("kkt" + end, [=](auto &target) { return run_kkt(type, second, chunk, target); });
        add("fwd_o" + end, [=](auto &target) { return run_fwd_o(type, second, chunk, target); });
        for (const DType third : {f32, type}) {
          add(std::string("w_u_") + name_of(third) + end,
              [=](auto &target) { return run_w_u(type, second, third, chunk, target); });
        }
        for (const bool states : {false, true}) {
          add((states ? "fwd_h_states" : "fwd_h") + end,
              [=](auto &target) { return run_fwd_h(type, second, states, chunk, target); });
        }
      }
    }
  }
  add("rows", [](auto &target) {
    Sequences rows;
    rows.count = rows.batch = 3;
    rows.tokens = 70;
    return run_solve_of(rows, target);
  });
  add("offsets_in_32_bits", [](auto &target) {
    const int32_t offsets[] = {0, 70, 70, 210};
    Sequences packed;
    packed.count = 3;
    packed.batch = 1;
    packed.tokens = 210;
    packed.cu_seqlens = {offsets, true, false, 4, 1, 1, 0};
    return run_solve_of(packed, target);
  });
  return all;
}

class Device : public ::testing::TestWithParam<Form> {};

TEST_P(Device, CallsAreWhatTheModelRecords) {
  for_each_core(GetParam(), [](size_t core, const auto &expected, const auto &calls) {
    SCOPED_TRACE("core " + std::to_string(core));
    expect_calls(expected, calls);
  });
}

INSTANTIATE_TEST_SUITE_P(Forms, Device, ::testing::ValuesIn(forms()),
                         [](const auto &test) { return test.param.name; });

TEST(Device, KernelsCallEveryIntrinsic) {
  std::set<std::string> seen;
  for (const Form &form : forms()) {
    for_each_core(form, [&](size_t, const auto &, const auto &calls) {
      for (const Call &call : calls) seen.insert(call.name);
    });
  }
  const std::set<std::string> all = {"copy_gm_to_cbuf_multi_nd2nz_b16",
                                     "copy_gm_to_ubuf_align_b16",
                                     "copy_gm_to_ubuf_align_b32",
                                     "copy_gm_to_ubuf_align_b8",
                                     "copy_matrix_cc_to_cbuf",
                                     "copy_matrix_cc_to_gm",
                                     "copy_ubuf_to_gm_align_b16",
                                     "copy_ubuf_to_gm_align_b32",
                                     "create_cbuf_matrix",
                                     "ffts_cross_core_sync",
                                     "load_cbuf_to_ca",
                                     "load_cbuf_to_cb",
                                     "mad bf16",
                                     "mad f16",
                                     "pipe_barrier",
                                     "scatter_vnchwconv_b32",
                                     "set_cmpmask",
                                     "set_ffts_base_addr",
                                     "set_flag",
                                     "set_mask_norm",
                                     "set_mov_pad_val",
                                     "set_nd_para",
                                     "set_va_reg_sb",
                                     "set_vector_mask",
                                     "vadd",
                                     "vbrcb",
                                     "vconv_bf162f32",
                                     "vconv_f162f32",
                                     "vconv_f322bf16r",
                                     "vconv_f322f16r",
                                     "vector_dup",
                                     "vexp",
                                     "vmax",
                                     "vmla",
                                     "vmul",
                                     "vsel",
                                     "vsub",
                                     "wait_flag",
                                     "wait_flag_dev"};
  EXPECT_EQ(seen, all);
}

TEST(Packing, ConstantsGoWithTheArgumentsAndScratchLiesApart) {
  struct Tensors {
    Gm<const uint8_t> constant;
    Gm<float> first, second;
  };
  device::Packed packed;
  device::Packing packing(kBlocks, 0x10000, kWorkspace, [&](const device::Packed &p) {
    packed = p;
    return Status();
  });
  const std::vector<uint8_t> data = {3, 1, 4, 1, 5};
  const Tensors t{packing.constant("constant", data.data(), 5),
                  packing.scratch<float>("first", 129), packing.scratch<float>("second", 1)};
  ASSERT_TRUE(packing.run<nullptr>({kernels::Stage::solve_tril, 5}, t).ok());
  EXPECT_EQ(packed.form.stage, kernels::Stage::solve_tril);
  EXPECT_EQ(packed.form.number, 5U);
  EXPECT_EQ(packed.blocks, kBlocks);
  ASSERT_EQ(packed.arguments.size(), static_cast<size_t>(GDN_ASCEND_ARGUMENT_BYTES));
  EXPECT_EQ(std::memcmp(packed.arguments.data(), &t, sizeof(t)), 0);
  const uint64_t at = t.constant.tensor - 0x10000;
  ASSERT_LE(at + data.size(), packed.arguments.size());
  EXPECT_GE(at, sizeof(t));
  EXPECT_EQ(std::memcmp(&packed.arguments[at], data.data(), data.size()), 0);
  EXPECT_EQ(t.first.tensor, kWorkspace);
  EXPECT_GE(t.second.tensor, t.first.tensor + 129 * sizeof(float));
  EXPECT_EQ(t.second.tensor % 512, 0U);
  EXPECT_GE(kWorkspace + packed.workspace_bytes, t.second.tensor + sizeof(float));
}

TEST(Packing, RefusesConstantsThatDoNotFit) {
  device::Packing packing(kBlocks, 0x10000, kWorkspace, [](const device::Packed &) {
    ADD_FAILURE() << "launched";
    return Status();
  });
  const std::vector<uint8_t> data(GDN_ASCEND_ARGUMENT_BYTES);
  packing.constant("constant", data.data(), GDN_ASCEND_ARGUMENT_BYTES);
  EXPECT_FALSE(packing.run<nullptr>({}, Gm<float>()).ok());
}

}  // namespace
}  // namespace gdn::ascend::testing
