"""Whether a call goes straight to the library or through torch's dispatcher.

A direct call costs some microseconds less than a custom op, and is what runs in eager mode. While
torch traces (torch.compile, torch.export, FakeTensorMode, torch.jit.trace) the custom op has to be
called instead, so that the trace holds it and the fake kernel answers.

``traced()`` tells which, and ``is_compiling()``, which torch.compile takes for true, whether it is
torch.compile or torch.export that does; ``dispatched`` is the module with the same functions as the
extension module ``_C`` that go through the dispatcher.
"""

from __future__ import annotations

from typing import Any

dispatched: Any = None

try:
    import torch
except ImportError:

    def is_compiling() -> bool:
        """Return False: without torch nothing compiles."""
        return False

    traced = is_compiling

else:
    from gdn import _torch

    dispatched = _torch
    _dispatch_modes = torch._C._len_torch_dispatch_stack
    _jit_state = torch._C._get_tracing_state
    is_compiling = torch.compiler.is_compiling

    def traced() -> bool:
        """Return True while torch traces calls of this thread."""
        return is_compiling() or _dispatch_modes() > 0 or _jit_state() is not None
