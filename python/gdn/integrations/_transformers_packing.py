"""Which tokens of a forward pass belong to one sequence.

transformers packs several sequences into one row in three ways: cu_seq_lens_q, seq_idx, or position
ids that start again. Its attention layers honour position ids; its GDN layers' torch path ignores
all three and lets states leak from one sequence into the next. Here all three become cu_seqlens.
"""

from __future__ import annotations

import torch


def from_arguments(cu_seq_lens, seq_idx, batch: int, length: int) -> torch.Tensor | None:
    """Turns explicit arguments into cu_seqlens over the batch * length tokens, row after row.

    Args:
        cu_seq_lens: [N + 1] integers from 0 to length, or None. Needs batch 1.
        seq_idx: [batch, length] integers that change where a new sequence starts, or None.
        batch: rows of the forward pass.
        length: tokens of a row.

    Returns:
        int32 [N + 1], or None if neither argument was given.

    Raises:
        TypeError: an argument that is no tensor of integers.
        ValueError: cu_seq_lens with several rows, a wrong shape, or two arguments that disagree.
    """
    _check_integers("seq_idx", seq_idx)
    _check_integers("cu_seq_lens_q", cu_seq_lens)
    packed = None
    if seq_idx is not None:
        if tuple(seq_idx.shape) != (batch, length):
            raise ValueError(
                f"seq_idx: shape {tuple(seq_idx.shape)} found, ({batch}, {length}) expected"
            )
        packed = _boundaries(seq_idx[:, 1:] != seq_idx[:, :-1])
    if cu_seq_lens is not None:
        if batch != 1:
            raise ValueError(f"cu_seq_lens_q: packed sequences need batch 1, {batch} found")
        if cu_seq_lens.ndim != 1 or cu_seq_lens.numel() < 2:
            raise ValueError(
                f"cu_seq_lens_q: shape {tuple(cu_seq_lens.shape)} found, (N + 1,) expected"
            )
        given = cu_seq_lens.to(torch.int32)
        if packed is not None and torch.compiler.is_compiling():
            raise ValueError(
                "cu_seq_lens_q: found beside seq_idx, with which it cannot be compared while torch "
                "traces; expected one of the two"
            )
        if packed is not None and not torch.equal(torch.unique(given), packed.to(given.device)):
            raise ValueError("cu_seq_lens_q and seq_idx name different sequences")
        packed = given
    return packed


def from_position_ids(position_ids, batch: int) -> torch.Tensor | None:
    """Finds sequences where position ids do not go up by one, as transformers' masks do.

    Args:
        position_ids: [1 or batch, T], or [4, batch, T] with the text's positions first (Qwen3.5);
            other shapes carry no text positions.
        batch: rows of the forward pass.

    Returns:
        int32 cu_seqlens over all rows, or None if every row is one sequence.
    """
    if position_ids is None:
        return None
    if position_ids.ndim == 3 and position_ids.shape[0] == 4:
        position_ids = position_ids[0]
    if position_ids.ndim != 2:
        return None
    starts = position_ids[:, 1:] - position_ids[:, :-1] != 1
    if not torch.compiler.is_compiling() and not bool(starts.any()):
        return None
    return _boundaries(starts.expand(batch, -1))


def _check_integers(name: str, value) -> None:
    """Refuses what a conversion to int32 would bend."""
    if value is None:
        return
    found = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
    if found not in (torch.int32, torch.int64):
        raise TypeError(f"{name}: {found} found, a tensor of int32 or int64 expected")


def _boundaries(starts: torch.Tensor) -> torch.Tensor:
    """cu_seqlens from [B, T - 1] flags: token t + 1 begins a sequence; so does every row.

    While torch traces, the number of sequences is not known: there are then as many as tokens, of
    which the last are empty.
    """
    batch, length = starts.shape[0], starts.shape[1] + 1
    first = torch.ones(batch, 1, dtype=torch.bool, device=starts.device)
    flags = torch.cat([first, starts], dim=1).flatten()
    end = torch.full((1,), batch * length, device=starts.device)
    if torch.compiler.is_compiling():
        tokens = torch.arange(batch * length, device=starts.device)
        begins = torch.where(flags, tokens, end).sort().values
    else:
        begins = flags.nonzero().flatten()
    return torch.cat([begins, end]).to(torch.int32)
