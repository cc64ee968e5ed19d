#ifndef GDN_PYTHON_CALL_H_
#define GDN_PYTHON_CALL_H_

#include <gdn/gdn.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "kinds.h"
#include "settings.h"

namespace gdn::python {

/// A shape, from a list or from pointer and rank (at most View::kMaxRank).
struct Shape {
  Shape(std::initializer_list<int64_t> list) : Shape(list.begin(), list.size()) {}
  Shape(const int64_t *begin, size_t count) : rank(count) {
    std::copy(begin, begin + count, sizes.begin());
  }
  std::array<int64_t, View::kMaxRank> sizes;
  size_t rank;
};

/// What the library demands of an argument's strides.
enum class Strides : uint8_t {
  any,
  unit_last,  ///< Inputs with another last stride are copied.
};

/// One call of the library: collects operands, sees to it that all are arrays of one kind without
/// derivatives, makes the outputs, runs without the interpreter lock and turns a status into an
/// exception.
class Call {
 public:
  Call() = default;
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  /// Takes pairs (name of an argument, name that the caller gave it by), or None. Messages name
  /// the latter. The names live as long as the call.
  void rename(nb::handle pairs);

  /// An argument that is only read; null for None.
  View *input(const char *name, nb::handle array, Strides strides = Strides::any);

  /// The same for an argument that must be there: None is a TypeError.
  View *required(const char *name, nb::handle array, Strides strides = Strides::any);

  /// An argument that is updated in place; null for None. Never copied.
  View *updated(const char *name, nb::handle array);

  /// The same for an argument that must be there.
  View *required_updated(const char *name, nb::handle array);

  /// An output: the caller's array `given` (Python argument `name`), or with None a fresh one on
  /// the device of the first operand. `c_name` is what the library calls it.
  View *output(const char *name, const char *c_name, nb::handle given, const Shape &shape,
               DLDataType dtype, Order order = Order::compact);

  /// The same in the shape and type of an operand, whatever its rank.
  View *output_like(const char *name, const char *c_name, nb::handle given, const View *like);

  /// A fresh output.
  View *output(const Shape &shape, DLDataType dtype) {
    return output("", "", nb::none(), shape, dtype);
  }

  /// Sets a fresh output to 0.
  void clear(const View *view) { fill_zero(kind_, array(view)); }

  /// The Python object behind an operand.
  nb::object array(const View *view) const;

  /// Contents of a one-dimensional index argument on the host; false if they are not plain int32 or
  /// int64 (the library will say why). Copies from another device.
  bool read_indices(const View *view, std::vector<int64_t> *out);

  /// Whether the operands lie in host memory.
  bool on_cpu() const { return on_host(device()); }

  /// Runs a library function without the interpreter lock.
  template <class Args>
  void run(gdn_status (*function)(const Args *, const gdn_exec *), const Args &args) {
    gdn_exec exec = make_exec();
    exec.stream = current_stream(kind_, device());
    run(function, args, exec);
  }

  /// The same with scratch memory of the size that `size_function` asks for.
  template <class Args>
  void run(gdn_status (*function)(const Args *, const gdn_exec *),
           gdn_status (*size_function)(const Args *, const gdn_exec *, size_t *),
           const Args &args) {
    gdn_exec exec = make_exec();
    exec.stream = current_stream(kind_, device());
    size_t bytes = 0;
    if (gdn_status s = size_function(&args, &exec, &bytes); s != GDN_OK) fail(s);
    nb::object scratch = set_workspace(&exec, bytes);
    run(function, args, exec);
  }

 private:
  struct Operand {
    nb::object keep;
    View view;
    bool written = false;  ///< An array of the caller's that the call writes.
  };
  static constexpr size_t kMaxOperands = 24;

  template <class Args>
  void run(gdn_status (*function)(const Args *, const gdn_exec *), const Args &args,
           const gdn_exec &exec) {
    gdn_status status;
    {
      nb::gil_scoped_release released;
      status = function(&args, &exec);
    }
    if (status != GDN_OK) fail(status);
    mark_all_written();
  }

  void mark_all_written() const;

  /// The name that the caller gave an argument by.
  const char *called(const char *name) const;

  /// Next operand, with the array's kind checked.
  Operand &add(const char *name, nb::handle array);
  void check_kind(const char *name, nb::handle array);
  DLDevice device() const { return operands_[0].view.tensor.device; }

  /// Points exec at scratch memory: the thread's own on the CPU, else the returned array.
  nb::object set_workspace(gdn_exec *exec, size_t bytes);

  /// Raises the library's last error, with Python's argument names.
  [[noreturn]] void fail(gdn_status status) const;

  Kind kind_ = Kind::none;
  bool grad_enabled_ = false;
  bool tangents_enabled_ = false;
  const char *first_name_ = "";
  size_t count_ = 0;
  size_t rename_count_ = 0;
  std::array<std::pair<const char *, const char *>, 8> renames_;
  std::array<Operand, kMaxOperands> operands_;
};

/// A view's tensor for an args struct; null stays null.
inline const DLTensor *tensor(const View *view) { return view ? &view->tensor : nullptr; }

/// GDN_HAS_SCALE and the value of a Python number, or 0 for None.
uint32_t set_scale(nb::handle scale, double *value);

/// Adds a dimension of size 1 before (axis 0) or after the others.
void add_dimension(View *view, bool front);

}  // namespace gdn::python

#endif  // GDN_PYTHON_CALL_H_
