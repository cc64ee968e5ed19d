// The thread pool and the default thread count, below the C interface.

#include "cpu/pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "cpu/thread_count.h"

namespace gdn::cpu {
namespace {

/// Runs `items` items; true if each ran once and no two threads held the same number at once.
bool runs_once(int32_t threads, int64_t items, Wake wake = Wake::at_once) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(items));
  std::vector<std::atomic<int>> holders(static_cast<size_t>(threads));
  std::atomic<bool> exclusive{true};
  auto work = [&](int32_t thread, int64_t first, int64_t last) {
    if (holders[static_cast<size_t>(thread)].fetch_add(1) != 0) exclusive = false;
    for (int64_t i = first; i < last; ++i) runs[static_cast<size_t>(i)].fetch_add(1);
    holders[static_cast<size_t>(thread)].fetch_sub(1);
  };
  parallel_for(threads, items, wake, work);
  for (const auto &r : runs) {
    if (r != 1) return false;
  }
  return exclusive;
}

TEST(Pool, RunsEveryItemOnce) {
  for (int32_t threads = 1; threads <= 8; ++threads) {
    for (const int64_t items : {0, 1, 2, 7, 100, 1000}) {
      EXPECT_TRUE(runs_once(threads, items)) << threads << " threads, " << items << " items";
      EXPECT_TRUE(runs_once(threads, items, Wake::if_worth_it)) << threads << ' ' << items;
    }
  }
}

TEST(Pool, UsesSeveralThreads) {
  // The caller waits inside its item until a worker has one too; a pool that never wakes a worker
  // does not come back.
  std::atomic<int> inside{0};
  auto meet = [&](int32_t, int64_t, int64_t) {
    inside.fetch_add(1);
    while (inside.load() < 2) std::this_thread::yield();
  };
  parallel_for(2, 2, Wake::at_once, meet);
  EXPECT_EQ(inside.load(), 2);
}

TEST(Pool, LeavesSleepersAloneForShortCalls) {
  const auto ids = [](std::chrono::microseconds item) {
    std::atomic<int32_t> highest{0};
    auto work = [&](int32_t thread, int64_t, int64_t) {
      if (thread > highest) highest = thread;
      std::this_thread::sleep_for(item);
    };
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // The workers fall asleep.
    parallel_for(2, 32, Wake::if_worth_it, work);
    return highest.load();
  };
  ASSERT_TRUE(runs_once(2, 100));
  // An interruption of the first item looks like a long one, so a busy machine gets more chances.
  int32_t shortest = 1;
  for (int i = 0; i < 10 && shortest != 0; ++i) shortest = ids(std::chrono::microseconds(0));
  EXPECT_EQ(shortest, 0);
  EXPECT_EQ(ids(std::chrono::milliseconds(2)), 1);
}

TEST(Pool, NestedCallsRunInline) {
  std::atomic<int64_t> sum{0};
  auto outer = [&](int32_t, int64_t first, int64_t last) {
    const std::thread::id self = std::this_thread::get_id();
    auto inner = [&](int32_t thread, int64_t a, int64_t b) {
      EXPECT_EQ(thread, 0);
      EXPECT_EQ(std::this_thread::get_id(), self);
      sum.fetch_add(b - a);
    };
    for (int64_t i = first; i < last; ++i) parallel_for(4, 10, Wake::at_once, inner);
  };
  parallel_for(4, 20, Wake::at_once, outer);
  EXPECT_EQ(sum.load(), 200);
}

TEST(Pool, ServesSeveralCallers) {
  std::atomic<bool> right{true};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&, c] {
      for (int64_t i = 0; i < 300; ++i) {
        const Wake wake = i % 2 == 0 ? Wake::at_once : Wake::if_worth_it;
        if (!runs_once(2 + c, i % 50, wake)) right = false;
      }
    });
  }
  for (std::thread &t : callers) t.join();
  EXPECT_TRUE(right);
}

TEST(Pool, SurvivesFork) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer does not support new threads after a fork.";
#endif
  ASSERT_TRUE(runs_once(4, 100));
  // Fork while another thread is in the middle of calls and holds workers.
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) runs_once(3, 100);
  });
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool right = true;
      for (int k = 0; k < 20; ++k) right = right && runs_once(4, 100);
      _exit(right ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  busy.join();
  EXPECT_TRUE(runs_once(4, 100));
}

/// A folder of control-group files, removed at the end.
class Groups : public ::testing::Test {
 protected:
  Groups() {
    std::string name = (std::filesystem::temp_directory_path() / "gdn-groups-XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~Groups() override { std::filesystem::remove_all(root_); }

  void write(const std::string &path, const std::string &text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  int32_t limit() {
    return cgroup_cpu_limit((root_ / "membership").c_str(), (root_ / "mount").c_str());
  }

  std::filesystem::path root_;
};

TEST_F(Groups, NoFilesNoLimit) { EXPECT_EQ(limit(), INT32_MAX); }

TEST_F(Groups, Version2TakesTheTightestOfGroupAndParents) {
  write("membership", "0::/a/b\n");
  write("mount/cpu.max", "max 100000\n");
  EXPECT_EQ(limit(), INT32_MAX);
  write("mount/a/b/cpu.max", "350000 100000\n");
  EXPECT_EQ(limit(), 4);
  write("mount/a/cpu.max", "200000 100000\n");
  EXPECT_EQ(limit(), 2);
  write("mount/a/cpu.max", "1000 100000\n");
  EXPECT_EQ(limit(), 1);
}

TEST_F(Groups, Version2InAContainerReadsTheMount) {
  write("membership", "0::/host/path/that/is/not/mounted\n");
  write("mount/cpu.max", "150000 100000\n");
  EXPECT_EQ(limit(), 2);
}

TEST_F(Groups, Version1) {
  write("membership", "9:name=systemd:/\n4:cpuacct,cpu:/job\n3:cpuset:/other\n");
  write("mount/cpu/job/cpu.cfs_quota_us", "-1\n");
  write("mount/cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit(), INT32_MAX);
  write("mount/cpu/job/cpu.cfs_quota_us", "300000\n");
  EXPECT_EQ(limit(), 3);
}

TEST_F(Groups, MalformedFilesLimitNothing) {
  write("membership", "nonsense\n0::/\n");
  write("mount/cpu.max", "many 100000\n");
  EXPECT_EQ(limit(), INT32_MAX);
  write("mount/cpu.max", "100000 0\n");
  EXPECT_EQ(limit(), INT32_MAX);
}

TEST(ThreadCount, IsPositive) { EXPECT_GE(usable_cpus(), 1); }

}  // namespace
}  // namespace gdn::cpu
