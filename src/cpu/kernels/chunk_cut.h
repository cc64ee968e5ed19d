#ifndef GDN_CPU_KERNELS_CHUNK_CUT_H_
#define GDN_CPU_KERNELS_CHUNK_CUT_H_

// How a call of the chunked delta rule is cut into items. Include GDN_TILE first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// What an item computes of one sequence: key heads [key_first, key_last) and of each the units
/// [first, last). A unit is a panel of one value head; the units of a key head are numbered value
/// head by value head. Panels do not depend on each other, so the cut does not change a bit.
struct ChunkItem {
  int64_t sequence;
  int64_t key_first, key_last;
  int64_t first, last;

  int64_t units() const { return last - first; }
};

/// Either an item takes several key heads whole or a key head is cut into several slices.
struct ChunkCut {
  int64_t key_heads;
  int64_t panels;    ///< Panels of one value head.
  int64_t units;     ///< Units of one key head.
  int64_t together;  ///< Key heads of an item.
  int64_t slices;    ///< Slices of a key head; 1 if together > 1.

  int64_t parts() const { return (key_heads + together - 1) / together * slices; }

  /// Units that an item holds at most.
  int64_t largest() const { return together * ((units + slices - 1) / slices); }

  ChunkItem item(int64_t i) const {
    const int64_t part = i % parts();
    const int64_t slice = part % slices;
    const int64_t key = part / slices * together;
    const int64_t key_end = key + together < key_heads ? key + together : key_heads;
    return {i / parts(), key, key_end, slice * units / slices, (slice + 1) * units / slices};
  }
};

/// State that an item may keep in the second-level cache, in bytes.
constexpr int64_t kItemState = int64_t{1} << 20;

inline ChunkCut cut_chunks(const DeltaRule &p, int32_t threads) {
  ChunkCut c;
  c.key_heads = p.heads.key_heads;
  c.panels = (p.value_dim + kTileColumns - 1) / kTileColumns;
  c.units = c.panels * p.heads.group();
  c.together = 1;
  c.slices = 1;
  const int64_t unit_bytes = p.key_dim * kTileColumns * static_cast<int64_t>(sizeof(float));
  const int64_t fit = kItemState / unit_bytes > 1 ? kItemState / unit_bytes : 1;
  const int64_t whole = p.sequences.count * c.key_heads;
  // Key heads lie side by side in memory: taken together they share pages.
  while (c.together < 4 && 2 * c.together * c.units <= fit &&
         whole >= 8 * c.together * static_cast<int64_t>(threads)) {
    c.together *= 2;
  }
  if (c.together > 1) return c;
  // Packing and the triangles are repeated by every slice; they cost about as much as a panel.
  int64_t best = INT64_MAX;
  for (int64_t s = (c.units + fit - 1) / fit; s <= c.units; ++s) {
    const int64_t rounds = (whole * s + threads - 1) / threads;
    const int64_t cost = rounds * ((c.units + s - 1) / s + 1);
    if (cost < best) {
      c.slices = s;
      best = cost;
    }
  }
  return c;
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CHUNK_CUT_H_
