"""A GDN layer's decode step as one call."""

from __future__ import annotations

from typing import TypeVar

from gdn import _C
from gdn._routing import dispatched, is_compiling

__all__ = ["fused_gdn_decode"]

Array = TypeVar("Array")


def fused_gdn_decode(
    mixed_qkv: Array,
    conv_state: Array,
    conv_weight: Array,
    a: Array,
    b: Array,
    A_log: Array,
    z: Array,
    norm_weight: Array,
    state: Array,
    *,
    conv_bias: Array | None = None,
    dt_bias: Array | None = None,
    scale: float | None = None,
    eps: float = 1e-6,
    gate_activation: str = "silu",
    allow_neg_eigval: bool = False,
    head_map: str = "block",
    state_v_first: bool = False,
    state_indices: Array | None = None,
    output_state_indices: Array | None = None,
    conv_state_indices: Array | None = None,
    num_accepted_tokens: Array | None = None,
    cu_seqlens: Array | None = None,
    null_slot: int | None = None,
    padded: bool = False,
    round_states: bool = False,
    out: Array | None = None,
) -> Array:
    """New tokens through a whole GDN layer but for its projections (decode, speculative verify).

    The result is that of causal_conv1d_update with silu, fused_gdn_gating,
    fused_recurrent_gated_delta_rule with use_qk_l2norm_in_kernel and rms_norm_gated, called one
    after the other, but that nothing is rounded on the way: what those calls hand on in the type of
    mixed_qkv (the output of the convolution, the normalised q and k, the output of the rule) stays
    in float32.

    Args:
        mixed_qkv: [B, T, C], float32, bfloat16 or float16: q of all key heads, k of all key heads,
            v of all value heads; C = 2 HK DK + HV DV says what HK is. An array whose last stride is
            not 1 is copied.
        conv_state: [slots, C, L]; float32, bfloat16 or float16, any strides; L >= W - 1, and with
            num_accepted_tokens L >= W - 2 + T, where T is that of the longest sequence. Updated in
            place, as by causal_conv1d_update.
        conv_weight: [C, W], float32 or type of mixed_qkv; W is 2, 3 or 4.
        a: [B, T, HV], float32, bfloat16 or float16: raw gates.
        b: [B, T, HV], float32, bfloat16 or float16: logits of beta.
        A_log: [HV], float32, bfloat16 or float16.
        z: [B, T, HV, DV], type of mixed_qkv: the gate of the norm.
        norm_weight: [DV], float32 or type of mixed_qkv.
        state: [slots, HV, DK, DV], float32, bfloat16 or float16. Updated in place.
        conv_bias: [C], float32 or type of mixed_qkv; None for 0.
        dt_bias: [HV], float32, bfloat16 or float16; None for 0.
        scale: finite factor of the rule's output; None for DK ** -0.5.
        eps: of the gated norm; not negative. (That of the l2norm is 1e-6.)
        gate_activation: of z: "silu" or "swish" (the same), or "sigmoid".
        allow_neg_eigval: beta = 2 sigmoid(b).
        head_map: "block": value head h has key head h // (HV // HK); "interleaved": h % HK.
        state_v_first: state is [slots, HV, DV, DK].
        state_indices: [N] or [N, M], int32 or int64: slots of state, read and written as by
            fused_recurrent_gated_delta_rule; None: slot n. A sequence whose index is negative or
            null_slot is skipped: its output is 0, no slot is touched, and nothing else that is said
            of it is looked at.
        output_state_indices: as there.
        conv_state_indices: [N], int32 or int64: slots of conv_state, none twice; None for
            state_indices, of [N, M] the first column. A sequence without a slot here is skipped
            too.
        num_accepted_tokens: [N], int32 or int64, with state_indices [N, M]: how many of the last
            call's tokens count, for both pools.
        cu_seqlens: [N + 1], int32 or int64: offsets of packed sequences (B == 1).
        null_slot: an index that names no slot in either pool, besides negative ones; with
            indices only.
        padded: cu_seqlens may end before T. Tokens after its end are neither read nor written; in a
            fresh result they hold anything.
        round_states: between the tokens of a call round states (and what the convolution keeps) to
            the types of the pools, as calls of one token each do.
        out: [B, T, HV, DV], type of mixed_qkv: where to write the result.

    Returns:
        [B, T, HV, DV] in the type of mixed_qkv: the input of the layer's last projection.

    Raises:
        TypeError, ValueError, NotImplementedError: as the gated delta rule does.
    """
    kernels = dispatched if is_compiling() else _C
    return kernels.fused_gdn_decode(
        mixed_qkv, conv_state, conv_weight, conv_bias, a, b, A_log, dt_bias, z, norm_weight, state,
        state_indices, output_state_indices, conv_state_indices, num_accepted_tokens, cu_seqlens,
        out, scale, eps, head_map, gate_activation,
        allow_neg_eigval, state_v_first, null_slot, padded, round_states,
    )  # fmt: skip
