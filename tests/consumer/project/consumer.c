/* A program of a user: one call in C. With q = k = (1, 0, ..), beta = 1 and no decay, a token's
 * output is its own v. */
#include <gdn/gdn.h>
#include <stdio.h>

int main(void) {
  float q[4][8] = {{0}};
  float v[4][8];
  float o[4][8];
  for (int t = 0; t < 4; ++t) {
    q[t][0] = 1.0f;
    for (int i = 0; i < 8; ++i) v[t][i] = (float)(10 * t + i);
  }
  int64_t shape[] = {1, 4, 1, 8};
  DLTensor tq = {0};
  tq.data = q;
  tq.device.device_type = kDLCPU;
  tq.ndim = 4;
  tq.dtype.code = kDLFloat;
  tq.dtype.bits = 32;
  tq.dtype.lanes = 1;
  tq.shape = shape;
  DLTensor tv = tq;
  tv.data = v;
  DLTensor to = tq;
  to.data = o;

  gdn_gated_delta_rule_args args = {0};
  args.struct_size = sizeof args;
  args.flags = GDN_HAS_SCALE;
  args.scale = 1.0;
  args.q = &tq;
  args.k = &tq;
  args.v = &tv;
  args.o = &to;
  if (gdn_fused_recurrent_gated_delta_rule(&args, NULL) != GDN_OK) {
    fprintf(stderr, "%s\n", gdn_last_error());
    return 1;
  }
  for (int t = 0; t < 4; ++t) {
    for (int i = 0; i < 8; ++i) {
      if (o[t][i] != v[t][i]) return 2;
    }
  }
  printf("libgdn %s from C: right\n", gdn_version());
  return 0;
}
