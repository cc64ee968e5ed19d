"""vLLM's GDN layers on the CPU, between their projections.

vLLM copies q, k, v out of the convolution's result, gates in an operation of its own, clears the
states of new sequences, copies the result, and norms it. Here a decode step is one call; in a
prefill views are passed, and the recurrence gates. States are read and written by their index in
the pools, and the result goes where the last projection reads it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.forward_context import get_forward_context
from vllm.model_executor.layers.mamba.mamba_utils import is_conv_state_dim_first
from vllm.utils.torch_utils import _resolve_layer_name

import gdn
from gdn._heads import heads, split_qkv

NULL_BLOCK = 0
"""vLLM's block that belongs to no sequence: what pads a batch names it."""


def project(layer, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The dense projections: q | k | v [T, C], z [T, HV, DV], b and a [T, HV]."""
    if hasattr(layer, "in_proj_qkv"):
        raise NotImplementedError("LoRA on GDN layers: vLLM has none on the CPU")
    qkvz, _ = layer.in_proj_qkvz(hidden_states)
    ba, _ = layer.in_proj_ba(hidden_states)
    if layer.gqa_interleaved_layout:
        *qkv, z, b, a = layer.fix_query_key_value_ordering(qkvz, ba)
        return torch.cat([part.flatten(1) for part in qkv], dim=-1), z, b, a
    values = layer.value_dim // layer.tp_size
    mixed_qkv, z = qkvz.split([qkvz.shape[-1] - values, values], dim=-1)
    b, a = ba.chunk(2, dim=-1)
    return mixed_qkv, heads(z, layer.head_v_dim), b, a


def layer_of(layer_name: Any):
    """vLLM's layer of a name."""
    return get_forward_context().no_compile_layers[_resolve_layer_name(layer_name)]


def run(
    mixed_qkv: Tensor, b: Tensor, a: Tensor, z: Tensor, out: Tensor, layer_name: Any
) -> tuple[int, int]:
    """Compute out [T, HV, DV], the layer's normed output, from what its projections gave.

    Args:
        mixed_qkv: [T, C].
        b, a: [T, HV].
        z: [T, HV, DV].
        out: as z; 0 where there is no token.
        layer_name: the layer's.

    Returns:
        Tokens of sequences that decode, and of those that are prefilled.

    Raises:
        NotImplementedError: speculative decoding; an activation other than silu.
    """
    context = get_forward_context()
    if context.attn_metadata is None:
        out.zero_()
        return 0, 0  # a profiling run, in which there are no states
    layer = layer_of(layer_name)
    metadata = context.attn_metadata[layer.prefix]
    out[metadata.num_actual_tokens :].zero_()
    if metadata.num_actual_tokens == 0:
        return 0, 0
    _refuse(metadata)
    parts = _parts(layer)
    indices, offsets = metadata.non_spec_state_indices_tensor, metadata.non_spec_query_start_loc
    decodes, tokens = metadata.num_decodes, metadata.num_decode_tokens
    if decodes:
        parts.decode(
            mixed_qkv[:tokens], b[:tokens], a[:tokens], z[:tokens], out[:tokens], indices[:decodes]
        )
    if metadata.num_prefills:
        span = slice(tokens, tokens + metadata.num_prefill_tokens)
        sequences = slice(decodes, decodes + metadata.num_prefills)
        offsets = offsets[decodes : decodes + metadata.num_prefills + 1]
        parts.prefill(
            mixed_qkv[span], b[span], a[span], z[span], out[span], indices[sequences],
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
        self.pool = pool.view(slots, heads, dk, dv)
        self.gates = dict(A_log=layer.A_log, dt_bias=layer.dt_bias, null_slot=NULL_BLOCK)
        norm = layer.norm
        if not norm.norm_before_gate or norm.group_size is not None or norm.bias is not None:
            raise NotImplementedError(
                "norm: libgdn norms whole heads before the gate, without a bias"
            )
        self.norm_weight = norm.weight
        self.norm = dict(eps=norm.eps, gate_activation=norm.activation)
        self.recurrence = dict(
            initial_state=self.pool,
            use_gate_in_kernel=True,
            use_beta_sigmoid_in_kernel=True,
            use_qk_l2norm_in_kernel=True,
            **self.gates,
        )

    def decode(self, mixed_qkv, b, a, z, out, indices) -> None:
        """One token of each sequence."""
        mixed_qkv, b, a, z, out = (part.unsqueeze(1) for part in (mixed_qkv, b, a, z, out))
        gdn.fused_gdn_decode(
            mixed_qkv, self.conv_pool, self.weight, a, b, z=z, norm_weight=self.norm_weight,
            state=self.pool, conv_bias=self.bias, state_indices=indices, out=out, **self.gates,
            **self.norm,
        )  # fmt: skip

    def prefill(self, mixed_qkv, b, a, z, out, indices, offsets, started) -> None:
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
        o, _ = gdn.chunk_gated_delta_rule(
            q, k, v, a[None], b[None], cu_seqlens=offsets, state_indices=indices,
            has_initial_state=started, **self.recurrence,
        )  # fmt: skip
        gdn.rms_norm_gated(o[0], self.norm_weight, z, out=out, **self.norm)

    def _heads(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [1, T, .., ..], views of y [T, C]."""
        return split_qkv(y[None], self.values, self.dk, self.dv)
