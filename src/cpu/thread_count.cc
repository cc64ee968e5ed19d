#include "cpu/thread_count.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

namespace gdn::cpu {
namespace {

constexpr int32_t kNoLimit = INT32_MAX;

int32_t whole_cpus(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return kNoLimit;
  return static_cast<int32_t>(
      std::clamp<int64_t>(quota / period + (quota % period != 0), 1, kNoLimit));
}

/// Version 2: "max 100000" or "150000 100000".
int32_t read_cpu_max(const std::string &path) {
  std::ifstream file(path);
  int64_t quota = 0;
  int64_t period = 0;
  return file >> quota >> period ? whole_cpus(quota, period) : kNoLimit;
}

/// Version 1: two files, a quota of -1 means none.
int32_t read_cfs_quota(const std::string &folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  int64_t quota = 0;
  int64_t period = 0;
  return quota_file >> quota && period_file >> period ? whole_cpus(quota, period) : kNoLimit;
}

/// Tightest limit of `group` and its parents. In a container the group's own path may not be
/// visible; files that do not exist limit nothing, and the walk ends at the mount itself.
template <class Read>
int32_t tightest(std::string group, Read read) {
  int32_t limit = kNoLimit;
  while (true) {
    limit = std::min(limit, read(group));
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) return limit;
    group.resize(slash);
  }
}

/// Whether a comma-separated list has an entry.
bool lists(std::string_view entries, std::string_view entry) {
  while (true) {
    const size_t comma = entries.find(',');
    if (entries.substr(0, comma) == entry) return true;
    if (comma == std::string_view::npos) return false;
    entries.remove_prefix(comma + 1);
  }
}

int32_t affinity_cpus() {
  // The mask of the process, that is of its first thread: a caller that pinned itself does not
  // speak for the others that share the pool.
  for (int cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    const int rc = sched_getaffinity(getpid(), bytes, set);
    const int count = rc == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return static_cast<int32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

int32_t cgroup_cpu_limit(const char *membership, const char *mount) {
  int32_t limit = kNoLimit;
  std::ifstream file(membership);
  std::string line;
  // Lines read "hierarchy:controllers:path"; version 2 has hierarchy 0 and no controllers.
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    if (controllers.empty()) {
      limit = std::min(limit, tightest(group, [&](const std::string &g) {
                         return read_cpu_max(mount + g + "/cpu.max");
                       }));
    } else if (lists(controllers, "cpu")) {
      for (const char *name : {"/cpu", "/cpu,cpuacct"}) {
        limit = std::min(limit, tightest(group, [&](const std::string &g) {
                           return read_cfs_quota(std::string(mount) + name + g);
                         }));
      }
    }
  }
  return limit;
}

int32_t usable_cpus() {
  static const int32_t cpus =
      std::min(affinity_cpus(), cgroup_cpu_limit("/proc/self/cgroup", "/sys/fs/cgroup"));
  return cpus;
}

}  // namespace gdn::cpu
