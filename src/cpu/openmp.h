#ifndef GDN_CPU_OPENMP_H_
#define GDN_CPU_OPENMP_H_

#include <cstdint>

#include "cpu/job.h"

namespace gdn::cpu {

/// Threads that the process's OpenMP runtime would give to the calling thread; 0 if there is none.
///
/// A runtime counts that the process shows to all of its libraries: one that the program is linked
/// with, or torch's. It is found by name, so that libgdn itself needs none; one that is loaded
/// later is found by the next call. In the child of a fork there is none, since a runtime's threads
/// do not survive it and some then wait for them forever.
int32_t openmp_threads();

/// Runs a job on the threads of that runtime; call it where openmp_threads() is not 0. In a process
/// whose other libraries use them these threads are often awake, and no second set of threads
/// contends for the processors. Inside a parallel region of the caller's the runtime gives no more
/// threads, unless the program asked it to nest.
void run_on_openmp(Job *job, Wake wake);

}  // namespace gdn::cpu

#endif  // GDN_CPU_OPENMP_H_
