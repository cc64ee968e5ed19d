"""The stages as custom ops."""

from __future__ import annotations

import torch

from gdn import _C
from gdn._torch.common import DTYPES, check_rank, chunk_count, sequence_count, state_shape
from gdn._torch.operation import Op, route

__all__ = [
    "chunk_fwd_h",
    "chunk_fwd_o",
    "chunk_local_cumsum",
    "chunk_scaled_dot_kkt",
    "recompute_w_u",
    "solve_tril",
]


def _stage(target, arguments, fake, results=1):
    return route(arguments, Op(target, arguments, fake, results=results))


def _fake_cumsum(a):
    check_rank("g", a.g, 3)
    return (a.g.new_empty(a.g.shape, dtype=torch.float32),)


def _fake_kkt(a):
    check_rank("k", a.k, 4)
    check_rank("beta", a.beta, 3)
    return (a.beta.new_empty((*a.beta.shape, a.chunk_size or _C.CHUNK_SIZE), dtype=torch.float32),)


def _fake_solve(a):
    check_rank("A", a.A, 4)
    return (a.A.new_empty(a.A.shape, dtype=DTYPES[a.output_dtype]),)


def _fake_w_u(a):
    check_rank("k", a.k, 4)
    check_rank("v", a.v, 4)
    return (a.v.new_empty((*a.v.shape[:3], a.k.shape[3])), a.v.new_empty(a.v.shape))


def _fake_h(a):
    check_rank("k", a.k, 4)
    check_rank("u", a.u, 4)
    state = state_shape(a.k, a.u, a.state_v_first)
    chunks = chunk_count(a.k, a.cu_seqlens, a.chunk_size or _C.CHUNK_SIZE, a.padded)
    h = a.k.new_empty((chunks, *state), dtype=DTYPES[a.h_dtype])
    final_state = None
    if a.output_final_state:
        count = sequence_count(a.k, a.cu_seqlens)
        final_state = a.k.new_empty((count, *state), dtype=DTYPES[a.state_dtype or "float32"])
    return (h, a.u.new_empty(a.u.shape), final_state)


def _fake_o(a):
    check_rank("v_new", a.v_new, 4)
    return (a.v_new.new_empty(a.v_new.shape),)


chunk_local_cumsum = _stage(
    "chunk_local_cumsum",
    "Tensor g, Tensor? cu_seqlens, Tensor? out, int? chunk_size, bool padded",
    _fake_cumsum,
)
chunk_scaled_dot_kkt = _stage(
    "chunk_scaled_dot_kkt",
    "Tensor k, Tensor beta, Tensor? g_cumsum, Tensor? cu_seqlens, Tensor? out, int? chunk_size, "
    "str head_map, bool padded",
    _fake_kkt,
)
_solve = _stage(
    "solve_tril",
    "Tensor A, Tensor? cu_seqlens, Tensor? out, int? chunk_size, str output_dtype, bool padded",
    _fake_solve,
)
recompute_w_u = _stage(
    "recompute_w_u",
    "Tensor k, Tensor v, Tensor beta, Tensor T, Tensor? g_cumsum, Tensor? cu_seqlens, "
    "int? chunk_size, str head_map, bool padded",
    _fake_w_u,
    results=2,
)
chunk_fwd_h = _stage(
    "chunk_fwd_h",
    "Tensor k, Tensor w, Tensor u, Tensor? g_cumsum, Tensor? initial_state, Tensor? cu_seqlens, "
    "bool output_final_state, int? chunk_size, bool state_v_first, str head_map, str h_dtype, "
    "bool padded, str? state_dtype",
    _fake_h,
    results=3,
)
chunk_fwd_o = _stage(
    "chunk_fwd_o",
    "Tensor q, Tensor k, Tensor v_new, Tensor h, Tensor? g_cumsum, Tensor? cu_seqlens, "
    "Tensor? out, float? scale, int? chunk_size, bool state_v_first, str head_map, bool padded",
    _fake_o,
)


def solve_tril(A, cu_seqlens, out, chunk_size, output_dtype, padded):
    """As _C.solve_tril: the type of T is that of out where there is one."""
    if out is not None and out.dtype in DTYPES.values():
        output_dtype = out.dtype
    return _solve(A, cu_seqlens, out, chunk_size, output_dtype, padded)
