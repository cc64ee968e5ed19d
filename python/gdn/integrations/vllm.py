"""Puts libgdn under the Gated DeltaNet layers of vLLM: a plugin that each of its processes loads.

    GDN_VLLM=1 vllm serve MODEL             # the package registers the plugin; this switches it on
    GDN_VLLM=1 GDN_VLLM_COUNTS=FOLDER ..    # and writes what ran to FOLDER (read_counts())

docs/integrations.md says what is replaced, for which versions, and what is refused.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import mmap
import os
import pathlib
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import gdn
from gdn.integrations._switch import check_version

__all__ = ["SUPPORTED", "calls", "disable", "enable", "is_enabled", "read_counts", "register"]

SUPPORTED = ((0, 32), (0, 32))
"""Releases of vLLM (major, minor), both ends included, that the tests cover."""

calls: Counter[str] = Counter()
"""Calls of each of libgdn's operations for vLLM in this process, and tokens that they had."""

_PHASES = (
    ("fused_gdn_decode",),
    ("causal_conv1d_fwd", "chunk_gated_delta_rule", "rms_norm_gated"),
)
_ON_GPU = ("causal_conv1d_update", "fused_recurrent_gated_delta_rule")
"""What decodes call there."""
_COUNTED = [
    name
    for phase in (*_PHASES, _ON_GPU)
    for operation in phase
    for name in (operation, f"{operation} tokens")
]
_FORMAT = f"{len(_COUNTED)}q"
_CUDA_SWITCH = "gdn.integrations._vllm_cuda_switch"
_CORE = "vllm.model_executor.layers.mamba.ops.cpu.gdn_attention"
_LAYERS = "vllm.model_executor.layers.mamba.gdn.qwen_gdn_linear_attn"
_OPERATION = "libgdn_layer_core"

_lock = threading.Lock()
_on = False
_prepared = False
_original: Callable[..., None] | None = None
_file: mmap.mmap | None = None


def register() -> None:
    """The entry point of vllm.general_plugins: enable() where GDN_VLLM is 1.

    Raises:
        ValueError: GDN_VLLM is set to anything but 0 or 1.
        ImportError, RuntimeError: as enable(); vLLM reports them and stops.
    """
    wanted = os.environ.get("GDN_VLLM", "0")
    if wanted not in ("0", "1"):
        raise ValueError(f"GDN_VLLM: expected 0 or 1, found {wanted!r}.")
    if wanted == "1":
        enable()


def enable() -> None:
    """Routes the GDN layers of models through libgdn, in this process.

    Before the first model is made: on the CPU its layers keep the forward that they find then, on a
    GPU a CUDA graph what it has captured. Calling it again changes nothing.

    Raises:
        ImportError: vLLM is missing, or its version is not in SUPPORTED.
        RuntimeError: a model with GDN layers exists already; vLLM runs on another device than a CPU
            or a CUDA GPU, or this libgdn has no CUDA backend; on a GPU, vLLM's functions have other
            arguments.
    """
    global _on, _prepared
    with _lock:
        if _on:
            return
        check_version("vllm", "vllm", SUPPORTED)
        if _on_gpu():
            importlib.import_module(_CUDA_SWITCH).install()
        elif not _prepared:
            module = importlib.import_module(_CORE)
            _check(module)
            _wait_for_layers(module)
            _prepared = True
        _open_counts()
        _on = True


def disable() -> None:
    """Gives vLLM its own kernels back, in this process. Calling it again changes nothing."""
    global _on
    with _lock:
        if _on and _on_gpu():
            importlib.import_module(_CUDA_SWITCH).uninstall()
        _on = False


def is_enabled() -> bool:
    """Whether GDN layers run on libgdn now."""
    return _on


def _on_gpu() -> bool:
    """Whether vLLM runs on a CUDA GPU; other devices than that and the CPU are refused."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return False
    if not current_platform.is_cuda():
        raise RuntimeError(
            "libgdn's plugin serves vLLM on the CPU and on CUDA GPUs, found "
            f"{current_platform.device_name}; set GDN_VLLM=0; nothing was changed"
        )
    if "cuda" not in [backend["name"] for backend in gdn.info()["backends"]]:
        raise RuntimeError(
            "vLLM runs on a CUDA GPU, and this libgdn was built without its CUDA backend; set "
            "GDN_VLLM=0; nothing was changed"
        )
    return True


def _check(module: Any) -> None:
    if module._CPU_GDN_ATTENTION_OPS_REGISTERED:
        raise RuntimeError(
            "a model with GDN layers exists already, whose function cannot be replaced any more: "
            "enable() before it is made; nothing was changed"
        )


def _wait_for_layers(module: Any) -> None:
    """Prepare the layers' class when vLLM makes the first one.

    Its module would take seconds to import, also in the processes that make none. Each layer
    registers vLLM's operation first of all.
    """
    register = module.register_cpu_gdn_attention_ops

    @functools.wraps(register)
    def register_and_replace() -> None:
        register()
        if _original is None:
            _replace_forward(module)

    module.register_cpu_gdn_attention_ops = register_and_replace


def _replace_forward(module: Any) -> None:
    """Give the layers' class a forward that calls libgdn between the projections."""
    global _original
    layers = importlib.import_module(_LAYERS)
    vllm_cpu = importlib.import_module("gdn.integrations._vllm_cpu")
    torch = importlib.import_module("torch")
    # vLLM's own operation, with z beside: torch reads the types of its arguments.
    signature = inspect.signature(module.cpu_gdn_attention_core, eval_str=True)
    arguments = list(signature.parameters.values())
    arguments.insert(3, arguments[0].replace(name="z"))
    _core.__signature__ = signature.replace(parameters=arguments)
    utilities = importlib.import_module("vllm.utils.torch_utils")
    utilities.direct_register_custom_op(_OPERATION, _core, mutates_args=["core_attn_out"])
    operation = getattr(torch.ops.vllm, _OPERATION)

    def forward_cpu(self, hidden_states):
        mixed_qkv, z, b, a = vllm_cpu.project(self, hidden_states)
        out = torch.empty_like(z, memory_format=torch.contiguous_format)
        operation(mixed_qkv, b, a, z, out, layers._encode_layer_name(self.prefix))
        return self.out_proj(out.flatten(1))[0]

    layers.QwenGatedDeltaNetAttention.forward_cpu = forward_cpu
    _original = module.cpu_gdn_attention_core


def _core(mixed_qkv, b, a, z, core_attn_out, layer_name) -> None:
    """vLLM's cpu_gdn_attention_core, with z beside its arguments, and the gated norm."""
    if not _on:
        vllm_cpu = importlib.import_module("gdn.integrations._vllm_cpu")
        core_attn_out.zero_()
        _original(mixed_qkv, b, a, core_attn_out, layer_name)
        core_attn_out.copy_(vllm_cpu.layer_of(layer_name).norm(core_attn_out, z))
        return
    phases = zip(_PHASES, _run(mixed_qkv, b, a, z, core_attn_out, layer_name), strict=True)
    for names, tokens in phases:
        if tokens:
            for name in names:
                count(name, tokens)


def count(operation: str, tokens: int) -> None:
    """Record a call of one of libgdn's operations."""
    calls[operation] += 1
    calls[f"{operation} tokens"] += tokens
    if _file is not None:
        struct.pack_into(_FORMAT, _file, 0, *(calls[name] for name in _COUNTED))


def _run(*args):
    """The core, which can be imported once vLLM is."""
    global _run
    _run = importlib.import_module("gdn.integrations._vllm_cpu").run
    return _run(*args)


def _open_counts() -> None:
    """Counts go to a file at once, since vLLM ends its workers by a signal."""
    global _file
    folder = os.environ.get("GDN_VLLM_COUNTS")
    if folder and _file is None:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{os.getpid()}.counts"), "w+b") as file:
            file.write(bytes(struct.calcsize(_FORMAT)))
            file.flush()
            _file = mmap.mmap(file.fileno(), 0)


def read_counts(folder: str | os.PathLike[str]) -> dict[str, int]:
    """Return the sum of `calls` over all processes that wrote to the folder GDN_VLLM_COUNTS."""
    total = dict.fromkeys(_COUNTED, 0)
    for path in pathlib.Path(folder).glob("*.counts"):
        for name, count in zip(_COUNTED, struct.unpack(_FORMAT, path.read_bytes()), strict=True):
            total[name] += count
    return total
