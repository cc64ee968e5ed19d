#include "call.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "options.h"

namespace gdn::python {

namespace {

/// Scratch memory of a thread, kept from call to call and grown when needed.
class Workspace {
 public:
  void *reserve(size_t bytes) {
    if (bytes > size_) {
      const size_t rounded =
          (bytes + GDN_WORKSPACE_ALIGNMENT - 1) / GDN_WORKSPACE_ALIGNMENT * GDN_WORKSPACE_ALIGNMENT;
      data_.reset();
      size_ = 0;
      data_.reset(std::aligned_alloc(GDN_WORKSPACE_ALIGNMENT, rounded));
      if (!data_)
        raise(PyExc_MemoryError,
              "no memory for a workspace of " + std::to_string(rounded) + " bytes.");
      size_ = rounded;
      advise_huge_pages(data_.get(), rounded);
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(void *p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

bool is_name_character(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Replaces `from` by `to` where it stands as a whole name.
void replace_name(std::string *text, const std::string &from, const std::string &to) {
  for (size_t at = text->find(from); at != std::string::npos; at = text->find(from, at)) {
    const size_t end = at + from.size();
    const bool whole = (at == 0 || !is_name_character((*text)[at - 1])) &&
                       (end == text->size() || !is_name_character((*text)[end]));
    if (whole) text->replace(at, from.size(), to);
    at += whole ? to.size() : 1;
  }
}

void refuse_none(const char *name, nb::handle array) {
  if (array.is_none()) {
    raise(PyExc_TypeError, std::string(name) + ": expected an array, got None.");
  }
}

/// What the C interface calls by another name than Python does.
constexpr std::pair<const char *, const char *> kPythonNames[] = {
    {"GDN_USE_GATE", "use_gate_in_kernel"},
    {"GDN_USE_BETA_SIGMOID", "use_beta_sigmoid_in_kernel"},
    {"GDN_PADDED", "padded"},
    {"GDN_SIGMOID_GATE", "gate_activation='sigmoid'"},
    {"NULL", "None"},
};

}  // namespace

void Call::check_kind(const char *name, nb::handle array) {
  const Kind kind = kind_of(array);
  if (kind != Kind::none && (kind_ == Kind::none || kind == kind_)) {
    if (kind_ == Kind::none) {
      kind_ = kind;
      first_name_ = name;
      grad_enabled_ = grad_enabled(kind);
      tangents_enabled_ = tangents_enabled(kind);
    }
    return;
  }
  const std::string wanted = kind_ == Kind::none
                                 ? "a torch.Tensor or a numpy.ndarray"
                                 : std::string(kind_name(kind_)) + " like " + first_name_;
  raise(PyExc_TypeError,
        std::string(name) + ": expected " + wanted + ", got " + name_of_type(array) + ".");
}

Call::Operand &Call::add(const char *name, nb::handle array) {
  check_kind(name, array);
  if (grad_enabled_ && requires_grad(array)) check("refuse_gradient", name);
  if (tangents_enabled_ && has_tangent(array)) {
    raise(PyExc_NotImplementedError,
          std::string(name) +
              ": carries a tangent of forward-mode differentiation (or may carry one, in compiled "
              "code inside a dual_level()), which gdn does not have; pass "
              "torch.autograd.forward_ad.unpack_dual(tensor).primal.");
  }
  Operand &operand = operands_.at(count_++);
  operand.keep = nb::borrow(array);
  borrow(name, array, kind_, operand.view);
  return operand;
}

void Call::rename(nb::handle pairs) {
  if (pairs.is_none()) return;
  for (nb::handle pair : pairs) {
    renames_.at(rename_count_++) = {nb::cast<const char *>(pair[0]),
                                    nb::cast<const char *>(pair[1])};
  }
}

const char *Call::called(const char *name) const {
  for (size_t i = 0; i < rename_count_; ++i) {
    if (std::strcmp(renames_[i].first, name) == 0) return renames_[i].second;
  }
  return name;
}

View *Call::input(const char *name, nb::handle array, Strides strides) {
  if (array.is_none()) return nullptr;
  name = called(name);
  Operand &operand = add(name, array);
  const DLTensor &t = operand.view.tensor;
  const bool copy = (strides == Strides::unit_last && t.ndim > 0 && t.strides[t.ndim - 1] != 1) ||
                    !operand.view.aligned() || is_negated(kind_, array, operand.view);
  if (copy) {
    operand.keep = compact_copy(kind_, array);
    borrow(name, operand.keep, kind_, operand.view);
  }
  return &operand.view;
}

View *Call::required(const char *name, nb::handle array, Strides strides) {
  refuse_none(called(name), array);
  return input(name, array, strides);
}

View *Call::required_updated(const char *name, nb::handle array) {
  refuse_none(called(name), array);
  return updated(name, array);
}

View *Call::updated(const char *name, nb::handle array) {
  if (array.is_none()) return nullptr;
  name = called(name);
  Operand &operand = add(name, array);
  if (!operand.view.writeable) {
    raise(PyExc_ValueError, std::string(name) + ": the array is read-only, but it is written.");
  }
  if (!operand.view.aligned()) {
    raise(PyExc_ValueError, std::string(name) +
                                ": the data pointer is not a multiple of the item "
                                "size, and what is written cannot be copied.");
  }
  if (is_negated(kind_, array, operand.view)) {
    raise(PyExc_ValueError, std::string(name) +
                                ": a view with torch's negative bit set cannot be "
                                "written; expected a plain tensor.");
  }
  operand.written = true;
  return &operand.view;
}

void Call::mark_all_written() const {
  std::array<const Operand *, 3> written;
  size_t count = 0;
  for (size_t i = 0; i < count_; ++i) {
    if (operands_[i].written) written.at(count++) = &operands_[i];
  }
  const auto &w = written;
  if (count == 1) mark_written(kind_, nb::make_tuple(w[0]->keep));
  if (count == 2) mark_written(kind_, nb::make_tuple(w[0]->keep, w[1]->keep));
  if (count == 3) mark_written(kind_, nb::make_tuple(w[0]->keep, w[1]->keep, w[2]->keep));
}

View *Call::output(const char *name, const char *c_name, nb::handle given, const Shape &shape,
                   DLDataType dtype, Order order) {
  if (!given.is_none()) {
    renames_.at(rename_count_++) = {c_name, name};
    return updated(name, given);
  }
  Operand &operand = operands_.at(count_);
  operand.keep =
      make_array(kind_, {shape.sizes.data(), shape.rank}, dtype, device(), order, operand.view);
  ++count_;
  return &operand.view;
}

View *Call::output_like(const char *name, const char *c_name, nb::handle given, const View *like) {
  if (!given.is_none()) {
    renames_.at(rename_count_++) = {c_name, name};
    return updated(name, given);
  }
  Operand &operand = operands_.at(count_);
  operand.keep = make_array_like(kind_, array(like), *like, operand.view);
  ++count_;
  return &operand.view;
}

nb::object Call::array(const View *view) const {
  for (size_t i = 0; i < count_; ++i) {
    if (&operands_[i].view == view) return operands_[i].keep;
  }
  return nb::none();
}

bool Call::read_indices(const View *view, std::vector<int64_t> *out) {
  const DLTensor *t = &view->tensor;
  View host;
  nb::object copy;
  if (!on_host(t->device)) {
    copy = array(view).attr("cpu")();
    borrow("cu_seqlens", copy, kind_, host);
    t = &host.tensor;
  }
  if (t->ndim != 1 || t->dtype.code != kDLInt || (t->dtype.bits != 32 && t->dtype.bits != 64)) {
    return false;
  }
  out->resize(static_cast<size_t>(t->shape[0]));
  const char *data = static_cast<const char *>(t->data) + t->byte_offset;
  for (int64_t i = 0; i < t->shape[0]; ++i) {
    (*out)[static_cast<size_t>(i)] =
        t->dtype.bits == 64 ? reinterpret_cast<const int64_t *>(data)[i * t->strides[0]]
                            : reinterpret_cast<const int32_t *>(data)[i * t->strides[0]];
  }
  return true;
}

nb::object Call::set_workspace(gdn_exec *exec, size_t bytes) {
  if (bytes == 0) return nb::none();
  exec->workspace_size = bytes;
  if (on_host(device())) {
    thread_local Workspace workspace;
    exec->workspace = workspace.reserve(bytes);
    return nb::none();
  }
  const int64_t size = static_cast<int64_t>(bytes);
  View view;
  nb::object scratch = make_array(kind_, {&size, 1}, kUint8, device(), Order::compact, view);
  exec->workspace = view.tensor.data;
  return scratch;
}

void Call::fail(gdn_status status) const {
  std::string message = gdn_last_error();
  // "gdn_operation: q has .." -> "q has ..".
  if (const size_t colon = message.find(": "); message.starts_with("gdn_") && colon < 80) {
    message.erase(0, colon + 2);
  }
  for (const auto &[from, to] : kPythonNames) replace_name(&message, from, to);
  for (size_t i = 0; i < rename_count_; ++i) {
    replace_name(&message, renames_[i].first, renames_[i].second);
  }
  switch (status) {
    case GDN_INVALID_ARGUMENT:
    case GDN_UNSUPPORTED:
      raise(PyExc_ValueError, message);
    case GDN_OUT_OF_MEMORY:
      raise(PyExc_MemoryError, message);
    default:
      raise(PyExc_RuntimeError, std::string(gdn_status_string(status)) + ": " + message);
  }
}

uint32_t set_scale(nb::handle scale, double *value) {
  if (scale.is_none()) return 0;
  *value = read_number("scale", scale, "a number or None");
  return GDN_HAS_SCALE;
}

void add_dimension(View *view, bool front) {
  if (view == nullptr) return;
  DLTensor &t = view->tensor;
  if (t.ndim >= View::kMaxRank) return;
  if (front) {
    std::copy_backward(view->shape, view->shape + t.ndim, view->shape + t.ndim + 1);
    std::copy_backward(view->strides, view->strides + t.ndim, view->strides + t.ndim + 1);
  }
  const int at = front ? 0 : t.ndim;
  view->shape[at] = 1;
  view->strides[at] = 1;
  ++t.ndim;
}

}  // namespace gdn::python
