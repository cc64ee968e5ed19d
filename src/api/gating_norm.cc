#include "api/operation.h"
#include "api/shapes.h"

namespace gdn::api {
namespace {

void gating_shapes(Call *call, const gdn_fused_gdn_gating_args &a, FusedGdnGating *p) {
  Dim B{"B"};
  Dim T{"T"};
  Dim HV{"HV", 1};
  call->check_flags(a.flags, GDN_ALLOW_NEG_EIGVAL);
  call->check_zero("reserved", a.reserved);
  p->allow_neg_eigval = (a.flags & GDN_ALLOW_NEG_EIGVAL) != 0;
  p->a = call->tensor("a", a.a, Types::floats(), {&B, &T, &HV}, Layout::any);
  p->b = call->tensor("b", a.b, Types::floats(), {&B, &T, &HV}, Layout::any);
  p->A_log = call->tensor("A_log", a.A_log, Types::floats(), {&HV}, Layout::any);
  p->dt_bias = call->optional("dt_bias", a.dt_bias, Types::floats(), {&HV}, Layout::any);
  p->g = call->tensor("g", a.g, Types::only_f32(), {&B, &T, &HV}, Layout::any, Use::output);
  p->beta = call->tensor("beta", a.beta, Types::f32_or(p->b, "b"), {&B, &T, &HV}, Layout::any,
                         Use::output);
}

void l2norm_shapes(Call *call, const gdn_l2norm_args &a, L2Norm *p) {
  RowsShape shape;
  call->check_flags(a.flags, GDN_HAS_EPS);
  call->check_zero("reserved", a.reserved);
  p->eps = read_eps(call, a.flags, a.eps);
  p->x = call->rows("x", a.x, Types::floats(), &shape);
  p->y = call->rows("y", a.y, Types::of(p->x, "x"), &shape, Use::output);
}

void rms_norm_shapes(Call *call, const gdn_rms_norm_gated_args &a, RmsNormGated *p) {
  RowsShape shape;
  call->check_flags(a.flags, GDN_HAS_EPS | GDN_SIGMOID_GATE);
  call->check_zero("reserved", a.reserved);
  p->eps = read_eps(call, a.flags, a.eps);
  p->x = call->rows("x", a.x, Types::floats(), &shape);
  const Types as_x = Types::of(p->x, "x");
  if (a.z != nullptr) p->z = call->rows("z", a.z, as_x, &shape);
  p->sigmoid_gate = (a.flags & GDN_SIGMOID_GATE) != 0;
  if (p->sigmoid_gate) call->require("z", a.z, "with GDN_SIGMOID_GATE");
  p->weight =
      call->optional("weight", a.weight, Types::f32_or(p->x, "x"), {&shape.last()}, Layout::any);
  p->y = call->rows("y", a.y, as_x, &shape, Use::output);
}

}  // namespace

const Checks<op::fused_gdn_gating, gdn_fused_gdn_gating_args> checks::fused_gdn_gating = {
    gating_shapes};
const Checks<op::l2norm, gdn_l2norm_args> checks::l2norm = {l2norm_shapes};
const Checks<op::rms_norm_gated, gdn_rms_norm_gated_args> checks::rms_norm_gated = {
    rms_norm_shapes};

}  // namespace gdn::api
