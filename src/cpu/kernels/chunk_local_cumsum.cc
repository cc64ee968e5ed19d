// g_cumsum = inclusive sum of g over each chunk, in f32, token after token.
//
// Operations: one addition an element; memory: one read and one write.
// An item is a chunk with all heads; heads go along the vector lanes.

#include GDN_TILE

#include "cpu/kernels/blocks.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/strided.h"

namespace gdn::cpu::GDN_ISA {
namespace {

template <class E>
void run_chunk(const ChunkLocalCumsum &p, const Block &chunk) {
  for_each_vec(p.g.shape[2], [&](int64_t head, int64_t lanes) {
    Vec sum = zero();
    for (int64_t t = chunk.begin; t < chunk.begin + chunk.length; ++t) {
      sum = sum + load_strided(p.g.at<const E>(chunk.batch, t, head), p.g.stride[2], lanes);
      store_strided(p.g_cumsum.at<float>(chunk.batch, t, head), p.g_cumsum.stride[2], sum, lanes);
    }
  });
}

int64_t items(const ChunkLocalCumsum &p, int32_t) { return block_count(p.sequences, p.chunk_size); }

void run(const ChunkLocalCumsum &p, int32_t, int64_t first, int64_t last, void *) {
  with_element(p.g.dtype, [&](auto element) {
    for (int64_t i = first; i < last; ++i) {
      run_chunk<decltype(element)>(p, block_at(p.sequences, p.chunk_size, i));
    }
  });
}

}  // namespace

const Kernel<op::chunk_local_cumsum> kernel::chunk_local_cumsum = {items, run};

}  // namespace gdn::cpu::GDN_ISA
