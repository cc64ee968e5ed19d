"""What one pass through a text model means for all its GDN layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import torch


@dataclass
class ForwardPass:
    """One pass through a text model."""

    cu_seqlens: torch.Tensor | None = None
    """int32 [N + 1] over all rows, or None: every row is one sequence."""
    calls: int = 0
    """GDN layers that libgdn has computed in this pass."""


class _Traced:
    """The pass that torch.compile or torch.export reads: they cannot follow a context variable."""

    current: ForwardPass | None = None


_traced = _Traced()
_current: ContextVar[ForwardPass | None] = ContextVar("gdn_forward_pass", default=None)


def current_pass() -> ForwardPass | None:
    """The pass that is under way in this thread, or in the code that is being traced."""
    if torch.compiler.is_compiling():
        return _traced.current
    return _current.get()


def run(this_pass: ForwardPass, function, *args, **kwargs):
    """Call the function within a pass."""
    if torch.compiler.is_compiling():
        before = _traced.current
        _traced.current = this_pass
        output = function(*args, **kwargs)
        _traced.current = before
        return output
    with _entered(this_pass):
        return function(*args, **kwargs)


@contextlib.contextmanager
def _entered(this_pass: ForwardPass) -> Iterator[None]:
    token = _current.set(this_pass)
    try:
        yield
    finally:
        _current.reset(token)
