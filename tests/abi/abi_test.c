/* The C interface as a C11 program sees it: no C++, no other header than gdn.h. */
#include <gdn/gdn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if UINTPTR_MAX == UINT64_MAX
/* A struct may grow at its end in a later version, never shrink or move: a changed size here is a
 * changed binary interface. */
_Static_assert(sizeof(gdn_exec) == 80, "changed layout");
_Static_assert(sizeof(gdn_selection) == 40, "changed layout");
_Static_assert(sizeof(gdn_gated_delta_rule_args) == 192, "changed layout");
_Static_assert(sizeof(gdn_chunk_local_cumsum_args) == 40, "changed layout");
_Static_assert(sizeof(gdn_chunk_scaled_dot_kkt_args) == 64, "changed layout");
_Static_assert(sizeof(gdn_solve_tril_args) == 40, "changed layout");
_Static_assert(sizeof(gdn_recompute_w_u_args) == 88, "changed layout");
_Static_assert(sizeof(gdn_chunk_fwd_h_args) == 96, "changed layout");
_Static_assert(sizeof(gdn_chunk_fwd_o_args) == 88, "changed layout");
_Static_assert(sizeof(gdn_causal_conv1d_fwd_args) == 88, "changed layout");
_Static_assert(sizeof(gdn_causal_conv1d_update_args) == 88, "changed layout");
_Static_assert(sizeof(gdn_fused_gdn_gating_args) == 64, "changed layout");
_Static_assert(sizeof(gdn_l2norm_args) == 40, "changed layout");
_Static_assert(sizeof(gdn_rms_norm_gated_args) == 56, "changed layout");
_Static_assert(sizeof(gdn_fused_gdn_decode_args) == 176, "changed layout");
#endif

enum { kB = 1, kT = 70, kHK = 1, kHV = 2, kDK = 16, kDV = 8 };

static int failures = 0;

static void expect(int condition, const char *what) {
  if (condition) return;
  ++failures;
  fprintf(stderr, "failed: %s; last error: %s\n", what, gdn_last_error());
}

/* A float32 tensor on the CPU; shape outlives it. */
static DLTensor tensor(float *data, int64_t *shape, int rank) {
  DLTensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.device.device_type = kDLCPU;
  t.ndim = rank;
  t.dtype.code = kDLFloat;
  t.dtype.bits = 32;
  t.dtype.lanes = 1;
  t.shape = shape;
  return t;
}

/* A number in [-0.5, 0.5), the same on every machine. */
static float noise(void) {
  static uint32_t state = 12345;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 16777216.0f - 0.5f;
}

/* The recurrence at the top of gdn.h, for one head. */
static void recurrence(const float *q, const float *k, const float *v, const float *g,
                       const float *beta, int head, double *o, double *s) {
  for (int t = 0; t < kT; ++t) {
    const float *kt = k + t * kDK;
    const float *qt = q + t * kDK;
    const float *vt = v + (t * kHV + head) * kDV;
    for (int j = 0; j < kDV; ++j) {
      double predicted = 0;
      for (int i = 0; i < kDK; ++i) {
        s[i * kDV + j] *= exp(g[t * kHV + head]);
        predicted += s[i * kDV + j] * kt[i];
      }
      const double update = beta[t * kHV + head] * (vt[j] - predicted);
      double out = 0;
      for (int i = 0; i < kDK; ++i) {
        s[i * kDV + j] += kt[i] * update;
        out += s[i * kDV + j] * qt[i];
      }
      o[(t * kHV + head) * kDV + j] = out / sqrt((double)kDK);
    }
  }
}

static double relative_error(const float *found, const double *expected, int n) {
  double difference = 0;
  double norm = 0;
  for (int i = 0; i < n; ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return sqrt(difference / norm);
}

static void *workspace_of(const gdn_gated_delta_rule_args *args, gdn_exec *exec) {
  size_t bytes = 0;
  expect(gdn_chunk_gated_delta_rule_workspace_size(args, exec, &bytes) == GDN_OK,
         "workspace query");
  const size_t rounded =
      (bytes + GDN_WORKSPACE_ALIGNMENT) / GDN_WORKSPACE_ALIGNMENT * GDN_WORKSPACE_ALIGNMENT;
  void *memory = aligned_alloc(GDN_WORKSPACE_ALIGNMENT, rounded);
  exec->workspace = memory;
  exec->workspace_size = bytes;
  return memory;
}

static void test_delta_rule(const char *backend, const char *isa) {
  static float q[kT * kHK * kDK], k[kT * kHK * kDK], v[kT * kHV * kDV], g[kT * kHV], beta[kT * kHV];
  static float o[kT * kHV * kDV], state[kHV * kDK * kDV];
  static double wanted_o[kT * kHV * kDV], wanted_state[kHV * kDK * kDV];
  for (int i = 0; i < kT * kHK * kDK; ++i) q[i] = noise();
  for (int i = 0; i < kT * kHK * kDK; ++i) k[i] = noise() * 0.8f;
  for (int i = 0; i < kT * kHV * kDV; ++i) v[i] = noise();
  for (int i = 0; i < kT * kHV; ++i) g[i] = -(noise() + 0.5f);
  for (int i = 0; i < kT * kHV; ++i) beta[i] = noise() + 0.5f;
  memset(wanted_state, 0, sizeof wanted_state);
  for (int h = 0; h < kHV; ++h) {
    recurrence(q, k, v, g, beta, h, wanted_o, wanted_state + h * kDK * kDV);
  }

  int64_t qk_shape[] = {kB, kT, kHK, kDK};
  int64_t v_shape[] = {kB, kT, kHV, kDV};
  int64_t gate_shape[] = {kB, kT, kHV};
  int64_t state_shape[] = {kB, kHV, kDK, kDV};
  const DLTensor tq = tensor(q, qk_shape, 4), tk = tensor(k, qk_shape, 4);
  const DLTensor tv = tensor(v, v_shape, 4), to = tensor(o, v_shape, 4);
  const DLTensor tg = tensor(g, gate_shape, 3), tbeta = tensor(beta, gate_shape, 3);
  const DLTensor tstate = tensor(state, state_shape, 4);

  gdn_gated_delta_rule_args args;
  memset(&args, 0, sizeof args);
  args.struct_size = sizeof args;
  args.q = &tq;
  args.k = &tk;
  args.v = &tv;
  args.g = &tg;
  args.beta = &tbeta;
  args.o = &to;
  args.final_state = &tstate;
  gdn_exec exec;
  memset(&exec, 0, sizeof exec);
  exec.struct_size = sizeof exec;
  exec.backend = backend;
  exec.isa = isa;
  exec.threads = 2;

  void *workspace = workspace_of(&args, &exec);
  expect(gdn_chunk_gated_delta_rule(&args, &exec) == GDN_OK, "chunk call");
  expect(relative_error(o, wanted_o, kT * kHV * kDV) < 2e-6, "o of the chunk call");
  expect(relative_error(state, wanted_state, kHV * kDK * kDV) < 2e-6, "state of the chunk call");

  memset(o, 0, sizeof o);
  memset(state, 0, sizeof state);
  exec.workspace = NULL;
  exec.workspace_size = 0;
  expect(gdn_fused_recurrent_gated_delta_rule(&args, &exec) == GDN_OK, "recurrent call");
  expect(relative_error(o, wanted_o, kT * kHV * kDV) < 2e-6, "o of the recurrent call");
  expect(relative_error(state, wanted_state, kHV * kDK * kDV) < 2e-6, "state, recurrent call");
  free(workspace);
}

static void test_library(void) {
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", GDN_VERSION_MAJOR, GDN_VERSION_MINOR,
           GDN_VERSION_PATCH);
  expect(strcmp(gdn_version(), version) == 0, "gdn_version");
  expect(strcmp(gdn_last_error(), "") == 0, "no error yet");
  expect(gdn_backend_count() >= 2, "two backends at least");
  expect(gdn_backend_name(-1) == NULL && gdn_backend_name(99) == NULL, "backend out of range");
  expect(gdn_isa_count("no such backend") == 0 && gdn_isa_count(NULL) == 0, "unknown backend");
  expect(gdn_isa_name("cpu", -1) == NULL && gdn_isa_name("cpu", 99) == NULL, "isa out of range");
  expect(gdn_isa_supported("cpu", 99) == 0 && gdn_isa_supported("none", 0) == 0, "no isa");
  expect(strcmp(gdn_status_string(GDN_UNSUPPORTED), "GDN_UNSUPPORTED") == 0, "status string");
  gdn_selection selection;
  expect(gdn_select(NULL, &selection) == GDN_OK, "gdn_select");
  expect(selection.threads >= 1 && selection.reason != NULL, "selection");
  expect(gdn_select(NULL, NULL) == GDN_INVALID_ARGUMENT, "gdn_select without out");
  expect(strstr(gdn_last_error(), "out is NULL") != NULL, "message of gdn_select");
  expect(gdn_chunk_gated_delta_rule(NULL, NULL) == GDN_INVALID_ARGUMENT, "NULL args");
}

int main(void) {
  test_library();
  for (int b = 0; b < gdn_backend_count(); ++b) {
    const char *backend = gdn_backend_name(b);
    if (strcmp(backend, "cuda") == 0) continue;   /* These operands are on the host. */
    if (strcmp(backend, "ascend") == 0) continue; /* It lacks this operation. */
    for (int i = 0; i < gdn_isa_count(backend); ++i) {
      if (gdn_isa_supported(backend, i) == 0) {
        printf("skipped: %s %s is not supported by this machine\n", backend,
               gdn_isa_name(backend, i));
        continue;
      }
      test_delta_rule(backend, gdn_isa_name(backend, i));
      printf("%s %s\n", backend, gdn_isa_name(backend, i));
    }
  }
  if (failures != 0) fprintf(stderr, "%d failures\n", failures);
  return failures != 0;
}
