// What does it cost to bring a second thread into a call?
//
// Two threads must meet inside the call before either goes on, so the time of a call is that of the
// second thread's arrival, plus the return. Between calls the caller does something else for 0, 20
// or 1000 microseconds: workers that still spin answer faster than workers asleep. Beside the pool
// and the library's way to OpenMP: a parallel region that does the same (libgomp, as it comes).
// Prints best and median.
//
// Build and run by hand, from the repository's root:
//   g++ -std=c++20 -O2 -fopenmp -Isrc bench/pool_wake.cc
//       src/cpu/{openmp,parallel,pool,thread_count}.cc -o build/pool_wake && build/pool_wake

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <vector>

#include "cpu/parallel.h"

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::time_point from) {
  return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

void wait(double us) {
  const Clock::time_point start = Clock::now();
  while (microseconds(start) < us) {
  }
}

void meet(std::atomic<int> &present) {
  present.fetch_add(1);
  while (present.load() < 2) {
  }
}

template <gdn::ThreadsFrom kFrom>
void library_call() {
  std::atomic<int> present{0};
  auto work = [&](int32_t, int64_t, int64_t) { meet(present); };
  gdn::Exec exec;
  exec.threads = 2;
  exec.threads_from = kFrom;
  gdn::cpu::parallel_for(exec, gdn::cpu::team_of(exec), 2, gdn::cpu::Wake::at_once, work);
}

void openmp_call() {
  std::atomic<int> present{0};
#pragma omp parallel num_threads(2)
  meet(present);
}

void measure(const char *name, void (*call)(), double gap) {
  std::vector<double> times;
  for (int i = 0; i < 500; ++i) {
    wait(gap);
    const Clock::time_point start = Clock::now();
    call();
    times.push_back(microseconds(start));
  }
  std::sort(times.begin(), times.end());
  std::printf("%-20s  %4.0f us between calls: best %6.2f us, median %6.2f us\n", name, gap,
              times.front(), times[times.size() / 2]);
}

}  // namespace

int main() {
  for (const double gap : {0.0, 20.0, 1000.0}) {
    measure("pool", library_call<gdn::ThreadsFrom::pool>, gap);
    measure("openmp through libgdn", library_call<gdn::ThreadsFrom::openmp>, gap);
    measure("openmp", openmp_call, gap);
  }
}
