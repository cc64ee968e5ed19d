"""The stages of the chunkwise algorithm, one by one.

For a chunk of C tokens, with c the inclusive cumulative sum of g inside it and S0 the state before
it::

    A[i, j] = beta_i exp(c_i - c_j) (k_i . k_j),  i > j        chunk_scaled_dot_kkt
    T       = (I + A)^-1                                       solve_tril
    u       = T diag(beta) v,  w = T diag(beta exp(c)) k       recompute_w_u
    v_new   = u - w S0                                         chunk_fwd_h
    S1      = exp(c_last) S0 + (diag(exp(c_last - c)) k)^T v_new
    o       = scale (diag(exp(c)) q S0 + tril(q k^T exp(c_i - c_j)) v_new)    chunk_fwd_o

Chunks start at each sequence's first token. Chained, the stages equal chunk_gated_delta_rule within
rounding; it is the faster way to the same result. Shapes: q, k [B, T, HK, DK]; v, u, v_new, o
[B, T, HV, DV]; w [B, T, HV, DK]; g, g_cumsum, beta [B, T, HV]; A, T [B, T, HV, C]; h
[NT, HV, DK, DV] with NT the number of chunks of all sequences, in order. q, k, v, w, u, v_new and o
of a call share one type: float32, bfloat16 or float16. cu_seqlens [N + 1], int32 or int64, are the
offsets of packed sequences (B == 1). chunk_size is 16, 32, 64 or 128. Errors are those of
chunk_gated_delta_rule.
"""

from __future__ import annotations

from typing import Any, TypeVar

from gdn import _C, _checks
from gdn._routing import dispatched, is_compiling

__all__ = [
    "chunk_fwd_h",
    "chunk_fwd_o",
    "chunk_local_cumsum",
    "chunk_scaled_dot_kkt",
    "recompute_w_u",
    "solve_tril",
]

Array = TypeVar("Array")


def chunk_local_cumsum(
    g: Array,
    *,
    chunk_size: int | None = 64,
    cu_seqlens: Array | None = None,
    out: Array | None = None,
    padded: bool = False,
) -> Array:
    """Inclusive sum of g over each chunk.

    Args:
        g: [B, T, HV], float32, bfloat16 or float16.
        chunk_size: C.
        cu_seqlens: offsets of packed sequences.
        out: [B, T, HV] float32: where to write the result.
        padded: see chunk_gated_delta_rule.

    Returns:
        g_cumsum, [B, T, HV] float32.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.chunk_local_cumsum(g, cu_seqlens, out, chunk_size, padded)


def chunk_scaled_dot_kkt(
    k: Array,
    beta: Array,
    g_cumsum: Array | None = None,
    *,
    chunk_size: int | None = 64,
    cu_seqlens: Array | None = None,
    head_map: str = "block",
    out: Array | None = None,
    padded: bool = False,
) -> Array:
    """Strictly lower triangle of diag(beta) (K K^T) exp(c_i - c_j), chunk by chunk.

    Args:
        k: [B, T, HK, DK].
        beta: [B, T, HV], float32, bfloat16 or float16.
        g_cumsum: [B, T, HV] float32; None for zeros.
        chunk_size: C.
        cu_seqlens: offsets of packed sequences.
        head_map: see chunk_gated_delta_rule.
        out: [B, T, HV, C] float32: where to write the result.
        padded: see chunk_gated_delta_rule.

    Returns:
        A, [B, T, HV, C] float32; 0 on and above the diagonal and past the end of a sequence.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.chunk_scaled_dot_kkt(
        k,
        beta,
        g_cumsum,
        cu_seqlens,
        out,
        chunk_size,
        head_map,
        padded,
    )


def solve_tril(
    A: Array,
    *,
    cu_seqlens: Array | None = None,
    output_dtype: Any = "float32",
    out: Array | None = None,
    padded: bool = False,
) -> Array:
    """(I + A)^-1, chunk by chunk, by forward substitution in float32.

    Args:
        A: [B, T, HV, C] float32 with C = 16, 32, 64 or 128; only the part below the diagonal is
            read.
        cu_seqlens: offsets of packed sequences.
        output_dtype: float32, bfloat16 or float16; with out it is that of out.
        out: [B, T, HV, C]: where to write the result.
        padded: see chunk_gated_delta_rule.

    Returns:
        T, [B, T, HV, C]; 0 above the diagonal and past the end of a sequence.
    """
    kernels = dispatched if is_compiling() else _C
    size = A.shape[-1] if getattr(A, "ndim", 0) == 4 else _C.CHUNK_SIZE
    if size not in _checks.CHUNK_SIZES:
        raise ValueError(f"A: found a last dimension of {size}, expected 16, 32, 64 or 128.")
    return kernels.solve_tril(A, cu_seqlens, out, size, output_dtype, padded)


def recompute_w_u(
    k: Array,
    v: Array,
    beta: Array,
    T: Array,
    g_cumsum: Array | None = None,
    *,
    chunk_size: int | None = 64,
    cu_seqlens: Array | None = None,
    head_map: str = "block",
    padded: bool = False,
) -> tuple[Array, Array]:
    """T diag(beta exp(c)) k and T diag(beta) v, chunk by chunk.

    Args:
        k: [B, T, HK, DK].
        v: [B, T, HV, DV].
        beta: [B, T, HV], float32, bfloat16 or float16.
        T: [B, T, HV, C], float32 or type of k.
        g_cumsum: [B, T, HV] float32; None for zeros.
        chunk_size: C.
        cu_seqlens: offsets of packed sequences.
        head_map: see chunk_gated_delta_rule.
        padded: see chunk_gated_delta_rule.

    Returns:
        (w, u): [B, T, HV, DK] and [B, T, HV, DV], type of k.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.recompute_w_u(
        k,
        v,
        beta,
        T,
        g_cumsum,
        cu_seqlens,
        chunk_size,
        head_map,
        padded,
    )


def chunk_fwd_h(
    k: Array,
    w: Array,
    u: Array,
    g_cumsum: Array | None = None,
    initial_state: Array | None = None,
    output_final_state: bool = False,
    *,
    chunk_size: int | None = 64,
    state_v_first: bool = False,
    cu_seqlens: Array | None = None,
    head_map: str = "block",
    h_dtype: Any = "float32",
    padded: bool = False,
    state_dtype: Any = None,
) -> tuple[Array, Array, Array | None]:
    """The chain of states from chunk to chunk.

    Args:
        k: [B, T, HK, DK].
        w: [B, T, HV, DK].
        u: [B, T, HV, DV].
        g_cumsum: [B, T, HV] float32; None for zeros.
        initial_state: [N, HV, DK, DV], float32, bfloat16 or float16; None for zeros.
        output_final_state: return the state after each sequence.
        chunk_size: C.
        state_v_first: states are [.., HV, DV, DK].
        cu_seqlens: offsets of packed sequences.
        head_map: see chunk_gated_delta_rule.
        h_dtype: float32 or the type of k.
        padded: see chunk_gated_delta_rule.
        state_dtype: type of final_state: float32 (None), bfloat16 or float16.

    Returns:
        (h, v_new, final_state): [NT, HV, DK, DV] of h_dtype, the state before each chunk;
        [B, T, HV, DV], type of k; [N, HV, DK, DV] of state_dtype or None.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.chunk_fwd_h(
        k,
        w,
        u,
        g_cumsum,
        initial_state,
        cu_seqlens,
        output_final_state,
        chunk_size,
        state_v_first,
        head_map,
        h_dtype,
        padded,
        state_dtype,
    )


def chunk_fwd_o(
    q: Array,
    k: Array,
    v_new: Array,
    h: Array,
    g_cumsum: Array | None = None,
    scale: float | None = None,
    *,
    chunk_size: int | None = 64,
    state_v_first: bool = False,
    cu_seqlens: Array | None = None,
    head_map: str = "block",
    out: Array | None = None,
    padded: bool = False,
) -> Array:
    """The output of each chunk from the state before it and its v_new.

    Args:
        q: [B, T, HK, DK].
        k: [B, T, HK, DK].
        v_new: [B, T, HV, DV].
        h: [NT, HV, DK, DV], float32 or type of q.
        g_cumsum: [B, T, HV] float32; None for zeros.
        scale: finite factor of the output; None for DK ** -0.5.
        chunk_size: C.
        state_v_first: h is [.., HV, DV, DK].
        cu_seqlens: offsets of packed sequences.
        head_map: see chunk_gated_delta_rule.
        out: [B, T, HV, DV], type of q: where to write the result.
        padded: see chunk_gated_delta_rule.

    Returns:
        o, [B, T, HV, DV], type of q.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.chunk_fwd_o(
        q,
        k,
        v_new,
        h,
        g_cumsum,
        cu_seqlens,
        out,
        scale,
        chunk_size,
        state_v_first,
        head_map,
        padded,
    )
