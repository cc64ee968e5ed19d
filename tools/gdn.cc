// The gdn command: one subcommand per file of this folder.

#include <fmt/format.h>
#include <gdn/gdn.h>

#include <exception>

#include "tools/commands.h"

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
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError &e) {
    return e.get_exit_code();
  } catch (const CLI::ParseError &e) {
    return app.exit(e) == 0 ? 0 : 2;  // --help and --version are "errors" of code 0
  } catch (const std::exception &e) {
    fmt::print(stderr, "gdn: {}\n", e.what());
    return 1;
  }
  return 0;
}
