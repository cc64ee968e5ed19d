#include "cpu/openmp.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <mutex>

namespace gdn::cpu {
namespace {

using Clock = std::chrono::steady_clock;

/// Work of the caller's that is worth a parallel region: with threads that spin it takes about a
/// microsecond to begin and end one.
constexpr auto kWorthRegion = std::chrono::microseconds(5);

/// The entry that compilers call for a parallel region. GNU's runtime defines it, LLVM's and
/// Intel's have it too.
using Parallel = void (*)(void (*body)(void *), void *data, unsigned threads, unsigned flags);
using MaxThreads = int (*)();

struct Runtime {
  std::atomic<Parallel> parallel{nullptr};  ///< Set last.
  std::atomic<MaxThreads> max_threads{nullptr};
  std::atomic<bool> forked{false};
  std::atomic<unsigned long long> libraries{0};  ///< Loaded so far when last looked for.
  std::mutex mutex;
};

Runtime &runtime() {
  // Never destroyed: threads may call while the process exits.
  static auto *const instance = new Runtime;
  return *instance;
}

/// How many libraries the process has loaded so far.
unsigned long long libraries_loaded() {
  unsigned long long count = 0;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *out) {
        *static_cast<unsigned long long *>(out) = info->dlpi_adds;
        return 1;  // One call is enough.
      },
      &count);
  return count;
}

/// True if a runtime is there, which is looked for anew when libraries have come since.
bool found() {
  Runtime &r = runtime();
  if (r.forked.load(std::memory_order_relaxed)) return false;
  if (r.parallel.load(std::memory_order_acquire) != nullptr) return true;
  const unsigned long long loaded = libraries_loaded();
  if (r.libraries.load(std::memory_order_relaxed) == loaded) return false;
  const std::lock_guard lock(r.mutex);
  if (r.parallel.load(std::memory_order_relaxed) != nullptr) return true;
  r.libraries.store(loaded, std::memory_order_relaxed);
  void *const parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel");
  void *const max_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
  if (parallel == nullptr || max_threads == nullptr) return false;
  if (pthread_atfork(nullptr, nullptr, [] { runtime().forked.store(true); }) != 0) return false;
  r.max_threads.store(reinterpret_cast<MaxThreads>(max_threads), std::memory_order_relaxed);
  r.parallel.store(reinterpret_cast<Parallel>(parallel), std::memory_order_release);
  return true;
}

}  // namespace

int32_t openmp_threads() {
  if (!found()) return 0;
  return runtime().max_threads.load(std::memory_order_relaxed)();
}

void run_on_openmp(Job *job, Wake wake) {
  const InsideJob inside;
  if (wake == Wake::if_worth_it) {
    const Clock::time_point start = Clock::now();
    if (!job->step(0)) return;
    if ((Clock::now() - start) * job->runs_left() <= kWorthRegion) {
      job->work(0);
      return;
    }
  }
  const Parallel parallel = runtime().parallel.load(std::memory_order_acquire);
  const auto body = [](void *data) {
    const InsideJob inside_worker;
    static_cast<Job *>(data)->join();
  };
  // In the region the caller takes part like any other thread.
  job->next_thread.store(0, std::memory_order_relaxed);
  parallel(body, job, static_cast<unsigned>(job->threads), 0);
}

}  // namespace gdn::cpu
