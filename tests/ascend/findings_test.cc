// What the model says about a kernel that is wrong: one small kernel a kind of fault, and the parts
// of the message that lead to the fault.

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "ascend/model/launch.h"

namespace gdn::ascend {
namespace {

using model::Finding;
using model::Kind;
using model::Launch;

class Findings : public ::testing::Test {
 protected:
  using Kernel = std::function<void(Core &)>;

  /// A kernel that runs on one core of a kind; empty: it has no text there.
  void run(const Kernel &vector, const Kernel &cube = {}, int64_t blocks = 1) {
    model::Options options;
    options.blocks = blocks;
    found_ = launch_.run(
        [&](Core &core) {
          if (core.kind() == CoreKind::cube && cube) cube(core);
          if (core.kind() == CoreKind::vector && vector) vector(core);
        },
        options);
  }

  void expect(Kind kind, const std::vector<std::string> &parts) {
    ASSERT_FALSE(found_.empty());
    const Finding &first = found_.front();
    EXPECT_EQ(first.kind, kind) << first.text;
    for (const std::string &part : parts) {
      EXPECT_NE(first.text.find(part), std::string::npos) << part << "\n" << first.text;
    }
    EXPECT_EQ(first.text.back(), '.') << first.text;
  }

  static std::string here(int line) { return "findings_test.cc:" + std::to_string(line); }

  std::vector<float> data_ = std::vector<float>(256, 1.0F);
  std::vector<float> result_ = std::vector<float>(256);
  Launch launch_;
  Gm<const float> in_ = launch_.input("in", data_.data(), 256);
  Gm<float> out_ = launch_.output("out", result_.data(), 256);
  Gm<float> scratch_ = launch_.scratch<float>("between", 256);
  std::vector<Finding> found_;
};

TEST_F(Findings, AFlagThatIsMissing) {
  int first = 0;
  run([&](Core &core) {
    if (core.vector() != 1) return;
    const auto a = core.take<Ub<float>>("a", 64);
    const auto b = core.take<Ub<float>>("b", 64);
    first = __LINE__ + 1;
    load(core, a, in_, {1, 64, 0});
    set_flag(core, Pipe::mte2, Pipe::v, 0);
    load(core, b, in_, {1, 64, 0});
    wait_flag(core, Pipe::mte2, Pipe::v, 0);
    vexp(core, {b}, {a}, {1});
  });
  // Of b, not of a.
  expect(Kind::race,
         {here(first + 4) + ": V of Vector core 1 of block 0 writes UB \"b\" bytes 0 to 31",
          here(first + 2) + ": MTE2 of Vector core 1 of block 0 may still write",
          "Expected set_flag(MTE2, V) behind " + here(first + 2),
          "V has waited for what MTE2 did up to its 2. instruction, " + here(first + 1)});
}

TEST_F(Findings, ABarrierThatIsMissing) {
  int first = 0;
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 64);
    first = __LINE__ + 1;
    vdup(core, {a}, 1.0F, {1});
    vexp(core, {a}, {a}, {1});
  });
  expect(Kind::race,
         {"reads UB \"a\"", "may still write",
          "Expected pipe_barrier(V) between " + here(first) + " and " + here(first + 1)});
}

TEST_F(Findings, AWriteAfterARead) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 128);
    vdup(core, {a}, 1.0F, {2});
    pipe_barrier(core, Pipe::v);
    vexp(core, {a + 64}, {a}, {1});
    vdup(core, {a}, 2.0F, {1});
  });
  expect(Kind::race,
         {"writes UB \"a\" bytes 0 to 31", "may still read", "Expected pipe_barrier(V)"});
}

// The second instruction reads what it writes; what it must wait for is the first one's read.
TEST_F(Findings, AWriteInPlaceAfterARead) {
  int first = 0;
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 128);
    vdup(core, {a}, 1.0F, {2});
    pipe_barrier(core, Pipe::v);
    first = __LINE__ + 1;
    vexp(core, {a + 64}, {a}, {1});
    vexp(core, {a}, {a}, {1});
  });
  expect(Kind::race, {here(first + 1) + ": V of Vector core", "writes UB \"a\" bytes 0 to 31",
                      here(first), "may still read"});
}

TEST_F(Findings, CoresThatDoNotWait) {
  const auto cube = [&](Core &core) {
    const auto c = core.take<L0c>("c", 256);
    const auto a = core.take<L0a<bf16>>("a", 256);
    const auto b = core.take<L0b<bf16>>("b", 256);
    const auto l1 = core.take<L1<bf16>>("l1", 256);
    fill_l1(core, l1, 256);
    set_flag(core, Pipe::mte2, Pipe::mte1, 0);
    wait_flag(core, Pipe::mte2, Pipe::mte1, 0);
    load_a(core, a, l1, {1, 1});
    load_b(core, b, l1, {1, 1});
    set_flag(core, Pipe::mte1, Pipe::m, 0);
    wait_flag(core, Pipe::mte1, Pipe::m, 0);
    mmad(core, c, a, b, 16, 16, 16, Sum::fresh);
    set_flag(core, Pipe::m, Pipe::fix, 0);
    wait_flag(core, Pipe::m, Pipe::fix, 0);
    store_nz2nd(core, scratch_, c, {16, 16, 16}, 16);
  };
  const auto vector = [&](Core &core) {
    if (core.vector() == 0) load(core, core.take<Ub<float>>("a", 256), scratch_, {1, 256, 0});
  };
  run(vector, cube);
  // Either the store comes first, or the load reads what nothing has written.
  ASSERT_FALSE(found_.empty());
  bool race = false;
  for (const Finding &finding : found_) {
    race = race || (finding.kind == Kind::race &&
                    finding.text.find("GM \"between\"") != std::string::npos &&
                    finding.text.find("Expected cross_set(") != std::string::npos);
  }
  EXPECT_TRUE(race);
}

TEST_F(Findings, BlocksThatMeet) {
  run(
      [&](Core &core) {
        if (core.vector() != 0) return;
        const auto a = core.take<Ub<float>>("a", 64);
        vdup(core, {a}, 1.0F, {1});
        set_flag(core, Pipe::v, Pipe::mte3, 0);
        wait_flag(core, Pipe::v, Pipe::mte3, 0);
        store(core, out_, a, {1, 64, 0});
      },
      {}, 2);
  expect(Kind::race, {"MTE3 of Vector core 0 of block", "Nothing orders the blocks"});
}

// Two cores may write different bytes of one block in GM.
TEST_F(Findings, NeighboursInGmAreNoRace) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 64);
    vdup(core, {a}, 1.0F, {1});
    set_flag(core, Pipe::v, Pipe::mte3, 0);
    wait_flag(core, Pipe::v, Pipe::mte3, 0);
    store(core, out_ + core.vector() * 3, a, {1, 3, 0});
  });
  EXPECT_TRUE(found_.empty()) << found_.front().text;
}

TEST_F(Findings, BytesThatNothingWrote) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 64);
    vdup(core, {a}, 1.0F, {1, 20});
    pipe_barrier(core, Pipe::v);
    vexp(core, {a}, {a}, {1});
  });
  expect(Kind::unwritten, {"V of Vector core", "reads UB \"a\" bytes 64 to 95"});
}

TEST_F(Findings, BufferTooSmall) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("small", 60);
    core.take<Ub<float>>("next", 64);
    vdup(core, {a}, 1.0F, {1});
  });
  expect(Kind::bounds, {"UB \"small\" bytes 0 to 255, which has 240"});
}

TEST_F(Findings, EndOfATensor) {
  run([&](Core &core) { load(core, core.take<Ub<float>>("a", 64), in_ + 200, {1, 64, 0}); });
  expect(Kind::bounds, {"GM \"in\" bytes 800 to 1055, which has 1024"});
}

TEST_F(Findings, MemoryTooSmall) {
  run([&](Core &core) {
    core.take<Ub<float>>("half", 30000);
    core.take<Ub<float>>("rest", 20000);
  });
  expect(Kind::capacity, {"\"rest\" in UB needs 80000 bytes behind 120000", "at most 196608"});
}

TEST_F(Findings, Alignment) {
  run([&](Core &core) { vdup(core, {core.take<Ub<float>>("a", 128) + 4}, 1.0F, {1}); });
  expect(Kind::alignment, {"to is 16", "a multiple of 32"});
}

TEST_F(Findings, Operand) {
  run([&](Core &core) { vdup(core, {core.take<Ub<float>>("a", 128)}, 1.0F, {256}); });
  expect(Kind::operand, {"repeats.count is 256", "1 to 255"});
}

TEST_F(Findings, OperandsThatOverlap) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 128);
    vexp(core, {a + 8}, {a}, {1});
  });
  expect(Kind::operand, {"overlaps the result"});
}

// Of the primitives whose operands have other shapes than their results.
TEST_F(Findings, OtherOperandsThatOverlap) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 256);
    vbrcb(core, a, a + 56, 1);
  });
  expect(Kind::operand, {"overlaps the result is 224"});
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 256);
    vtranspose(core, a, a + 120, 1, {1, 0, 2, 0});
  });
  expect(Kind::operand, {"overlaps the result is 480"});
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 256);
    const auto mask = core.take<Ub<uint8_t>>("mask", 32);
    const auto otherwise = core.take<Ub<float>>("otherwise", 8);
    vselect(core, {a}, (a + 56).as<uint8_t>(), {a}, otherwise, {1});
    vselect(core, {a}, mask, {a}, a + 32, {1});
  });
  expect(Kind::operand, {"overlaps the result is 224"});
  ASSERT_EQ(found_.size(), 4U);
  EXPECT_NE(found_[1].text.find("overlaps the result is 128"), std::string::npos) << found_[1].text;
}

// Behind each other, with nothing between.
TEST_F(Findings, NeighboursDoNotOverlap) {
  run([&](Core &core) {
    if (core.vector() != 0) return;
    const auto a = core.take<Ub<float>>("a", 320);
    vdup(core, {a}, 1.0F, {5});
    pipe_barrier(core, Pipe::v);
    vbrcb(core, a, a + 64, 1);
    pipe_barrier(core, Pipe::v);
    vtranspose(core, a, a + 128, 1, {1, 0, 2, 0});
    pipe_barrier(core, Pipe::v);
    vselect(core, {a}, (a + 64).as<uint8_t>(), {a}, a + 72, {1});
  });
  EXPECT_TRUE(found_.empty()) << found_.front().text;
}

TEST_F(Findings, StridesOfATranspose) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 256);
    const auto b = core.take<Ub<float>>("b", 256);
    vtranspose(core, a, b, 1, {-1, 0, 2, 0});
  });
  expect(Kind::operand, {"strides.from_row is -1", "0 to 65535"});
}

// A pipe runs in its own order, and S finishes each instruction before the next: the machine has
// neither such an event nor such a barrier.
TEST_F(Findings, SynchronisationThatThereIsNot) {
  run([&](Core &core) { set_flag(core, Pipe::v, Pipe::v, 0); });
  expect(Kind::operand, {"from and to are both V, expected two pipes"});
  run([&](Core &core) { wait_flag(core, Pipe::mte2, Pipe::mte2, 0); });
  expect(Kind::operand, {"from and to are both MTE2, expected two pipes"});
  run([&](Core &core) { pipe_barrier(core, Pipe::s); });
  expect(Kind::operand, {"pipe is S, expected one whose instructions may overlap"});
}

TEST_F(Findings, WrongCore) {
  run([&](Core &core) { fill_l1(core, core.take<L1<bf16>>("a", 16), 16); });
  expect(Kind::wrong_core, {"\"a\" in L1"});
  run({}, [&](Core &core) { pipe_barrier(core, Pipe::v); });
  expect(Kind::wrong_core, {"pipe V on a Cube core"});
}

TEST_F(Findings, InputWritten) {
  run([&](Core &core) {
    const auto a = core.take<Ub<float>>("a", 64);
    load(core, a, in_, {1, 64, 0});
    set_flag(core, Pipe::mte2, Pipe::mte3, 0);
    wait_flag(core, Pipe::mte2, Pipe::mte3, 0);
    store(core, Gm<float>{in_.tensor, 0}, a, {1, 64, 0});
  });
  expect(Kind::input_written, {"GM \"in\"", "an input of the launch"});
}

// The second setting comes after the wait in this program's order, but nothing makes MTE2 know.
TEST_F(Findings, EventThatMayBeSetTwice) {
  int first = 0;
  run([&](Core &core) {
    first = __LINE__ + 1;
    set_flag(core, Pipe::mte2, Pipe::v, 3);
    wait_flag(core, Pipe::mte2, Pipe::v, 3);
    set_flag(core, Pipe::mte2, Pipe::v, 3);
    wait_flag(core, Pipe::mte2, Pipe::v, 3);
  });
  expect(Kind::flag_set_twice,
         {here(first + 2) + " sets event 3 for V, which may still be set by " + here(first)});
}

TEST_F(Findings, EventLeftSet) {
  run([&](Core &core) { set_flag(core, Pipe::mte2, Pipe::v, 2); });
  expect(Kind::flag_left, {"event 2 of MTE2 for V", "still set"});
}

TEST_F(Findings, FlagBetweenCoresLeftSet) {
  run({}, [&](Core &core) { cross_set(core, Pipe::fix, 1); });
  expect(Kind::flag_left, {"a flag between cores is still 1"});
}

TEST_F(Findings, FlagBetweenCoresOverflows) {
  run(
      [&](Core &core) {
        for (int i = 0; i < 16; ++i) cross_wait(core, 0);
      },
      [&](Core &core) {
        for (int i = 0; i < 16; ++i) cross_set(core, Pipe::fix, 0);
      });
  expect(Kind::flag_overflow, {"sets flag 0 for the 16. time", "counts to 15"});
}

TEST_F(Findings, Deadlock) {
  int line = 0;
  run([&](Core &core) {
    if (core.vector() != 0) return;
    line = __LINE__ + 1;
    wait_flag(core, Pipe::mte3, Pipe::v, 1);
    cross_wait(core, 4);
  });
  expect(Kind::deadlock,
         {"V of Vector core 0 of block 0 stops at " + here(line) +
              ": it waits for event 1 of MTE3, which this core's program sets 0 times",
          "S of Vector core 0 of block 0 stops at " + here(line + 1) +
              ": it waits for flag 4 between cores"});
}

// One Vector core alone does not give the Cube core what it waits for.
TEST_F(Findings, BothVectorCoresMustSet) {
  run(
      [&](Core &core) {
        if (core.vector() == 0) cross_set(core, Pipe::v, 0);
      },
      [&](Core &core) { cross_wait(core, 0); });
  expect(Kind::deadlock, {"S of the Cube core of block 0 stops at"});
}

}  // namespace
}  // namespace gdn::ascend
