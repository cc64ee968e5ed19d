"""A whole Gated DeltaNet layer as a torch module, with the parameters of Qwen3.5's or Qwen3-Next's.

    from gdn.nn import GatedDeltaNet

    layer = GatedDeltaNet.from_config(config)        # a transformers configuration
    layer.load_state_dict(theirs.state_dict())       # the names are the same
    with torch.no_grad():
        y = layer(x)                                 # [B, T, hidden]
        cache = layer.new_cache(slots=8)
        y = layer(x, cache)                          # prefill: rows 0 .. B - 1 of the cache
        y = layer(one_token, cache)                  # decode

There is no backward pass: a call that needs a gradient raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import gdn
from gdn import _checks
from gdn._heads import heads, split_qkv
from gdn.integrations._transformers_modules import GatedNorm, norm_of_fused_step

__all__ = ["GatedDeltaNet", "GatedDeltaNetCache"]


@dataclass
class GatedDeltaNetCache:
    """The states of one layer's sequences, updated in place."""

    conv_state: Tensor
    """[slots, C, W - 1]: the last inputs of the convolution, newest last."""
    recurrent_state: Tensor
    """[slots, HV, DK, DV]."""


class _RMSNormGated(nn.Module):
    """Holds the weight of the gated norm under its name."""

    def __init__(self, size: int, eps: float, activation: str, **kwargs: Any):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size, **kwargs)), eps
        self.activation = activation

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return gdn.rms_norm_gated(x, self.weight, z, self.eps, gate_activation=self.activation)


class GatedDeltaNet(nn.Module):
    """Projections, convolution, gates, the delta rule, the gated norm and the output projection.

    Args:
        hidden_size: width of the layer's input and output.
        num_k_heads: HK.
        num_v_heads: HV, a multiple of HK.
        head_k_dim: DK.
        head_v_dim: DV.
        conv_kernel_size: W, 2 to 4.
        norm_eps: of the gated norm.
        interleaved: False for the projections in_proj_qkv, in_proj_z, in_proj_b and in_proj_a of
            Qwen3.5; True for in_proj_qkvz and in_proj_ba of Qwen3-Next, interleaved by key head.
        gate_activation: of the gated norm: "silu" or "swish" (the same), or "sigmoid".
        device: of the parameters.
        dtype: of the parameters; A_log, dt_bias and the norm's weight may then be cast to float32.
    """

    def __init__(
        self,
        hidden_size: int,
        num_k_heads: int,
        num_v_heads: int,
        head_k_dim: int,
        head_v_dim: int,
        *,
        conv_kernel_size: int = 4,
        norm_eps: float = 1e-6,
        interleaved: bool = False,
        gate_activation: str = "silu",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if num_v_heads % num_k_heads:
            raise ValueError(
                f"num_v_heads: expected a multiple of num_k_heads, {num_k_heads}, found "
                f"{num_v_heads}."
            )
        gate_activation = _checks.plain("gate_activation", gate_activation)
        made: dict[str, Any] = dict(device=device, dtype=dtype)
        self.num_k_heads, self.num_v_heads = num_k_heads, num_v_heads
        self.head_k_dim, self.head_v_dim = head_k_dim, head_v_dim
        self.key_dim, self.value_dim = num_k_heads * head_k_dim, num_v_heads * head_v_dim
        self.conv_dim, self.conv_kernel_size = 2 * self.key_dim + self.value_dim, conv_kernel_size
        self.interleaved = interleaved

        def linear(inputs: int, outputs: int) -> nn.Linear:
            return nn.Linear(inputs, outputs, bias=False, **made)

        if interleaved:
            self.in_proj_qkvz = linear(hidden_size, self.conv_dim + self.value_dim)
            self.in_proj_ba = linear(hidden_size, 2 * num_v_heads)
        else:
            self.in_proj_qkv = linear(hidden_size, self.conv_dim)
            self.in_proj_z = linear(hidden_size, self.value_dim)
            self.in_proj_b = linear(hidden_size, num_v_heads)
            self.in_proj_a = linear(hidden_size, num_v_heads)
        self.conv1d = nn.Conv1d(
            self.conv_dim, self.conv_dim, conv_kernel_size, groups=self.conv_dim, bias=False,
            padding=conv_kernel_size - 1, **made,
        )  # fmt: skip
        self.dt_bias = nn.Parameter(torch.ones(num_v_heads, **made))
        self.A_log = nn.Parameter(torch.empty(num_v_heads, **made).uniform_(0.01, 16).log())
        self.norm = _RMSNormGated(head_v_dim, norm_eps, gate_activation, **made)
        self.out_proj = linear(self.value_dim, hidden_size)

    @classmethod
    def from_config(cls, config: Any, **kwargs: Any) -> GatedDeltaNet:
        """Return a layer for a configuration of transformers: Qwen3_5TextConfig, Qwen3NextConfig.

        Args:
            config: the configuration, or its text_config.
            **kwargs: device, dtype.

        Raises:
            ValueError: another kind of model, or another activation than silu.
        """
        config = getattr(config, "text_config", None) or config
        kind = config.model_type
        if not kind.startswith(("qwen3_5", "qwen3_next")):
            raise ValueError(f"config: expected one of Qwen3.5 or Qwen3-Next, found {kind!r}.")
        if config.hidden_act not in ("silu", "swish"):
            raise ValueError(f"config: expected hidden_act 'silu', found {config.hidden_act!r}.")
        return cls(
            config.hidden_size,
            config.linear_num_key_heads,
            config.linear_num_value_heads,
            config.linear_key_head_dim,
            config.linear_value_head_dim,
            conv_kernel_size=config.linear_conv_kernel_dim,
            norm_eps=config.rms_norm_eps,
            interleaved=kind.startswith("qwen3_next"),
            gate_activation=getattr(config, "output_gate_type", None) or "silu",
            **kwargs,
        )

    def new_cache(
        self, slots: int, dtype: torch.dtype | None = None, state_dtype: torch.dtype = torch.float32
    ) -> GatedDeltaNetCache:
        """Return empty states of `slots` sequences.

        Args:
            slots: sequences.
            dtype: of the convolution's inputs; None for that of its weight.
            state_dtype: of the recurrent states.
        """
        weight = self.conv1d.weight
        heads, dk, dv = self.num_v_heads, self.head_k_dim, self.head_v_dim
        return GatedDeltaNetCache(
            weight.new_zeros(
                (slots, self.conv_dim, self.conv_kernel_size - 1), dtype=dtype or weight.dtype
            ),
            weight.new_zeros((slots, heads, dk, dv), dtype=state_dtype),
        )

    def forward(
        self,
        hidden_states: Tensor,
        cache: GatedDeltaNetCache | None = None,
        *,
        cu_seqlens: Tensor | None = None,
        state_indices: Tensor | None = None,
        has_initial_state: Tensor | None = None,
    ) -> Tensor:
        """Compute the layer.

        Args:
            hidden_states: [B, T, hidden].
            cache: states that the sequences start from and that are brought forward; None: they
                start from nothing and leave nothing.
            cu_seqlens: [N + 1]: offsets of sequences packed in one row (B == 1).
            state_indices: [N]: slot of each sequence in the cache; a negative one skips it. None:
                slot n, of as many slots as there are sequences.
            has_initial_state: [N]: where false the sequence starts from nothing, whatever its slot
                holds.

        Returns:
            [B, T, hidden].

        Raises:
            ValueError: state_indices or has_initial_state without a cache; else as
                gdn.chunk_gated_delta_rule.
            NotImplementedError: a gradient is needed.
        """
        if cache is None:
            for name, value in (
                ("state_indices", state_indices),
                ("has_initial_state", has_initial_state),
            ):
                if value is not None:
                    raise ValueError(f"{name}: needs a cache, which is None.")
        mixed_qkv, z, b, a = self._project(hidden_states)
        slots = dict(state_indices=state_indices)
        decode = (
            cache is not None
            and hidden_states.shape[1] == 1
            and cu_seqlens is None
            and has_initial_state is None
        )
        norm = norm_of_fused_step(self)
        if decode and norm is not None:
            out = self._decode(mixed_qkv, z, b, a, cache, norm, state_indices)
            return self.out_proj(out.flatten(2))
        if not decode:
            slots.update(cu_seqlens=cu_seqlens, has_initial_state=has_initial_state)
        mixed_qkv = self._convolve(mixed_qkv, cache, decode, slots)
        rule = gdn.fused_recurrent_gated_delta_rule if decode else gdn.chunk_gated_delta_rule
        o, _ = rule(
            *split_qkv(mixed_qkv, self.value_dim, self.head_k_dim, self.head_v_dim),
            g=a,
            beta=b,
            initial_state=None if cache is None else cache.recurrent_state,
            inplace_final_state=cache is not None,
            use_gate_in_kernel=True,
            A_log=self.A_log,
            dt_bias=self.dt_bias,
            use_beta_sigmoid_in_kernel=True,
            use_qk_l2norm_in_kernel=True,
            **slots,
        )
        return self.out_proj(self.norm(o, z).flatten(2))

    def _decode(
        self,
        mixed_qkv: Tensor,
        z: Tensor,
        b: Tensor,
        a: Tensor,
        cache: GatedDeltaNetCache,
        norm: GatedNorm,
        state_indices: Tensor | None,
    ) -> Tensor:
        """One token of each sequence: all between the projections, [B, 1, HV, DV]."""
        return gdn.fused_gdn_decode(
            mixed_qkv,
            cache.conv_state,
            self.conv1d.weight.squeeze(1),
            a,
            b,
            self.A_log,
            z,
            norm.weight,
            cache.recurrent_state,
            dt_bias=self.dt_bias,
            eps=norm.eps,
            gate_activation=norm.activation,
            state_indices=state_indices,
        )

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q | k | v [B, T, C], z [B, T, HV, DV], b and a [B, T, HV]."""
        if not self.interleaved:
            z = heads(self.in_proj_z(x), self.head_v_dim)
            return self.in_proj_qkv(x), z, self.in_proj_b(x), self.in_proj_a(x)
        group = self.num_v_heads // self.num_k_heads
        dk, dv = self.head_k_dim, group * self.head_v_dim
        qkvz = heads(self.in_proj_qkvz(x), 2 * (dk + dv))
        q, k, v, z = qkvz.split([dk, dk, dv, dv], dim=-1)
        b, a = heads(self.in_proj_ba(x), 2 * group).split(group, dim=-1)
        mixed = torch.cat([part.flatten(2) for part in (q, k, v)], dim=-1)
        z = heads(z.flatten(2), self.head_v_dim)
        return mixed, z, b.flatten(2), a.flatten(2)

    def _convolve(
        self, mixed_qkv: Tensor, cache: GatedDeltaNetCache | None, decode: bool, slots: dict
    ) -> Tensor:
        """Convolution and silu over [B, T, C]."""
        columns, weight = mixed_qkv.transpose(1, 2), self.conv1d.weight.squeeze(1)
        if decode:
            y = gdn.causal_conv1d_update(
                columns, cache.conv_state, weight, activation="silu", **slots
            )
        else:
            state = None if cache is None else cache.conv_state
            y = gdn.causal_conv1d_fwd(columns, weight, conv_state=state, activation="silu", **slots)
        return y.transpose(1, 2)
