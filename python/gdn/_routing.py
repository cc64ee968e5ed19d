"""Whether a call goes straight to the library or through torch's dispatcher.

A direct call costs some microseconds less than a custom op, and is what runs in eager mode. While
torch traces, the custom op has to be called instead, so that the trace holds it and the fake kernel
answers. ``is_compiling()`` tells where torch.compile or torch.export reads the Python code, and
``dispatched`` is the module with the functions of the extension ``_C`` that go through the
dispatcher. The other kinds of tracing (FakeTensorMode and its kind, torch.jit.trace) run the Python
code and call ``_C``, which sees them and calls ``dispatched`` itself.
"""

from __future__ import annotations

from typing import Any

from gdn import _C

dispatched: Any = None

try:
    import torch
except ImportError:

    def is_compiling() -> bool:
        """Return False: without torch nothing compiles."""
        return False

else:
    from gdn import _torch

    dispatched = _torch
    is_compiling = torch.compiler.is_compiling


def traced() -> bool:
    """Return True while torch traces calls of this thread in any way."""
    return is_compiling() or _C.torch_traces()
