"""The gated delta rule as custom ops.

Four ops: both forms, each with a new final state or updating states in place. Their arguments are
the operands of _C's functions, then the options that the op has.
"""

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

NAMES = ("q", "k", "v", "g", "beta", "A_log", "dt_bias", "cu_seqlens", "initial_state")
"""Operands that every op begins with."""
COUNT = len(NAMES)

_READ = (
    "Tensor q, Tensor k, Tensor v, Tensor? g, Tensor? beta, Tensor? A_log, Tensor? dt_bias, "
    "Tensor? cu_seqlens, "
)
_CODES = "int flags, int head_map, float? scale"
_FRESH = f"{_READ}Tensor? initial_state, {_CODES}"
_UPDATED = f"{_READ}Tensor(a!) initial_state, Tensor? state_indices"
_CHUNKS = "int chunk_size, int checkpoint_every"


def _fake_output(operands: tuple, **further: Tensor | None) -> Tensor:
    """Check the operands as far as shapes allow and return an empty o."""
    q, _, v = operands[:3]
    cu_seqlens = operands[NAMES.index("cu_seqlens")]
    check_together(**dict(zip(NAMES, operands, strict=True)), **further)
    check_rank("q", q, 4)
    check_rank("v", v, 4)
    if cu_seqlens is not None:
        check_rank("cu_seqlens", cu_seqlens, 1)
    return v.new_empty(v.shape)


def _fake_states(operands: tuple, flags: int, every: int = 0) -> Tensor:
    """Empty final states, or checkpoints after every so many tokens."""
    q, _, v = operands[:3]
    cu_seqlens = operands[NAMES.index("cu_seqlens")]
    count = piece_count(q, cu_seqlens, every, False) if every else sequence_count(q, cu_seqlens)
    return q.new_empty((count, *state_shape(q, v, flags)), dtype=torch.float32)


@custom_op(
    "gdn::chunk_gated_delta_rule", mutates_args=(),
    schema=f"({_FRESH}, bool output_final_state, {_CHUNKS}) -> (Tensor, Tensor, Tensor)",
)  # fmt: skip
def _chunk(*args):
    operands, (flags, head_map, scale, output_final_state, *chunks) = args[:COUNT], args[COUNT:]
    results = _C.chunk_gated_delta_rule(
        *operands, None, None, flags, head_map, scale, output_final_state, False, *chunks
    )
    return tuple(absent(operands[0]) if r is None else r for r in results)


@_chunk.register_fake
def _(*args):
    operands, (flags, _, _, output_final_state, _, every) = args[:COUNT], args[COUNT:]
    o = _fake_output(operands)
    final_state = _fake_states(operands, flags) if output_final_state else absent(o)
    return o, final_state, _fake_states(operands, flags, every) if every else absent(o)


@custom_op(
    "gdn::chunk_gated_delta_rule_", mutates_args=("initial_state",),
    schema=f"({_UPDATED}, {_CODES}, {_CHUNKS}) -> (Tensor, Tensor)",
)  # fmt: skip
def _chunk_(*args):
    operands, (state_indices, flags, head_map, scale, *chunks) = args[:COUNT], args[COUNT:]
    o, _, checkpoints = _C.chunk_gated_delta_rule(
        *operands, state_indices, None, flags, head_map, scale, False, True, *chunks
    )
    return o, absent(o) if checkpoints is None else checkpoints


@_chunk_.register_fake
def _(*args):
    operands, (state_indices, flags, _, _, _, every) = args[:COUNT], args[COUNT:]
    o = _fake_output(operands, state_indices=state_indices)
    return o, _fake_states(operands, flags, every) if every else absent(o)


@custom_op(
    "gdn::fused_recurrent_gated_delta_rule", mutates_args=(),
    schema=f"({_FRESH}, bool output_final_state) -> (Tensor, Tensor)",
)  # fmt: skip
def _recurrent(*args):
    operands, (flags, head_map, scale, output_final_state) = args[:COUNT], args[COUNT:]
    o, final_state = _C.fused_recurrent_gated_delta_rule(
        *operands, None, None, flags, head_map, scale, output_final_state, False, None
    )
    return o, absent(o) if final_state is None else final_state


@_recurrent.register_fake
def _(*args):
    operands, (flags, _, _, output_final_state) = args[:COUNT], args[COUNT:]
    o = _fake_output(operands)
    return o, _fake_states(operands, flags) if output_final_state else absent(o)


@custom_op(
    "gdn::fused_recurrent_gated_delta_rule_", mutates_args=("initial_state",),
    schema=f"({_UPDATED}, Tensor? num_accepted_tokens, {_CODES}) -> Tensor",
)  # fmt: skip
def _recurrent_(*args):
    operands, (state_indices, accepted, flags, head_map, scale) = args[:COUNT], args[COUNT:]
    return _C.fused_recurrent_gated_delta_rule(
        *operands, state_indices, None, flags, head_map, scale, False, True, accepted
    )[0]


@_recurrent_.register_fake
def _(*args):
    operands, (state_indices, accepted, *_) = args[:COUNT], args[COUNT:]
    return _fake_output(operands, state_indices=state_indices, num_accepted_tokens=accepted)


def _check_call(operands: tuple, out: Tensor | None, in_place: bool) -> None:
    """Refuse gradients, and an update in place without states to update."""
    by_name = dict(zip(NAMES, operands, strict=True))
    del by_name["cu_seqlens"]
    refuse_gradients(**by_name, out=out)
    if in_place and by_name["initial_state"] is None:
        raise ValueError(
            "initial_state: state_indices and inplace_final_state need states to update, found "
            "None."
        )


def chunk_gated_delta_rule(*args):
    """As _C.chunk_gated_delta_rule."""
    operands = args[:COUNT]
    state_indices, out, *codes, output_final_state, in_place, chunk_size, every = args[COUNT:]
    in_place = in_place or state_indices is not None
    _check_call(operands, out, in_place)
    if in_place:
        o, checkpoints = _chunk_(*operands, state_indices, *codes, chunk_size, every)
        final_state = operands[-1]
    else:
        o, final_state, checkpoints = _chunk(
            *operands, *codes, output_final_state, chunk_size, every
        )
        final_state = final_state if output_final_state else None
    return fill(out, o), final_state, checkpoints if every else None


def fused_recurrent_gated_delta_rule(*args):
    """As _C.fused_recurrent_gated_delta_rule."""
    operands = args[:COUNT]
    state_indices, out, *codes, output_final_state, in_place, accepted = args[COUNT:]
    in_place = in_place or state_indices is not None
    _check_call(operands, out, in_place)
    if state_indices is None and accepted is not None:
        raise ValueError("num_accepted_tokens: needs state_indices [N, M], which is None.")
    if in_place:
        o = _recurrent_(*operands, state_indices, accepted, *codes)
        return fill(out, o), operands[-1]
    o, final_state = _recurrent(*operands, *codes, output_final_state)
    return fill(out, o), final_state if output_final_state else None
