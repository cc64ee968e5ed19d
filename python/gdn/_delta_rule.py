"""The gated delta rule: whole sequences, and token by token."""

from __future__ import annotations

from typing import Any, TypeVar

from gdn import _C, _checks, _hints
from gdn._routing import dispatched, is_compiling

__all__ = ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"]

Array = TypeVar("Array")


def chunk_gated_delta_rule(
    q: Array,
    k: Array,
    v: Array,
    g: Array | None,
    beta: Array | None,
    scale: float | None = None,
    initial_state: Array | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Array | None = None,
    cu_seqlens_cpu: Array | None = None,
    chunk_indices: Array | None = None,
    cp_context: None = None,
    *,
    use_gate_in_kernel: bool = False,
    A_log: Array | None = None,
    dt_bias: Array | None = None,
    chunk_size: int | None = None,
    transpose_state_layout: bool | None = None,
    out: Array | None = None,
    state_indices: Array | None = None,
    inplace_final_state: bool = False,
    checkpoint_every: int | None = None,
    head_map: str = "block",
    output_state_indices: Array | None = None,
    has_initial_state: Array | None = None,
    null_slot: int | None = None,
    padded: bool = False,
    state_dtype: Any = None,
    checkpoint_indices: Array | None = None,
    positions: Array | None = None,
) -> tuple[Any, ...]:
    """Gated delta rule over whole sequences (prefill), in one fused pass.

    For each value head, with a state S of shape [DK, DV]::

        S   <- exp(g_t) S
        S   <- S + k_t (beta_t (v_t - S^T k_t))^T
        o_t  = scale S^T q_t

    Args:
        q: [B, T, HK, DK], float32, bfloat16 or float16. Arrays whose last stride is not 1 are
            copied; other strides are free.
        k: [B, T, HK, DK], type of q.
        v: [B, T, HV, DV], type of q; HV is a multiple of HK.
        g: [B, T, HV], float32, bfloat16 or float16: natural logarithm of the decay; None for 0.
        beta: [B, T, HV], float32, bfloat16 or float16; None for 1.
        scale: finite factor of the output; None for DK ** -0.5.
        initial_state: [N, HV, DK, DV], float32, bfloat16 or float16; None for zeros. N is B, or the
            number of sequences in cu_seqlens. Not modified, unless state_indices makes it a pool
            or inplace_final_state asks for it.
        output_final_state: return the state after each sequence.
        use_qk_l2norm_in_kernel: multiply q and k by rsqrt(sum x^2 + 1e-6) first.
        use_beta_sigmoid_in_kernel: beta holds logits.
        allow_neg_eigval: beta is doubled after the sigmoid; needs use_beta_sigmoid_in_kernel.
        state_v_first: states are [.., HV, DV, DK].
        cu_seqlens: [N + 1], int32 or int64: offsets of sequences packed in one row (B == 1), from 0
            to T, not decreasing.
        cu_seqlens_cpu: a copy of cu_seqlens on the CPU. Not needed; refused if it differs.
        chunk_indices: the [NT, 2] pairs (sequence, chunk) of cu_seqlens. Not needed; refused if
            they are not those. (Of both hints shapes alone are checked while torch traces and on
            other devices than the CPU.)
        cp_context: context parallelism does not exist here; must be None.
        use_gate_in_kernel: g holds raw gates a; the decay is
            -exp(A_log) softplus(a + dt_bias).
        A_log: [HV], float32, bfloat16 or float16; with use_gate_in_kernel only.
        dt_bias: [HV], float32, bfloat16 or float16, optional; with use_gate_in_kernel only.
        chunk_size: None, 16, 32, 64 or 128; a hint that changes rounding at most.
        transpose_state_layout: the former name of state_v_first; warns, as in FLA.
        out: [B, T, HV, DV], type of q: where to write o. It may not share memory with an input.
        state_indices: [N], int32 or int64. initial_state is then a pool [slots, HV, DK, DV] that
            is updated in place; sequence n starts from slot state_indices[n]. A negative index, or
            null_slot, skips the sequence: its o is 0, and nothing else that is said of it counts.
        inplace_final_state: initial_state is overwritten by the states after the sequences, and is
            what is returned as final_state. It keeps its type. A pool always is.
        checkpoint_every: m, a multiple of 64: also return the states after m, 2m, .. tokens.
        head_map: "block": value head h reads key head h // (HV // HK); "interleaved": h % HK.
        output_state_indices: [N], with state_indices: the slot that takes the state after each
            sequence (none where it is negative or null_slot); None for state_indices. Sequences
            may share a slot to start from that none of them writes.
        has_initial_state: [N], bool, int8, uint8 or int32, with initial_state: where it is False
            the sequence starts from zeros, whatever initial_state holds.
        null_slot: an index that names no slot, beside the negative ones; with state_indices only.
        padded: cu_seqlens may end before T. Tokens after its end are not read, and their rows of o
            not written: in an o that is not given as out they hold anything.
        state_dtype: type of the states that the call makes, final ones and checkpoints: float32
            (None), bfloat16 or float16. States that it updates keep their type: where it makes none
            beside them, another one is refused.
        checkpoint_indices: [N, K], with state_indices and checkpoint_every: checkpoint j of
            sequence n goes to that slot of the pool, in its type, instead of being returned.
        positions: [N], int32 or int64: tokens of each sequence that came before this call.
            Checkpoints fall on multiples of m counted from there, chunks on multiples of 64.

    Returns:
        (o, final_state), or (o, final_state, checkpoints) with checkpoint_every and without
        checkpoint_indices. o is [B, T, HV, DV] in the type of q; final_state is [N, HV, DK, DV] in
        state_dtype, initial_state itself with state_indices or inplace_final_state, or None;
        checkpoints is [sum of L_n // m, HV, DK, DV] in state_dtype, packed in the order of the
        sequences; with positions P it is the sum of (P_n + L_n) // m - P_n // m, where those of
        skipped sequences count as 0.

    Raises:
        TypeError: an argument is no array, or of another kind than q; unknown keyword.
        ValueError: a rank, shape, type, stride, device or value is wrong; the message names the
            argument, what was found and what was expected. Nothing has been written.
        NotImplementedError: a gradient is needed.
    """
    if cp_context is not None:
        _checks.refuse("cp_context", cp_context, "context parallelism is not supported")
    if transpose_state_layout is not None:
        state_v_first = _checks.v_first(state_v_first, transpose_state_layout)
    if cu_seqlens_cpu is not None or chunk_indices is not None:
        _hints.check_hints(cu_seqlens, cu_seqlens_cpu, chunk_indices, chunk_size)
    kernels = dispatched if is_compiling() else _C
    return kernels.chunk_gated_delta_rule(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out,
        scale, head_map,
        use_qk_l2norm_in_kernel, use_gate_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval,
        state_v_first, output_final_state, inplace_final_state,
        chunk_size, checkpoint_every, checkpoint_indices, positions, None,
        output_state_indices, has_initial_state, null_slot, padded, state_dtype, False,
    )  # fmt: skip


def fused_recurrent_gated_delta_rule(
    q: Array,
    k: Array,
    v: Array,
    g: Array | None = None,
    gk: None = None,
    gv: None = None,
    beta: Array | None = None,
    scale: float | None = None,
    initial_state: Array | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Array | None = None,
    dt_bias: Array | None = None,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Array | None = None,
    *,
    transpose_state_layout: bool | None = None,
    out: Array | None = None,
    state_indices: Array | None = None,
    inplace_final_state: bool = False,
    num_accepted_tokens: Array | None = None,
    head_map: str = "block",
    output_state_indices: Array | None = None,
    has_initial_state: Array | None = None,
    null_slot: int | None = None,
    padded: bool = False,
    state_dtype: Any = None,
    round_states: bool = False,
) -> tuple[Any, Any]:
    """Gated delta rule token by token (decode, speculative verify).

    Results, errors and the arguments that are not listed are those of chunk_gated_delta_rule.

    Args:
        gk, gv: decays per key or value channel do not exist here; must be None.
        state_indices: [N] as there ([N, 1] is the same), or [N, M] with M > 1 and at least the
            longest sequence (verify): the
            state after token t of sequence n goes to slot state_indices[n, t] (nowhere if that is
            negative or null_slot), and the initial state comes from slot
            state_indices[n, num_accepted_tokens[n] - 1].
        num_accepted_tokens: [N], int32 or int64, each in 1..M; with state_indices [N, M] only;
            None for ones. In a row that is skipped it may hold anything.
        output_state_indices: [N] as there, or [N, M] with M at least the longest sequence: the
            slots that take the states after each token, instead of those of state_indices.
        round_states: between the tokens of a call round states to the type in which they are
            stored, as calls of one token each do: with a pool of any type, every accepted count
            then goes on bitwise as the plain run does. By default states are kept in float32
            between tokens.

    Returns:
        (o, final_state): [B, T, HV, DV] in the type of q; and [N, HV, DK, DV] in state_dtype,
        initial_state itself with state_indices or inplace_final_state, or None.
    """
    if gk is not None or gv is not None:
        _checks.refuse("gk", gk, "decays per key channel are not supported")
        _checks.refuse("gv", gv, "decays per value channel are not supported")
    if transpose_state_layout is not None:
        state_v_first = _checks.v_first(state_v_first, transpose_state_layout)
    kernels = dispatched if is_compiling() else _C
    return kernels.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out,
        scale, head_map,
        use_qk_l2norm_in_kernel, use_gate_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval,
        state_v_first, output_final_state, inplace_final_state,
        None, None, None, None, num_accepted_tokens,
        output_state_indices, has_initial_state, null_slot, padded, state_dtype, round_states,
    )  # fmt: skip
