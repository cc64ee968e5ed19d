"""The calls of SGLang's LinearAttnKernelBase for GDN layers, computed by libgdn.

States lie in pools [slots, HV, V, K], V first, whose slots may be any distance apart; a negative
index is padding.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

import gdn
from gdn._heads import split_qkv

CHUNK_SIZE = 64
"""Tokens between the states that SGLang keeps of a prefill."""


class GdnKernel:
    """Decode, prefill and verify, with SGLang's names and argument orders."""

    uses_state_checkpoints = False
    supports_packed_decode = True
    supports_strided_target_verify_qkv = True
    supports_track_state_snapshot = True

    def __init__(self):
        self.calls: Counter[str] = Counter()

    def decode(
        self, q, k, v, a, b, *, A_log, dt_bias, ssm_states, cache_indices, query_start_loc, **kwargs
    ) -> Tensor:
        """One token of each sequence: q, k, v [1, T, H, D], a and b [T, HV]."""
        _refuse_replay(kwargs)
        self.calls["decode"] += 1
        o, _ = gdn.fused_recurrent_gated_delta_rule(
            q,
            k,
            v,
            initial_state=ssm_states,
            state_indices=cache_indices,
            cu_seqlens=query_start_loc,
            **_gates(a, b, A_log, dt_bias),
        )
        return o

    def packed_decode(
        self,
        mixed_qkv: Tensor,
        a: Tensor,
        b: Tensor,
        *,
        A_log: Tensor,
        dt_bias: Tensor,
        scale: float,
        ssm_states: Tensor,
        cache_indices: Tensor,
        num_v_heads: int,
        head_v_dim: int,
        **kwargs: Any,
    ) -> Tensor:
        """One token of each sequence out of packed rows [B, C]; returns [1, B, HV, V]."""
        _refuse_replay(kwargs)
        self.calls["packed_decode"] += 1
        o, _ = gdn.fused_recurrent_gated_delta_rule(
            *split_qkv(
                mixed_qkv[:, None], num_v_heads * head_v_dim, ssm_states.shape[-1], head_v_dim
            ),
            scale=scale,
            initial_state=ssm_states,
            state_indices=cache_indices,
            **_gates(a, b, A_log, dt_bias, dim=1),
        )
        return o.transpose(0, 1)

    def extend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        beta: Tensor,
        *,
        ssm_states: Tensor,
        cache_indices: Tensor,
        query_start_loc: Tensor,
        inplace_update: bool = True,
        output: Tensor | None = None,
        track_state: Tensor | None = None,
        track_chunk_idx: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None, None]:
        """Whole sequences.

        Args:
            output: where to write o, or None.
            track_state: [N, HV, V, K] float32, for prefix caches: takes the state of sequence n
                after track_chunk_idx[n] chunks; nothing where that is negative.
            track_chunk_idx: [N]; both or neither.
            **kwargs: what SGLang plans for other kernels (checkpoints must be None), layer_id and
                extend_prefix_lens.

        Returns:
            (o, None, None): states are in the pool and in track_state.
        """
        if not inplace_update:
            raise NotImplementedError("inplace_update: multi-item scoring is not served")
        if (
            kwargs.get("num_state_checkpoints")
            or kwargs.get("state_checkpoint_cu_starts") is not None
        ):
            raise NotImplementedError("state_checkpoint_cu_starts: expected None")
        self.calls["extend"] += 1
        options: dict[str, Any] = {}
        before = None
        if track_state is not None:
            options["checkpoint_every"] = CHUNK_SIZE
            before = ssm_states[cache_indices.clamp(min=0).long()].float()
        o, _, *after = gdn.chunk_gated_delta_rule(
            q,
            k,
            v,
            g,
            beta,
            initial_state=ssm_states,
            state_indices=cache_indices,
            state_v_first=True,
            use_qk_l2norm_in_kernel=True,
            cu_seqlens=query_start_loc,
            out=None if output is None else output.view(v.shape),
            **options,
        )
        if track_state is not None:
            _snapshot(track_state, track_chunk_idx, before, after[0], query_start_loc)
        return o, None, None

    def target_verify(
        self,
        A_log: Tensor,
        dt_bias: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        a: Tensor,
        b: Tensor,
        *,
        ssm_states: Tensor,
        cache_indices: Tensor,
        query_start_loc: Tensor,
        intermediate_states_buffer: Tensor,
        intermediate_state_indices: Tensor,
        cache_steps: int,
        retrieve_parent_token: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Drafts in a chain: the state after draft t goes to entry [row, t] of the buffer.

        ssm_states is not updated: SGLang takes the accepted state out of the buffer.
        """
        if retrieve_parent_token is not None:
            raise NotImplementedError("retrieve_parent_token: trees of drafts are not served")
        self.calls["target_verify"] += 1
        count, steps = cache_indices.shape[0], intermediate_states_buffer.shape[1]
        rows = intermediate_state_indices[:count].long()
        padding = cache_indices < 0
        # A sequence starts from its row's first entry, which its first draft overwrites.
        real = rows[~padding]
        intermediate_states_buffer[real, 0] = ssm_states[cache_indices[~padding].long()].to(
            intermediate_states_buffer.dtype
        )
        first = torch.where(padding, -1, rows * steps)
        each = first[:, None] + torch.arange(cache_steps, device=rows.device)
        o, _ = gdn.fused_recurrent_gated_delta_rule(
            q,
            k,
            v,
            initial_state=intermediate_states_buffer.flatten(0, 1),
            state_indices=first,
            output_state_indices=torch.where(padding[:, None], -1, each),
            cu_seqlens=query_start_loc,
            **_gates(a, b, A_log, dt_bias),
        )
        return o


def _gates(a: Tensor, b: Tensor, A_log: Tensor, dt_bias: Tensor, dim: int = 0) -> dict[str, Any]:
    return dict(
        g=a.unsqueeze(dim) if a.dim() == 2 else a,
        beta=b.unsqueeze(dim) if b.dim() == 2 else b,
        use_gate_in_kernel=True,
        A_log=A_log,
        dt_bias=dt_bias,
        use_beta_sigmoid_in_kernel=True,
        use_qk_l2norm_in_kernel=True,
        state_v_first=True,
    )


def _refuse_replay(kwargs: dict[str, Any]) -> None:
    for name, value in kwargs.items():
        if name.startswith("replayssm_") and value is not None:
            raise NotImplementedError(f"{name}: --enable-linear-replayssm is not served")


def _snapshot(out: Tensor, chunks: Tensor, before: Tensor, after: Tensor, offsets: Tensor) -> None:
    """out[n] = the state after chunks[n] chunks: `before` for 0, else a row of `after`."""
    chunks = chunks.long()
    whole = (offsets[1:] - offsets[:-1]).long() // CHUNK_SIZE
    row = whole.cumsum(0) - whole + chunks - 1
    found = before
    if after.shape[0]:
        later = after[row.clamp(0, after.shape[0] - 1)]
        found = torch.where((chunks > 0)[:, None, None, None], later, before)
    wanted = (chunks >= 0)[:, None, None, None]
    out.copy_(torch.where(wanted, found.to(out.dtype), out))
