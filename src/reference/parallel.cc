#include "reference/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace gdn::reference {

int32_t thread_count(int32_t requested) {
  if (requested > 0) return requested;
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

void parallel_for(int64_t items, int32_t threads, const std::function<void(int64_t)> &work) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto run = [&] {
    try {
      for (int64_t i = next++; i < items; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = items;
    }
  };
  const int64_t helpers = std::min<int64_t>(thread_count(threads), items) - 1;
  std::vector<std::thread> team;
  if (helpers > 0) team.reserve(static_cast<size_t>(helpers));
  for (int64_t i = 0; i < helpers; ++i) {
    try {
      team.emplace_back(run);
    } catch (const std::system_error &) {
      break;  // Fewer threads do the same work.
    }
  }
  run();
  for (std::thread &thread : team) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace gdn::reference
