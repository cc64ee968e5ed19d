// gdn_exec, head widths and the workspace, for every operation.

#include <gtest/gtest.h>

#include <cstring>

#include "abi/refusal.h"

namespace gdn::testing {
namespace {

class BadExec : public ::testing::TestWithParam<ScenarioMaker> {
 protected:
  BadExec() : scenario_(GetParam().make()), refusals_(scenario_.get()) {}

  std::unique_ptr<Scenario> scenario_;
  Refusals refusals_;
};

TEST_P(BadExec, Fields) {
  gdn_exec &exec = scenario_->exec;
  refusals_.expect({"exec->struct_size is 0, expected"}, [&] { exec.struct_size = 0; });
  refusals_.expect({"exec->struct_size is 4096000, expected"}, [&] { exec.struct_size = 4096000; });
  refusals_.expect({"exec->struct_size is 12"}, [&] { exec.struct_size = 12; });
  refusals_.expect({"exec->threads is -1, expected 0"}, [&] { exec.threads = -1; });
  refusals_.expect({"exec->threads is 1025", "1024"}, [&] { exec.threads = 1025; });
  refusals_.expect({"exec->flags is 4"}, [&] { exec.flags = 4; });
  refusals_.expect({"exec->stream is not NULL"}, [&] { exec.stream = &exec; });
  refusals_.expect({"exec->backend is \"gpu\"", "reference"}, [&] { exec.backend = "gpu"; });
  refusals_.expect({"exec->backend is \"\""}, [&] { exec.backend = ""; });
  refusals_.expect({"exec->isa is \"avx1024\"", "f64"}, [&] {
    exec.backend = "reference";
    exec.isa = "avx1024";
  });
  refusals_.expect({"exec->isa is \"\""}, [&] { exec.isa = ""; });
  refusals_.expect({"exec->threads_from is \"host\", expected pool or openmp"},
                   [&] { exec.threads_from = "host"; });
  refusals_.expect({"exec->threads_from is \"\""}, [&] { exec.threads_from = ""; });
  refusals_.expect_valid([&] { exec.threads_from = "pool"; });
  refusals_.expect_valid([&] { exec.flags = GDN_EXEC_CHECK | GDN_EXEC_NO_SPLIT; });
}

std::string name_of_param(const ::testing::TestParamInfo<ScenarioMaker> &param) {
  return param.param.name;
}

INSTANTIATE_TEST_SUITE_P(All, BadExec, ::testing::ValuesIn(scenario_makers()), name_of_param);

TEST(ExecBackend, OfAnotherDevice) {
  if (gdn_isa_count("cuda") == 0) GTEST_SKIP() << "this build has no CUDA backend";
  auto s = recurrent_pool_scenario();
  Refusals refusals(s.get());
  refusals.expect({"exec->backend is \"cuda\", which cannot read tensors on cpu"},
                  [&] { s->exec.backend = "cuda"; });
}

TEST(ExecIsa, ThatTheMachineLacks) {
  auto s = recurrent_pool_scenario();
  Refusals refusals(s.get());
  int lacking = 0;
  for (int i = 0; i < gdn_isa_count("cpu"); ++i) {
    if (gdn_isa_supported("cpu", i) != 0) continue;
    ++lacking;
    refusals.expect(GDN_UNSUPPORTED, {"exec->isa is ", "this machine cannot run"}, [&] {
      s->exec.backend = "cpu";
      s->exec.isa = gdn_isa_name("cpu", i);
    });
  }
  if (lacking == 0) GTEST_SKIP() << "this machine runs every instruction set";
}

TEST(HeadWidths, BeyondTheBackend) {
  // Tensors that claim wider heads: the widths are refused before memory is looked at.
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  const auto widen = [&](int64_t from, int64_t to) {
    for (Operand &o : s->operands()) {
      for (size_t d = 2; o.shape.size() == 4 && d < 4; ++d) {
        if (o.shape[d] == from) o.shape[d] = to;
      }
    }
  };
  refusals.expect(GDN_UNSUPPORTED, {"DK = 257", "cpu", "serves up to 256"},
                  [&] { widen(16, 257); });
  refusals.expect(GDN_UNSUPPORTED, {"DV = 1025", "cpu", "serves up to 1024"},
                  [&] { widen(8, 1025); });
  s->reset();
  widen(8, 7);
  EXPECT_EQ(s->run(), GDN_OK) << gdn_last_error();
}

TEST(Workspace, Chunk) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  size_t bytes = 0;
  EXPECT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&s->args, &s->exec, nullptr),
            GDN_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(gdn_last_error(), "bytes is NULL"), nullptr) << gdn_last_error();
  ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&s->args, &s->exec, &bytes), GDN_OK);

  // The size follows from shapes: data pointers may be null.
  for (Operand &o : s->operands()) o.header.data = nullptr;
  size_t again = 0;
  EXPECT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&s->args, &s->exec, &again), GDN_OK)
      << gdn_last_error();
  EXPECT_EQ(again, bytes);
  again = 123;
  (*s)["k"].shape[3] = 8;
  EXPECT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&s->args, &s->exec, &again),
            GDN_INVALID_ARGUMENT);
  EXPECT_EQ(again, 123U);
  s->reset();
  ASSERT_GT(bytes, 0U);

  refusals.expect(GDN_WORKSPACE_TOO_SMALL, {"exec->workspace is NULL", std::to_string(bytes)},
                  [&] { s->exec.workspace = nullptr; });
  refusals.expect(GDN_WORKSPACE_TOO_SMALL,
                  {"exec->workspace_size is " + std::to_string(bytes - 1), std::to_string(bytes)},
                  [&] { s->exec.workspace_size = bytes - 1; });
  refusals.expect(GDN_WORKSPACE_TOO_SMALL, {"exec->workspace is 128 past a multiple of 256"},
                  [&] { s->exec.workspace = static_cast<char *>(s->exec.workspace) + 128; });
  const int64_t o_bytes = (*s)["o"].array.size() * 2;
  for (const int64_t offset : {int64_t{0}, int64_t{64}, 16 - o_bytes}) {
    refusals.expect({"o overlaps exec->workspace"}, [&] {
      (*s)["o"].header.data = static_cast<char *>(s->exec.workspace) + offset;
      (*s)["o"].header.byte_offset = 0;
    });
  }
}

}  // namespace
}  // namespace gdn::testing
