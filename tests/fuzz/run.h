#ifndef GDN_TESTS_FUZZ_RUN_H_
#define GDN_TESTS_FUZZ_RUN_H_

#include <gdn/gdn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "fuzz/bytes.h"
#include "fuzz/draw.h"

namespace gdn::fuzz {

/// A copy of a struct on the heap, exactly as long as its struct_size says.
template <class S>
class HeapStruct {
 public:
  HeapStruct(Bytes *in, S value) {
    size_t size = sizeof(S);
    if (in->rarely()) {
      size = static_cast<size_t>(in->pick<int64_t>(
          {0, 4, 8, 12, 16, 24, sizeof(S) - 8, sizeof(S) + 8, sizeof(S) + 64, 1 << 20, -1}));
    }
    value.struct_size = size;
    const size_t room = size <= 4096 && size > sizeof(S) ? size : sizeof(S);
    memory_ = std::make_unique<uint64_t[]>(room / 8);
    std::memcpy(memory_.get(), &value, sizeof(S));
    if (room > sizeof(S) && in->rarely()) memory_[room / 8 - 1] = 1;
    if (size >= 8 && size < sizeof(S)) {
      memory_ = shrink(size);
    }
  }

  const S *get() const { return reinterpret_cast<const S *>(memory_.get()); }

 private:
  std::unique_ptr<uint64_t[]> shrink(size_t size) const {
    auto less = std::make_unique<uint64_t[]>((size + 7) / 8);
    std::memcpy(less.get(), memory_.get(), size);
    return less;
  }

  std::unique_ptr<uint64_t[]> memory_;
};

inline void require(bool condition, const char *what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// Backend, instruction set, threads and workspace.
class Exec {
 public:
  explicit Exec(Bytes *in) : workspace_(nullptr, &std::free) {
    exec_.threads =
        in->rarely() ? static_cast<int32_t>(in->odd_number()) : static_cast<int32_t>(in->below(3));
    exec_.flags = in->rarely() ? in->byte() : 0;
    exec_.backend = in->often() ? "cpu" : "reference";
    const int isas = gdn_isa_count(exec_.backend);
    const auto isa = static_cast<int>(in->below(isas + 1));
    exec_.isa = isa < isas ? gdn_isa_name(exec_.backend, isa) : nullptr;
    if (in->rarely()) exec_.isa = "none";
    if (in->rarely() && in->rarely()) exec_.backend = "none";
    if (in->rarely() && in->rarely()) exec_.stream = this;
    exec_.struct_size = sizeof exec_;
  }

  const gdn_exec &value() const { return exec_; }

  void give_workspace(Bytes *in, size_t bytes) {
    if (bytes > size_t{1} << 28) return;
    const size_t rounded = (bytes + 255) / 256 * 256;
    workspace_.reset(std::aligned_alloc(256, rounded > 0 ? rounded : 256));
    exec_.workspace = in->rarely() ? nullptr : workspace_.get();
    exec_.workspace_size = in->rarely() ? bytes / 2 : bytes;
  }

 private:
  gdn_exec exec_{};
  std::unique_ptr<void, void (*)(void *)> workspace_;
};

/// Makes the call and checks what it did.
template <class Args>
void run(Draw *d, gdn_status (*function)(const Args *, const gdn_exec *), const Args &args,
         gdn_status (*query)(const Args *, const gdn_exec *, size_t *) = nullptr) {
  const HeapStruct<Args> heap_args(&d->in, args);
  Exec exec(&d->in);
  if (query != nullptr) {
    size_t bytes = 0;
    if (query(heap_args.get(), &exec.value(), &bytes) == GDN_OK) {
      exec.give_workspace(&d->in, bytes);
    }
  }
  const HeapStruct<gdn_exec> heap_exec(&d->in, exec.value());
  d->operands.remember();
  const gdn_status status = function(heap_args.get(), heap_exec.get());
  require(status >= GDN_OK && status <= GDN_INTERNAL_ERROR, "A status that does not exist.");
  if (status == GDN_INTERNAL_ERROR) std::fprintf(stderr, "%s\n", gdn_last_error());
  require(status != GDN_INTERNAL_ERROR, "An internal error.");
  require(status == GDN_OK || std::strlen(gdn_last_error()) > 20, "No message.");
  d->operands.check(status == GDN_OK);
}

}  // namespace gdn::fuzz

#endif  // GDN_TESTS_FUZZ_RUN_H_
