"""Functions of libraries for Ascend NPUs by their names and argument orders, computed by libgdn.

``chunk_gated_delta_rule_npu`` is that of sgl-kernel-npu. The stages are those of pto-kernels:
tokens lie in one row, activations are [T, H, D] in float16, what belongs to a head alone (Beta, G)
comes transposed as [H, T], and a chunk has 128 tokens. Both also take a leading dimension of 1,
[1, T, H, D] and [1, T, H]; a result then has it as well. Tensors are on the CPU or a GPU.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

import gdn

__all__ = [
    "chunk_gated_delta_rule_npu",
    "pto_chunk_h",
    "pto_gdn_chunk_cumsum",
    "pto_gdn_chunk_o",
    "pto_gdn_scaled_dot_kkt",
    "pto_gdn_wy_fast",
]

CHUNK_SIZE = 128
"""Tokens of a chunk in the stages."""


def chunk_gated_delta_rule_npu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = True,
    cu_seqlens: Tensor | None = None,
    head_first: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    *,
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """gdn.chunk_gated_delta_rule, with the state before each chunk as third result.

    What cu_seqlens holds is waited for.

    Args:
        head_first: must be False, as there.
        chunk_size: tokens between the states in h, 64 or 128 (there 128 with its fused kernel).

    Returns:
        (o, final_state, h): final_state is [N, HV, DK, DV] in float32 or None; h is [B, NT, HV, DK,
        DV] in the type of q, with cu_seqlens [1, NT, ..] for the chunks of all sequences in order.
    """
    if head_first:
        raise ValueError("head_first: inputs are [B, T, H, D]; expected False.")
    if chunk_size not in (64, 128):
        raise ValueError(f"chunk_size: expected 64 or 128, found {chunk_size!r}.")
    o, final_state, after = gdn.chunk_gated_delta_rule(
        q,
        k,
        v,
        g,
        beta,
        scale,
        initial_state,
        output_final_state,
        use_qk_l2norm_in_kernel,
        cu_seqlens=cu_seqlens,
        checkpoint_every=chunk_size,
        state_dtype=None,
    )
    rows, tokens = q.shape[:2]
    offsets = [tokens * n for n in range(rows + 1)] if cu_seqlens is None else cu_seqlens.tolist()
    lengths = [end - begin for begin, end in itertools.pairwise(offsets)]
    pieces, at = [], 0
    for n, length in enumerate(lengths):
        chunks = -(-length // chunk_size)
        if chunks:
            first = after.new_zeros(1, *after.shape[1:])
            if initial_state is not None:
                first = initial_state[n : n + 1].to(first.dtype)
            pieces += [first, after[at : at + chunks - 1]]
        at += length // chunk_size
    h = torch.cat(pieces) if pieces else after[:0]
    count = rows if cu_seqlens is None else 1
    return o, final_state, h.to(q.dtype).unflatten(0, (count, h.shape[0] // max(count, 1)))


def pto_gdn_chunk_cumsum(
    g: Tensor, batch_size: int, seq_len: int, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Sums of g [T, H], float32, over each chunk; [T, H] as well, not transposed.

    Args, here and in the other stages:
        batch_size: sequences.
        seq_len: tokens of each, without cu_seqlens.
        cu_seqlens: [batch_size + 1] int32, or None or one entry for sequences of seq_len tokens.
    """
    rows, cu, restore = _packing("g", g, 2, batch_size, seq_len, cu_seqlens)
    return restore(
        gdn.stages.chunk_local_cumsum(rows("g", g, 2), chunk_size=CHUNK_SIZE, cu_seqlens=cu)
    )


def pto_gdn_scaled_dot_kkt(
    K: Tensor,
    Beta: Tensor,
    G: Tensor,
    Msk: Tensor,
    batch_size: int,
    seq_len: int,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """A [T, H, C] of K [T, HK, D], Beta and G [H, T]; Msk [C, C] has ones below the diagonal."""
    _check_mask(Msk, -1)
    rows, cu, restore = _packing("K", K, 3, batch_size, seq_len, cu_seqlens)
    a = gdn.stages.chunk_scaled_dot_kkt(
        rows("K", K, 3),
        rows("Beta", _by_token("Beta", Beta), 2),
        rows("G", _by_token("G", G), 2),
        chunk_size=CHUNK_SIZE,
        cu_seqlens=cu,
    )
    return restore(a.to(K.dtype))


def pto_gdn_wy_fast(
    K: Tensor,
    V: Tensor,
    Beta: Tensor,
    G: Tensor,
    A: Tensor,
    batch_size: int,
    seq_len: int,
    cu_seqlens: Tensor | None = None,
) -> list[Tensor]:
    """[W, U], both [T, H, D], of K [T, HK, D], V [T, H, D] and A [T, H, C], the inverse."""
    rows, cu, restore = _packing("K", K, 3, batch_size, seq_len, cu_seqlens)
    _check_width("A", A, CHUNK_SIZE)
    w, u = gdn.stages.recompute_w_u(
        rows("K", K, 3),
        rows("V", V, 3),
        rows("Beta", _by_token("Beta", Beta), 2),
        rows("A", A, 3),
        rows("G", _by_token("G", G), 2),
        chunk_size=CHUNK_SIZE,
        cu_seqlens=cu,
    )
    return [restore(w), restore(u)]


def pto_chunk_h(
    K: Tensor,
    W: Tensor,
    U: Tensor,
    G: Tensor,
    cu_seqlens: Tensor | None = None,
    batch_size: int | None = None,
    seq_len: int | None = None,
    total_chunks: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(S [chunks, H, D, D], V [T, H, D], FS [batch_size, H, D, D]), all float16, of K, W, U.

    S holds the state before each chunk, FS the last ones. The three counts must be given, as there;
    total_chunks must be the number of chunks of all sequences.
    """
    for name, value in (
        ("batch_size", batch_size),
        ("seq_len", seq_len),
        ("total_chunks", total_chunks),
    ):
        if value is None:
            raise TypeError(f"{name}: expected an integer, found None.")
    rows, cu, restore = _packing("K", K, 3, batch_size, seq_len, cu_seqlens)
    s, v_new, final_state = gdn.stages.chunk_fwd_h(
        rows("K", K, 3),
        rows("W", W, 3),
        rows("U", U, 3),
        rows("G", _by_token("G", G), 2),
        output_final_state=True,
        chunk_size=CHUNK_SIZE,
        cu_seqlens=cu,
        h_dtype=K.dtype,
        state_dtype=K.dtype,
    )
    if s.shape[0] != total_chunks:
        raise ValueError(f"total_chunks: the sequences have {s.shape[0]}, found {total_chunks}.")
    return s, restore(v_new), final_state


def pto_gdn_chunk_o(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    S: Tensor,
    G: Tensor,
    Msk: Tensor,
    batch_size: int,
    seq_len: int,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """O [T, H, D] of Q, K [T, HK, D], V [T, H, D] and S [chunks, H, D, D] or [chunks H, D, D].

    It is not scaled: where a scale is wanted, the caller multiplies, as there.
    """
    _check_mask(Msk, 0)
    rows, cu, restore = _packing("Q", Q, 3, batch_size, seq_len, cu_seqlens)
    o = gdn.stages.chunk_fwd_o(
        rows("Q", Q, 3),
        rows("K", K, 3),
        rows("V", V, 3),
        S.reshape(-1, V.shape[-2], *S.shape[-2:]),
        rows("G", _by_token("G", G), 2),
        1.0,
        chunk_size=CHUNK_SIZE,
        cu_seqlens=cu,
    )
    return restore(o)


def _packing(name, tensor, dims, batch_size, seq_len, cu_seqlens):
    """(to rows as gdn has them, cu_seqlens of those or None, back to the caller's rank).

    `dims` is the rank of `tensor` without a leading dimension of 1.
    """
    tokens = _one_row(name, tensor, dims).shape[0]
    fixed = cu_seqlens is None or cu_seqlens.numel() == 1
    if fixed and batch_size * seq_len != tokens:
        raise ValueError(
            f"seq_len: {batch_size} sequences of {seq_len} tokens, but {name} has {tokens}."
        )
    if not fixed and cu_seqlens.numel() != batch_size + 1:
        raise ValueError(
            f"cu_seqlens: found {cu_seqlens.numel()} entries, expected batch_size + 1, "
            f"{batch_size + 1}."
        )

    def rows(name, x, dims):
        own = _one_row(name, x, dims)
        if own.shape[0] != tokens:
            raise ValueError(f"{name}: found {own.shape[0]} tokens, expected {tokens}.")
        return own.unflatten(0, (batch_size, seq_len)) if fixed else own[None]

    def restore(x):
        x = x.flatten(0, 1)
        return x if tensor.dim() == dims else x[None]

    return rows, None if fixed else cu_seqlens, restore


def _one_row(name: str, x: Tensor, dims: int) -> Tensor:
    """The same without a leading dimension of 1."""
    if x.dim() == dims + 1 and x.shape[0] == 1:
        return x[0]
    if x.dim() != dims:
        raise ValueError(
            f"{name}: found shape {tuple(x.shape)}, expected rank {dims}, or one more of size 1."
        )
    return x


def _by_token(name: str, x: Tensor) -> Tensor:
    """[T, H] of [H, T], or of [1, T, H]."""
    if x.dim() == 3 and x.shape[0] == 1:
        return x[0]
    if x.dim() != 2:
        raise ValueError(f"{name}: found shape {tuple(x.shape)}, expected [H, T].")
    return x.T


def _check_width(name: str, x: Tensor, width: int) -> None:
    if x.shape[-1] != width:
        raise ValueError(f"{name}: found {x.shape[-1]} columns, expected {width}.")


def _check_mask(mask: Tensor, diagonal: int) -> None:
    """The mask is built into the stages here: any other is refused (on the CPU by its contents)."""
    if tuple(mask.shape) != (CHUNK_SIZE, CHUNK_SIZE):
        raise ValueError(
            f"Msk: found shape {tuple(mask.shape)}, expected ({CHUNK_SIZE}, {CHUNK_SIZE})."
        )
    if mask.device.type == "cpu" and not torch.equal(mask, torch.ones_like(mask).tril_(diagonal)):
        where = "on and below" if diagonal == 0 else "below"
        raise ValueError(f"Msk: expected ones {where} the diagonal and zeros elsewhere.")
