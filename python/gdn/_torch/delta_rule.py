"""The gated delta rule as custom ops: both forms, each with new states or with updated ones."""

from __future__ import annotations

import torch

from gdn import _checks
from gdn._torch.common import DTYPES, check_rank, piece_count, sequence_count, state_shape
from gdn._torch.operation import Op, route

__all__ = ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"]

_ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor? g, Tensor? beta, Tensor? A_log, Tensor? dt_bias, "
    "Tensor? cu_seqlens, Tensor? initial_state, Tensor? state_indices, Tensor? out, "
    "float? scale, str head_map, bool use_qk_l2norm_in_kernel, bool use_gate_in_kernel, "
    "bool use_beta_sigmoid_in_kernel, bool allow_neg_eigval, bool state_v_first, "
    "bool output_final_state, bool inplace_final_state, "
    "int? chunk_size, int? checkpoint_every, Tensor? checkpoint_indices, Tensor? positions, "
    "Tensor? num_accepted_tokens, Tensor? output_state_indices, Tensor? has_initial_state, "
    "int? null_slot, bool padded, str? state_dtype, bool round_states"
)
_FRESH = {
    "state_indices": None,
    "output_state_indices": None,
    "checkpoint_indices": None,
    "null_slot": None,
    "inplace_final_state": False,
}
_UPDATED = {"output_final_state": False, "inplace_final_state": True}
_CHUNK = {"num_accepted_tokens": None, "round_states": False}
_RECURRENT = {
    "chunk_size": None,
    "checkpoint_every": None,
    "checkpoint_indices": None,
    "positions": None,
}


def _fake(a):
    """Empty o, final states and checkpoints, after the checks that shapes allow."""
    check_rank("q", a.q, 4)
    check_rank("v", a.v, 4)
    if a.cu_seqlens is not None:
        check_rank("cu_seqlens", a.cu_seqlens, 1)
    state = state_shape(a.q, a.v, a.state_v_first)
    dtype = DTYPES[a.state_dtype or "float32"]
    final_state = checkpoints = None
    if a.output_final_state:
        count = sequence_count(a.q, a.cu_seqlens)
        final_state = a.q.new_empty((count, *state), dtype=dtype)
    if a.checkpoint_every is not None and a.checkpoint_indices is None:
        if a.positions is None:
            count = piece_count(a.q, a.cu_seqlens, a.checkpoint_every, False)
        else:
            count = torch.library.get_ctx().new_dynamic_size()
        checkpoints = a.q.new_empty((count, *state), dtype=dtype)
    return (a.v.new_empty(a.v.shape), final_state, checkpoints)


def _fake_recurrent(a):
    return _fake(a)[:2]


def _check(given):
    _checks.check_sigmoid(given["allow_neg_eigval"], given["use_beta_sigmoid_in_kernel"])
    _checks.check_pool(given["initial_state"], given["state_indices"], given["inplace_final_state"])
    stored = _wants_update(given) or given["output_final_state"]
    _checks.check_rounding(given["round_states"], stored)
    _checks.check_null_slot(given["null_slot"], given["state_indices"])
    checkpoints = given["checkpoint_every"] is not None and given["checkpoint_indices"] is None
    if given["state_dtype"] is not None and _wants_update(given) and not checkpoints:
        _checks.check_state_dtype(given["state_dtype"], given["initial_state"])
    if given["state_indices"] is None:
        for name in ("output_state_indices", "checkpoint_indices"):
            _checks.refuse(name, given[name], "needs state_indices, which is None here")


def _wants_update(given):
    return given["inplace_final_state"] or given["state_indices"] is not None


def _form(target, fake, results, options):
    return route(
        _ARGUMENTS,
        Op(target, _ARGUMENTS, fake, results=results, fixed={**_FRESH, **options}),
        Op(
            target, _ARGUMENTS, fake, results=results, fixed={**_UPDATED, **options},
            updates="initial_state", returned=1,
        ),
        "initial_state", _wants_update, _check,
    )  # fmt: skip


_chunk = _form("chunk_gated_delta_rule", _fake, 3, _CHUNK)
fused_recurrent_gated_delta_rule = _form(
    "fused_recurrent_gated_delta_rule", _fake_recurrent, 2, _RECURRENT
)


def chunk_gated_delta_rule(*args):
    """As _C.chunk_gated_delta_rule, which returns checkpoints where they were asked for."""
    o, final_state, checkpoints = _chunk(*args)
    return (o, final_state) if checkpoints is None else (o, final_state, checkpoints)
