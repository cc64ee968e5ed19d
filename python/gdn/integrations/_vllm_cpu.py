"""The core of vLLM's GDN layers on the CPU, between the projections and the gated norm.

vLLM copies q, k, v out of the convolution's result, gates in an operation of its own, clears the
states of new sequences, and copies the result. Here views are passed, the recurrence gates, states
are read and written by their index in the pools, and the result goes where vLLM wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

import gdn

NULL_BLOCK = 0
"""vLLM's block that belongs to no sequence: what pads a batch names it."""


def run(
    mixed_qkv: Tensor, b: Tensor, a: Tensor, out: Tensor, layer_name: Any
) -> Iterator[tuple[str, int]]:
    """Compute out [T, HV, DV] of mixed_qkv [T, C], b and a [T, HV] for the layer of that name.

    Yields:
        (operation, tokens) of each call into libgdn.

    Raises:
        NotImplementedError: speculative decoding; an activation other than silu.
    """
    from vllm.forward_context import get_forward_context
    from vllm.utils.torch_utils import _resolve_layer_name

    context = get_forward_context()
    if context.attn_metadata is None:
        return  # a profiling run, in which there are no states
    layer = context.no_compile_layers[_resolve_layer_name(layer_name)]
    metadata = context.attn_metadata[layer.prefix]
    if metadata.num_actual_tokens == 0:
        return
    _refuse(layer, metadata)
    from vllm.model_executor.layers.mamba.mamba_utils import is_conv_state_dim_first

    conv_pool, pool = layer.kv_cache[:2]
    if not is_conv_state_dim_first():
        conv_pool = conv_pool.transpose(1, 2)
    slots, heads, dv, dk = pool.shape
    layer_parts = _Parts(layer, conv_pool, pool.view(slots, heads, dk, dv))
    indices, offsets = metadata.non_spec_state_indices_tensor, metadata.non_spec_query_start_loc
    decodes, tokens = metadata.num_decodes, metadata.num_decode_tokens
    if decodes:
        yield from layer_parts.decode(
            mixed_qkv[:tokens], b[:tokens], a[:tokens], out[:tokens],
            indices[:decodes], offsets[: decodes + 1],
        )  # fmt: skip
    if metadata.num_prefills:
        span = slice(tokens, tokens + metadata.num_prefill_tokens)
        sequences = slice(decodes, decodes + metadata.num_prefills)
        offsets = offsets[decodes : decodes + metadata.num_prefills + 1] - tokens
        yield from layer_parts.prefill(
            mixed_qkv[span], b[span], a[span], out[span],
            indices[sequences], offsets, metadata.has_initial_state[sequences],
        )  # fmt: skip


def _refuse(layer, metadata) -> None:
    if metadata.spec_sequence_masks is not None or metadata.num_accepted_tokens is not None:
        raise NotImplementedError(
            "libgdn's vLLM plugin has no speculative decoding; set GDN_VLLM=0"
        )
    if layer.activation not in ("silu", "swish"):
        raise NotImplementedError(f"activation: {layer.activation!r} found, 'silu' expected")
    if metadata.non_spec_state_indices_tensor.dim() != 1:
        raise NotImplementedError(
            "libgdn's vLLM plugin reads one state a sequence: mamba_cache_mode 'all' is not served"
        )


class _Parts:
    """One layer's parameters and pools, as libgdn takes them."""

    def __init__(self, layer, conv_pool: Tensor, pool: Tensor):
        self.layer, self.conv_pool, self.pool = layer, conv_pool, pool
        # vLLM may pack the weight for its own kernel, and then keeps the plain one beside it.
        weight = getattr(layer.conv1d, "_cpu_unpacked_conv_weight", None)
        weight = layer.conv1d.weight if weight is None else weight
        self.weight = weight.view(weight.shape[0], weight.shape[-1])

    def decode(self, mixed_qkv, b, a, out, indices, offsets) -> Iterator[tuple[str, int]]:
        y = gdn.causal_conv1d_update(
            mixed_qkv,
            self.conv_pool,
            self.weight,
            self.layer.conv1d.bias,
            activation="silu",
            state_indices=indices,
            null_slot=NULL_BLOCK,
        )
        yield "causal_conv1d_update", len(y)
        gdn.fused_recurrent_gated_delta_rule(
            *self._heads(y), cu_seqlens=offsets, **self._recurrence(b, a, out, indices)
        )
        yield "fused_recurrent_gated_delta_rule", len(y)

    def prefill(self, mixed_qkv, b, a, out, indices, offsets, started) -> Iterator[tuple[str, int]]:
        y = gdn.causal_conv1d_fwd(
            mixed_qkv.T,
            self.weight,
            self.layer.conv1d.bias,
            activation="silu",
            conv_state=self.conv_pool,
            state_indices=indices,
            has_initial_state=started,
            cu_seqlens=offsets,
            null_slot=NULL_BLOCK,
        ).T
        yield "causal_conv1d_fwd", len(y)
        gdn.chunk_gated_delta_rule(
            *self._heads(y),
            cu_seqlens=offsets,
            has_initial_state=started,
            **self._recurrence(b, a, out, indices),
        )
        yield "chunk_gated_delta_rule", len(y)

    def _heads(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [1, T, .., ..], views of y [T, C]."""
        layer, (_, heads, dk, dv) = self.layer, self.pool.shape
        keys = layer.key_dim // layer.tp_size
        q, k, v = y[None].split([keys, keys, heads * dv], dim=-1)
        return q.unflatten(-1, (-1, dk)), k.unflatten(-1, (-1, dk)), v.unflatten(-1, (-1, dv))

    def _recurrence(self, b, a, out, indices) -> dict[str, Any]:
        return dict(
            g=a[None],
            beta=b[None],
            use_gate_in_kernel=True,
            A_log=self.layer.A_log,
            dt_bias=self.layer.dt_bias,
            use_beta_sigmoid_in_kernel=True,
            use_qk_l2norm_in_kernel=True,
            initial_state=self.pool,
            state_indices=indices,
            null_slot=NULL_BLOCK,
            out=out[None],
        )
