// The gdn command: one subcommand per file of this folder.

#include <fmt/format.h>
#include <gdn/gdn.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tools/commands.h"

namespace {

/// The first argument that is no option is the command; CLI11 would only miss one.
void check_command(const CLI::App &app, int argc, char **argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command.empty() || command.starts_with("-")) return;
  std::string names;
  for (const CLI::App *known : app.get_subcommands(nullptr)) {
    if (known->get_name() == command) return;
    names += (names.empty() ? "" : ", ") + known->get_name();
  }
  throw CLI::ExtrasError(fmt::format("gdn has no command \"{}\"; it has {}", command, names), 1);
}

/// " verify", or nothing if the command was not reached.
std::string command_name(const CLI::App &app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? "" : " " + commands.front()->get_name();
}

}  // namespace

int main(int argc, char **argv) {
  CLI::App app{"Gated DeltaNet kernels: what this machine runs, how right and how fast it is."};
  app.name("gdn");
  app.set_version_flag("--version", gdn_version());
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  gdn::tools::add_info(app);
  gdn::tools::add_verify(app);
  gdn::tools::add_bench(app);
  gdn::tools::add_run(app);
  try {
    check_command(app, argc, argv);
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError &e) {
    return e.get_exit_code();
  } catch (const CLI::ParseError &e) {
    return app.exit(e) == 0 ? 0 : 2;  // --help and --version are "errors" of code 0
  } catch (const std::exception &e) {
    // length_error: more than a container can ever hold
    const bool memory = dynamic_cast<const std::bad_alloc *>(&e) != nullptr ||
                        dynamic_cast<const std::length_error *>(&e) != nullptr;
    fmt::print(stderr, "gdn: {}\n",
               memory
                   ? fmt::format("not enough memory for gdn{} with these sizes", command_name(app))
                   : e.what());
    return 1;
  }
  return 0;
}
