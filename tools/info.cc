#include <fmt/format.h>
#include <gdn/gdn.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "tools/arguments.h"
#include "tools/commands.h"

namespace gdn::tools {
namespace {

nlohmann::json collect() {
  nlohmann::json info = {{"version", gdn_version()}, {"backends", nlohmann::json::array()}};
  for (int b = 0; b < gdn_backend_count(); ++b) {
    const char *backend = gdn_backend_name(b);
    nlohmann::json isas = nlohmann::json::array();
    for (int i = 0; i < gdn_isa_count(backend); ++i) {
      isas.push_back(
          {{"name", gdn_isa_name(backend, i)}, {"supported", gdn_isa_supported(backend, i) == 1}});
    }
    info["backends"].push_back({{"name", backend}, {"isas", isas}});
  }
  gdn_selection chosen{};
  check(gdn_select(nullptr, &chosen));
  info["chosen"] = {{"backend", chosen.backend},
                    {"isa", chosen.isa},
                    {"threads", chosen.threads},
                    {"threads_from", chosen.threads_from},
                    {"reason", chosen.reason}};
  return info;
}

std::string threads_text(const std::string &from) {
  if (from == "pool")
    return " of the library's own pool (in a process with an OpenMP runtime: of that)";
  if (from == "openmp") return " of the process's OpenMP runtime";
  return "";
}

void print(const nlohmann::json &info) {
  fmt::print("libgdn {}\n\nBackends and instruction sets (slowest first):\n",
             info["version"].get<std::string>());
  for (const auto &backend : info["backends"]) {
    fmt::print("  {}\n", backend["name"].get<std::string>());
    for (const auto &isa : backend["isas"]) {
      fmt::print("    {:<12} {}\n", isa["name"].get<std::string>(),
                 isa["supported"].get<bool>() ? "runs here" : "not on this machine");
    }
  }
  const auto &chosen = info["chosen"];
  fmt::print("\nA call on CPU tensors runs on {} / {}, up to {} thread(s){}.\n{}\n",
             chosen["backend"].get<std::string>(), chosen["isa"].get<std::string>(),
             chosen["threads"].get<int>(), threads_text(chosen["threads_from"].get<std::string>()),
             chosen["reason"].get<std::string>());
  fmt::print(
      "Force another with GDN_BACKEND, GDN_ISA, GDN_NUM_THREADS, GDN_THREADS_FROM, or per call.\n");
}

}  // namespace

void add_info(CLI::App &app) {
  CLI::App *info = app.add_subcommand("info", "Version, backends, instruction sets, the choice");
  const auto as_json = std::make_shared<bool>(false);
  info->add_flag("--json", *as_json, "Print JSON");
  info->callback([as_json] {
    const nlohmann::json collected = collect();
    if (*as_json) {
      fmt::print("{}\n", collected.dump(2));
    } else {
      print(collected);
    }
  });
}

}  // namespace gdn::tools
