"""vLLM's own Triton kernels of GDN layers, out of its sources, without the rest of vLLM."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]


def sources() -> Path | None:
    """The folder vllm/ of VLLM_PATH or of what `make vllm` installs; None if there is none."""
    if "VLLM_PATH" in os.environ:
        return Path(os.environ["VLLM_PATH"]) / "vllm"
    return next(ROOT.glob(".venv/vllm/lib/python*/site-packages/vllm"), None)


def _to_device(data, device=None, dtype=None):
    return data.to(device=device, dtype=dtype)


def _keep_one_configuration(module: ModuleType) -> None:
    """Have its kernels compiled once each, instead of in every form that is tried for speed."""
    from triton.runtime import Autotuner, Heuristics

    for kernel in vars(module).values():
        while isinstance(kernel, (Autotuner, Heuristics)):
            if isinstance(kernel, Autotuner):
                kernel.configs = kernel.configs[:1]
            kernel = kernel.fn


def load(folder: Path, tuned: bool = True) -> SimpleNamespace:
    """The functions, by vLLM's names.

    What the files import of the rest of vLLM are stand-ins, for as long as they are imported.

    Args:
        folder: vllm/.
        tuned: as fast as they are; else they compile in a fraction of the time.
    """
    import triton
    import triton.language as tl

    def package(name: str, path: str = "", **members):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = [str(folder / path)] if path else []
        vars(module).update(members)
        sys.modules[name] = module
        return module

    known = set(sys.modules)
    try:
        package("vllm")
        package("vllm.platforms", current_platform=SimpleNamespace(
            is_arch_support_pdl=lambda: False, is_cpu=lambda: False, is_cuda_alike=lambda: True,
            is_rocm=lambda: False,
        ))  # fmt: skip
        package("vllm.triton_utils", triton=triton, tl=tl, tldevice=tl.extra.cuda.libdevice)
        for name in ("v1", "v1.attention", "v1.attention.backends", "model_executor",
                     "model_executor.layers", "model_executor.layers.mamba", "third_party",
                     "utils"):  # fmt: skip
            package(f"vllm.{name}")
        package("vllm.utils.gpu_sync_debug", gpu_sync_allowed=contextlib.nullcontext)
        package("vllm.utils.torch_utils", async_tensor_h2d=_to_device)
        package("vllm.v1.attention.backends.utils", NULL_BLOCK_ID=0, PAD_SLOT_ID=-1)
        package("vllm.model_executor.layers.mamba.ops", "model_executor/layers/mamba/ops")
        # Without its __init__, which imports norms that need more of vLLM.
        operations = "third_party/flash_linear_attention/ops"
        package("vllm.third_party.flash_linear_attention")
        package("vllm.third_party.flash_linear_attention.ops", operations)
        found = {}
        for file, names in {
            "vllm.model_executor.layers.mamba.ops.causal_conv1d": (
                "causal_conv1d_fn", "causal_conv1d_update"),
            "vllm.third_party.flash_linear_attention.ops.chunk": ("chunk_gated_delta_rule",),
            "vllm.third_party.flash_linear_attention.ops.fused_recurrent": (
                "fused_recurrent_gated_delta_rule",
                "fused_recurrent_gated_delta_rule_packed_decode"),
            "vllm.third_party.flash_linear_attention.ops.fused_sigmoid_gating": (
                "fused_sigmoid_gating_delta_rule_update",),
        }.items():  # fmt: skip
            module = importlib.import_module(file)
            found |= {name: getattr(module, name) for name in names}
        if not tuned:
            for name in set(sys.modules) - known:
                _keep_one_configuration(sys.modules[name])
        return SimpleNamespace(**found)
    finally:
        for name in set(sys.modules) - known:
            if name.partition(".")[0] == "vllm":
                del sys.modules[name]
