#ifndef GDN_TOOLS_ARGUMENTS_H_
#define GDN_TOOLS_ARGUMENTS_H_

#include <gdn/gdn.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace gdn::tools {

// Checks of option values as they were written: CLI11 by itself lets numbers wrap around.

/// A whole number in a range.
CLI::Validator whole_number(uint64_t lowest,
                            uint64_t highest = std::numeric_limits<uint64_t>::max());

/// A multiple of a number, 0 included.
CLI::Validator multiple_of(int64_t unit);

/// A number of threads; 0: the default.
CLI::Validator thread_count();

/// A finite number in a range.
CLI::Validator number(double lowest, double highest);

/// Values of --op: these, and the operations around the delta rule.
std::vector<std::string> with_layer_operations(std::vector<std::string> names);

/// Throws std::runtime_error with the library's message unless the status is GDN_OK, with options
/// of the command line where the library names its own arguments.
void check(gdn_status status);

}  // namespace gdn::tools

#endif  // GDN_TOOLS_ARGUMENTS_H_
