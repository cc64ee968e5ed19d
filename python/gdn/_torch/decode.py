"""The fused decode step as a custom op."""

from __future__ import annotations

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


fused_gdn_decode = route(
    _ARGUMENTS,
    None,
    Op(
        "fused_gdn_decode", _ARGUMENTS, _fake, fixed={"out": None}, updates="conv_state state",
    ),
)  # fmt: skip
