#ifndef GDN_API_ENVIRONMENT_H_
#define GDN_API_ENVIRONMENT_H_

#include <cstdint>
#include <string>

namespace gdn::api {

/// A variable that holds a whole number.
struct Number {
  const char *name;
  std::string expected;  ///< What it may be, in words.
  std::string text;      ///< What was found; empty: not set.
  int32_t value;         ///< 0 if it is not set or not valid.
  bool valid;            ///< Not set, or what is expected.
};

/// Environment variables that stand in for fields of gdn_exec. Read once, at the first call:
/// getenv is not safe beside another thread's setenv.
struct Environment {
  std::string backend;       ///< GDN_BACKEND; empty: not set.
  std::string isa;           ///< GDN_ISA; empty: not set.
  std::string threads_from;  ///< GDN_THREADS_FROM; empty: not set.
  Number check;              ///< GDN_CHECK, 0 or 1.
  Number no_split;           ///< GDN_NO_SPLIT, 0 or 1.
  Number threads;            ///< GDN_NUM_THREADS, 1 to kMaxThreads.
};

const Environment &environment();

}  // namespace gdn::api

#endif  // GDN_API_ENVIRONMENT_H_
