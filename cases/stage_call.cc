#include "cases/stage_call.h"

namespace gdn::testing {
namespace {

Array make(const Array &like, Element type, int64_t last) {
  Shape shape = like.shape();
  shape.back() = last;
  return {type, shape};
}

Array make_states(const DeltaRuleCall &call, Element type, int64_t entries) {
  const int64_t heads = call.v->shape()[2];
  const int64_t dk = call.k->shape()[3];
  const int64_t dv = call.v->shape()[3];
  return {type, call.v_first() ? Shape{entries, heads, dv, dk} : Shape{entries, heads, dk, dv}};
}

int64_t rows_of_h(const DeltaRuleCall &call, int64_t chunk) {
  // What suffices whatever cu_seqlens holds.
  if ((call.flags & GDN_PADDED) != 0) {
    return call.q->shape()[1] / chunk + static_cast<int64_t>(call.lengths.size()) + 1;
  }
  int64_t count = 0;
  for (const int64_t length : call.lengths) count += (length + chunk - 1) / chunk;
  return count;
}

template <class Args>
Args zeroed(int32_t chunk_size, uint32_t flags) {
  Args args = {};
  args.struct_size = sizeof(args);
  args.flags = flags;
  args.chunk_size = chunk_size;
  return args;
}

}  // namespace

const char *name_of(Stage stage) {
  constexpr const char *kNames[] = {"chunk_local_cumsum", "chunk_scaled_dot_kkt", "solve_tril",
                                    "recompute_w_u",      "chunk_fwd_h",          "chunk_fwd_o"};
  return kNames[static_cast<int>(stage)];
}

StageCall::StageCall(const DeltaRuleCall &of, int32_t chunk, StageTypes types)
    : call(&of),
      chunk_size(chunk),
      g_cumsum(Element::f32, of.g->shape()),
      A(make(*of.v, Element::f32, chunk)),
      T(make(*of.v, types.T, chunk)),
      w(make(*of.v, of.v->type(), of.k->shape()[3])),
      u(make(*of.v, of.v->type(), of.v->shape()[3])),
      h(make_states(of, types.h, rows_of_h(of, chunk))),
      v_new(make(*of.v, of.v->type(), of.v->shape()[3])),
      final_state(make_states(of, of.final_state ? of.final_state->type() : Element::f32,
                              static_cast<int64_t>(of.lengths.size()))),
      o(make(*of.v, of.v->type(), of.v->shape()[3])) {
  for (const Stage stage : kStages) {
    for (Array *array : outputs(stage)) array->poison();
  }
}

std::vector<Array *> StageCall::outputs(Stage stage) {
  switch (stage) {
    case Stage::cumsum:
      return {&g_cumsum};
    case Stage::kkt:
      return {&A};
    case Stage::solve:
      return {&T};
    case Stage::w_u:
      return {&w, &u};
    case Stage::fwd_h:
      return {&h, &v_new, &final_state};
    case Stage::fwd_o:
      return {&o};
  }
  return {};
}

std::string StageCall::run(Stage stage, const Target &target, int threads) const {
  const gdn_exec exec = exec_for(target, threads);
  const DeltaRuleCall &in = *call;
  const DLTensor *cu_seqlens = tensor_of(in.cu_seqlens);
  const uint32_t padded = in.flags & GDN_PADDED;
  switch (stage) {
    case Stage::cumsum: {
      auto a = zeroed<gdn_chunk_local_cumsum_args>(chunk_size, padded);
      a.g = in.g->tensor();
      a.cu_seqlens = cu_seqlens;
      a.g_cumsum = g_cumsum.tensor();
      return describe(gdn_chunk_local_cumsum(&a, &exec));
    }
    case Stage::kkt: {
      auto a = zeroed<gdn_chunk_scaled_dot_kkt_args>(chunk_size, padded);
      a.head_map = in.head_map;
      a.k = in.k->tensor();
      a.beta = in.beta->tensor();
      a.g_cumsum = g_cumsum.tensor();
      a.cu_seqlens = cu_seqlens;
      a.A = A.tensor();
      return describe(gdn_chunk_scaled_dot_kkt(&a, &exec));
    }
    case Stage::solve: {
      auto a = zeroed<gdn_solve_tril_args>(chunk_size, padded);
      a.A = A.tensor();
      a.cu_seqlens = cu_seqlens;
      a.T = T.tensor();
      return describe(gdn_solve_tril(&a, &exec));
    }
    case Stage::w_u: {
      auto a = zeroed<gdn_recompute_w_u_args>(chunk_size, padded);
      a.head_map = in.head_map;
      a.k = in.k->tensor();
      a.v = in.v->tensor();
      a.beta = in.beta->tensor();
      a.g_cumsum = g_cumsum.tensor();
      a.T = T.tensor();
      a.cu_seqlens = cu_seqlens;
      a.w = w.tensor();
      a.u = u.tensor();
      return describe(gdn_recompute_w_u(&a, &exec));
    }
    case Stage::fwd_h: {
      auto a = zeroed<gdn_chunk_fwd_h_args>(chunk_size, padded);
      a.flags |= in.flags & GDN_STATE_V_FIRST;
      a.head_map = in.head_map;
      a.k = in.k->tensor();
      a.w = w.tensor();
      a.u = u.tensor();
      a.g_cumsum = g_cumsum.tensor();
      a.cu_seqlens = cu_seqlens;
      a.initial_state = tensor_of(in.initial_state);
      a.h = h.tensor();
      a.v_new = v_new.tensor();
      a.final_state = final_state.tensor();
      return describe(gdn_chunk_fwd_h(&a, &exec));
    }
    case Stage::fwd_o: {
      auto a = zeroed<gdn_chunk_fwd_o_args>(chunk_size, padded);
      a.flags |= in.flags & (GDN_STATE_V_FIRST | GDN_HAS_SCALE);
      a.head_map = in.head_map;
      a.scale = in.scale;
      a.q = in.q->tensor();
      a.k = in.k->tensor();
      a.v_new = v_new.tensor();
      a.h = h.tensor();
      a.g_cumsum = g_cumsum.tensor();
      a.cu_seqlens = cu_seqlens;
      a.o = o.tensor();
      return describe(gdn_chunk_fwd_o(&a, &exec));
    }
  }
  return "no such stage";
}

void StageCall::copy_values(const StageCall &from) {
  auto &source = const_cast<StageCall &>(from);
  for (const Stage stage : kStages) {
    const std::vector<Array *> to = outputs(stage);
    const std::vector<Array *> values = source.outputs(stage);
    for (size_t i = 0; i < to.size(); ++i) to[i]->assign(values[i]->values());
  }
}

std::string StageCall::damage() const {
  std::string all;
  for (const Stage stage : kStages) {
    for (const Array *array : const_cast<StageCall *>(this)->outputs(stage)) {
      const std::string found = array->damage();
      if (!found.empty()) all += std::string(name_of(stage)) + ": " + found + ". ";
    }
  }
  return all;
}

}  // namespace gdn::testing
