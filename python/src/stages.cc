#include "bindings.h"

namespace gdn::python {

namespace {

uint32_t state_flag(Arg state_v_first) {
  return read_switch("state_v_first", state_v_first) ? static_cast<uint32_t>(GDN_STATE_V_FIRST)
                                                     : 0U;
}

uint32_t padded_flag(Arg padded) {
  return read_switch("padded", padded) ? static_cast<uint32_t>(GDN_PADDED) : 0U;
}

nb::object chunk_local_cumsum(Arg g, Arg cu_seqlens, Arg out, Arg chunk_size, Arg padded) {
  Call call;
  gdn_chunk_local_cumsum_args args{};
  args.struct_size = sizeof args;
  args.flags = padded_flag(padded);
  args.chunk_size = read_chunk_size(chunk_size, GDN_CHUNK_SIZE);
  View *vg = call.required("g", g);
  args.g = tensor(vg);
  args.cu_seqlens = tensor(call.input("cu_seqlens", cu_seqlens));
  View *o = call.output("out", "g_cumsum", out, {vg->size(0), vg->size(1), vg->size(2)}, kFloat32);
  args.g_cumsum = tensor(o);
  call.run(&gdn_chunk_local_cumsum, args);
  return call.array(o);
}

nb::object chunk_scaled_dot_kkt(Arg k, Arg beta, Arg g_cumsum, Arg cu_seqlens, Arg out,
                                Arg chunk_size, Arg head_map, Arg padded) {
  Call call;
  gdn_chunk_scaled_dot_kkt_args args{};
  args.struct_size = sizeof args;
  args.flags = padded_flag(padded);
  args.chunk_size = read_chunk_size(chunk_size, GDN_CHUNK_SIZE);
  args.head_map = read_head_map(head_map);
  args.k = tensor(call.required("k", k, Strides::unit_last));
  View *b = call.required("beta", beta);
  args.beta = tensor(b);
  args.g_cumsum = tensor(call.input("g_cumsum", g_cumsum));
  args.cu_seqlens = tensor(call.input("cu_seqlens", cu_seqlens));
  View *o =
      call.output("out", "A", out, {b->size(0), b->size(1), b->size(2), args.chunk_size}, kFloat32);
  args.A = tensor(o);
  call.run(&gdn_chunk_scaled_dot_kkt, args);
  return call.array(o);
}

nb::object solve_tril(Arg A, Arg cu_seqlens, Arg out, Arg chunk_size, Arg output_dtype,
                      Arg padded) {
  Call call;
  gdn_solve_tril_args args{};
  args.struct_size = sizeof args;
  args.flags = padded_flag(padded);
  args.chunk_size = read_chunk_size(chunk_size, GDN_CHUNK_SIZE);
  View *a = call.required("A", A, Strides::unit_last);
  args.A = tensor(a);
  args.cu_seqlens = tensor(call.input("cu_seqlens", cu_seqlens));
  View *o = call.output("out", "T", out, {a->size(0), a->size(1), a->size(2), a->size(3)},
                        read_dtype("output_dtype", output_dtype));
  args.T = tensor(o);
  call.run(&gdn_solve_tril, args);
  return call.array(o);
}

nb::object recompute_w_u(Arg k, Arg v, Arg beta, Arg T, Arg g_cumsum, Arg cu_seqlens,
                         Arg chunk_size, Arg head_map, Arg padded) {
  Call call;
  gdn_recompute_w_u_args args{};
  args.struct_size = sizeof args;
  args.flags = padded_flag(padded);
  args.chunk_size = read_chunk_size(chunk_size, GDN_CHUNK_SIZE);
  args.head_map = read_head_map(head_map);
  View *vk = call.required("k", k, Strides::unit_last);
  View *vv = call.required("v", v, Strides::unit_last);
  args.k = tensor(vk);
  args.v = tensor(vv);
  args.beta = tensor(call.required("beta", beta));
  args.T = tensor(call.required("T", T, Strides::unit_last));
  args.g_cumsum = tensor(call.input("g_cumsum", g_cumsum));
  args.cu_seqlens = tensor(call.input("cu_seqlens", cu_seqlens));
  const DLDataType dtype = vk->tensor.dtype;
  View *w = call.output({vv->size(0), vv->size(1), vv->size(2), vk->size(3)}, dtype);
  View *u = call.output_like("", "", nb::none(), vv);
  args.w = tensor(w);
  args.u = tensor(u);
  call.run(&gdn_recompute_w_u, args);
  return nb::make_tuple(call.array(w), call.array(u));
}

nb::object chunk_fwd_h(Arg k, Arg w, Arg u, Arg g_cumsum, Arg initial_state, Arg cu_seqlens,
                       Arg output_final_state, Arg chunk_size, Arg state_v_first, Arg head_map,
                       Arg h_dtype, Arg padded, Arg state_dtype) {
  Call call;
  gdn_chunk_fwd_h_args args{};
  args.struct_size = sizeof args;
  args.flags = padded_flag(padded);
  args.flags |= state_flag(state_v_first);
  const bool with_final_state = read_switch("output_final_state", output_final_state);
  args.chunk_size = read_chunk_size(chunk_size, GDN_CHUNK_SIZE);
  args.head_map = read_head_map(head_map);
  View *vk = call.required("k", k, Strides::unit_last);
  View *vu = call.required("u", u, Strides::unit_last);
  args.k = tensor(vk);
  args.u = tensor(vu);
  args.w = tensor(call.required("w", w, Strides::unit_last));
  args.g_cumsum = tensor(call.input("g_cumsum", g_cumsum));
  args.initial_state = tensor(call.input("initial_state", initial_state, Strides::unit_last));
  View *cu = call.input("cu_seqlens", cu_seqlens);
  args.cu_seqlens = tensor(cu);

  Sequences sequences(&call, vk, cu, (args.flags & GDN_PADDED) != 0);
  const bool v_first = (args.flags & GDN_STATE_V_FIRST) != 0;
  const int64_t rows = v_first ? vu->size(3) : vk->size(3);
  const int64_t columns = v_first ? vk->size(3) : vu->size(3);
  View *h = call.output({sequences.chunks(args.chunk_size), vu->size(2), rows, columns},
                        read_dtype("h_dtype", h_dtype));
  View *v_new = call.output_like("", "", nb::none(), vu);
  View *final_state = nullptr;
  if (with_final_state) {
    final_state =
        call.output({sequences.count(), vu->size(2), rows, columns}, read_state_dtype(state_dtype));
  }
  args.h = tensor(h);
  args.v_new = tensor(v_new);
  args.final_state = tensor(final_state);
  call.run(&gdn_chunk_fwd_h, args);
  return nb::make_tuple(call.array(h), call.array(v_new), call.array(final_state));
}

nb::object chunk_fwd_o(Arg q, Arg k, Arg v_new, Arg h, Arg g_cumsum, Arg cu_seqlens, Arg out,
                       Arg scale, Arg chunk_size, Arg state_v_first, Arg head_map, Arg padded) {
  Call call;
  gdn_chunk_fwd_o_args args{};
  args.struct_size = sizeof args;
  args.flags = padded_flag(padded);
  args.flags |= state_flag(state_v_first) | set_scale(scale, &args.scale);
  args.chunk_size = read_chunk_size(chunk_size, GDN_CHUNK_SIZE);
  args.head_map = read_head_map(head_map);
  args.q = tensor(call.required("q", q, Strides::unit_last));
  args.k = tensor(call.required("k", k, Strides::unit_last));
  View *v = call.required("v_new", v_new, Strides::unit_last);
  args.v_new = tensor(v);
  args.h = tensor(call.required("h", h, Strides::unit_last));
  args.g_cumsum = tensor(call.input("g_cumsum", g_cumsum));
  args.cu_seqlens = tensor(call.input("cu_seqlens", cu_seqlens));
  View *o = call.output_like("out", "o", out, v);
  args.o = tensor(o);
  call.run(&gdn_chunk_fwd_o, args);
  return call.array(o);
}

}  // namespace

void bind_stages(nb::module_ &m) {
  define<&chunk_local_cumsum>(m, "chunk_local_cumsum");
  define<&chunk_scaled_dot_kkt>(m, "chunk_scaled_dot_kkt");
  define<&solve_tril>(m, "solve_tril");
  define<&recompute_w_u>(m, "recompute_w_u");
  define<&chunk_fwd_h>(m, "chunk_fwd_h");
  define<&chunk_fwd_o>(m, "chunk_fwd_o");
}

}  // namespace gdn::python
