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

int32_t most_threads(const Exec &exec) {
  return std::min(exec.threads > 0 ? exec.threads : usable_cpus(), kMaxThreads);
}

Team team_of(const Exec &exec) {
  const int32_t most = most_threads(exec);
  if (exec.parallel_for != nullptr) return {ThreadsFrom::host, most};
  if (exec.threads_from == ThreadsFrom::pool) return {ThreadsFrom::pool, most};
  const int32_t openmp = openmp_threads();
  if (exec.threads_from == ThreadsFrom::any && openmp == 0) return {ThreadsFrom::pool, most};
  return {ThreadsFrom::openmp, exec.threads > 0 ? most : std::clamp(openmp, 1, most)};
}

void parallel_for(const Exec &exec, Team team, int64_t items, Wake wake, ItemsFunction function,
                  void *context) {
  if (items <= 0) return;
  const auto threads = static_cast<int32_t>(std::min<int64_t>(team.threads, items));
  if (threads == 1 || inside_job) {
    const InsideJob inside;
    function(context, 0, 0, items);
    return;
  }
  Job job(function, context, items, threads);
  switch (team.from) {
    case ThreadsFrom::host:
      return run_on_host(&job, exec);
    case ThreadsFrom::openmp:
      return run_on_openmp(&job, wake);
    default:
      return run_on_pool(&job, wake);
  }
}

}  // namespace gdn::cpu
