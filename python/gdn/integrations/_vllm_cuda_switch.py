"""Puts libgdn's functions in the place of vLLM's in the modules of its GDN layers on a GPU.

A module that is not imported yet is left so, since it would bring CUDA into processes that never
run a model: its functions are replaced as soon as it is.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from gdn.integrations import _vllm_cuda

_LAYERS = "vllm.model_executor.layers.mamba.gdn."

TARGETS: dict[str, tuple[str, ...]] = {
    _LAYERS + "qwen_gdn_linear_attn": (
        "causal_conv1d_fn",
        "causal_conv1d_update",
        "fused_recurrent_gated_delta_rule_packed_decode",
        "fused_sigmoid_gating_delta_rule_update",
        "ChunkGatedDeltaRule.forward",
    ),
    _LAYERS + "olmo_gdn_linear_attn": (
        "causal_conv1d_fn",
        "causal_conv1d_update",
        "chunk_gated_delta_rule",
        "fused_recurrent_gated_delta_rule",
    ),
    "vllm._custom_ops": ("fused_gdn_decode_post_conv_mtp",),
}
"""What is replaced, by the module that looks it up."""

_originals: dict[tuple[str, str], Any] = {}
_watch: _Watch | None = None


def install() -> None:
    """Replace the functions, now or when their modules are imported.

    Raises:
        RuntimeError: a function's arguments are not those that libgdn's has; nothing was changed.
    """
    global _watch
    loaded = [sys.modules[name] for name in TARGETS if name in sys.modules]
    for module in loaded:
        _check(module)
    for module in loaded:
        _replace(module)
    _watch = _Watch()
    sys.meta_path.insert(0, _watch)


def uninstall() -> None:
    """Put vLLM's functions back."""
    global _watch
    if _watch is not None:
        sys.meta_path.remove(_watch)
        _watch = None
    for (name, path), original in _originals.items():
        owner, attribute = _owner(sys.modules[name], path)
        if original is None:
            delattr(owner, attribute)
        else:
            setattr(owner, attribute, original)
    _originals.clear()


def _owner(module: ModuleType, path: str) -> tuple[Any, str]:
    """The module or the class that has an attribute, and its name there."""
    *outer, attribute = path.split(".")
    return (getattr(module, outer[0]) if outer else module), attribute


def _pairs(module: ModuleType) -> Iterator[tuple[str, Any, str, Callable[..., Any]]]:
    """(path, owner, attribute, libgdn's function) of what is replaced in a module."""
    for path in TARGETS[module.__name__]:
        owner, attribute = _owner(module, path)
        method = path == "ChunkGatedDeltaRule.forward"
        yield (
            path,
            owner,
            attribute,
            _vllm_cuda.chunk_forward if method else getattr(_vllm_cuda, path),
        )


def _check(module: ModuleType) -> None:
    """Refuse a release whose functions have other arguments."""
    for path, owner, attribute, ours in _pairs(module):
        # What the operation's forward passes on goes to one of these.
        theirs = getattr(owner, "forward_native" if attribute == "forward" else attribute)
        found, expected = ([*inspect.signature(f).parameters] for f in (theirs, ours))
        if found != expected:
            raise RuntimeError(
                f"vLLM's {module.__name__}.{path} has the arguments {', '.join(found)}; expected "
                f"{', '.join(expected)}; set GDN_VLLM=0"
            )


def _replace(module: ModuleType) -> None:
    for path, owner, attribute, ours in _pairs(module):
        # None: the class inherits it.
        _originals[module.__name__, path] = vars(owner).get(attribute)
        setattr(owner, attribute, ours)


class _Watch(importlib.abc.MetaPathFinder):
    """Replaces functions at the end of an import."""

    def __init__(self):
        self._looking = False

    def find_spec(self, name, path=None, target=None):
        if name not in TARGETS or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                if _watch is self:
                    _check(module)
                    _replace(module)

            spec.loader.exec_module = exec_module
        return spec
