"""Names of element types."""

from __future__ import annotations

from typing import Any

_NAMES = ("float32", "bfloat16", "float16")
_KNOWN: dict[Any, str] = {name: name for name in _NAMES}


def register(dtypes: dict[Any, str]) -> None:
    """Make another library's type objects known."""
    _KNOWN.update(dtypes)


def dtype_name(argument: str, dtype: Any) -> str:
    """Return "float32", "bfloat16" or "float16" for a torch or NumPy dtype or such a name."""
    try:
        if dtype in _KNOWN:
            return _KNOWN[dtype]
    except TypeError:
        pass
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    if name in _NAMES:
        return str(name)
    raise ValueError(f"{argument}: expected float32, bfloat16 or float16, found {dtype!r}.")
