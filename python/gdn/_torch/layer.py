"""Convolution, gating and norms as custom ops."""

from __future__ import annotations

import torch
from torch import Tensor

from gdn import _checks
from gdn._torch.common import DTYPES, check_rank
from gdn._torch.operation import Op, route

__all__ = [
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "fused_gdn_gating",
    "l2norm",
    "rms_norm_gated",
]

# The caller's names of arguments are for the messages of eager calls.
_NO_NAMES = {"names": None}


def _like_activations(x: Tensor) -> Tensor:
    """An output like x [B, C, T] or [C, T]: channels fastest where x has them so."""
    channels_last = x.numel() > 0 and x.shape[-1] > 1 and x.stride(-2) == 1 and x.stride(-1) != 1
    if not channels_last:
        return x.new_empty(x.shape)
    return x.new_empty((*x.shape[:-2], x.shape[-1], x.shape[-2])).transpose(-1, -2)


def _fake_conv(a):
    check_rank("x", a.x, 2, 3)
    check_rank("weight", a.weight, 2)
    return (_like_activations(a.x),)


def _fake_conv_update(a):
    (y,) = _fake_conv(a)
    return (a.x.new_empty(a.x.shape) if a.x.dim() == 2 else y,)


def _fake_gating(a):
    beta = a.b.dtype if a.beta_dtype is None else DTYPES[a.beta_dtype]
    g = a.a.new_empty(a.a.shape, dtype=torch.float32)
    return (g, a.a.new_empty(a.a.shape, dtype=beta))


def _fake_norm(a):
    return (a.x.new_empty(a.x.shape),)


def _check_conv(given):
    _checks.check_null_slot(given["null_slot"], given["state_indices"])


_CONV_FWD = (
    "Tensor x, Tensor weight, Tensor? bias, Tensor? conv_state, Tensor? state_indices, "
    "Tensor? has_initial_state, Tensor? cu_seqlens, Tensor? out, str? activation, "
    "int? null_slot, bool padded, str[]? names"
)
causal_conv1d_fwd = route(
    _CONV_FWD,
    Op("causal_conv1d_fwd", _CONV_FWD, _fake_conv, fixed={**_NO_NAMES, "conv_state": None}),
    Op("causal_conv1d_fwd", _CONV_FWD, _fake_conv, fixed=_NO_NAMES, updates="conv_state"),
    wants_update=lambda given: given["conv_state"] is not None,
    check=_check_conv,
    token_axis=lambda _: -1,
)

_CONV_UPDATE = (
    "Tensor x, Tensor conv_state, Tensor weight, Tensor? bias, Tensor? state_indices, "
    "Tensor? num_accepted_tokens, Tensor? cu_seqlens, Tensor? out, str? activation, "
    "int? null_slot, bool padded, str[]? names"
)
causal_conv1d_update = route(
    _CONV_UPDATE,
    None,
    Op(
        "causal_conv1d_update", _CONV_UPDATE, _fake_conv_update, fixed=_NO_NAMES,
        updates="conv_state",
    ),
    check=_check_conv,
    token_axis=lambda out: 0 if out.dim() == 2 else -1,
)  # fmt: skip

_GATING = (
    "Tensor A_log, Tensor a, Tensor b, Tensor? dt_bias, bool allow_neg_eigval, str? beta_dtype"
)
fused_gdn_gating = route(_GATING, Op("fused_gdn_gating", _GATING, _fake_gating, results=2))

_L2NORM = "Tensor x, float eps, Tensor? out"
l2norm = route(_L2NORM, Op("l2norm", _L2NORM, _fake_norm))

_RMS_NORM = "Tensor x, Tensor? weight, Tensor? z, float eps, Tensor? out, str gate_activation"
rms_norm_gated = route(_RMS_NORM, Op("rms_norm_gated", _RMS_NORM, _fake_norm))
