"""The stages as custom ops."""

import torch
from torch import Tensor
from torch.library import custom_op

from gdn import _C
from gdn._torch.common import (
    DTYPES,
    absent,
    check_rank,
    check_together,
    fill,
    piece_count,
    refuse_gradients,
    sequence_count,
    state_shape,
)


@custom_op("gdn::chunk_local_cumsum", mutates_args=())
def _cumsum(g: Tensor, cu_seqlens: Tensor | None, chunk_size: int) -> Tensor:
    return _C.chunk_local_cumsum(g, cu_seqlens, None, chunk_size)


@_cumsum.register_fake
def _(g, cu_seqlens, chunk_size):
    check_together(g=g, cu_seqlens=cu_seqlens)
    check_rank("g", g, 3)
    return g.new_empty(g.shape, dtype=torch.float32)


@custom_op("gdn::chunk_scaled_dot_kkt", mutates_args=())
def _kkt(
    k: Tensor,
    beta: Tensor,
    g_cumsum: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk_size: int,
    head_map: int,
) -> Tensor:
    return _C.chunk_scaled_dot_kkt(k, beta, g_cumsum, cu_seqlens, None, chunk_size, head_map)


@_kkt.register_fake
def _(k, beta, g_cumsum, cu_seqlens, chunk_size, head_map):
    check_together(k=k, beta=beta, g_cumsum=g_cumsum, cu_seqlens=cu_seqlens)
    check_rank("k", k, 4)
    check_rank("beta", beta, 3)
    return beta.new_empty((*beta.shape, chunk_size), dtype=torch.float32)


@custom_op("gdn::solve_tril", mutates_args=())
def _solve(A: Tensor, cu_seqlens: Tensor | None, chunk_size: int, output_dtype: str) -> Tensor:
    return _C.solve_tril(A, cu_seqlens, None, chunk_size, output_dtype)


@_solve.register_fake
def _(A, cu_seqlens, chunk_size, output_dtype):
    check_together(A=A, cu_seqlens=cu_seqlens)
    check_rank("A", A, 4)
    return A.new_empty(A.shape, dtype=DTYPES[output_dtype])


@custom_op("gdn::recompute_w_u", mutates_args=())
def _w_u(
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    T: Tensor,
    g_cumsum: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk_size: int,
    head_map: int,
) -> tuple[Tensor, Tensor]:
    return _C.recompute_w_u(k, v, beta, T, g_cumsum, cu_seqlens, chunk_size, head_map)


@_w_u.register_fake
def _(k, v, beta, T, g_cumsum, cu_seqlens, chunk_size, head_map):
    check_together(k=k, v=v, beta=beta, T=T, g_cumsum=g_cumsum, cu_seqlens=cu_seqlens)
    check_rank("k", k, 4)
    check_rank("v", v, 4)
    return v.new_empty((*v.shape[:3], k.shape[3])), v.new_empty(v.shape)


@custom_op("gdn::chunk_fwd_h", mutates_args=())
def _fwd_h(
    k: Tensor,
    w: Tensor,
    u: Tensor,
    g_cumsum: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    output_final_state: bool,
    chunk_size: int,
    flags: int,
    head_map: int,
    h_dtype: str,
) -> tuple[Tensor, Tensor, Tensor]:
    h, v_new, final_state = _C.chunk_fwd_h(
        k, w, u, g_cumsum, initial_state, cu_seqlens,
        output_final_state, chunk_size, flags, head_map, h_dtype,
    )  # fmt: skip
    return h, v_new, absent(k) if final_state is None else final_state


@_fwd_h.register_fake
def _(
    k, w, u, g_cumsum, initial_state, cu_seqlens, output_final_state, chunk_size, flags, head_map,
    h_dtype,
):  # fmt: skip
    check_together(
        k=k, w=w, u=u, g_cumsum=g_cumsum, initial_state=initial_state, cu_seqlens=cu_seqlens
    )
    check_rank("k", k, 4)
    check_rank("u", u, 4)
    state = state_shape(k, u, flags)
    chunks = piece_count(k, cu_seqlens, chunk_size, True)
    h = k.new_empty((chunks, *state), dtype=DTYPES[h_dtype])
    final_state = absent(k)
    if output_final_state:
        count = sequence_count(k, cu_seqlens)
        final_state = k.new_empty((count, *state), dtype=torch.float32)
    return h, u.new_empty(u.shape), final_state


@custom_op("gdn::chunk_fwd_o", mutates_args=())
def _fwd_o(
    q: Tensor,
    k: Tensor,
    v_new: Tensor,
    h: Tensor,
    g_cumsum: Tensor | None,
    cu_seqlens: Tensor | None,
    scale: float | None,
    chunk_size: int,
    flags: int,
    head_map: int,
) -> Tensor:
    return _C.chunk_fwd_o(
        q, k, v_new, h, g_cumsum, cu_seqlens, None, scale, chunk_size, flags, head_map
    )


@_fwd_o.register_fake
def _(q, k, v_new, h, g_cumsum, cu_seqlens, scale, chunk_size, flags, head_map):
    check_together(q=q, k=k, v_new=v_new, h=h, g_cumsum=g_cumsum, cu_seqlens=cu_seqlens)
    check_rank("v_new", v_new, 4)
    return v_new.new_empty(v_new.shape)


def chunk_local_cumsum(g, cu_seqlens, out, chunk_size):
    """As _C.chunk_local_cumsum."""
    refuse_gradients(g=g, out=out)
    return fill(out, _cumsum(g, cu_seqlens, chunk_size))


def chunk_scaled_dot_kkt(k, beta, g_cumsum, cu_seqlens, out, chunk_size, head_map):
    """As _C.chunk_scaled_dot_kkt."""
    refuse_gradients(k=k, beta=beta, g_cumsum=g_cumsum, out=out)
    return fill(out, _kkt(k, beta, g_cumsum, cu_seqlens, chunk_size, head_map))


def solve_tril(A, cu_seqlens, out, chunk_size, output_dtype):
    """As _C.solve_tril."""
    refuse_gradients(A=A, out=out)
    if out is not None and DTYPES.get(output_dtype) != out.dtype:
        output_dtype = next((n for n, d in DTYPES.items() if d == out.dtype), output_dtype)
    return fill(out, _solve(A, cu_seqlens, chunk_size, output_dtype))


def recompute_w_u(k, v, beta, T, g_cumsum, cu_seqlens, chunk_size, head_map):
    """As _C.recompute_w_u."""
    refuse_gradients(k=k, v=v, beta=beta, T=T, g_cumsum=g_cumsum)
    return _w_u(k, v, beta, T, g_cumsum, cu_seqlens, chunk_size, head_map)


def chunk_fwd_h(
    k, w, u, g_cumsum, initial_state, cu_seqlens, output_final_state, chunk_size, flags, head_map,
    h_dtype,
):  # fmt: skip
    """As _C.chunk_fwd_h."""
    refuse_gradients(k=k, w=w, u=u, g_cumsum=g_cumsum, initial_state=initial_state)
    h, v_new, final_state = _fwd_h(
        k, w, u, g_cumsum, initial_state, cu_seqlens,
        output_final_state, chunk_size, flags, head_map, h_dtype,
    )  # fmt: skip
    return h, v_new, final_state if output_final_state else None


def chunk_fwd_o(q, k, v_new, h, g_cumsum, cu_seqlens, out, scale, chunk_size, flags, head_map):
    """As _C.chunk_fwd_o."""
    refuse_gradients(q=q, k=k, v_new=v_new, h=h, g_cumsum=g_cumsum, out=out)
    o = _fwd_o(q, k, v_new, h, g_cumsum, cu_seqlens, scale, chunk_size, flags, head_map)
    return fill(out, o)
