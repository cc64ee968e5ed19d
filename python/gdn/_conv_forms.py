"""Calls of the convolutions in the words of causal-conv1d, vLLM and SGLang.

Keywords of theirs become gdn's own. The name that the caller used goes along with each, so that an
error names that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gdn import _C, _checks
from gdn._routing import dispatched, is_compiling, traced

Given = dict[str, Any]
Names = tuple[tuple[str, str], ...]
"""Pairs (own name of an argument, the caller's)."""

_KNOWN = {
    "cache_indices": "state_indices",
    "conv_state_indices": "state_indices",
    "conv_states": "conv_state",
    "null_block_id": "null_slot",
    "pad_slot_id": "null_slot",
    "query_start_loc": "cu_seqlens",
}

# What plans a launch there, or asks for checks that are made here in any case.
_NOT_NEEDED = frozenset({"max_query_len", "metadata", "seq_lens_cpu", "validate_data"})

_BLOCKS = "states at block boundaries are not supported"
_DRAFTS = "trees of drafts and states between drafts are not supported"
_REFUSED = {
    "block_idx_first_scheduled_token": _BLOCKS,
    "block_idx_last_scheduled_token": _BLOCKS,
    "block_size_to_align": _BLOCKS,
    "cache_seqlens": "circular states are not supported",
    "initial_state_idx": _BLOCKS,
    "intermediate_conv_window": _DRAFTS,
    "intermediate_state_indices": _DRAFTS,
    "num_computed_tokens": _BLOCKS,
    "retrieve_next_sibling": _DRAFTS,
    "retrieve_next_token": _DRAFTS,
    "retrieve_parent_token": _DRAFTS,
}

# Words that vLLM and SGLang have and causal-conv1d has not. Where a slot is longer than a call
# needs, those keep the inputs in its first entries, causal-conv1d in its last ones.
_FRONT = {
    "conv_states",
    "max_query_len",
    "null_block_id",
    "pad_slot_id",
    "query_start_loc",
    "validate_data",
} | {n for n, why in _REFUSED.items() if why in (_BLOCKS, _DRAFTS)}

_FORWARD = (
    "x", "weight", "bias", "conv_state", "state_indices", "has_initial_state", "cu_seqlens", "out",
    "activation", "null_slot", "padded",
)  # fmt: skip
_UPDATE = (
    "x", "conv_state", "weight", "bias", "state_indices", "num_accepted_tokens", "cu_seqlens",
    "out", "activation", "null_slot", "padded",
)  # fmt: skip


def _called(names: Names, own: str) -> str:
    """The name that the caller gave an argument by."""
    for name, caller in names:
        if name == own:
            return caller
    return own


def _translate(function: str, given: Given, foreign: Given) -> Names:
    """Move arguments from other libraries' keywords to gdn's."""
    own_given = [name for name, value in given.items() if value is not None]
    names: Names = ()
    for name, value in foreign.items():
        own = _KNOWN.get(name)
        if name in _REFUSED:
            _checks.refuse(name, value or None if isinstance(value, int) else value, _REFUSED[name])
        elif name not in _NOT_NEEDED and own not in given:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        if own is None or value is None:
            continue
        if own in own_given:
            raise ValueError(f"{name}: another name of {own}, which is given too; expected one.")
        if own == "null_slot" and _checks.integer(name, value) < 0:
            continue  # Negative indices name no slot anyway.
        if given[own] is not None:
            raise ValueError(
                f"{name}: means the same as {_called(names, own)}, which is given too; expected "
                "one."
            )
        given[own] = value
        names = (*names, (own, name))
    if given["state_indices"] is None and _called(names, "null_slot") != "null_slot":
        given["null_slot"] = None  # Those libraries pass it with and without indices.
    return names


def _use_front(given: Given, foreign: Given, entries: int) -> None:
    """Leave the first entries of a longer slot to a call in vLLM's words."""
    state = given["conv_state"]
    wanted = not _FRONT.isdisjoint(foreign)
    if wanted and getattr(state, "ndim", 0) == 3 and 0 < entries < state.shape[2]:
        given["conv_state"] = state[:, :, :entries]


def _width(weight: Any) -> int:
    """W, or 0 where weight is refused later."""
    return weight.shape[1] if getattr(weight, "ndim", 0) == 2 else 0


def _run(function: str, order: tuple[str, ...], given: Given, names: Names) -> Any:
    kernels = dispatched if is_compiling() else _C
    return getattr(kernels, function)(*[given[name] for name in order], names or None)


def forward(
    given: Given, states: Given, seq_idx: Any, return_final_states: bool, foreign: Given
) -> Any:
    """causal_conv1d_fwd in other libraries' words.

    `given` are gdn's own arguments, `states` causal-conv1d's initial_states and final_states_out.
    """
    names = _translate("causal_conv1d_fwd", given, foreign)
    pool = foreign.get("conv_states")
    if given["activation"] is ...:
        # The defaults of vLLM's function and of causal-conv1d's.
        given["activation"] = "silu" if "conv_states" in foreign else None
    elif isinstance(given["activation"], bool):
        given["activation"] = "silu" if given["activation"] else None
    if getattr(seq_idx, "ndim", 0) == 3:
        raise ValueError(
            f"seq_idx: found {_found(seq_idx)}, expected [B, T]; vLLM's and SGLang's conv_states, "
            "and what follows it there, is given by name."
        )
    if pool is not None and given["has_initial_state"] is None:
        # In those libraries a slot counts only where this says so.
        given["has_initial_state"] = _all_false(given)
    _use_front(given, foreign, _width(given["weight"]) - 1)

    def run(arguments: Given, words: Names) -> Any:
        return _run("causal_conv1d_fwd", _FORWARD, arguments, words)

    beside = [name for name, value in states.items() if value is not None]
    if _checks.switch("return_final_states", return_final_states):
        beside.append("return_final_states")
    elif states["final_states_out"] is not None:
        raise ValueError("final_states_out: expected None without return_final_states=True.")
    if seq_idx is not None:
        _refuse_beside("seq_idx", given, names, "cu_seqlens")
        for name in beside:
            raise ValueError(f"seq_idx: expected None beside {name}.")
        return _rows_by_seq_idx(run, given, names, seq_idx)
    if not beside:
        return run(given, names)
    _refuse_beside(beside[0], given, names)
    state = _state_of(given, **states)
    y = run({**given, "conv_state": state}, (*names, ("conv_state", beside[0])))
    final = states["final_states_out"]
    if final is not None:  # Written last: a call that is refused leaves it as it was.
        final[...] = state
        state = final
    return (y, state) if return_final_states else y


def update(given: Given, foreign: Given) -> Any:
    """causal_conv1d_update in other libraries' words."""
    names = _translate("causal_conv1d_update", given, foreign)
    if isinstance(given["activation"], bool):
        given["activation"] = "silu" if given["activation"] else None
    entries = _width(given["weight"]) - 1
    x, verify = given["x"], given["num_accepted_tokens"] is not None
    if verify and given["cu_seqlens"] is not None:
        entries = 0  # Counts from the front in any case.
    elif verify and getattr(x, "ndim", 0) == 3:
        entries += x.shape[2] - 1
    _use_front(given, foreign, entries)
    return _run("causal_conv1d_update", _UPDATE, given, names)


def _refuse_beside(name: str, given: Given, names: Names, *more: str) -> None:
    """Refuse a pool beside states or sequences that come in another form."""
    for own in ("conv_state", "state_indices", "has_initial_state", *more):
        if given[own] is not None:
            raise ValueError(f"{_called(names, own)}: expected None beside {name}.")


def _state_of(given: Given, initial_states: Any, final_states_out: Any) -> Any:
    """The array [N, C, W - 1] that a call updates for states that are inputs and results."""
    x, weight, cu_seqlens = given["x"], given["weight"], given["cu_seqlens"]
    if getattr(x, "ndim", 0) not in (2, 3):
        raise ValueError("x: expected an array [B, C, T] or [C, T].")
    if getattr(weight, "ndim", 0) != 2:
        raise ValueError("weight: expected an array [C, W].")
    count = x.shape[0] if x.ndim == 3 else 1
    if cu_seqlens is not None and getattr(cu_seqlens, "ndim", 0) == 1:
        count = cu_seqlens.shape[0] - 1
    shape = (count, weight.shape[0], weight.shape[1] - 1)
    for name, value in (("initial_states", initial_states), ("final_states_out", final_states_out)):
        if value is not None and tuple(getattr(value, "shape", ())) != shape:
            raise ValueError(f"{name}: found {_found(value)}, expected shape {shape}.")
    # In the type that the states come or go in.
    like = x if final_states_out is None else final_states_out
    if initial_states is None:
        return _zeros(like, shape)
    copy = initial_states.clone() if hasattr(x, "new_zeros") else initial_states.copy()
    if copy.dtype == like.dtype or final_states_out is None:
        return copy
    return copy.to(like.dtype) if hasattr(x, "new_zeros") else copy.astype(like.dtype)


def _zeros(like: Any, shape: tuple[int, ...]) -> Any:
    """A new array of zeros of the kind, type and device of another."""
    if hasattr(like, "new_zeros"):
        return like.new_zeros(shape)
    import numpy as np

    return np.zeros(shape, like.dtype)


def _all_false(given: Given) -> Any:
    """has_initial_state of a call in which no slot counts."""
    x, cu_seqlens = given["x"], given["cu_seqlens"]
    rows = x.shape[0] if getattr(x, "ndim", 0) == 3 else 1
    if getattr(cu_seqlens, "ndim", 0) == 1:
        rows = max(cu_seqlens.shape[0] - 1, 0)
    if hasattr(x, "new_zeros"):
        import torch

        return x.new_zeros(rows, dtype=torch.bool)
    import numpy as np

    return np.zeros(rows, bool)


def _found(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__


def _rows_by_seq_idx(
    run: Callable[[Given, Names], Any], given: Given, names: Names, seq_idx: Any
) -> Any:
    """Row after row of x [B, C, T], cut where seq_idx [B, T] changes; 0 where it is negative."""
    x, out = given["x"], given["out"]
    if traced():
        raise ValueError(
            "seq_idx: torch traces this call, and what seq_idx holds is not known there; expected "
            "cu_seqlens instead."
        )
    if getattr(x, "ndim", 0) != 3:
        raise ValueError("x: expected an array [B, C, T] with seq_idx.")
    if tuple(getattr(seq_idx, "shape", ())) != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"seq_idx: found {_found(seq_idx)}, expected shape {(x.shape[0], x.shape[2])}."
        )
    if not _holds_integers(seq_idx):
        raise ValueError(f"seq_idx: found {seq_idx.dtype}, expected int32 or int64.")
    if out is not None and tuple(getattr(out, "shape", ())) != tuple(x.shape):
        raise ValueError(f"out: found {_found(out)}, expected shape {tuple(x.shape)}.")
    # Rows of a batch share one result, whose layout and first contents the plain call gives.
    y = out if x.shape[0] == 1 else run(given, names)
    for b in range(x.shape[0]):
        row = seq_idx[b]
        changes = (row[1:] != row[:-1]).nonzero()
        changes = changes[0] if isinstance(changes, tuple) else changes[:, 0]
        offsets = _integers_like(row, [0, *(i + 1 for i in changes.tolist()), x.shape[2]])
        part = None if y is None else y[b : b + 1]
        done = run(
            {**given, "x": x[b : b + 1], "cu_seqlens": offsets, "out": part},
            (*names, ("cu_seqlens", "seq_idx")),
        )
        done[0, :, row < 0] = 0
        y = done if y is None else y
    return y


def _holds_integers(array: Any) -> bool:
    """True for the types that cu_seqlens may have."""
    return str(array.dtype).removeprefix("torch.") in ("int32", "int64")


def _integers_like(array: Any, values: list[int]) -> Any:
    """A new array of the kind, type and device of another."""
    if hasattr(array, "new_tensor"):
        return array.new_tensor(values)
    import numpy as np

    return np.array(values, array.dtype)
