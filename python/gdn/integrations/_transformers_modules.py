"""Modules of a GDN layer whose parameters libgdn reads instead of calling them.

That is right for a module that does what its class says and nothing more. One that a user has
hooked, wrapped or replaced is called.
"""

from __future__ import annotations

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


def gated_norm_of(module: nn.Module) -> tuple[torch.Tensor, float] | None:
    """(weight, eps) of transformers' own gated norm or FLA's; None for any other, to be called."""
    kind = type(module)
    known = kind.__name__.endswith("RMSNormGated") and kind.__module__.startswith(
        ("transformers.models.", "fla.")
    )
    if not known or not is_plain(module) or getattr(module, "bias", None) is not None:
        return None
    if getattr(module, "activation", "silu") not in ("silu", "swish"):
        return None
    eps = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    return module.weight, eps
