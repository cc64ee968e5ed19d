"""What every operation means, in float64 NumPy, token by token: independent of the library."""

from __future__ import annotations

import itertools

import numpy as np


def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -x))


def silu(x):
    """x sigmoid(x)."""
    return x * sigmoid(x)


def softplus(x):
    """log(1 + exp(x)), and x itself above 20."""
    return np.where(x > 20.0, x, np.logaddexp(0.0, np.minimum(x, 20.0)))


def host(x):
    """The NumPy array of an array or of a tensor on any device."""
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x)


def wide(x):
    """float64 of anything."""
    return host(x).astype(np.float64)


def l2norm(x, eps=1e-6):
    """x rsqrt(sum x^2 + eps)."""
    x = wide(x)
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + eps)


def rms_norm_gated(x, weight=None, z=None, eps=1e-6):
    """x rsqrt(mean x^2 + eps) weight silu(z)."""
    x = wide(x)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    if weight is not None:
        y = y * wide(weight)
    return y if z is None else y * silu(wide(z))


def gating(A_log, a, b, dt_bias=None, allow_neg_eigval=False):
    """(g, beta) of a layer."""
    bias = 0.0 if dt_bias is None else wide(dt_bias)
    g = -np.exp(wide(A_log)) * softplus(wide(a) + bias)
    return g, sigmoid(wide(b)) * (2.0 if allow_neg_eigval else 1.0)


def segments(batch, tokens, cu_seqlens):
    """(row, first, end) of each sequence."""
    if cu_seqlens is None:
        return [(n, 0, tokens) for n in range(batch)]
    cu = host(cu_seqlens).tolist()
    return [(0, a, b) for a, b in itertools.pairwise(cu)]


def delta_rule(
    q,
    k,
    v,
    g=None,
    beta=None,
    *,
    scale=None,
    initial_state=None,
    cu_seqlens=None,
    state_indices=None,
    num_accepted_tokens=None,
    checkpoint_every=None,
    head_map="block",
    use_qk_l2norm_in_kernel=False,
    use_gate_in_kernel=False,
    A_log=None,
    dt_bias=None,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    state_v_first=False,
    chunk_size=None,
):
    """(o, states, checkpoints): states are the final ones, or the whole pool."""
    q, k, v = wide(q), wide(k), wide(v)
    batch, tokens, key_heads, dk = q.shape
    heads, dv = v.shape[2:]
    gates = np.zeros((batch, tokens, heads)) if g is None else wide(g)
    strength = np.ones((batch, tokens, heads)) if beta is None else wide(beta)
    if use_gate_in_kernel:
        gates, _ = gating(A_log, gates, gates, dt_bias)
    if use_beta_sigmoid_in_kernel:
        strength = sigmoid(strength) * (2.0 if allow_neg_eigval else 1.0)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    scale = dk**-0.5 if scale is None else scale
    of_head = [h % key_heads if head_map == "interleaved" else h // (heads // key_heads)
               for h in range(heads)]  # fmt: skip
    q, k = q[:, :, of_head], k[:, :, of_head]

    sequences = segments(batch, tokens, cu_seqlens)
    states = np.zeros((len(sequences), heads, dk, dv))
    if initial_state is not None:
        states = wide(initial_state).copy()
        states = states.swapaxes(-1, -2) if state_v_first else states
    o = np.zeros(v.shape)
    checkpoints = []
    for n, (row, first, end) in enumerate(sequences):
        slots = [n]
        accepted = 0
        if state_indices is not None:
            slots = np.atleast_1d(host(state_indices)[n]).tolist()
            if num_accepted_tokens is not None:
                accepted = int(host(num_accepted_tokens)[n]) - 1
        if slots[accepted] < 0:
            checkpoints += [np.zeros((heads, dk, dv))] * (
                (end - first) // checkpoint_every if checkpoint_every else 0
            )
            continue
        state = states[slots[accepted]].copy()
        for t in range(first, end):
            key, query = k[row, t], q[row, t]
            state *= np.exp(gates[row, t])[:, None, None]
            recalled = (key[:, None, :] @ state)[:, 0]
            update = strength[row, t][:, None] * (v[row, t] - recalled)
            state += key[:, :, None] * update[:, None, :]
            o[row, t] = scale * (query[:, None, :] @ state)[:, 0]
            if len(slots) > 1 and slots[t - first] >= 0:
                states[slots[t - first]] = state
            if checkpoint_every and (t - first + 1) % checkpoint_every == 0:
                checkpoints.append(state.copy())
        if len(slots) == 1:
            states[slots[0]] = state
    packed = np.array(checkpoints).reshape(len(checkpoints), heads, dk, dv)
    if state_v_first:
        states, packed = states.swapaxes(-1, -2), packed.swapaxes(-1, -2)
    return o, states, packed


def causal_conv1d(
    x, weight, bias=None, silu_after=False, conv_state=None, state_indices=None,
    has_initial_state=None, cu_seqlens=None,
):  # fmt: skip
    """(y, conv_state) of x [B, C, T]."""
    x, weight = wide(x), wide(weight)
    batch, channels, tokens = x.shape
    width = weight.shape[1]
    state = None if conv_state is None else wide(conv_state).copy()
    y = np.zeros(x.shape)
    for n, (row, first, end) in enumerate(segments(batch, tokens, cu_seqlens)):
        slot = n if state_indices is None else int(host(state_indices)[n])
        if slot < 0:
            continue
        before = np.zeros((channels, width - 1))
        if state is not None:
            before = state[slot]
            if has_initial_state is not None and not host(has_initial_state)[n]:
                before = np.zeros_like(before)
        line = np.concatenate([before, x[row, :, first:end]], -1)
        offset = before.shape[1] - (width - 1)
        for t in range(end - first):
            y[row, :, first + t] = (line[:, offset + t : offset + t + width] * weight).sum(-1)
        if state is not None:
            state[slot] = line[:, line.shape[1] - state.shape[2] :]
    if bias is not None:
        y = y + wide(bias)[None, :, None]
    if silu_after:
        y = silu(y)
    if state_indices is not None:
        for n, (row, first, end) in enumerate(segments(batch, tokens, cu_seqlens)):
            if host(state_indices)[n] < 0:
                y[row, :, first:end] = 0.0
    return y, state
