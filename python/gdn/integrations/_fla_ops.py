"""flash-linear-attention's functions, with its signatures, computed by libgdn."""

from __future__ import annotations

import itertools
from typing import Any

import torch

import gdn


def chunk_gated_delta_rule(*args: Any, **kwargs: Any):
    """The public function, whose arguments gdn's has too."""
    if "head_first" in kwargs:
        raise DeprecationWarning("head_first: removed; inputs are [B, T, H, ..].")
    return gdn.chunk_gated_delta_rule(*args, **kwargs)


def recurrent(*, beta, v, **kwargs: Any):
    """The forward of FLA's autograd function, which gives all defaults a value."""
    if beta.ndim == v.ndim:
        raise NotImplementedError("beta: strengths per value channel [B, T, HV, V] are not served.")
    a_log = kwargs.get("A_log")
    return gdn.fused_recurrent_gated_delta_rule(
        v=v, beta=beta, use_gate_in_kernel=a_log is not None, **kwargs
    )


def gdn_gate_fwd(g, A_log, dt_bias=None, output_dtype=torch.float32):
    """-exp(A_log) softplus(g + dt_bias) of g [.., HV]."""
    rows = g.reshape(-1, g.shape[-1])
    decay, _ = gdn.fused_gdn_gating(A_log.flatten(), rows, rows, dt_bias)
    return decay.view(g.shape).to(output_dtype)


def causal_conv1d_fwd(
    x,
    weight,
    bias=None,
    residual=None,
    initial_state=None,
    output_final_state=False,
    activation=None,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    chunk_indices=None,
    chunk_size=64,
    layout_fallback=False,
):
    """x [B, T, D], states [N, D, W]; chunk_* and layout_fallback plan launches of FLA's kernel."""
    _need_weight(weight)
    flat = x if x.shape[-1] == weight.shape[0] else x.flatten(2)
    state = _state(flat, weight.shape[1], initial_state, cu_seqlens)
    if not output_final_state and initial_state is None:
        state = None
    y = gdn.causal_conv1d_fwd(
        flat.transpose(1, 2),
        weight,
        bias,
        conv_state=state,
        activation=activation,
        cu_seqlens=cu_seqlens,
    )
    y = y.transpose(1, 2).contiguous().view(x.shape)
    if residual is not None:
        y = y + residual
    return y, state if output_final_state else None


def causal_conv1d_update(x, cache, residual=None, weight=None, bias=None, activation=None):
    """One token of each sequence: x [N, D], [1, N, D] or [N, 1, D]; cache is updated in place."""
    _need_weight(weight)
    y = gdn.causal_conv1d_update(
        x.reshape(-1, weight.shape[0]), cache, weight, bias, activation=activation
    ).view(x.shape)
    return (y if residual is None else y + residual), cache


def causal_conv1d_update_states(x, state_len, initial_state=None, cu_seqlens=None):
    """The last state_len inputs of each sequence, [N, D, state_len]."""
    x = x if x.dim() == 3 else x.unsqueeze(0)
    state = _state(x, state_len, initial_state, cu_seqlens)
    offsets = [x.shape[1] * n for n in range(x.shape[0] + 1)]
    if cu_seqlens is not None:
        offsets = cu_seqlens.tolist()
    rows = x.flatten(0, 1)
    for n, (begin, end) in enumerate(itertools.pairwise(offsets)):
        newest = rows[max(begin, end - state_len) : end].T
        state[n] = torch.cat([state[n], newest], dim=-1)[:, -state_len:]
    return state


def layer_norm_gated_fwd(
    x,
    g,
    weight,
    bias,
    activation="swish",
    eps=1e-5,
    residual=None,
    out_dtype=None,
    residual_dtype=None,
    is_rms_norm=False,
):
    """(y, mean, rstd, x) of an RMS norm with a gate. rstd is for a backward pass, and absent."""
    _refuse_norms(x, bias, residual, out_dtype, residual_dtype, is_rms_norm)
    y = gdn.rms_norm_gated(x, weight, g, eps, gate_activation=activation)
    return y, None, None, x


def layer_norm_fwd(
    x,
    weight,
    bias,
    eps=1e-5,
    residual=None,
    out_dtype=None,
    residual_dtype=None,
    is_rms_norm=False,
    num_groups=1,
):
    """(y, mean, rstd, x) of an RMS norm. rstd is for a backward pass, and absent."""
    _refuse_norms(x, bias, residual, out_dtype, residual_dtype, is_rms_norm)
    if num_groups != 1:
        raise NotImplementedError(f"num_groups: found {num_groups}, libgdn serves 1 alone.")
    return gdn.rms_norm_gated(x, weight, None, eps), None, None, x


def _need_weight(weight) -> None:
    if weight is None:
        raise NotImplementedError("weight: libgdn has no convolution without one.")


def _state(x, width: int, initial_state, cu_seqlens):
    """A new [N, D, width]: the inputs before each sequence of x [B, T, D]."""
    count = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    if initial_state is None:
        return x.new_zeros(count, x.shape[-1], width)
    return initial_state.to(x.dtype, copy=True, memory_format=torch.contiguous_format)


def _refuse_norms(x, bias, residual, out_dtype, residual_dtype, is_rms_norm) -> None:
    """libgdn has the RMS norm of a GDN layer, and no other."""
    if not is_rms_norm:
        raise NotImplementedError("is_rms_norm: found False, libgdn serves RMS norms alone.")
    for name, value in (("bias", bias), ("residual", residual)):
        if value is not None:
            raise NotImplementedError(f"{name}: libgdn's norm has none, expected None.")
    for name, value in (("out_dtype", out_dtype), ("residual_dtype", residual_dtype)):
        if value not in (None, x.dtype):
            raise NotImplementedError(f"{name}: found {value}, libgdn keeps that of x, {x.dtype}.")
