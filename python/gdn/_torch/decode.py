"""The fused decode step as a custom op."""

from __future__ import annotations

from gdn import _checks
from gdn._torch.common import check_rank
from gdn._torch.operation import Op, route

__all__ = ["fused_gdn_decode"]

_ARGUMENTS = (
    "Tensor mixed_qkv, Tensor conv_state, Tensor conv_weight, Tensor? conv_bias, Tensor a, "
    "Tensor b, Tensor A_log, Tensor? dt_bias, Tensor z, Tensor norm_weight, Tensor state, "
    "Tensor? state_indices, Tensor? output_state_indices, Tensor? conv_state_indices, "
    "Tensor? num_accepted_tokens, Tensor? cu_seqlens, Tensor? out, "
    "float? scale, float eps, str head_map, str gate_activation, "
    "bool allow_neg_eigval, bool state_v_first, int? null_slot, bool padded, bool round_states"
)


def _fake(a):
    check_rank("mixed_qkv", a.mixed_qkv, 3)
    check_rank("z", a.z, 4)
    return (a.z.new_empty(a.z.shape),)


def _check(given):
    _checks.check_null_slot(given["null_slot"], given["state_indices"], given["conv_state_indices"])


fused_gdn_decode = route(
    _ARGUMENTS,
    None,
    Op(
        "fused_gdn_decode", _ARGUMENTS, _fake, updates="conv_state state",
    ),
    check=_check,
)  # fmt: skip
