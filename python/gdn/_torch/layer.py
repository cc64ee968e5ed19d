"""Convolution, gating and norms as custom ops."""

import torch
from torch import Tensor
from torch.library import custom_op

from gdn import _C
from gdn._torch.common import DTYPES, check_rank, check_together, fill, refuse_gradients


def _like_activations(x: Tensor) -> Tensor:
    """An output like x [B, C, T] or [C, T]: channels fastest where x has them so."""
    channels_last = x.numel() > 0 and x.shape[-1] > 1 and x.stride(-2) == 1 and x.stride(-1) != 1
    if not channels_last:
        return x.new_empty(x.shape)
    return x.new_empty((*x.shape[:-2], x.shape[-1], x.shape[-2])).transpose(-1, -2)


def _check_conv(x: Tensor, weight: Tensor) -> None:
    if x.dim() not in (2, 3):
        raise ValueError(f"x: found rank {x.dim()}, expected 2 or 3.")
    check_rank("weight", weight, 2)


@custom_op("gdn::causal_conv1d_fwd", mutates_args=())
def _conv_fwd(
    x: Tensor, weight: Tensor, bias: Tensor | None, cu_seqlens: Tensor | None, flags: int
) -> Tensor:
    return _C.causal_conv1d_fwd(x, weight, bias, None, None, None, cu_seqlens, None, flags)


@_conv_fwd.register_fake
def _(x, weight, bias, cu_seqlens, flags):
    check_together(x=x, weight=weight, bias=bias, cu_seqlens=cu_seqlens)
    _check_conv(x, weight)
    return _like_activations(x)


@custom_op("gdn::causal_conv1d_fwd_", mutates_args=("conv_state",))
def _conv_fwd_(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    conv_state: Tensor,
    state_indices: Tensor | None,
    has_initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    flags: int,
) -> Tensor:
    return _C.causal_conv1d_fwd(
        x, weight, bias, conv_state, state_indices, has_initial_state, cu_seqlens, None, flags
    )


@_conv_fwd_.register_fake
def _(x, weight, bias, conv_state, state_indices, has_initial_state, cu_seqlens, flags):
    check_together(
        x=x, weight=weight, bias=bias, conv_state=conv_state, state_indices=state_indices,
        has_initial_state=has_initial_state, cu_seqlens=cu_seqlens,
    )  # fmt: skip
    _check_conv(x, weight)
    return _like_activations(x)


@custom_op("gdn::causal_conv1d_update_", mutates_args=("conv_state",))
def _conv_update_(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state_indices: Tensor | None,
    num_accepted_tokens: Tensor | None,
    flags: int,
) -> Tensor:
    return _C.causal_conv1d_update(
        x, conv_state, weight, bias, state_indices, num_accepted_tokens, None, flags
    )


@_conv_update_.register_fake
def _(x, conv_state, weight, bias, state_indices, num_accepted_tokens, flags):
    check_together(
        x=x, conv_state=conv_state, weight=weight, bias=bias, state_indices=state_indices,
        num_accepted_tokens=num_accepted_tokens,
    )  # fmt: skip
    _check_conv(x, weight)
    return x.new_empty(x.shape) if x.dim() == 2 else _like_activations(x)


@custom_op("gdn::fused_gdn_gating", mutates_args=())
def _gating(
    A_log: Tensor,
    a: Tensor,
    b: Tensor,
    dt_bias: Tensor | None,
    flags: int,
    beta_dtype: str | None,
) -> tuple[Tensor, Tensor]:
    return _C.fused_gdn_gating(A_log, a, b, dt_bias, flags, beta_dtype)


@_gating.register_fake
def _(A_log, a, b, dt_bias, flags, beta_dtype):
    check_together(A_log=A_log, a=a, b=b, dt_bias=dt_bias)
    beta = b.dtype if beta_dtype is None else DTYPES[beta_dtype]
    return a.new_empty(a.shape, dtype=torch.float32), a.new_empty(a.shape, dtype=beta)


@custom_op("gdn::l2norm", mutates_args=())
def _l2norm(x: Tensor, eps: float) -> Tensor:
    return _C.l2norm(x, eps, None)


@_l2norm.register_fake
def _(x, eps):
    return x.new_empty(x.shape)


@custom_op("gdn::rms_norm_gated", mutates_args=())
def _rms_norm_gated(x: Tensor, weight: Tensor | None, z: Tensor | None, eps: float) -> Tensor:
    return _C.rms_norm_gated(x, weight, z, eps, None)


@_rms_norm_gated.register_fake
def _(x, weight, z, eps):
    check_together(x=x, weight=weight, z=z)
    return x.new_empty(x.shape)


def causal_conv1d_fwd(
    x, weight, bias, conv_state, state_indices, has_initial_state, cu_seqlens, out, flags
):
    """As _C.causal_conv1d_fwd."""
    refuse_gradients(x=x, weight=weight, bias=bias, conv_state=conv_state, out=out)
    if conv_state is not None:
        y = _conv_fwd_(
            x, weight, bias, conv_state, state_indices, has_initial_state, cu_seqlens, flags
        )
        return fill(out, y)
    for name, given in (("state_indices", state_indices), ("has_initial_state", has_initial_state)):
        if given is not None:
            raise ValueError(f"{name}: needs conv_state, which is None.")
    return fill(out, _conv_fwd(x, weight, bias, cu_seqlens, flags))


def causal_conv1d_update(
    x, conv_state, weight, bias, state_indices, num_accepted_tokens, out, flags
):
    """As _C.causal_conv1d_update."""
    refuse_gradients(x=x, conv_state=conv_state, weight=weight, bias=bias, out=out)
    y = _conv_update_(x, conv_state, weight, bias, state_indices, num_accepted_tokens, flags)
    return fill(out, y)


def fused_gdn_gating(A_log, a, b, dt_bias, flags, beta_dtype):
    """As _C.fused_gdn_gating."""
    refuse_gradients(A_log=A_log, a=a, b=b, dt_bias=dt_bias)
    return _gating(A_log, a, b, dt_bias, flags, beta_dtype)


def l2norm(x, eps, out):
    """As _C.l2norm."""
    refuse_gradients(x=x, out=out)
    return fill(out, _l2norm(x, eps))


def rms_norm_gated(x, weight, z, eps, out):
    """As _C.rms_norm_gated."""
    refuse_gradients(x=x, weight=weight, z=z, out=out)
    return fill(out, _rms_norm_gated(x, weight, z, eps))
