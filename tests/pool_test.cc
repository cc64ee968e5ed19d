// Where threads come from, and the default thread count, below the C interface.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "cpu/openmp.h"
#include "cpu/parallel.h"
#include "cpu/thread_count.h"

namespace gdn::cpu {
namespace {

template <class F>
void run_items(const Exec &exec, int64_t items, Wake wake, F &f) {
  parallel_for(exec, team_of(exec), items, wake, f);
}

Exec exec_of(int32_t threads, ThreadsFrom from = ThreadsFrom::pool) {
  Exec exec;
  exec.threads = threads;
  exec.threads_from = from;
  return exec;
}

/// Runs `items` items; true if each ran once and no two threads held the same number at once.
bool runs_once(const Exec &exec, int64_t items, Wake wake = Wake::at_once) {
  const int32_t threads = team_of(exec).threads;
  std::vector<std::atomic<int>> runs(static_cast<size_t>(items));
  std::vector<std::atomic<int>> holders(static_cast<size_t>(threads));
  std::atomic<bool> exclusive{true};
  auto work = [&](int32_t thread, int64_t first, int64_t last) {
    if (holders[static_cast<size_t>(thread)].fetch_add(1) != 0) exclusive = false;
    for (int64_t i = first; i < last; ++i) runs[static_cast<size_t>(i)].fetch_add(1);
    holders[static_cast<size_t>(thread)].fetch_sub(1);
  };
  run_items(exec, items, wake, work);
  for (const auto &r : runs) {
    if (r != 1) return false;
  }
  return exclusive;
}

bool runs_once(int32_t threads, int64_t items, Wake wake = Wake::at_once) {
  return runs_once(exec_of(threads), items, wake);
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
  run_items(exec_of(2), 2, Wake::at_once, meet);
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
    run_items(exec_of(2), 32, Wake::if_worth_it, work);
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
    for (int64_t i = first; i < last; ++i) run_items(exec_of(4), 10, Wake::at_once, inner);
  };
  run_items(exec_of(4), 20, Wake::at_once, outer);
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

/// A host's parallel-for, which counts its calls.
struct Host {
  enum class Kind { threads, in_turn, drops_all_but_one, drops_all };

  Kind kind = Kind::threads;
  int32_t calls = 0;

  static void run(void *context, int32_t count, void (*task)(void *, int32_t), void *argument) {
    Host &host = *static_cast<Host *>(context);
    ++host.calls;
    if (host.kind == Kind::drops_all) return;
    if (host.kind == Kind::drops_all_but_one) count = 1;
    if (host.kind != Kind::threads) {
      for (int32_t i = 0; i < count; ++i) task(argument, i);
      return;
    }
    std::vector<std::thread> threads;
    for (int32_t i = 0; i < count; ++i) threads.emplace_back(task, argument, i);
    for (std::thread &t : threads) t.join();
  }

  Exec exec(int32_t threads) {
    Exec e = exec_of(threads, ThreadsFrom::openmp);  // What the caller supplies comes first.
    e.parallel_for = run;
    e.parallel_for_context = this;
    return e;
  }
};

TEST(HostThreads, RunEveryItemOnce) {
  using Kind = Host::Kind;
  for (const Kind kind : {Kind::threads, Kind::in_turn, Kind::drops_all_but_one, Kind::drops_all}) {
    Host host{kind};
    EXPECT_EQ(team_of(host.exec(3)).from, ThreadsFrom::host);
    for (const int64_t items : {2, 7, 100, 1000}) {
      EXPECT_TRUE(runs_once(host.exec(3), items)) << static_cast<int>(kind) << ' ' << items;
      EXPECT_TRUE(runs_once(host.exec(3), items, Wake::if_worth_it)) << items;
    }
    EXPECT_EQ(host.calls, 8);
  }
}

TEST(HostThreads, WorkSideBySide) {
  Host host;
  std::atomic<int> present{0};
  auto meet = [&](int32_t, int64_t, int64_t) {
    present.fetch_add(1);
    while (present.load() < 2) std::this_thread::yield();
  };
  run_items(host.exec(2), 2, Wake::at_once, meet);
  EXPECT_EQ(present.load(), 2);
}

TEST(HostThreads, NestedCallsRunInline) {
  Host host;
  auto outer = [&](int32_t, int64_t, int64_t) {
    const std::thread::id self = std::this_thread::get_id();
    auto inner = [&](int32_t, int64_t, int64_t) { EXPECT_EQ(std::this_thread::get_id(), self); };
    run_items(host.exec(2), 10, Wake::at_once, inner);
  };
  run_items(host.exec(2), 10, Wake::at_once, outer);
  EXPECT_EQ(host.calls, 1);
}

/// With an OpenMP runtime that comes into the process after the library; it stays.
class OpenMp : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    threads_before = openmp_threads();
    from_before = team_of(Exec{}).from;
    runtime = dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL);
  }
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "ThreadSanitizer does not see what the OpenMP runtime synchronises.";
#endif
    ASSERT_NE(runtime, nullptr) << dlerror();
  }

  static inline int32_t threads_before = 0;
  static inline ThreadsFrom from_before = ThreadsFrom::any;
  static inline void *runtime = nullptr;
};

TEST_F(OpenMp, IsFoundWhenItComes) {
  EXPECT_EQ(threads_before, 0);
  EXPECT_EQ(from_before, ThreadsFrom::pool);
  EXPECT_GT(openmp_threads(), 0);
  EXPECT_EQ(team_of(Exec{}).from, ThreadsFrom::openmp);
  EXPECT_EQ(team_of(exec_of(0, ThreadsFrom::pool)).from, ThreadsFrom::pool);
}

TEST_F(OpenMp, RunsEveryItemOnce) {
  for (int32_t threads = 1; threads <= 8; ++threads) {
    for (const int64_t items : {0, 1, 2, 7, 100, 1000}) {
      const Exec exec = exec_of(threads, ThreadsFrom::openmp);
      EXPECT_TRUE(runs_once(exec, items)) << threads << " threads, " << items << " items";
      EXPECT_TRUE(runs_once(exec, items, Wake::if_worth_it)) << threads << ' ' << items;
    }
  }
}

TEST_F(OpenMp, UsesItsThreads) {
  // A region inside gives a thread of the runtime's own a number above 0.
  const auto number = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
  ASSERT_NE(number, nullptr);
  std::atomic<int> inside{0};
  std::atomic<int> numbers{0};
  auto meet = [&](int32_t, int64_t, int64_t) {
    numbers.fetch_add(number());
    inside.fetch_add(1);
    while (inside.load() < 2) std::this_thread::yield();
  };
  run_items(exec_of(2, ThreadsFrom::openmp), 2, Wake::at_once, meet);
  EXPECT_EQ(numbers.load(), 1);
  inside = 0;
  numbers = 0;
  run_items(exec_of(2), 2, Wake::at_once, meet);
  EXPECT_EQ(numbers.load(), 0) << "the pool's threads are not the runtime's";
}

TEST_F(OpenMp, FollowsItsNumberOfThreads) {
  const auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  ASSERT_NE(set, nullptr);
  const int32_t before = openmp_threads();
  set(1);
  EXPECT_EQ(team_of(Exec{}).threads, 1);
  EXPECT_EQ(most_threads(Exec{}), usable_cpus());
  EXPECT_EQ(team_of(exec_of(0, ThreadsFrom::pool)).threads, usable_cpus());
  EXPECT_EQ(team_of(exec_of(5, ThreadsFrom::openmp)).threads, 5);
  set(100000);
  EXPECT_EQ(team_of(Exec{}).threads, usable_cpus());
  set(before);
}

TEST_F(OpenMp, LeavesShortCallsToTheCaller) {
  const auto number = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
  ASSERT_NE(number, nullptr);
  const auto others = [&](std::chrono::microseconds item) {
    std::atomic<int> numbers{0};
    auto work = [&](int32_t, int64_t, int64_t) {
      if (item.count() > 0) std::this_thread::sleep_for(item);
      numbers.fetch_add(number());
    };
    run_items(exec_of(2, ThreadsFrom::openmp), 32, Wake::if_worth_it, work);
    return numbers.load();
  };
  // An interruption of the first item looks like a long one, so a busy machine gets more chances.
  int shortest = 1;
  for (int i = 0; i < 10 && shortest != 0; ++i) shortest = others(std::chrono::microseconds(0));
  EXPECT_EQ(shortest, 0);
  EXPECT_GT(others(std::chrono::milliseconds(2)), 0);
}

TEST_F(OpenMp, IsLeftAloneInAForkedChild) {
  ASSERT_TRUE(runs_once(exec_of(4, ThreadsFrom::openmp), 100));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    const bool right = openmp_threads() == 0 && team_of(Exec{}).from == ThreadsFrom::pool &&
                       runs_once(exec_of(4, ThreadsFrom::any), 100);
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(runs_once(exec_of(4, ThreadsFrom::openmp), 100));
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
