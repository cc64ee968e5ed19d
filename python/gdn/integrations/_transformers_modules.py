"""Modules of a GDN layer whose parameters libgdn reads instead of calling them.

That is right for a module that does what its class says and nothing more. One that a user has
hooked, wrapped or replaced is called.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as _module


def is_plain(module: nn.Module) -> bool:
    """Whether a call would run the forward that the module's class was written with, alone."""
    kind = type(module)
    return (
        "forward" not in module.__dict__
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not _module._has_any_global_hook()
        and kind.forward.__module__ == kind.__module__
    )


def is_plain_conv(module: nn.Module) -> bool:
    """Whether the convolution is torch's own, whose weight (parametrised or not) says all."""
    parametrised = nn.utils.parametrize.is_parametrized(module)
    kind = type(module).__mro__[1] if parametrised else type(module)
    return kind is nn.Conv1d and (
        "forward" not in module.__dict__
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not _module._has_any_global_hook()
    )


class GatedNorm(NamedTuple):
    """What a gated norm computes with."""

    weight: torch.Tensor
    eps: float
    activation: str
    """Of the gate: silu, swish (the same) or sigmoid."""


def gated_norm_of(module: nn.Module) -> GatedNorm | None:
    """transformers' own gated norm, FLA's or gdn.nn's; None for any other, to be called."""
    kind = type(module)
    known = kind.__name__.endswith("RMSNormGated") and kind.__module__.startswith(
        ("transformers.models.", "fla.", "gdn.")
    )
    if not known or not is_plain(module) or getattr(module, "bias", None) is not None:
        return None
    activation = getattr(module, "activation", "silu")
    if activation not in ("silu", "swish", "sigmoid"):
        return None
    eps = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    return GatedNorm(module.weight, eps, activation)


def norm_of_fused_step(layer: nn.Module) -> GatedNorm | None:
    """The norm of a layer whose decode step fused_gdn_decode may take; None for any other layer.

    It reads the weights of the norm and the convolution and calls neither. Taken on every device:
    on a GPU it is faster for few sequences and slower for hundreds (docs/performance.md), and one
    path means the same rounding everywhere.
    """
    norm = gated_norm_of(layer.norm)
    return norm if norm is not None and is_plain_conv(layer.conv1d) else None
