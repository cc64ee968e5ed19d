"""Arguments that repeat what cu_seqlens says: checked, then not needed."""

from __future__ import annotations

import itertools
from typing import Any

from gdn import _C
from gdn._checks import plain
from gdn._routing import traced


def _check_kind(name: str, hint: Any, cu_seqlens: Any) -> None:
    """Refuse what is no array of the kind of cu_seqlens."""
    if cu_seqlens is None:
        raise ValueError(f"{name}: a hint beside cu_seqlens, which is None; expected None.")
    for argument, value in (("cu_seqlens", cu_seqlens), (name, hint)):
        if not (hasattr(value, "shape") and hasattr(value, "tolist")):
            raise TypeError(f"{argument}: expected an integer array, got {type(value).__name__}.")
    if hasattr(hint, "__array_struct__") != hasattr(cu_seqlens, "__array_struct__"):
        raise TypeError(f"{name}: expected an array like cu_seqlens, got {type(hint).__name__}.")


def check_hints(cu_seqlens: Any, cu_seqlens_cpu: Any, chunk_indices: Any, chunk_size: Any) -> None:
    """Refuse cu_seqlens_cpu and chunk_indices that contradict cu_seqlens.

    Shapes alone are compared while a call is traced, since there are no contents then, and for
    arrays on another device, whose contents would have to be waited for.
    """
    if cu_seqlens_cpu is not None:
        _check_kind("cu_seqlens_cpu", cu_seqlens_cpu, cu_seqlens)
        if tuple(cu_seqlens_cpu.shape) != tuple(cu_seqlens.shape):
            raise ValueError(
                f"cu_seqlens_cpu: found shape {tuple(cu_seqlens_cpu.shape)}, expected that of "
                f"cu_seqlens, {tuple(cu_seqlens.shape)}."
            )
    if chunk_indices is not None:
        _check_kind("chunk_indices", chunk_indices, cu_seqlens)
        if chunk_indices.ndim != 2 or chunk_indices.shape[1] != 2:
            raise ValueError(
                f"chunk_indices: found shape {tuple(chunk_indices.shape)}, expected [NT, 2]."
            )
    if traced() or str(getattr(cu_seqlens, "device", "cpu")) != "cpu" or cu_seqlens.ndim != 1:
        return
    offsets = cu_seqlens.tolist()
    if cu_seqlens_cpu is not None and cu_seqlens_cpu.tolist() != offsets:
        raise ValueError("cu_seqlens_cpu: its contents differ from those of cu_seqlens.")
    if chunk_indices is not None:
        size = plain("chunk_size", chunk_size) or _C.CHUNK_SIZE
        lengths = [end - begin for begin, end in itertools.pairwise(offsets)]
        expected = [[n, c] for n, length in enumerate(lengths) for c in range(-(-length // size))]
        if chunk_indices.tolist() != expected:
            raise ValueError(
                f"chunk_indices: contents are not the (sequence, chunk) pairs of cu_seqlens with "
                f"chunks of {size} tokens."
            )
