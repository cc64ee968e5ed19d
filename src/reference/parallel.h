#ifndef GDN_REFERENCE_PARALLEL_H_
#define GDN_REFERENCE_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace gdn::reference {

/// Threads of a call: `requested`, or if that is 0 what the process may use.
int32_t thread_count(int32_t requested);

/// Calls work(i) once for each i in [0, items), on up to thread_count(threads) threads. An item may
/// write only what no other item touches. The first exception is rethrown here.
void parallel_for(int64_t items, int32_t threads, const std::function<void(int64_t)> &work);

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_PARALLEL_H_
