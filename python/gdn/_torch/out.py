"""The argument `out` of a traced call.

An op that wrote to `out` would get a clone of it from torch's functionalization, and what an eager
call refuses of the memory behind `out` would be lost. So ops read it alone: they check it, make a
result that lies in memory as `out` does, and the function around the op copies that to `out`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _bounds(tensor: Tensor) -> tuple[int, int]:
    """First byte and the one after the last."""
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.data_ptr()
    return first, first + (last + 1) * tensor.element_size()


def _window(tensor: Tensor, period: int) -> tuple[int, int]:
    """The bytes that a tensor touches modulo a period: where they begin and how many."""
    width = item = tensor.element_size()
    for count, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if count > 1 and stride * item % period:
            width += (count - 1) * stride * item
    return tensor.data_ptr() % period, width


def _apart(a: Tensor, b: Tensor) -> bool:
    """As far as the library can tell, which calls of other arguments ask: no byte is of both."""
    if a.numel() == 0 or b.numel() == 0:
        return True
    (begin_a, end_a), (begin_b, end_b) = _bounds(a), _bounds(b)
    if end_a <= begin_b or end_b <= begin_a:
        return True
    for tensor in (a, b):
        for count, stride in zip(tensor.shape, tensor.stride(), strict=True):
            period = stride * tensor.element_size()
            if count <= 1 or period <= tensor.element_size():
                continue
            (at_a, width_a), (at_b, width_b) = _window(a, period), _window(b, period)
            if (
                max(width_a, width_b) <= period
                and (at_b - at_a) % period >= width_a
                and (at_a - at_b) % period >= width_b
            ):
                return True
    return False


def twin(out: Tensor, operands: dict[str, Tensor | None]) -> Tensor:
    """A tensor that lies in memory as `out` does, after the check that `out` shares none."""
    for name, tensor in operands.items():
        if tensor is not None and not _apart(out, tensor):
            raise ValueError(
                f"out overlaps {name} in memory, expected an output that shares no memory with "
                "other operands."
            )
    return torch.empty_strided(out.shape, out.stride(), dtype=out.dtype, device=out.device)


def like_out(out: Tensor, result: Tensor) -> Tensor:
    """What an op makes in place of a fake result where there is `out`."""
    if out.shape != result.shape or out.dtype != result.dtype:
        return result  # refused when the result is copied
    return out.new_empty_strided(out.shape, out.stride())
