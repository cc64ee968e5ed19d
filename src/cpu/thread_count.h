#ifndef GDN_CPU_THREAD_COUNT_H_
#define GDN_CPU_THREAD_COUNT_H_

#include <cstdint>

#include "problem/status.h"

namespace gdn::cpu {

/// Most threads that one call may use.
inline constexpr int32_t kMaxThreads = 1024;

/// Threads of a call that asks for none: GDN_NUM_THREADS, else usable_cpus(). Read once, at first
/// use. A GDN_NUM_THREADS that is not a number from 1 to kMaxThreads is an error with a message;
/// `threads` is set to usable_cpus() then.
Status default_threads(int32_t *threads);

/// Processors that this process may use: its affinity mask, limited by the cpu quota of its
/// control groups. At least 1. Read once, at first use.
int32_t usable_cpus();

/// Whole processors that a cpu quota allows (rounded up, at least 1), INT32_MAX without a quota.
/// `membership` is a file like /proc/self/cgroup, `mount` the folder where control groups are
/// mounted, version 1 or 2. The tightest limit from the group up to the root counts.
int32_t cgroup_cpu_limit(const char *membership, const char *mount);

}  // namespace gdn::cpu

#endif  // GDN_CPU_THREAD_COUNT_H_
