"""Checks of options that the C library does not see under their Python names."""

from __future__ import annotations

import operator
from typing import Any

USE_QK_L2NORM = 1 << 1
USE_GATE = 1 << 2
USE_BETA_SIGMOID = 1 << 3
ALLOW_NEG_EIGVAL = 1 << 4
STATE_V_FIRST = 1 << 5
SILU = 1 << 7

_HEAD_MAPS = {"block": 0, "interleaved": 1}
_ACTIVATIONS = {None: 0, "silu": SILU, "swish": SILU}
_CHUNK_SIZES = (16, 32, 64, 128)


def head_map_code(head_map: Any) -> int:
    """Return the C enum of a head map's name."""
    try:
        return _HEAD_MAPS[head_map]
    except (KeyError, TypeError):
        raise ValueError(
            f"head_map: expected 'block' or 'interleaved', found {head_map!r}."
        ) from None


def activation_flag(activation: Any) -> int:
    """Return the flag of an activation's name."""
    try:
        return _ACTIVATIONS[activation]
    except (KeyError, TypeError):
        raise ValueError(
            f"activation: expected None, 'silu' or 'swish', found {activation!r}."
        ) from None


def integer(name: str, value: Any, expected: str = "an integer or None") -> int:
    """Return an integer option. A bool is none, though Python counts with it."""
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected {expected}, got bool.")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}.") from None


def chunk_size_code(chunk_size: Any) -> int:
    """Return the chunk size as an integer; 0 for None."""
    if chunk_size is None:
        return 0
    size = integer("chunk_size", chunk_size)
    if size not in _CHUNK_SIZES:
        raise ValueError(f"chunk_size: expected None, 16, 32, 64 or 128, found {size}.")
    return size


def positive(name: str, value: Any) -> int:
    """Return a positive integer option; 0 for None."""
    if value is None:
        return 0
    number = integer(name, value)
    if number <= 0 or number >= 1 << 62:
        raise ValueError(f"{name}: expected a positive integer, found {number}.")
    return number


def switch(name: str, value: Any) -> bool:
    """Return a switch; what is neither True nor False, such as the string "False", is refused."""
    if value is not True and value is not False:
        raise TypeError(f"{name}: expected True or False, found {value!r}.")
    return value


def delta_rule_flags(
    use_qk_l2norm_in_kernel: Any,
    use_gate_in_kernel: Any,
    use_beta_sigmoid_in_kernel: Any,
    allow_neg_eigval: Any,
    state_v_first: Any,
    transpose_state_layout: Any,
) -> int:
    """Return the C flags of the gated delta rule's switches."""
    flags = 0
    for name, value, flag in (
        ("use_qk_l2norm_in_kernel", use_qk_l2norm_in_kernel, USE_QK_L2NORM),
        ("use_gate_in_kernel", use_gate_in_kernel, USE_GATE),
        ("use_beta_sigmoid_in_kernel", use_beta_sigmoid_in_kernel, USE_BETA_SIGMOID),
        ("allow_neg_eigval", allow_neg_eigval, ALLOW_NEG_EIGVAL),
        ("state_v_first", state_v_first, STATE_V_FIRST),
    ):
        if switch(name, value):
            flags |= flag
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise ValueError(
            "allow_neg_eigval: needs use_beta_sigmoid_in_kernel=True; found False, with which "
            "beta is taken as given."
        )
    if transpose_state_layout is not None:
        if switch("transpose_state_layout", transpose_state_layout):
            flags |= STATE_V_FIRST
        elif state_v_first:
            raise ValueError(
                "transpose_state_layout: another name of state_v_first; found False beside "
                "state_v_first=True."
            )
    return flags


def refuse(name: str, value: Any, why: str) -> None:
    """Raise ValueError unless the argument is absent."""
    if value is not None:
        raise ValueError(f"{name}: {why}; expected None.")
