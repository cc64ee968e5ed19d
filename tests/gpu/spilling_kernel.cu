// Needs more registers than its launch bounds leave it, so it spills. Compiled by a test alone.

constexpr int kValues = 64;

__global__ void __launch_bounds__(1024, 2) spilling_kernel(float *p) {
  float x[kValues], sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kValues; ++i) x[i] = p[i * blockDim.x + threadIdx.x];
  __syncthreads();
  for (int round = 0; round < 4; ++round) {
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      x[i] = x[i] * x[(i + 7) % kValues] + sum;
      sum += x[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) p[i * blockDim.x + threadIdx.x] = x[i];
}
