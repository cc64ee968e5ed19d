"""The rest of a GDN layer: convolution, gating, norms."""

from __future__ import annotations

from typing import Any, TypeVar

from gdn import _C
from gdn._routing import dispatched, is_compiling

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "fused_gdn_gating",
    "l2norm",
    "rms_norm_gated",
]

Array = TypeVar("Array")


def causal_conv1d_fwd(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    activation: str | None = None,
    conv_state: Array | None = None,
    state_indices: Array | None = None,
    has_initial_state: Array | None = None,
    cu_seqlens: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Depthwise causal convolution over whole sequences.

    Args:
        x: [B, C, T], or [C, T] for one row of packed sequences; float32, bfloat16 or float16; any
            strides.
        weight: [C, W], float32 or type of x; W is 2, 3 or 4; the newest input's weight last.
        bias: [C], float32 or type of x; None for 0.
        activation: None, "silu" or "swish" (the same).
        conv_state: [slots, C, L] with L >= W - 1, type of x, any strides: the last L inputs of each
            sequence, newest last. Read and updated in place. None: nothing before the start.
        state_indices: [N], int32 or int64: slot of each sequence; None: slot n. A negative index
            skips the sequence: its output is 0.
        has_initial_state: [N], bool, int8, uint8 or int32: where false the slot is only written,
            as if it had held zeros; None: all true.
        cu_seqlens: [N + 1], int32 or int64: offsets of packed sequences (B == 1).
        out: shape and type of x, any strides: where to write the result.

    Returns:
        Shape and type of x. Where x has its channels fastest ([B, T, C] transposed), so has the
        result.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.causal_conv1d_fwd(
        x,
        weight,
        bias,
        conv_state,
        state_indices,
        has_initial_state,
        cu_seqlens,
        out,
        activation,
    )


# Users of the library causal-conv1d know it by this name.
causal_conv1d_fn = causal_conv1d_fwd


def causal_conv1d_update(
    x: Array,
    conv_state: Array,
    weight: Array,
    bias: Array | None = None,
    activation: str | None = None,
    *,
    state_indices: Array | None = None,
    num_accepted_tokens: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Depthwise causal convolution of new tokens, for decode.

    Args:
        x: [N, C] (one token of each sequence) or [N, C, T]; float32, bfloat16 or float16; any
            strides.
        conv_state: [slots, C, L], type of x, any strides; L >= W - 1, and with num_accepted_tokens
            L >= W - 2 + T. Updated in place.
        weight: [C, W], float32 or type of x; W is 2, 3 or 4.
        bias: [C], float32 or type of x; None for 0.
        activation: None, "silu" or "swish" (the same).
        state_indices: [N], int32 or int64; None: slot n. Negative: the output is 0.
        num_accepted_tokens: [N], int32 or int64, each in 1..T: of the T newest entries of a slot
            (the tokens of the last call) that many count, and the others are dropped first.
        out: shape and type of x: where to write the result.

    Returns:
        Shape and type of x.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        state_indices,
        num_accepted_tokens,
        out,
        activation,
    )


def fused_gdn_gating(
    A_log: Array,
    a: Array,
    b: Array,
    dt_bias: Array | None = None,
    *,
    allow_neg_eigval: bool = False,
    beta_dtype: Any = None,
) -> tuple[Array, Array]:
    """Decay and update strength of a GDN layer from its projections.

    g = -exp(A_log) softplus(a + dt_bias) and beta = sigmoid(b), both computed in float32.

    Args:
        A_log: [HV], float32, bfloat16 or float16.
        a: [B, T, HV] or [T, HV]; float32, bfloat16 or float16; any strides.
        b: shape and type of a.
        dt_bias: [HV]; None for 0.
        allow_neg_eigval: beta = 2 sigmoid(b).
        beta_dtype: float32 or the type of b (a torch or NumPy dtype, or its name); None for the
            type of b.

    Returns:
        (g, beta), of the shape of a; g is float32.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.fused_gdn_gating(
        A_log,
        a,
        b,
        dt_bias,
        allow_neg_eigval,
        beta_dtype,
    )


def l2norm(x: Array, eps: float = 1e-6, *, out: Array | None = None) -> Array:
    """x rsqrt(sum x^2 + eps) over the last dimension.

    Args:
        x: [.., D] of rank 1 to 5; float32, bfloat16 or float16.
        eps: not negative.
        out: shape and type of x: where to write the result.

    Returns:
        Shape and type of x.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.l2norm(x, eps, out)


def rms_norm_gated(
    x: Array,
    weight: Array | None,
    z: Array | None = None,
    eps: float = 1e-6,
    *,
    out: Array | None = None,
) -> Array:
    """x rsqrt(mean x^2 + eps) weight silu(z) over the last dimension, in float32, rounded once.

    Args:
        x: [.., D] of rank 1 to 5; float32, bfloat16 or float16.
        weight: [D], float32 or type of x; None for ones.
        z: the gate, shape and type of x; None for no gate.
        eps: not negative.
        out: shape and type of x: where to write the result.

    Returns:
        Shape and type of x.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.rms_norm_gated(x, weight, z, eps, out)
