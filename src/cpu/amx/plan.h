#ifndef GDN_CPU_AMX_PLAN_H_
#define GDN_CPU_AMX_PLAN_H_

// How a call is cut into work items: sequence x block of key heads x part of the value heads of
// each key head x part of the value columns. The cut never changes a result: heads and columns are
// independent.
//
// An item runs its key heads inside each step, since neighbouring heads share pages
// and prefetches of q, k and v; their states (64 KB a value head at 128 x 128) must fit the L2
// cache. It is cut finer only while there are fewer items than threads.

#include "cpu/amx/layout.h"

namespace gdn::cpu::amx {
namespace {

constexpr int64_t kStateBudget = 512 * 1024;  ///< Bytes of states of one item.

struct Plan {
  Widths widths;
  int64_t sequences;
  int64_t heads_per_item;  ///< Key heads.
  int64_t head_blocks;
  int64_t group_per_item;  ///< Value heads of a key head.
  int64_t group_blocks;
  int64_t panels_per_item;
  int64_t panel_blocks;

  Plan(const DeltaRule &p, int32_t threads) : widths(p), sequences(p.sequences.count) {
    const int64_t key_heads = p.heads.key_heads;
    const int64_t group = p.heads.group();
    const int64_t state = static_cast<int64_t>(widths.panel_bytes()) * widths.panels;
    heads_per_item = clamp(kStateBudget / (state * group), 1, key_heads);
    group_per_item = group;
    panels_per_item =
        clamp(kStateBudget / static_cast<int64_t>(widths.panel_bytes()), 1, widths.panels);
    const int64_t count = sequences > 0 ? sequences : 1;
    const int64_t wanted = ceil_div(threads > 0 ? threads : 1, count);
    if (ceil_div(key_heads, heads_per_item) < wanted) {
      heads_per_item = clamp(key_heads / wanted, 1, key_heads);
    }
    head_blocks = ceil_div(key_heads, heads_per_item);
    if (head_blocks < wanted) {
      group_per_item = clamp(group / ceil_div(wanted, head_blocks), 1, group);
    }
    group_blocks = ceil_div(group, group_per_item);
    if (head_blocks * group_blocks < wanted) {
      const int64_t parts = ceil_div(wanted, head_blocks * group_blocks);
      panels_per_item = clamp(widths.panels / parts, 1, panels_per_item);
    }
    panel_blocks = ceil_div(widths.panels, panels_per_item);
  }

  int64_t items() const { return sequences * head_blocks * group_blocks * panel_blocks; }

  /// Rows of all panels of all states of an item.
  int64_t state_rows() const {
    return heads_per_item * group_per_item * panels_per_item * widths.state_rows();
  }

 private:
  static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
  static int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
  }
};

/// What one item covers: half-open ranges.
struct Item {
  int64_t sequence;
  int64_t key_begin, key_end;
  int64_t group_begin, group_end;
  int panel_begin, panel_end;

  Item(const Plan &plan, const DeltaRule &p, int64_t index) {
    const int64_t panel = index % plan.panel_blocks;
    index /= plan.panel_blocks;
    const int64_t group = index % plan.group_blocks;
    index /= plan.group_blocks;
    const int64_t head = index % plan.head_blocks;
    sequence = index / plan.head_blocks;
    key_begin = head * plan.heads_per_item;
    key_end = least(key_begin + plan.heads_per_item, p.heads.key_heads);
    group_begin = group * plan.group_per_item;
    group_end = least(group_begin + plan.group_per_item, p.heads.group());
    panel_begin = static_cast<int>(panel * plan.panels_per_item);
    panel_end = static_cast<int>(least(panel_begin + plan.panels_per_item, plan.widths.panels));
  }

 private:
  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
};

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PLAN_H_
