#include "cpu/parallel.h"

#include <algorithm>

#include "cpu/openmp.h"
#include "cpu/pool.h"
#include "cpu/thread_count.h"

namespace gdn::cpu {
namespace {

/// Runs a job on threads that the caller's function provides. Whatever it leaves undone the calling
/// thread does.
void run_on_host(Job *job, const Exec &exec) {
  const InsideJob inside;
  const auto task = [](void *argument, int32_t) {
    const InsideJob inside_worker;
    static_cast<Job *>(argument)->join();
  };
  job->next_thread.store(0, std::memory_order_relaxed);
  exec.parallel_for(exec.parallel_for_context, job->threads, task, job);
  job->join();
}

}  // namespace

ThreadsFrom threads_from(const Exec &exec) {
  if (exec.parallel_for != nullptr) return ThreadsFrom::host;
  if (exec.threads_from != ThreadsFrom::any) return exec.threads_from;
  return openmp_threads() > 0 ? ThreadsFrom::openmp : ThreadsFrom::pool;
}

int32_t most_threads(const Exec &exec) {
  return std::min(exec.threads > 0 ? exec.threads : usable_cpus(), kMaxThreads);
}

int32_t thread_count(const Exec &exec) {
  const int32_t most = most_threads(exec);
  if (exec.threads > 0 || threads_from(exec) != ThreadsFrom::openmp) return most;
  return std::clamp(openmp_threads(), 1, most);
}

void parallel_for(const Exec &exec, int64_t items, Wake wake, ItemsFunction function,
                  void *context) {
  if (items <= 0) return;
  const auto threads = static_cast<int32_t>(std::min<int64_t>(thread_count(exec), items));
  if (threads == 1 || inside_job) {
    const InsideJob inside;
    function(context, 0, 0, items);
    return;
  }
  Job job(function, context, items, threads);
  switch (threads_from(exec)) {
    case ThreadsFrom::host:
      return run_on_host(&job, exec);
    case ThreadsFrom::openmp:
      return run_on_openmp(&job, wake);
    default:
      return run_on_pool(&job, wake);
  }
}

}  // namespace gdn::cpu
