"""Arguments that repeat what cu_seqlens says: checked, then not needed."""

from __future__ import annotations

import itertools
from typing import Any


def _numbers(name: str, value: Any) -> list[Any]:
    if not hasattr(value, "tolist"):
        raise TypeError(f"{name}: expected an integer array, got {type(value).__name__}.")
    return value.tolist()


def check_hints(
    cu_seqlens: Any, cu_seqlens_cpu: Any, chunk_indices: Any, chunk_size: int, traced: bool
) -> None:
    """Refuse cu_seqlens_cpu and chunk_indices that contradict cu_seqlens.

    While a call is being traced there are no contents to compare, and shapes alone are.
    """
    for name, hint in (("cu_seqlens_cpu", cu_seqlens_cpu), ("chunk_indices", chunk_indices)):
        if hint is not None and cu_seqlens is None:
            raise ValueError(f"{name}: a hint beside cu_seqlens, which is None; expected None.")
    if cu_seqlens_cpu is not None and tuple(cu_seqlens_cpu.shape) != tuple(cu_seqlens.shape):
        raise ValueError(
            f"cu_seqlens_cpu: found shape {tuple(cu_seqlens_cpu.shape)}, expected that of "
            f"cu_seqlens, {tuple(cu_seqlens.shape)}."
        )
    if chunk_indices is not None and (chunk_indices.ndim != 2 or chunk_indices.shape[1] != 2):
        raise ValueError(
            f"chunk_indices: found shape {tuple(chunk_indices.shape)}, expected [NT, 2]."
        )
    if traced:
        return
    offsets = _numbers("cu_seqlens", cu_seqlens)
    if cu_seqlens_cpu is not None and _numbers("cu_seqlens_cpu", cu_seqlens_cpu) != offsets:
        raise ValueError("cu_seqlens_cpu: its contents differ from those of cu_seqlens.")
    if chunk_indices is not None:
        size = chunk_size or 64
        lengths = [end - begin for begin, end in itertools.pairwise(offsets)]
        expected = [[n, c] for n, length in enumerate(lengths) for c in range(-(-length // size))]
        if _numbers("chunk_indices", chunk_indices) != expected:
            raise ValueError(
                f"chunk_indices: contents are not the (sequence, chunk) pairs of cu_seqlens with "
                f"chunks of {size} tokens."
            )
