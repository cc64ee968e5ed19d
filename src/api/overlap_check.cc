#include "api/overlap_check.h"

#include <numeric>
#include <span>

namespace gdn::api {
namespace {

uintptr_t first_byte(const Region &r) { return r.address + static_cast<uintptr_t>(r.lowest); }
uintptr_t past_byte(const Region &r) { return r.address + static_cast<uintptr_t>(r.end); }

/// The bytes that a region touches, modulo a period: [begin, begin + width) on a circle.
struct Window {
  int64_t begin;
  int64_t width;
};

/// Dimensions whose stride is a multiple of the period fall on the same place of the circle; the
/// others span the window.
Window window(const Region &r, int64_t period) {
  int64_t width = r.item;
  for (int32_t d = 0; d < r.rank; ++d) {
    if (r.shape[d] <= 1) continue;
    const int64_t step = r.stride[d] * r.item;  // Cannot overflow: Call has checked the span.
    if (step % period == 0) continue;
    width += (r.shape[d] - 1) * (step < 0 ? -step : step);
  }
  // The lowest byte: negative strides of outer dimensions change it by whole periods only.
  const auto p = static_cast<uintptr_t>(period);
  return {static_cast<int64_t>(first_byte(r) % p), width};
}

bool disjoint_on_circle(const Window &a, const Window &b, int64_t period) {
  if (a.width > period || b.width > period) return false;
  const int64_t a_to_b = (b.begin - a.begin + period) % period;
  const int64_t b_to_a = (a.begin - b.begin + period) % period;
  return a_to_b >= a.width && b_to_a >= b.width;
}

bool disjoint_by_strides_of(const Region &r, const Region &a, const Region &b) {
  for (int32_t d = 0; d < r.rank; ++d) {
    if (r.shape[d] <= 1) continue;
    const int64_t step = r.stride[d] * r.item;
    const int64_t period = step < 0 ? -step : step;
    if (period == 0 || period <= r.item) continue;
    if (disjoint_on_circle(window(a, period), window(b, period), period)) return true;
  }
  return false;
}

/// A dimension: `count` elements, `size` elements apart.
struct Steps {
  int64_t size;
  int64_t count;
};

/// is_injective() for dimensions in order of size. Two elements at one place are a sum of steps,
/// not all zero, that comes to 0.
bool are_injective(std::span<const Steps> dims) {
  if (dims.size() <= 1) return dims.empty() || dims[0].size > 0;
  // Where the gcd of the larger steps is no less than all that the smaller ones span, both parts of
  // the sum are 0 by themselves: two questions.
  int64_t extent = 1;
  for (size_t i = 1; i < dims.size(); ++i) {
    extent += (dims[i - 1].count - 1) * dims[i - 1].size;
    int64_t common = 0;
    for (const Steps &larger : dims.subspan(i)) common = std::gcd(common, larger.size);
    if (common >= extent) return are_injective(dims.first(i)) && are_injective(dims.subspan(i));
  }
  if (dims.size() > 2 || dims[0].size == 0) return false;
  // i steps of one size lead where j of the other do: the least such i and j must be out of reach.
  const int64_t common = std::gcd(dims[0].size, dims[1].size);
  return dims[1].size / common >= dims[0].count || dims[0].size / common >= dims[1].count;
}

void check_pointer(Call *call, const Region &r) {
  if (r.empty()) return;
  if (r.null) {
    call->invalid(r.name, " has a null data pointer, expected memory for shape ",
                  shape_text(r.shape, r.rank), ".");
  } else if (r.address % static_cast<uintptr_t>(r.item) != 0) {
    call->invalid(r.name, " starts at an address (data + byte_offset) that is ",
                  r.address % static_cast<uintptr_t>(r.item), " past a multiple of ", r.item,
                  ", expected alignment to its ", r.item, "-byte elements.");
  } else if (first_byte(r) > r.address || past_byte(r) < r.address) {
    call->invalid(r.name, " with shape ", shape_text(r.shape, r.rank), " and strides ",
                  shape_text(r.stride, r.rank), " reaches beyond the end of the address space.");
  }
}

}  // namespace

bool is_injective(const Region &r) {
  if (r.empty()) return true;
  Steps steps[Tensor::kMaxRank];
  int32_t rank = 0;
  for (int32_t d = 0; d < r.rank; ++d) {
    if (r.shape[d] <= 1) continue;
    const Steps next = {r.stride[d] < 0 ? -r.stride[d] : r.stride[d], r.shape[d]};
    int32_t at = rank++;
    for (; at > 0 && steps[at - 1].size > next.size; --at) steps[at] = steps[at - 1];
    steps[at] = next;
  }
  // Nested dimensions, each of which steps over all the smaller ones, are what frameworks make.
  int64_t extent = 1;
  bool nested = true;
  for (const Steps &next : std::span(steps, static_cast<size_t>(rank))) {
    nested &= next.size >= extent;
    extent += (next.count - 1) * next.size;
  }
  return nested || are_injective({steps, static_cast<size_t>(rank)});
}

bool are_disjoint(const Region &a, const Region &b) {
  if (a.empty() || b.empty()) return true;
  if (past_byte(a) <= first_byte(b) || past_byte(b) <= first_byte(a)) return true;
  return disjoint_by_strides_of(a, a, b) || disjoint_by_strides_of(b, a, b);
}

void check_memory(Call *call, const void *workspace, size_t workspace_size) {
  const std::span<const Region> regions = call->regions();
  for (const Region &r : regions) check_pointer(call, r);
  if (!call->ok()) return;
  Region scratch{};
  scratch.name = "exec->workspace";
  scratch.address = reinterpret_cast<uintptr_t>(workspace);
  scratch.item = 1;
  scratch.rank = 1;
  scratch.shape[0] = scratch.end = workspace != nullptr ? static_cast<int64_t>(workspace_size) : 0;
  scratch.stride[0] = 1;
  for (size_t i = 0; i < regions.size(); ++i) {
    const Region &r = regions[i];
    if (!are_disjoint(scratch, r)) {
      call->invalid(r.name, " overlaps exec->workspace, expected memory of its own.");
    }
    if (r.use != Use::output) continue;
    if (!is_injective(r)) {
      call->invalid(r.name, " has strides ", shape_text(r.stride, r.rank), " for shape ",
                    shape_text(r.shape, r.rank),
                    ", with which its elements overlap (or interlock in more than two dimensions); "
                    "expected an output without overlap.");
    }
    for (size_t j = 0; j < regions.size(); ++j) {
      // A pair of outputs is met once.
      if (j == i || (regions[j].use == Use::output && j < i)) continue;
      if (!are_disjoint(r, regions[j])) {
        call->invalid(r.name, " overlaps ", regions[j].name,
                      " in memory, expected an output that shares no memory with other operands.");
      }
    }
  }
}

}  // namespace gdn::api
