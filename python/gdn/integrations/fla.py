"""Puts libgdn under flash-linear-attention's gated delta rule, and under its layer on the CPU.

    import gdn.integrations.fla as g
    g.enable()            # from here on, every call in this process
    ...
    g.disable()           # FLA's own kernels again

    with g.enabled():     # or for a while
        ...

docs/integrations.md says what is replaced, for which versions, and what is refused.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections import Counter

from gdn.integrations import _fla_ops
from gdn.integrations._switch import check_version, switched_on

__all__ = ["SUPPORTED", "calls", "disable", "enable", "enabled", "is_enabled"]

SUPPORTED = ((0, 6), (0, 6))
"""Releases of flash-linear-attention (major, minor), both ends included, that the tests cover."""

calls: Counter[str] = Counter()
"""How often each of FLA's functions has been computed by libgdn, by its name there."""

_CPU_FUNCTIONS = {
    "fla.modules.causal_conv1d.ops": (
        "causal_conv1d_fwd",
        "causal_conv1d_update",
        "causal_conv1d_update_states",
    ),
    "fla.modules.norm.fused_norm_gate": ("layer_norm_gated_fwd",),
    "fla.modules.norm.layernorm": ("layer_norm_fwd",),
}

_lock = threading.Lock()
_on = False
_registered = False
_recurrent_original = None


def enable() -> None:
    """Routes FLA's gated delta rule through libgdn, on the CPU also its convolution and norms.

    Functions that other modules have imported already are served too. Calling it again changes
    nothing.

    Raises:
        ImportError: FLA is missing or cannot be imported, or its version is not in SUPPORTED.
        RuntimeError: FLA_DISABLE_BACKEND_DISPATCH=1 keeps FLA from asking other backends.
    """
    global _on, _registered, _recurrent_original
    with _lock:
        if _on:
            return
        check_version("flash-linear-attention", "fla", SUPPORTED)
        if importlib.import_module("fla.backends")._DISPATCH_DISABLED:
            raise RuntimeError(
                "FLA_DISABLE_BACKEND_DISPATCH=1: flash-linear-attention asks no other backend; "
                "unset it before its import; nothing was changed"
            )
        if not _registered:
            _register()
            _registered = True
        module = importlib.import_module("fla.ops.gated_delta_rule.fused_recurrent")
        _recurrent_original = module.fused_recurrent_gated_delta_rule_fwd
        module.fused_recurrent_gated_delta_rule_fwd = functools.wraps(_recurrent_original)(
            _counted("fused_recurrent_gated_delta_rule", _fla_ops.recurrent)
        )
        _on = True


def disable() -> None:
    """Gives FLA its own kernels back. Calling it again changes nothing."""
    global _on
    with _lock:
        if not _on:
            return
        module = importlib.import_module("fla.ops.gated_delta_rule.fused_recurrent")
        module.fused_recurrent_gated_delta_rule_fwd = _recurrent_original
        _on = False


def is_enabled() -> bool:
    """Whether FLA's gated delta rule runs on libgdn now."""
    return _on


def enabled():
    """A context in which FLA runs on libgdn; leaves things as it found them."""
    return switched_on(enable, disable, is_enabled)


def _counted(name: str, function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        result = function(*args, **kwargs)
        calls[name] += 1
        return result

    return run


def _register() -> None:
    """Make libgdn known to FLA's registries, before all other backends."""
    backends = importlib.import_module("fla.backends")

    class Backend(backends.BaseBackend):
        backend_type = "gdn"
        priority = -1

        def is_enabled(self) -> bool:
            return _on

    class DeltaRule(Backend):
        # No verifier: what libgdn cannot serve raises there, and never falls back.
        chunk_gated_delta_rule = staticmethod(
            _counted("chunk_gated_delta_rule", _fla_ops.chunk_gated_delta_rule)
        )
        gdn_gate_fwd = staticmethod(_counted("gdn_gate_fwd", _fla_ops.gdn_gate_fwd))

    importlib.import_module("fla.ops.gated_delta_rule")
    backends.register("gated_delta_rule")(DeltaRule)
    for path, names in _CPU_FUNCTIONS.items():
        module = importlib.import_module(path)
        for name in names:
            backends.register(getattr(module, name), backend=Backend, verifier=_on_cpu)(
                _counted(name, getattr(_fla_ops, name))
            )


def _on_cpu(x, *args, **kwargs):
    """Of these functions FLA has its own kernels for a GPU, and none for the CPU."""
    return x.device.type == "cpu", "libgdn serves this function on the CPU alone"
