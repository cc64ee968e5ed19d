#ifndef GDN_CPU_THREAD_COUNT_H_
#define GDN_CPU_THREAD_COUNT_H_

#include <cstdint>

namespace gdn::cpu {

/// Processors that this process may use: its affinity mask, limited by the cpu quota of its
/// control groups. At least 1. Read once, at first use.
int32_t usable_cpus();

/// Whole processors that a cpu quota allows (rounded up, at least 1), INT32_MAX without a quota.
/// `membership` is a file like /proc/self/cgroup, `mount` the folder where control groups are
/// mounted, version 1 or 2. The tightest limit from the group up to the root counts.
int32_t cgroup_cpu_limit(const char *membership, const char *mount);

}  // namespace gdn::cpu

#endif  // GDN_CPU_THREAD_COUNT_H_
