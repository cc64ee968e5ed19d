#include "api/exec_check.h"

#include "api/args_struct.h"
#include "api/environment.h"
#include "api/last_error.h"
#include "api/registry.h"

namespace gdn::api {
namespace {

static_assert(kMaxThreads == GDN_MAX_THREADS, "backends know no public header");

/// The backend asked for by name, in exec or GDN_BACKEND; nullptr if none was, or after a failure.
const Backend *named_backend(Call *call, const char *in_exec) {
  const bool from_exec = in_exec != nullptr;
  const char *name = from_exec ? in_exec : environment().backend.c_str();
  if (*name == '\0' && !from_exec) return nullptr;
  const Backend *backend = find_backend(name);
  if (backend == nullptr) {
    call->invalid(from_exec ? "exec->backend" : "GDN_BACKEND", " is \"", name,
                  "\", expected one of: ", backend_names(), ".");
  }
  return backend;
}

const Backend *choose_backend(Call *call, const char *in_exec, const Device &device) {
  const Backend *named = named_backend(call, in_exec);
  if (!call->ok()) return nullptr;
  if (named != nullptr) {
    if (named->serves(device)) return named;
    call->invalid(in_exec != nullptr ? "exec->backend" : "GDN_BACKEND", " is \"", named->name(),
                  "\", which cannot read tensors on ", device_text(device.type, device.id), ".");
    return nullptr;
  }
  const Backend *found = nullptr;
  for (const Backend *b : backends()) {
    if (b->serves(device)) found = b;
  }
  if (found == nullptr) {
    call->fail(Code::unsupported, "no backend of this build (", backend_names(),
               ") serves tensors on ", device_text(device.type, device.id), ".");
  }
  return found;
}

/// True if some backend has an instruction set of that name.
bool any_backend_has(const std::string &isa) {
  for (const Backend *b : backends()) {
    if (find_isa(*b, isa) >= 0) return true;
  }
  return false;
}

/// Index of the instruction set asked for; -1 if none was, or after a failure.
int32_t choose_isa(Call *call, const char *in_exec, const Backend &backend) {
  const bool from_exec = in_exec != nullptr;
  const char *source = from_exec ? "exec->isa" : "GDN_ISA";
  const std::string &in_environment = environment().isa;
  if (!from_exec && in_environment.empty()) return -1;
  const std::string_view name = from_exec ? std::string_view(in_exec) : in_environment;
  const int32_t isa = find_isa(backend, name);
  if (isa < 0) {
    // GDN_ISA speaks to the backend that has that instruction set; the others run as usual.
    if (!from_exec && any_backend_has(in_environment)) return -1;
    call->invalid(source, " is \"", name, "\", expected one of: ", isa_names(backend), " (backend ",
                  backend.name(), ").");
    return -1;
  }
  if (!backend.isas()[static_cast<size_t>(isa)].supported) {
    call->fail(Code::unsupported, source, " is \"", name, "\", which this machine cannot run.");
  }
  return isa;
}

/// What exec says, if it says something (not 0), else the environment.
int32_t number_of(Call *call, int32_t in_exec, const Number &variable) {
  if (in_exec != 0) return in_exec;
  if (!variable.valid) {
    call->invalid(variable.name, " is \"", variable.text.substr(0, 64), "\", expected ",
                  variable.expected, ".");
  }
  return variable.value;
}

/// Threads that the call asks for, in exec or GDN_NUM_THREADS; 0 if it asks for none.
int32_t choose_threads(Call *call, int32_t in_exec) {
  if (in_exec < 0 || in_exec > kMaxThreads) {
    call->invalid("exec->threads is ", in_exec, ", expected 0 (default) to ", kMaxThreads, ".");
  }
  return number_of(call, in_exec, environment().threads);
}

struct ThreadsName {
  const char *name;
  ThreadsFrom from;
};
/// What gdn_select calls them; those that a call may ask for by name come first.
constexpr ThreadsName kThreadsNames[] = {
    {"pool", ThreadsFrom::pool}, {"openmp", ThreadsFrom::openmp}, {"host", ThreadsFrom::host}};
constexpr size_t kThreadsByName = 2;

/// Where the threads asked for by name come from; any if none were, or after a failure.
ThreadsFrom choose_threads_from(Call *call, const char *in_exec, const Backend &backend) {
  const char *source = in_exec != nullptr ? "exec->threads_from" : "GDN_THREADS_FROM";
  const std::string_view name =
      in_exec != nullptr ? std::string_view(in_exec) : environment().threads_from;
  if (in_exec == nullptr && name.empty()) return ThreadsFrom::any;
  for (const ThreadsName &known : std::span(kThreadsNames).first(kThreadsByName)) {
    if (name != known.name) continue;
    if (backend.has_threads(known.from)) return known.from;
    call->fail(Code::unsupported, source, " is \"", name,
               "\", but this process has no OpenMP runtime that its libraries share, or was "
               "forked.");
    return ThreadsFrom::any;
  }
  call->invalid(source, " is \"", name.substr(0, 64), "\", expected pool or openmp.");
  return ThreadsFrom::any;
}

const char *name_of(ThreadsFrom from) {
  for (const ThreadsName &known : kThreadsNames) {
    if (from == known.from) return known.name;
  }
  return "";
}

/// The device whose calls gdn_select describes: that of the backend named, else the CPU.
Device selected_device(Call *call, const gdn_exec *exec) {
  gdn_exec e{};
  if (exec != nullptr && !read_struct(call, "exec", exec, &e)) return {};
  const Backend *named = named_backend(call, e.backend);
  return named != nullptr ? named->device() : Device();
}

}  // namespace

void resolve(Call *call, const gdn_exec *exec, const Device &device, Target *target) {
  constexpr uint32_t kFlags = GDN_EXEC_CHECK | GDN_EXEC_NO_SPLIT;
  gdn_exec e{};
  if (exec != nullptr && !read_struct(call, "exec", exec, &e)) return;
  if (!call->ok()) return;
  if ((e.flags & ~kFlags) != 0) {
    call->invalid("exec->flags is ", e.flags, ", expected only bits of ", kFlags, ".");
  }
  const int32_t threads = choose_threads(call, e.threads);
  const bool check =
      number_of(call, (e.flags & GDN_EXEC_CHECK) != 0 ? 1 : 0, environment().check) != 0;
  const bool no_split =
      number_of(call, (e.flags & GDN_EXEC_NO_SPLIT) != 0 ? 1 : 0, environment().no_split) != 0;
  const Backend *backend = choose_backend(call, e.backend, device);
  if (!call->ok()) return;
  const bool on_cpu = backend->device().host();
  if (on_cpu && e.stream != nullptr) {
    call->invalid("exec->stream is not NULL, expected NULL for tensors on the CPU.");
  }
  const int32_t isa = choose_isa(call, e.isa, *backend);
  if (!call->ok()) return;
  target->exec.threads_from = choose_threads_from(call, e.threads_from, *backend);
  if (!call->ok()) return;
  target->backend = backend;
  target->exec.stream = e.stream;
  target->exec.threads = threads;
  target->exec.parallel_for = e.parallel_for;
  target->exec.parallel_for_context = e.parallel_for_context;
  target->exec.no_split = no_split;
  target->exec.workspace = e.workspace;
  target->exec.workspace_size = e.workspace_size;
  target->exec.isa = isa;
  target->exec.device = on_cpu ? 0 : device.id;
  target->check_contents = on_cpu || check;
}

void check_workspace(Call *call, const Target &target, size_t bytes) {
  if (bytes == 0) return;
  const Exec &e = target.exec;
  if (e.workspace == nullptr) {
    call->fail(Code::workspace_too_small, "exec->workspace is NULL, expected ", bytes, " bytes.");
  } else if (reinterpret_cast<uintptr_t>(e.workspace) % GDN_WORKSPACE_ALIGNMENT != 0) {
    call->fail(Code::workspace_too_small, "exec->workspace is ",
               reinterpret_cast<uintptr_t>(e.workspace) % GDN_WORKSPACE_ALIGNMENT,
               " past a multiple of ", GDN_WORKSPACE_ALIGNMENT, ", expected that alignment.");
  } else if (e.workspace_size < bytes) {
    call->fail(Code::workspace_too_small, "exec->workspace_size is ", e.workspace_size,
               ", expected at least ", bytes, " bytes.");
  }
}

}  // namespace gdn::api

gdn_status gdn_select(const gdn_exec *exec, gdn_selection *out) {
  using namespace gdn;  // NOLINT(google-build-using-namespace): an entry point outside it.
  return api::guarded("gdn_select", [&]() -> Status {
    api::Call call;
    if (out == nullptr) {
      call.invalid("out is NULL, expected a pointer to a gdn_selection.");
      return call.take();
    }
    const Device device = api::selected_device(&call, exec);
    api::Target target;
    api::resolve(&call, exec, device, &target);
    if (!call.ok() || target.backend == nullptr) return call.take();
    const Selection s = target.backend->select(target.exec);
    const bool named = target.exec.isa >= 0;
    *out = {target.backend->name(), target.backend->isas()[static_cast<size_t>(s.isa)].name,
            named ? "The instruction set was asked for by name." : s.reason, s.threads,
            api::name_of(s.threads_from)};
    return {};
  });
}
