"""What the fake kernels of all ops share."""

from __future__ import annotations

import torch
from torch import Tensor

from gdn import _checks

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_checks.register_dtypes({dtype: name for name, dtype in DTYPES.items()})


def absent(like: Tensor) -> Tensor:
    """Stand-in for a result that was not asked for."""
    return like.new_empty(0, dtype=torch.float32)


def check_together(**tensors: Tensor | None) -> None:
    """Refuse tensors on different devices, by name."""
    first_name, first = next((n, t) for n, t in tensors.items() if t is not None)
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != first.device:
            raise ValueError(
                f"{name}: found device {tensor.device}, expected that of {first_name}, "
                f"{first.device}."
            )


def check_rank(name: str, tensor: Tensor, *ranks: int) -> None:
    """Refuse a tensor of another rank, by name."""
    if tensor.dim() not in ranks:
        expected = " or ".join(map(str, ranks))
        raise ValueError(f"{name}: found rank {tensor.dim()}, expected {expected}.")


def state_shape(k: Tensor, v: Tensor, v_first: bool) -> tuple[int, int, int]:
    """Shape of one sequence's states."""
    dk, dv = k.shape[3], v.shape[3]
    return (v.shape[2], dv, dk) if v_first else (v.shape[2], dk, dv)


def sequence_count(q: Tensor, cu_seqlens: Tensor | None) -> int:
    """N."""
    return q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1


def piece_count(q: Tensor, cu_seqlens: Tensor | None, step: int, round_up: bool) -> int:
    """Number of pieces of `step` tokens: an unknown size where it depends on cu_seqlens."""
    if cu_seqlens is None:
        return q.shape[0] * ((q.shape[1] + (step - 1 if round_up else 0)) // step)
    return torch.library.get_ctx().new_dynamic_size()


def chunk_count(q: Tensor, cu_seqlens: Tensor | None, chunk_size: int, padded: bool) -> int:
    """Rows of h: the chunks of all sequences, or in a padded buffer as many as there can be."""
    if padded and cu_seqlens is not None:
        return (q.shape[1] + chunk_size - 1) // chunk_size + cu_seqlens.shape[0] - 1
    return piece_count(q, cu_seqlens, chunk_size, True)


def fill(out: Tensor | None, result: Tensor, cu_seqlens: Tensor | None, axis: int) -> Tensor:
    """Return the result, through `out` where the caller gave one.

    With cu_seqlens, those of a padded buffer, the tokens of `axis` after their end stay as they
    are in `out`.
    """
    if out is None:
        return result
    if out.shape != result.shape or out.dtype != result.dtype:
        raise ValueError(
            f"out: found {tuple(out.shape)} {out.dtype}, expected {tuple(result.shape)} "
            f"{result.dtype}."
        )
    if cu_seqlens is not None:
        shape = [1] * out.dim()
        shape[axis] = -1
        tokens = torch.arange(out.shape[axis], device=out.device).view(shape)
        result = torch.where(tokens < cu_seqlens[-1].to(out.device), result, out)
    out.copy_(result)
    return out
