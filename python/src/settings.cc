#include "settings.h"

#include <nanobind/stl/string.h>

#include <atomic>
#include <cstring>

namespace gdn::python {

namespace nb = nanobind;

namespace {

std::atomic<int32_t> process_threads{0};

gdn_selection select() {
  const gdn_exec exec = make_exec();
  gdn_selection selection{};
  if (gdn_select(&exec, &selection) != GDN_OK) {
    std::string message = gdn_last_error();
    // "gdn_select: exec->isa is .." -> "isa is ..".
    for (const char *prefix : {"gdn_select: ", "exec->"}) {
      if (message.starts_with(prefix)) message.erase(0, std::strlen(prefix));
    }
    throw nb::value_error(message.c_str());
  }
  return selection;
}

nb::dict describe() {
  nb::list backends;
  for (int i = 0; i < gdn_backend_count(); ++i) {
    const char *backend = gdn_backend_name(i);
    nb::list isas;
    for (int j = 0; j < gdn_isa_count(backend); ++j) {
      nb::dict isa;
      isa["name"] = gdn_isa_name(backend, j);
      isa["supported"] = gdn_isa_supported(backend, j) != 0;
      isas.append(isa);
    }
    nb::dict entry;
    entry["name"] = backend;
    entry["isas"] = isas;
    backends.append(entry);
  }
  const gdn_selection selection = select();
  nb::dict out;
  out["version"] = gdn_version();
  out["backends"] = backends;
  out["backend"] = selection.backend;
  out["isa"] = selection.isa;
  out["reason"] = selection.reason;
  out["threads"] = selection.threads;
  out["threads_from"] = selection.threads_from;
  return out;
}

}  // namespace

Settings &thread_settings() {
  thread_local Settings settings;
  return settings;
}

gdn_exec make_exec() {
  const Settings &s = thread_settings();
  gdn_exec exec{};
  exec.struct_size = sizeof exec;
  exec.threads = s.threads != 0 ? s.threads : process_threads.load(std::memory_order_relaxed);
  exec.flags = s.no_split ? static_cast<uint32_t>(GDN_EXEC_NO_SPLIT) : 0U;
  exec.backend = s.backend.empty() ? nullptr : s.backend.c_str();
  exec.isa = s.isa.empty() ? nullptr : s.isa.c_str();
  exec.threads_from = s.threads_from.empty() ? nullptr : s.threads_from.c_str();
  return exec;
}

void bind_settings(nb::module_ &m) {
  m.attr("CHUNK_SIZE") = GDN_CHUNK_SIZE;
  m.attr("MAX_THREADS") = GDN_MAX_THREADS;
  m.def("version", &gdn_version);
  m.def("describe", &describe);
  m.def("max_threads", [] { return select().threads; });
  m.def("set_process_threads", [](int32_t n) { process_threads.store(n); });
  m.def("get_settings", [] {
    const Settings &s = thread_settings();
    return nb::make_tuple(s.backend, s.isa, s.threads_from, s.threads, s.no_split);
  });
  // Takes effect only if the library can serve it, so that a wrong name is an error where it is
  // written and not at the next call.
  m.def("set_settings", [](std::string backend, std::string isa, std::string threads_from,
                           int32_t threads, bool no_split) {
    Settings before = std::move(thread_settings());
    thread_settings() = {std::move(backend), std::move(isa), std::move(threads_from), threads,
                         no_split};
    try {
      select();
    } catch (...) {
      thread_settings() = std::move(before);
      throw;
    }
  });
}

}  // namespace gdn::python
