"""The core of vLLM's GDN layers on the CPU, between the projections and the gated norm.

vLLM copies q, k, v out of the convolution's result, gates in an operation of its own, clears the
states of new sequences, and copies the result. Here views are passed, the recurrence gates, states
are read and written by their index in the pools, and the result goes where vLLM wants it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from vllm.forward_context import get_forward_context
from vllm.model_executor.layers.mamba.mamba_utils import is_conv_state_dim_first
from vllm.utils.torch_utils import _resolve_layer_name

import gdn

NULL_BLOCK = 0
"""vLLM's block that belongs to no sequence: what pads a batch names it."""


def run(mixed_qkv: Tensor, b: Tensor, a: Tensor, out: Tensor, layer_name: Any) -> tuple[int, int]:
    """Compute out [T, HV, DV] of mixed_qkv [T, C], b and a [T, HV] for the layer of that name.

    Returns:
        Tokens of sequences that decode, and of those that are prefilled.

    Raises:
        NotImplementedError: speculative decoding; an activation other than silu.
    """
    context = get_forward_context()
    if context.attn_metadata is None:
        return 0, 0  # a profiling run, in which there are no states
    layer = context.no_compile_layers[_resolve_layer_name(layer_name)]
    metadata = context.attn_metadata[layer.prefix]
    if metadata.num_actual_tokens == 0:
        return 0, 0
    _refuse(metadata)
    parts = _parts(layer)
    indices, offsets = metadata.non_spec_state_indices_tensor, metadata.non_spec_query_start_loc
    decodes, tokens = metadata.num_decodes, metadata.num_decode_tokens
    if decodes:
        parts.decode(
            mixed_qkv[:tokens], b[:tokens], a[:tokens], out[:tokens],
            indices[:decodes], offsets[: decodes + 1],
        )  # fmt: skip
    if metadata.num_prefills:
        span = slice(tokens, tokens + metadata.num_prefill_tokens)
        sequences = slice(decodes, decodes + metadata.num_prefills)
        offsets = offsets[decodes : decodes + metadata.num_prefills + 1]
        parts.prefill(
            mixed_qkv[span], b[span], a[span], out[span], indices[sequences],
            offsets - tokens if tokens else offsets, metadata.has_initial_state[sequences],
        )  # fmt: skip
    return tokens, metadata.num_prefill_tokens


def _refuse(metadata) -> None:
    if metadata.spec_sequence_masks is not None or metadata.num_accepted_tokens is not None:
        raise NotImplementedError(
            "libgdn's vLLM plugin has no speculative decoding; set GDN_VLLM=0"
        )
    if metadata.non_spec_state_indices_tensor.dim() != 1:
        raise NotImplementedError(
            "libgdn's vLLM plugin reads one state a sequence: mamba_cache_mode 'all' is not served"
        )


def _parts(layer) -> _Parts:
    """What a layer keeps, made again where vLLM has given it other pools."""
    parts = layer.__dict__.get("_gdn_parts")
    pools = layer.kv_cache
    if parts is None or parts.pools[0] is not pools[0] or parts.pools[1] is not pools[1]:
        parts = layer.__dict__["_gdn_parts"] = _Parts(layer)
    return parts


class _Parts:
    """One layer's parameters and pools, as libgdn takes them."""

    def __init__(self, layer):
        if layer.activation not in ("silu", "swish"):
            raise NotImplementedError(f"activation: {layer.activation!r} found, 'silu' expected")
        self.pools = layer.kv_cache[:2]
        conv_pool, pool = self.pools
        self.conv_pool = conv_pool if is_conv_state_dim_first() else conv_pool.transpose(1, 2)
        slots, heads, dv, dk = pool.shape
        self.keys, self.values = layer.key_dim // layer.tp_size, heads * dv
        self.dk, self.dv = dk, dv
        # vLLM may pack the weight for its own kernel, and then keeps the plain one beside it.
        weight = getattr(layer.conv1d, "_cpu_unpacked_conv_weight", None)
        weight = layer.conv1d.weight if weight is None else weight
        self.weight = weight.detach().view(weight.shape[0], weight.shape[-1])
        self.bias = layer.conv1d.bias
        self.recurrence = dict(
            initial_state=pool.view(slots, heads, dk, dv),
            A_log=layer.A_log,
            dt_bias=layer.dt_bias,
            use_gate_in_kernel=True,
            use_beta_sigmoid_in_kernel=True,
            use_qk_l2norm_in_kernel=True,
            null_slot=NULL_BLOCK,
        )

    def decode(self, mixed_qkv, b, a, out, indices, offsets) -> None:
        """One token of each sequence."""
        y = gdn.causal_conv1d_update(
            mixed_qkv,
            self.conv_pool,
            self.weight,
            self.bias,
            activation="silu",
            state_indices=indices,
            null_slot=NULL_BLOCK,
        )
        q, k, v = self._heads(y)
        gdn.fused_recurrent_gated_delta_rule(
            q, k, v, g=a[None], beta=b[None], cu_seqlens=offsets, state_indices=indices,
            out=out[None], **self.recurrence,
        )  # fmt: skip

    def prefill(self, mixed_qkv, b, a, out, indices, offsets, started) -> None:
        """Sequences, or parts of them, that begin from their states where `started` says so."""
        y = gdn.causal_conv1d_fwd(
            mixed_qkv.T,
            self.weight,
            self.bias,
            activation="silu",
            conv_state=self.conv_pool,
            state_indices=indices,
            has_initial_state=started,
            cu_seqlens=offsets,
            null_slot=NULL_BLOCK,
        ).T
        q, k, v = self._heads(y)
        gdn.chunk_gated_delta_rule(
            q, k, v, a[None], b[None], cu_seqlens=offsets, state_indices=indices,
            has_initial_state=started, out=out[None], **self.recurrence,
        )  # fmt: skip

    def _heads(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [1, T, .., ..], views of y [T, C]."""
        q, k, v = y[None].split([self.keys, self.keys, self.values], dim=-1)
        dk = self.dk
        return q.unflatten(-1, (-1, dk)), k.unflatten(-1, (-1, dk)), v.unflatten(-1, (-1, self.dv))
