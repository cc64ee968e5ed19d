"""The gated delta rule as custom ops."""

import torch
from torch import Tensor
from torch.library import custom_op

from gdn import _C
from gdn._torch.common import (
    absent,
    check_rank,
    check_together,
    fill,
    piece_count,
    refuse_gradients,
    sequence_count,
    state_shape,
)


def _fake_delta_rule(q: Tensor, v: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    check_rank("q", q, 4)
    check_rank("v", v, 4)
    if cu_seqlens is not None:
        check_rank("cu_seqlens", cu_seqlens, 1)
    return v.new_empty(v.shape)


@custom_op("gdn::chunk_gated_delta_rule", mutates_args=())
def _chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    flags: int,
    head_map: int,
    scale: float | None,
    output_final_state: bool,
    chunk_size: int,
    checkpoint_every: int,
) -> tuple[Tensor, Tensor, Tensor]:
    o, final_state, checkpoints = _C.chunk_gated_delta_rule(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, None, None,
        flags, head_map, scale, output_final_state, False, chunk_size, checkpoint_every,
    )  # fmt: skip
    return (
        o,
        absent(q) if final_state is None else final_state,
        absent(q) if checkpoints is None else checkpoints,
    )


@_chunk.register_fake
def _(
    q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state,
    flags, head_map, scale, output_final_state, chunk_size, checkpoint_every,
):  # fmt: skip
    check_together(
        q=q, k=k, v=v, g=g, beta=beta, A_log=A_log, dt_bias=dt_bias, cu_seqlens=cu_seqlens,
        initial_state=initial_state,
    )  # fmt: skip
    o = _fake_delta_rule(q, v, cu_seqlens)
    state = state_shape(q, v, flags)
    final_state = absent(q)
    if output_final_state:
        count = sequence_count(q, cu_seqlens)
        final_state = q.new_empty((count, *state), dtype=torch.float32)
    if checkpoint_every:
        count = piece_count(q, cu_seqlens, checkpoint_every, False)
        checkpoints = q.new_empty((count, *state), dtype=torch.float32)
    else:
        checkpoints = absent(q)
    return o, final_state, checkpoints


@custom_op("gdn::chunk_gated_delta_rule_", mutates_args=("initial_state",))
def _chunk_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor,
    state_indices: Tensor | None,
    flags: int,
    head_map: int,
    scale: float | None,
    chunk_size: int,
    checkpoint_every: int,
) -> tuple[Tensor, Tensor]:
    o, _, checkpoints = _C.chunk_gated_delta_rule(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, None,
        flags, head_map, scale, False, True, chunk_size, checkpoint_every,
    )  # fmt: skip
    return o, absent(q) if checkpoints is None else checkpoints


@_chunk_.register_fake
def _(
    q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices,
    flags, head_map, scale, chunk_size, checkpoint_every,
):  # fmt: skip
    check_together(
        q=q, k=k, v=v, g=g, beta=beta, A_log=A_log, dt_bias=dt_bias, cu_seqlens=cu_seqlens,
        initial_state=initial_state, state_indices=state_indices,
    )  # fmt: skip
    o = _fake_delta_rule(q, v, cu_seqlens)
    if not checkpoint_every:
        return o, absent(q)
    count = piece_count(q, cu_seqlens, checkpoint_every, False)
    return o, q.new_empty((count, *state_shape(q, v, flags)), dtype=torch.float32)


@custom_op("gdn::fused_recurrent_gated_delta_rule", mutates_args=())
def _recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    flags: int,
    head_map: int,
    scale: float | None,
    output_final_state: bool,
) -> tuple[Tensor, Tensor]:
    o, final_state = _C.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, None, None,
        flags, head_map, scale, output_final_state, False, None,
    )  # fmt: skip
    return o, absent(q) if final_state is None else final_state


@_recurrent.register_fake
def _(
    q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state,
    flags, head_map, scale, output_final_state,
):  # fmt: skip
    check_together(
        q=q, k=k, v=v, g=g, beta=beta, A_log=A_log, dt_bias=dt_bias, cu_seqlens=cu_seqlens,
        initial_state=initial_state,
    )  # fmt: skip
    o = _fake_delta_rule(q, v, cu_seqlens)
    if not output_final_state:
        return o, absent(q)
    shape = (sequence_count(q, cu_seqlens), *state_shape(q, v, flags))
    return o, q.new_empty(shape, dtype=torch.float32)


@custom_op("gdn::fused_recurrent_gated_delta_rule_", mutates_args=("initial_state",))
def _recurrent_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor,
    state_indices: Tensor | None,
    num_accepted_tokens: Tensor | None,
    flags: int,
    head_map: int,
    scale: float | None,
) -> Tensor:
    return _C.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, None,
        flags, head_map, scale, False, True, num_accepted_tokens,
    )[0]  # fmt: skip


@_recurrent_.register_fake
def _(
    q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices,
    num_accepted_tokens, flags, head_map, scale,
):  # fmt: skip
    check_together(
        q=q, k=k, v=v, g=g, beta=beta, A_log=A_log, dt_bias=dt_bias, cu_seqlens=cu_seqlens,
        initial_state=initial_state, state_indices=state_indices,
        num_accepted_tokens=num_accepted_tokens,
    )  # fmt: skip
    return _fake_delta_rule(q, v, cu_seqlens)


def require_states(initial_state: Tensor | None) -> None:
    """An update in place without states to update."""
    if initial_state is None:
        raise ValueError(
            "initial_state: state_indices and inplace_final_state need states to update, found "
            "None."
        )


def chunk_gated_delta_rule(
    q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out,
    flags, head_map, scale, output_final_state, in_place, chunk_size, checkpoint_every,
):  # fmt: skip
    """As _C.chunk_gated_delta_rule."""
    refuse_gradients(
        q=q, k=k, v=v, g=g, beta=beta, A_log=A_log, dt_bias=dt_bias, initial_state=initial_state,
        out=out,
    )  # fmt: skip
    if state_indices is None and not in_place:
        o, final_state, checkpoints = _chunk(
            q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state,
            flags, head_map, scale, output_final_state, chunk_size, checkpoint_every,
        )  # fmt: skip
        final_state = final_state if output_final_state else None
    else:
        require_states(initial_state)
        o, checkpoints = _chunk_(
            q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices,
            flags, head_map, scale, chunk_size, checkpoint_every,
        )  # fmt: skip
        final_state = initial_state
    return fill(out, o), final_state, checkpoints if checkpoint_every else None


def fused_recurrent_gated_delta_rule(
    q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out,
    flags, head_map, scale, output_final_state, in_place, num_accepted_tokens,
):  # fmt: skip
    """As _C.fused_recurrent_gated_delta_rule."""
    refuse_gradients(
        q=q, k=k, v=v, g=g, beta=beta, A_log=A_log, dt_bias=dt_bias, initial_state=initial_state,
        out=out,
    )  # fmt: skip
    if state_indices is None and num_accepted_tokens is not None:
        raise ValueError("num_accepted_tokens: needs state_indices [N, M], which is None.")
    if state_indices is not None or in_place:
        require_states(initial_state)
        o = _recurrent_(
            q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices,
            num_accepted_tokens, flags, head_map, scale,
        )  # fmt: skip
        return fill(out, o), initial_state
    o, final_state = _recurrent(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state,
        flags, head_map, scale, output_final_state,
    )  # fmt: skip
    return fill(out, o), final_state if output_final_state else None
