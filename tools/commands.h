#ifndef GDN_TOOLS_COMMANDS_H_
#define GDN_TOOLS_COMMANDS_H_

#include <CLI/CLI.hpp>

namespace gdn::tools {

// Each adds one subcommand with its options to the command line. The subcommand's callback throws
// CLI::RuntimeError with the exit code when the command does not succeed.

/// gdn info: version, backends, instruction sets, the choice and its reason.
void add_info(CLI::App &app);
/// gdn verify: errors of every named case against the float64 reference.
void add_verify(CLI::App &app);
/// gdn bench: times, rates and percent of the machine's own measured peak.
void add_bench(CLI::App &app);
/// gdn run: the gated delta rule over the tensors of a safetensors file.
void add_run(CLI::App &app);

}  // namespace gdn::tools

#endif  // GDN_TOOLS_COMMANDS_H_
