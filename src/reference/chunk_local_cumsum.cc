#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/operations.h"

namespace gdn::reference {

void chunk_local_cumsum(const ChunkLocalCumsum &p, int32_t) {
  for (const Chunk &chunk : chunks_of(p)) {
    for (int64_t h = 0; h < p.heads.value_heads; ++h) {
      double sum = 0.0;
      for (int64_t t = chunk.begin; t < chunk.begin + chunk.length; ++t) {
        sum += load(p.g, p.g.offset(chunk.batch, t, h));
        store(p.g_cumsum, p.g_cumsum.offset(chunk.batch, t, h), sum);
      }
    }
  }
}

}  // namespace gdn::reference
