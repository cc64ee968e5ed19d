"""The GDN layer of Qwen3.5 and Qwen3-Next, all but its dense projections computed by libgdn."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import gdn
from gdn._heads import heads, split_qkv

from ._transformers_cache import states_of
from ._transformers_modules import GatedNorm, gated_norm_of, is_plain_conv, norm_of_fused_step
from ._transformers_packing import from_arguments
from ._transformers_pass import current_pass

# Arguments of transformers' forward that cannot change what a GDN layer computes.
_NEUTRAL = frozenset(
    {
        "cache_position",
        "cu_seq_lens_k",
        "is_causal",
        "max_length_k",
        "max_length_q",
        "num_items_in_batch",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "past_key_values",
        "position_embeddings",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)


def gated_delta_net_forward(
    layer,
    hidden_states,
    cache_params=None,
    attention_mask=None,
    cu_seq_lens_q=None,
    seq_idx=None,
    cu_seqlens=None,
    **kwargs,
):
    """Replaces the forward of the GDN layers of Qwen3.5 (dense and MoE) and Qwen3-Next.

    Args:
        layer: the module.
        hidden_states: [B, T, hidden].
        cache_params: a transformers cache, updated as the original does, or None.
        attention_mask: [B, T], 0 at padding, or None.
        cu_seq_lens_q: [N + 1], packed sequences of the one row.
        seq_idx: [B, T], changes where a packed sequence starts.
        cu_seqlens: another name for cu_seq_lens_q.
        **kwargs: names that cannot change the result; anything else is refused.

    Returns:
        [B, T, hidden].

    Raises:
        TypeError: an unknown argument that is not None.
        ValueError: packed sequences that are inconsistent, or packed together with a cache.
        NotImplementedError: an activation other than silu; packed sequences and a changed conv1d.
        RuntimeError: a gradient is needed.
    """
    unknown = [k for k, v in kwargs.items() if v is not None and k not in _NEUTRAL]
    if unknown:
        raise TypeError(f"libgdn's transformers hook cannot honour the arguments {unknown}")
    if layer.activation not in ("silu", "swish"):
        raise NotImplementedError(f"activation: {layer.activation!r} found, 'silu' expected")
    _refuse_gradient(layer, hidden_states)
    this_pass = current_pass()

    batch, length, _ = hidden_states.shape
    if attention_mask is not None:
        hidden_states = (hidden_states * attention_mask[:, :, None]).to(hidden_states.dtype)
    packed = from_arguments(
        cu_seqlens if cu_seq_lens_q is None else cu_seq_lens_q, seq_idx, batch, length
    )
    if packed is None and this_pass is not None:
        packed = this_pass.cu_seqlens
    states = None if cache_params is None else states_of(cache_params, layer.layer_idx)
    if packed is not None and (packed.numel() != 2 or batch != 1) and states is not None:
        raise ValueError(
            f"past_key_values: {packed.numel() - 1} packed sequences in {batch} rows cannot share "
            "a cache, which holds one state a row; pass use_cache=False"
        )

    mixed_qkv, z, b, a = _project(layer, hidden_states)
    decode = states is not None and length == 1 and states.conv is not None
    recurrent = None if states is None else states.recurrent
    norm = norm_of_fused_step(layer)
    if decode and recurrent is not None and not states.recording and norm is not None:
        return _finish(layer, this_pass, _decode(layer, mixed_qkv, z, b, a, states, norm))
    mixed_qkv = _convolve(layer, mixed_qkv, states, packed, decode)
    g, beta = gdn.fused_gdn_gating(layer.A_log, a, b, layer.dt_bias, beta_dtype=torch.float32)
    q, k, v = split_qkv(mixed_qkv, layer.value_dim, layer.head_k_dim, layer.head_v_dim)
    if decode and recurrent is not None:
        out, _ = gdn.fused_recurrent_gated_delta_rule(
            q,
            k,
            v,
            g=g,
            beta=beta,
            initial_state=recurrent,
            use_qk_l2norm_in_kernel=True,
            inplace_final_state=True,
        )
    else:
        if packed is not None and batch > 1:
            q, k, v, g, beta = (
                t.reshape(1, batch * length, *t.shape[2:]) for t in (q, k, v, g, beta)
            )
        out, final = gdn.chunk_gated_delta_rule(
            q,
            k,
            v,
            g,
            beta,
            initial_state=recurrent,
            output_final_state=states is not None,
            use_qk_l2norm_in_kernel=True,
            cu_seqlens=packed,
        )
        if states is not None:
            states.store_recurrent(final)

    out = _norm(layer.norm, out.reshape(-1, layer.head_v_dim), z.reshape(-1, layer.head_v_dim))
    return _finish(layer, this_pass, out.reshape(batch, length, layer.value_dim))


def _finish(layer, this_pass, out: torch.Tensor) -> torch.Tensor:
    """The last projection, of [B, T, HV DV]."""
    if this_pass is not None:
        this_pass.calls += 1
    return layer.out_proj(out)


def _decode(layer, mixed_qkv: torch.Tensor, z, b, a, states, norm: GatedNorm) -> torch.Tensor:
    """One token of each sequence from the cached states, which are updated in place."""
    out = gdn.fused_gdn_decode(
        mixed_qkv,
        states.conv,
        layer.conv1d.weight.squeeze(1),
        a,
        b,
        layer.A_log,
        z,
        norm.weight,
        states.recurrent,
        conv_bias=layer.conv1d.bias,
        dt_bias=layer.dt_bias,
        eps=norm.eps,
        gate_activation=norm.activation,
    )
    return out.flatten(2)


def _refuse_gradient(layer, hidden_states: torch.Tensor) -> None:
    """libgdn has no backward pass, and a detached result would train silently wrong."""
    if torch.is_grad_enabled() and (
        hidden_states.requires_grad or any(p.requires_grad for p in layer.parameters())
    ):
        raise RuntimeError(
            "libgdn has no backward pass: call the model under torch.no_grad() or "
            "torch.inference_mode(), or switch libgdn off with disable() to train"
        )


def _project(layer, hidden_states: torch.Tensor):
    """The dense projections: q | k | v [B, T, C], z [B, T, HV, DV], b and a [B, T, HV]."""
    if hasattr(layer, "in_proj_qkv"):
        z = heads(layer.in_proj_z(hidden_states), layer.head_v_dim)
        b, a = layer.in_proj_b(hidden_states), layer.in_proj_a(hidden_states)
        return layer.in_proj_qkv(hidden_states), z, b, a
    # Qwen3-Next interleaves the projections by key head.
    q, k, v, z, b, a = layer.fix_query_key_value_ordering(
        layer.in_proj_qkvz(hidden_states), layer.in_proj_ba(hidden_states)
    )
    return torch.cat([t.flatten(2) for t in (q, k, v)], dim=-1), z, b, a


def _norm(norm, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The gated norm: libgdn's, or the module's own where a user has changed it."""
    known = gated_norm_of(norm)
    if known is None:
        return norm(x, z)
    return gdn.rms_norm_gated(x, known.weight, z, known.eps, gate_activation=known.activation)


def _convolve(layer, mixed_qkv: torch.Tensor, states, packed, decode: bool) -> torch.Tensor:
    """Causal convolution and silu over [B, T, C], the cache's convolution state brought forward."""
    batch, length, channels = mixed_qkv.shape
    plain = is_plain_conv(layer.conv1d)
    columns = mixed_qkv.transpose(1, 2)
    if decode and plain and not states.recording:
        weight, bias = layer.conv1d.weight.squeeze(1), layer.conv1d.bias
        out = gdn.causal_conv1d_update(columns, states.conv, weight, bias, activation="silu")
        return out.transpose(1, 2)
    if states is not None:
        columns = states.push_conv(columns, layer.conv_kernel_size)
    elif packed is not None and batch > 1:
        columns = mixed_qkv.reshape(1, batch * length, channels).transpose(1, 2)
    # With a cache the columns may begin before this pass: they are its history, or zeros.
    history = columns.shape[-1] - length if states is not None else 0
    if plain:
        weight, bias = layer.conv1d.weight.squeeze(1), layer.conv1d.bias
        out = gdn.causal_conv1d_fwd(
            columns, weight, bias, activation="silu", cu_seqlens=None if history else packed
        )
    else:
        out = _convolve_by_module(layer, columns, packed)
    return out[:, :, history:].transpose(1, 2).reshape(batch, length, channels)


def _convolve_by_module(layer, columns: torch.Tensor, packed) -> torch.Tensor:
    """A convolution that a user has changed: called, and its padding on the right cut off."""
    if packed is not None and packed.numel() != 2:
        raise NotImplementedError(
            "conv1d: hooked, wrapped or replaced, so that libgdn calls the module, which knows no "
            "packed sequences; pass them one by one"
        )
    return F.silu(layer.conv1d(columns)[..., : columns.shape[-1]])
