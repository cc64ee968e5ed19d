"""What eager and traced calls refuse alike, each message written once.

An eager call reads plain options in the extension, which asks here about any other value. A traced
call has all of them read here, in code that torch.compile can follow.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

CHUNK_SIZES = (16, 32, 64, 128)
_DTYPES = ("float32", "bfloat16", "float16")
_dtype_names: dict[Any, str] = {name: name for name in _DTYPES}


def register_dtypes(dtypes: dict[Any, str]) -> None:
    """Make another library's type objects known."""
    _dtype_names.update(dtypes)


def switch(name: str, value: Any) -> bool:
    """Return a switch; what is neither True nor False, such as the string "False", is refused."""
    if value is not True and value is not False:
        raise TypeError(f"{name}: expected True or False, found {value!r}.")
    return value


def integer(name: str, value: Any, expected: str = "an integer or None") -> int:
    """Return an integer option. A bool is none, though Python counts with it."""
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected {expected}, got bool.")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}.") from None


def _chunk_size(name: str, value: Any) -> int | None:
    if value is None:
        return None
    size = integer(name, value)
    if size not in CHUNK_SIZES:
        raise ValueError(f"{name}: expected None, 16, 32, 64 or 128, found {size}.")
    return size


def _token_count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    number = integer(name, value)
    if number <= 0 or number >= 1 << 62:
        raise ValueError(f"{name}: expected a positive integer, found {number}.")
    return number


def _index(name: str, value: Any) -> int | None:
    if value is None:
        return None
    number = integer(name, value)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{name}: expected a 64-bit integer, found {number}.")
    return number


def _head_map(name: str, value: Any) -> str:
    if isinstance(value, str) and value in ("block", "interleaved"):
        return value
    raise ValueError(f"{name}: expected 'block' or 'interleaved', found {value!r}.")


def _activation(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value in ("silu", "swish"):
        return "silu"
    raise ValueError(f"{name}: expected None, 'silu' or 'swish', found {value!r}.")


def _gate_activation(name: str, value: Any) -> str:
    if isinstance(value, str) and value in ("silu", "swish", "sigmoid"):
        return "sigmoid" if value == "sigmoid" else "silu"
    raise ValueError(f"{name}: expected 'silu', 'swish' or 'sigmoid', found {value!r}.")


def _dtype(name: str, value: Any) -> str:
    try:
        if value in _dtype_names:
            return _dtype_names[value]
    except TypeError:
        pass
    found = getattr(value, "name", None) or getattr(value, "__name__", None)
    if found in _DTYPES:
        return str(found)
    raise ValueError(f"{name}: expected float32, bfloat16 or float16, found {value!r}.")


def _dtype_or_none(name: str, value: Any) -> str | None:
    return None if value is None else _dtype(name, value)


def _as_given(_: str, value: Any) -> Any:
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "activation": _activation,
    "beta_dtype": _dtype_or_none,
    "checkpoint_every": _token_count,
    "chunk_size": _chunk_size,
    "eps": _as_given,
    "gate_activation": _gate_activation,
    "h_dtype": _dtype,
    "head_map": _head_map,
    "names": _as_given,
    "null_slot": _index,
    "output_dtype": _dtype,
    "scale": _as_given,
    "state_dtype": _dtype_or_none,
}


def plain(name: str, value: Any) -> Any:
    """Return the plain value that an option of a public function stands for, or raise.

    Plain are True and False, numbers, None, the names of head maps and types, and "silu".
    """
    return _READERS.get(name, switch)(name, value)


def check_sigmoid(allow_neg_eigval: bool, use_beta_sigmoid_in_kernel: bool) -> None:
    """Refuse to double a beta that is no sigmoid."""
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise ValueError(
            "allow_neg_eigval: needs use_beta_sigmoid_in_kernel=True; found False, with which "
            "beta is taken as given."
        )


def check_pool(initial_state: Any, state_indices: Any, inplace_final_state: bool) -> None:
    """Refuse an update in place without states to update."""
    if initial_state is None and state_indices is not None:
        raise ValueError("initial_state: state_indices needs a pool of states here, found None.")
    if initial_state is None and inplace_final_state:
        raise ValueError("initial_state: inplace_final_state needs states to update, found None.")


def check_rounding(round_states: bool, stored: bool) -> None:
    """Refuse to round states to the type of states that nobody wants."""
    if round_states and not stored:
        raise ValueError(
            "round_states: needs states that are stored, by output_final_state, "
            "inplace_final_state or state_indices; found none of them."
        )


def check_null_slot(null_slot: Any, *tables: Any) -> None:
    """Refuse an index of no slot where there are no indices."""
    if null_slot is not None and all(table is None for table in tables):
        raise ValueError(
            f"null_slot: found {null_slot}, an index that names no slot, without state_indices; "
            "expected None."
        )


def check_state_dtype(state_dtype: Any, pool: Any) -> None:
    """Refuse another type for states that a call updates and does not make."""
    wanted, found = _dtype("state_dtype", state_dtype), _dtype("initial_state", pool.dtype)
    if wanted != found:
        raise ValueError(
            f"state_dtype: found {wanted}, but this call makes no states: it updates those of "
            f"initial_state, which stay {found}; expected None."
        )


def refuse_gradient(name: str) -> None:
    """Raise for an argument whose gradient would silently be lost."""
    raise NotImplementedError(
        f"{name}: requires a gradient, but gdn has no backward pass yet; call it under "
        "torch.no_grad(), or detach the tensor."
    )


def refuse(name: str, value: Any, why: str) -> None:
    """Raise ValueError unless the argument is absent."""
    if value is not None:
        raise ValueError(f"{name}: {why}; expected None.")


def v_first(state_v_first: Any, transpose_state_layout: Any) -> bool:
    """Return the switch that came under its former name."""
    if switch("state_v_first", state_v_first):
        raise ValueError(
            "transpose_state_layout: the former name of state_v_first, which is True; expected one "
            "of the two."
        )
    chosen = switch("transpose_state_layout", transpose_state_layout)
    # Level 2 is the public function, 3 its caller.
    warnings.warn(
        "transpose_state_layout: the former name of state_v_first, which is to be used.",
        DeprecationWarning,
        stacklevel=3,
    )
    return chosen
