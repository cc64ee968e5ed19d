"""Inputs on the GPU and their float64 results from the CPU."""

from __future__ import annotations

import torch
from support import tensors, values

import gdn


def on_gpu(*inputs):
    """Copies on the GPU; None stays None."""
    return tuple(None if x is None else x.cuda() for x in inputs)


def gpu_tensors(dtype="f32", **shape):
    """support.tensors() on the GPU."""
    return on_gpu(*tensors(dtype, **shape))


def exact(x):
    """A CPU copy in float32, which holds every 16-bit value; other types as they are."""
    x = x.detach().cpu()
    return x.float() if x.is_floating_point() else x


def reference(function, *inputs, **options):
    """The function on CPU copies of tensors, by the float64 backend."""
    cpu = [exact(x) if isinstance(x, torch.Tensor) else x for x in inputs]
    named = {n: exact(x) if isinstance(x, torch.Tensor) else x for n, x in options.items()}
    with gdn.use("reference"):
        return function(*cpu, **named)


def recurrent(q, k, v, g, beta, **options):
    """fused_recurrent_gated_delta_rule in the argument order of the chunk function."""
    return gdn.fused_recurrent_gated_delta_rule(q, k, v, g, beta=beta, **options)


def error(actual, expected):
    """||a - e|| / ||e||."""
    a, e = (torch.from_numpy(values(x)) for x in (actual, expected))
    assert a.shape == e.shape and bool(torch.isfinite(a).all())
    return float((a - e).norm() / e.norm())
