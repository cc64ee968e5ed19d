"""Makes ``gdn`` a choice of SGLang's --linear-attn-backend, and of its forms for each phase.

    python -m sglang.launch_server --model MODEL --linear-attn-backend gdn

The package registers the plugin; the choice alone switches it on. docs/integrations.md says what
is replaced, for which versions, what is refused, and how far it has been tested.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from gdn.integrations._sglang_kernel import GdnKernel
from gdn.integrations._switch import release_of, text_of

__all__ = ["SUPPORTED", "register"]

SUPPORTED = ((0, 5, 23), (0, 5, 23))
"""Releases of SGLang, both ends included, whose sources the plugin follows."""

_LINEAR = "sglang.srt.layers.attention.linear"
_CHOICE = "gdn"


def register() -> None:
    """The entry point of sglang.srt.plugins.

    For any other release it says so and adds no choice: SGLang then refuses the name.
    """
    import sglang

    found = release_of(sglang.__version__, 3)
    first, last = SUPPORTED
    if not first <= found <= last:
        logging.getLogger(__name__).warning(
            "sglang %s is not supported by this libgdn (supported: %s to %s): there is no "
            "--linear-attn-backend gdn",
            sglang.__version__,
            text_of(first),
            text_of(last),
        )
        return
    hooks = importlib.import_module("sglang.srt.plugins.hook_registry")
    choices = importlib.import_module("sglang.srt.arg_groups.choices")
    if _CHOICE in choices.LINEAR_ATTN_KERNEL_BACKEND_CHOICES:
        return
    choices.add_linear_attn_kernel_backend_choices([_CHOICE])
    hooks.HookRegistry.register(
        f"{_LINEAR}.gdn_backend.GDNKernelDispatcher.__init__",
        make_dispatcher,
        hooks.HookType.AROUND,
    )


def make_dispatcher(
    original, self, decode_backend: Any, prefill_backend: Any, verify_backend: Any = None
) -> None:
    """GDNKernelDispatcher.__init__, with libgdn's kernel where its name was chosen.

    SGLang's own enumeration knows a name that it does not have as CUSTOM alone: the name itself is
    in the options.
    """
    options = importlib.import_module("sglang.srt.runtime_context").get_exec().mamba
    backends = importlib.import_module(f"{_LINEAR}.utils").LinearAttnKernelBackend
    base = importlib.import_module(f"{_LINEAR}.kernels.kernel_backend").LinearAttnKernelBase
    given = dict(decode=decode_backend, prefill=prefill_backend, verify=verify_backend)
    chosen = set()
    for phase, backend in given.items():
        name = getattr(options, f"linear_attn_{phase}_backend")
        if name is None and phase != "verify":
            name = options.linear_attn_backend
        if name == _CHOICE and backend is not None and backend.is_custom():
            chosen.add(phase)
            given[phase] = backends.TRITON
    original(self, given["decode"], given["prefill"], given["verify"])
    if not chosen:
        return
    kernel = type("LibgdnKernel", (GdnKernel, base), {})()
    if "decode" in chosen:
        self.decode_kernel = kernel
        self.supports_packed_decode = True
    if "prefill" in chosen:
        self.extend_kernel = kernel
    if "verify" in chosen:
        self.verify_kernel = kernel
        self.verify_kernel_is_flashinfer = False
    logging.getLogger(__name__).info("libgdn computes GDN layers: %s", ", ".join(sorted(chosen)))
