// How the portable chunk kernel shares out the shared memory of GPUs that need not be there: stages
// of tiles by what a block may have at most.

#include <gtest/gtest.h>

#include "cuda/sm80/chunk_gated_delta_rule/shared.cuh"

namespace gdn::cuda::sm80::chunk {
namespace {

constexpr size_t kHopper = 227 * 1024, kA100 = 163 * 1024, kConsumer = 99 * 1024;

TEST(ChunkPlan, StagesByCard) {
  EXPECT_EQ((stages_within<bf16, 128>(kHopper)), 3);
  EXPECT_EQ((stages_within<bf16, 128>(kA100)), 2);  // Two blocks reside; with three one would.
  EXPECT_EQ((stages_within<bf16, 128>(kConsumer)), 2);
  EXPECT_EQ((stages_within<f16, 128>(kHopper)), 3);
  EXPECT_EQ((stages_within<f16, 128>(kA100)), 2);
  EXPECT_EQ((stages_within<f16, 128>(kConsumer)), 3);  // One block resides either way.
  EXPECT_EQ((stages_within<float, 128>(kHopper)), 3);
  EXPECT_EQ((stages_within<float, 128>(kA100)), 3);
  EXPECT_EQ((stages_within<float, 128>(kConsumer)), 1);
  EXPECT_EQ((stages_within<float, 256>(kHopper)), 2);
}

// Whatever a card has, the plan fits it if any does.
template <class E, int kKeyDim>
void expect_fitting() {
  for (size_t most = shared_bytes<E, kKeyDim>(1); most <= kHopper; most += 1024) {
    EXPECT_LE((shared_bytes<E, kKeyDim>(stages_within<E, kKeyDim>(most))), most);
  }
}

TEST(ChunkPlan, Fits) {
  expect_fitting<bf16, 128>();
  expect_fitting<bf16, 256>();
  expect_fitting<f16, 128>();
  expect_fitting<f16, 256>();
  expect_fitting<float, 128>();
  expect_fitting<float, 256>();
}

}  // namespace
}  // namespace gdn::cuda::sm80::chunk
