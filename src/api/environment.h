#ifndef GDN_API_ENVIRONMENT_H_
#define GDN_API_ENVIRONMENT_H_

#include <cstdint>
#include <string>

namespace gdn::api {

/// Environment variables that stand in for fields of gdn_exec. Read once, at the first call:
/// getenv is not safe beside another thread's setenv.
struct Environment {
  std::string backend;  ///< GDN_BACKEND; empty: not set.
  std::string isa;      ///< GDN_ISA; empty: not set.
  bool check;           ///< GDN_CHECK=1.
  bool no_split;        ///< GDN_NO_SPLIT=1.
  /// GDN_NUM_THREADS; 0: not set, -1: not a number from 1 to kMaxThreads.
  int32_t threads;
  std::string threads_text;  ///< GDN_NUM_THREADS as it was found.
};

const Environment &environment();

}  // namespace gdn::api

#endif  // GDN_API_ENVIRONMENT_H_
