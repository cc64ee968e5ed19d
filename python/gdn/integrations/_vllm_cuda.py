"""vLLM's functions of a GDN layer on a GPU, with its names and arguments, computed by libgdn.

States lie in pools [slots, HV, V, K], V first, whose slots may be any distance apart; convolution
states in pools [slots, C, L], used from their first entry on. A slot <= 0 is padding: its sequence
is skipped, its output is 0 (vLLM leaves some of those rows as they were), and block 0 is not
written. Arrays that belong to sequences may be longer than the call has sequences, and offsets may
end before the tokens do, as in the buffers of a CUDA graph.

Nothing here waits for the device. docs/integrations.md says what is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import gdn
from gdn._heads import split_qkv
from gdn.integrations.vllm import count

NULL_BLOCK = 0
"""vLLM's block that belongs to no sequence: what pads a batch names it."""


def chunk_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    chunk_offsets: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    core_attn_out: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Prefill: (o, final states [N, HV, V, K] in float32).

    Args:
        chunk_indices, chunk_offsets: plans of other kernels; not needed.
        core_attn_out: a buffer whose first elements take o.
    """
    out = None if core_attn_out is None else core_attn_out.view(-1)[: v.numel()].view(v.shape)
    o, final_state = gdn.chunk_gated_delta_rule(
        q,
        k,
        v,
        g,
        beta,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        state_v_first=True,
        cu_seqlens=cu_seqlens,
        padded=cu_seqlens is not None,
        out=out,
    )
    count("chunk_gated_delta_rule", q.shape[0] * q.shape[1])
    return o, final_state


def chunk_forward(
    self: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor,
    output_final_state: bool,
    cu_seqlens: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    chunk_offsets: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = True,
    core_attn_out: Tensor | None = None,
    aiter_prefill_metadata: object | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The forward of vLLM's operation ChunkGatedDeltaRule, whichever backend it has chosen."""
    return chunk_gated_delta_rule(
        q,
        k,
        v,
        g,
        beta,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        core_attn_out=core_attn_out,
    )


def fused_recurrent_gated_delta_rule_packed_decode(
    mixed_qkv: Tensor,
    a: Tensor,
    b: Tensor,
    A_log: Tensor,
    dt_bias: Tensor,
    scale: float,
    initial_state: Tensor,
    out: Tensor,
    ssm_state_indices: Tensor,
    use_qk_l2norm_in_kernel: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode: one token of each sequence, q, k, v out of packed rows [B, C]; out [B, 1, HV, V]."""
    q, k, v = _heads(mixed_qkv[:, None], initial_state)
    return _recurrent(
        q, k, v, a[:, None], b[:, None], scale, initial_state, None, ssm_state_indices, None,
        use_qk_l2norm_in_kernel, out, _gates(A_log, dt_bias),
    )  # fmt: skip


def fused_recurrent_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    inplace_final_state: bool = True,
    cu_seqlens: Tensor | None = None,
    ssm_state_indices: Tensor | None = None,
    num_accepted_tokens: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode and verify with the gates computed before.

    With indices [N, M] the state after token t goes to slot [n, t], and a sequence starts from slot
    [n, num_accepted_tokens[n] - 1].
    """
    _refuse(initial_state, inplace_final_state, ssm_state_indices)
    if beta is not None and beta.dim() == v.dim():
        raise NotImplementedError("beta: one for each value column is not served")
    return _recurrent(
        q, k, v, g, beta, scale, initial_state, cu_seqlens, ssm_state_indices, num_accepted_tokens,
        use_qk_l2norm_in_kernel, None, {},
    )  # fmt: skip


def fused_sigmoid_gating_delta_rule_update(
    A_log: Tensor,
    a: Tensor,
    b: Tensor,
    dt_bias: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: float = 1.0,
    threshold: float = 20.0,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    inplace_final_state: bool = True,
    cu_seqlens: Tensor | None = None,
    ssm_state_indices: Tensor | None = None,
    num_accepted_tokens: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    is_kda: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode and verify from the raw gates a and b [T, HV]; states as above.

    Args:
        beta: of the softplus.
        threshold: of the softplus.
    """
    _refuse(initial_state, inplace_final_state, ssm_state_indices)
    if is_kda:
        raise NotImplementedError("is_kda: decays for each key channel are not served")
    if (beta, threshold) != (1.0, 20.0):
        raise NotImplementedError(
            f"beta, threshold: found {beta}, {threshold}, expected 1.0, 20.0 (of the softplus)"
        )
    return _recurrent(
        q, k, v, a.reshape(v.shape[:3]), b.reshape(v.shape[:3]), scale, initial_state, cu_seqlens,
        ssm_state_indices, num_accepted_tokens, use_qk_l2norm_in_kernel, None,
        _gates(A_log, dt_bias),
    )  # fmt: skip


def fused_gdn_decode_post_conv_mtp(
    mixed_qkv: Tensor,
    a: Tensor,
    b: Tensor,
    A_log: Tensor,
    dt_bias: Tensor,
    state_indices: Tensor,
    cu_seqlens: Tensor,
    num_accepted_tokens: Tensor,
    state: Tensor,
    output_gate: Tensor,
    norm_weight: Tensor,
    out: Tensor | None = None,
    scale: float = 128**-0.5,
    norm_eps: float = 1e-5,
    output_gate_activation: str = "silu",
) -> Tensor:
    """Verify after the convolution, with the gated norm: out and output_gate [T, HV, V]."""
    q, k, v = _heads(mixed_qkv[None], state)
    # Rows past the last sequence are not computed; the norm reads them.
    o = torch.zeros(v.shape, dtype=v.dtype, device=v.device)
    _recurrent(
        q, k, v, a[None], b[None], scale, state, cu_seqlens, state_indices, num_accepted_tokens,
        True, o, _gates(A_log, dt_bias),
    )  # fmt: skip
    y = gdn.rms_norm_gated(
        o[0], norm_weight, output_gate, norm_eps, out=out, gate_activation=output_gate_activation
    )
    count("rms_norm_gated", o.shape[1])
    return y


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    conv_states: Tensor,
    query_start_loc: Tensor,
    cache_indices: Tensor | None = None,
    has_initial_state: Tensor | None = None,
    activation: str | None = "silu",
    pad_slot_id: int = -1,
    null_block_id: int = NULL_BLOCK,
    block_idx_first_scheduled_token: Tensor | None = None,
    block_idx_last_scheduled_token: Tensor | None = None,
    initial_state_idx: Tensor | None = None,
    num_computed_tokens: Tensor | None = None,
    block_size_to_align: int = 0,
    metadata: Any = None,
    validate_data: bool = False,
) -> Tensor:
    """Prefill: packed sequences x [C, T], the pool updated in place."""
    sequences = query_start_loc.shape[0] - 1
    y = gdn.causal_conv1d_fn(
        x,
        weight,
        bias,
        activation=activation,
        conv_states=conv_states,
        query_start_loc=query_start_loc,
        cache_indices=_first(cache_indices, sequences),
        has_initial_state=_first(has_initial_state, sequences),
        pad_slot_id=pad_slot_id,
        null_block_id=null_block_id,
        block_idx_first_scheduled_token=block_idx_first_scheduled_token,
        block_idx_last_scheduled_token=block_idx_last_scheduled_token,
        initial_state_idx=initial_state_idx,
        num_computed_tokens=num_computed_tokens,
        block_size_to_align=block_size_to_align,
        padded=True,
    )
    count("causal_conv1d_fwd", x.shape[1])
    return y


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: bool | str | None = None,
    conv_state_indices: Tensor | None = None,
    num_accepted_tokens: Tensor | None = None,
    query_start_loc: Tensor | None = None,
    max_query_len: int = -1,
    null_block_id: int = NULL_BLOCK,
    block_idx_last_scheduled_token: Tensor | None = None,
    initial_state_idx: Tensor | None = None,
    validate_data: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Decode and verify: x [N, C], or with query_start_loc packed tokens [T, C].

    Returns:
        A new tensor where out is None: x is not overwritten, as it is by vLLM's.
    """
    tokens = x.shape[0] if x.dim() == 2 else x.shape[0] * x.shape[2]
    if query_start_loc is not None:
        if conv_state_indices is None:
            raise ValueError("conv_state_indices: expected with query_start_loc, found None")
        sequences = conv_state_indices.shape[0]
        query_start_loc = query_start_loc[: sequences + 1]
        num_accepted_tokens = _first(num_accepted_tokens, sequences)
    y = gdn.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        activation,
        conv_state_indices=conv_state_indices,
        num_accepted_tokens=num_accepted_tokens,
        query_start_loc=query_start_loc,
        null_block_id=null_block_id,
        block_idx_last_scheduled_token=block_idx_last_scheduled_token,
        initial_state_idx=initial_state_idx,
        padded=query_start_loc is not None,
        out=out,
    )
    count("causal_conv1d_update", tokens)
    return y


def _recurrent(
    q, k, v, g, beta, scale, pool, cu_seqlens, indices, accepted, l2norm, out, gates
) -> tuple[Tensor, Tensor]:
    sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    if indices.dim() == 2 and indices.shape[1] == 1:
        accepted = None  # One slot a sequence: it can but start from it.
    o, pool = gdn.fused_recurrent_gated_delta_rule(
        q,
        k,
        v,
        g,
        beta=beta,
        scale=scale,
        initial_state=pool,
        use_qk_l2norm_in_kernel=l2norm,
        state_v_first=True,
        cu_seqlens=cu_seqlens,
        padded=cu_seqlens is not None,
        out=out,
        state_indices=_first(indices, sequences),
        num_accepted_tokens=_first(accepted, sequences),
        null_slot=NULL_BLOCK,
        **gates,
    )
    count("fused_recurrent_gated_delta_rule", q.shape[0] * q.shape[1])
    return o, pool


def _first(array: Tensor | None, sequences: int) -> Tensor | None:
    """The entries of the call's sequences, of a buffer that may have more."""
    return None if array is None else array[:sequences]


def _gates(A_log: Tensor, dt_bias: Tensor) -> dict[str, Any]:
    return dict(
        use_gate_in_kernel=True, A_log=A_log, dt_bias=dt_bias, use_beta_sigmoid_in_kernel=True
    )


def _heads(mixed_qkv: Tensor, pool: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v [B, T, .., ..], views of rows [B, T, C]."""
    _, heads, dv, dk = pool.shape
    return split_qkv(mixed_qkv, heads * dv, dk, dv)


def _refuse(pool: Any, inplace_final_state: bool, indices: Any) -> None:
    if pool is None or indices is None:
        raise NotImplementedError(
            "initial_state, ssm_state_indices: expected a pool and its indices, found None"
        )
    if not inplace_final_state:
        raise NotImplementedError("inplace_final_state: False is not served")
