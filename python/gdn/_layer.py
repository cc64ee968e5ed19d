"""The rest of a GDN layer: convolution, gating, norms."""

from __future__ import annotations

from typing import Any, TypeVar

from gdn import _C, _conv_forms
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

_SLOT_NAMES = (("state_indices", "conv_state_indices"),)


def causal_conv1d_fwd(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    seq_idx: Array | None = None,
    initial_states: Array | None = None,
    return_final_states: bool = False,
    final_states_out: Array | None = None,
    activation: str | None = ...,
    *,
    conv_state: Array | None = None,
    state_indices: Array | None = None,
    has_initial_state: Array | None = None,
    cu_seqlens: Array | None = None,
    null_slot: int | None = None,
    padded: bool = False,
    out: Array | None = None,
    **foreign: Any,
) -> Any:
    """Depthwise causal convolution over whole sequences.

    Calls written for causal_conv1d_fn of causal-conv1d, vLLM or SGLang work as they are.

    Args:
        x: [B, C, T], or [C, T] for one row of packed sequences; float32, bfloat16 or float16; any
            strides.
        weight: [C, W], float32 or type of x; W is 2, 3 or 4; the newest input's weight last.
        bias: [C], float32 or type of x; None for 0.
        seq_idx: [B, T], int32 or int64: a sequence ends where it changes, and y is 0 where it is
            negative. Its contents are waited for; cu_seqlens says the same without.
        initial_states: [N, C, W - 1], any type: the inputs before each sequence. Not modified.
        return_final_states: return (y, the last W - 1 inputs of each sequence).
        final_states_out: [N, C, W - 1], any type: where to write those.
        activation: None, "silu" or "swish" (the same). By default None, with conv_states "silu".
        conv_state: [slots, C, L] with L >= W - 1; float32, bfloat16 or float16, any strides: the
            last L inputs of each sequence, newest last. Read and updated in place. None: nothing
            before the start.
        state_indices: [N], int32 or int64: slot of each sequence; None: slot n. A sequence whose
            index is negative or null_slot is skipped: its output is 0, and nothing else that is
            said of it is looked at.
        has_initial_state: [N], bool, int8, uint8 or int32: where false the slot is only written,
            as if it had held zeros; None: all true.
        cu_seqlens: [N + 1], int32 or int64: offsets of packed sequences (B == 1).
        null_slot: an index that names no slot, besides negative ones; with state_indices only.
        padded: cu_seqlens may end before T. Tokens after its end are neither read nor written; in a
            fresh result they hold anything.
        out: shape and type of x, any strides: where to write the result.
        **foreign: query_start_loc (cu_seqlens), cache_indices and conv_state_indices
            (state_indices), pad_slot_id and null_block_id (null_slot; by default None, where vLLM
            has 0); conv_states (conv_state, of whose entries the first W - 1 are used, as in vLLM;
            without has_initial_state sequences then start from zeros).
            metadata, seq_lens_cpu and validate_data are not needed. What else those libraries'
            functions know must be None.

    Returns:
        Shape and type of x. Where x has its channels fastest ([B, T, C] transposed), so has the
        result.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    if (
        foreign
        or return_final_states is not False
        or not (seq_idx is initial_states is final_states_out is None)
    ):
        return _conv_forms.forward(
            {
                "x": x,
                "weight": weight,
                "bias": bias,
                "conv_state": conv_state,
                "state_indices": state_indices,
                "has_initial_state": has_initial_state,
                "cu_seqlens": cu_seqlens,
                "out": out,
                "activation": activation,
                "null_slot": null_slot,
                "padded": padded,
            },
            {"initial_states": initial_states, "final_states_out": final_states_out},
            seq_idx,
            return_final_states,
            foreign,
        )
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
        None if activation is ... else activation,
        null_slot,
        padded,
        None,
    )


# Users of the libraries causal-conv1d and vLLM know it by this name.
causal_conv1d_fn = causal_conv1d_fwd


def causal_conv1d_update(
    x: Array,
    conv_state: Array,
    weight: Array,
    bias: Array | None = None,
    activation: str | bool | None = None,
    *,
    state_indices: Array | None = None,
    num_accepted_tokens: Array | None = None,
    cu_seqlens: Array | None = None,
    null_slot: int | None = None,
    padded: bool = False,
    out: Array | None = None,
    conv_state_indices: Array | None = None,
    **foreign: Any,
) -> Array:
    """Depthwise causal convolution of new tokens, for decode.

    Calls written for causal_conv1d_update of causal-conv1d, vLLM or SGLang work as they are.

    Args:
        x: [N, C] (one token of each sequence) or [N, C, T]; with cu_seqlens [T, C] or [1, C, T];
            float32, bfloat16 or float16; any strides.
        conv_state: [slots, C, L]; float32, bfloat16 or float16, any strides; L >= W - 1, and with
            num_accepted_tokens L >= W - 2 + T, where T is that of the longest sequence. Updated in
            place: the newest L inputs, newest last.
        weight: [C, W], float32 or type of x; W is 2, 3 or 4.
        bias: [C], float32 or type of x; None for 0.
        activation: None or False, "silu", "swish" or True (the same).
        state_indices: [N], int32 or int64; None: slot n. A sequence whose index is negative or
            null_slot is skipped: its output is 0, and nothing else that is said of it is looked at.
        num_accepted_tokens: [N], int32 or int64: how many of the last call's tokens count; the
            others are dropped first. Each in 1..T, and those tokens are the T newest entries of a
            slot. With cu_seqlens the last call may have had another number of tokens: each in
            1..L - W + 2, and a slot holds, from its first entry on, W - 2 inputs and the tokens of
            the last call. (1 after a call that filled the first W - 1 entries.)
        cu_seqlens: [N + 1], int32 or int64: offsets of the sequences' tokens, packed in x.
        null_slot: an index that names no slot, besides negative ones; with state_indices only.
        padded: cu_seqlens may end before T. Tokens after its end are neither read nor written; in a
            fresh result they hold anything.
        out: shape and type of x: where to write the result.
        conv_state_indices: state_indices, in the words of causal-conv1d, vLLM and SGLang.
        **foreign: query_start_loc (cu_seqlens), cache_indices (state_indices), pad_slot_id and
            null_block_id (null_slot; by default None, where vLLM has 0). max_query_len and
            validate_data are not needed; with a word that causal-conv1d does not have (one of them,
            query_start_loc, pad_slot_id, null_block_id, ..) a call uses the first entries of a
            longer slot, as in vLLM: W - 1, and with num_accepted_tokens W - 2 + T. What else those
            libraries' functions know must be None.

    Returns:
        Shape and type of x.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    translate = foreign or activation is True or activation is False
    names = None
    if conv_state_indices is not None:
        # The word that calls written for those libraries have at each step; others take longer.
        if translate or state_indices is not None:
            foreign["conv_state_indices"] = conv_state_indices
            translate = True
        else:
            state_indices, names = conv_state_indices, _SLOT_NAMES
    if translate:
        return _conv_forms.update(
            {
                "x": x,
                "conv_state": conv_state,
                "weight": weight,
                "bias": bias,
                "state_indices": state_indices,
                "num_accepted_tokens": num_accepted_tokens,
                "cu_seqlens": cu_seqlens,
                "out": out,
                "activation": activation,
                "null_slot": null_slot,
                "padded": padded,
            },
            foreign,
        )
    kernels = dispatched if is_compiling() else _C
    return kernels.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        state_indices,
        num_accepted_tokens,
        cu_seqlens,
        out,
        activation,
        null_slot,
        padded,
        names,
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
        b: shape of a, any type.
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
    gate_activation: str = "silu",
) -> Array:
    """x rsqrt(mean x^2 + eps) weight silu(z) over the last dimension, in float32, rounded once.

    Args:
        x: [.., D] of rank 1 to 5; float32, bfloat16 or float16.
        weight: [D], float32 or type of x; None for ones.
        z: the gate, shape and type of x; None for no gate.
        eps: not negative.
        out: shape and type of x: where to write the result.
        gate_activation: "silu" or "swish" (the same), or with z "sigmoid": sigmoid(z) instead.

    Returns:
        Shape and type of x.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.rms_norm_gated(x, weight, z, eps, out, gate_activation)
