"""What the Python tests share: array kinds, inputs of the named cases, error measures.

GDN_TEST_DEVICE=cuda runs the tests of the operations on that device: inputs are drawn in NumPy as
ever and moved there, and conftest.py makes it torch's default for what tests create themselves.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "gpu"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cases"))
import cases as case_table

CASES = case_table.load()
DEVICE = os.environ.get("GDN_TEST_DEVICE", "cpu")
ON_GPU = DEVICE != "cpu"
TORCH_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def numpy_dtype(name):
    """NumPy's type of a case's dtype name; None where ml_dtypes is needed and missing."""
    if name == "bf16":
        try:
            import ml_dtypes
        except ImportError:
            return None
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"f32": "float32", "f16": "float16"}[name])


def values(array):
    """float64 NumPy values of a tensor or array."""
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().to(torch.float64).numpy()
    return np.asarray(array).astype(np.float64)


def as_torch(x, dtype=None):
    """A tensor of float64 or integer NumPy values."""
    t = torch.from_numpy(np.ascontiguousarray(x)).to(DEVICE)
    return t if dtype is None else t.to(TORCH_DTYPES[dtype])


def generator(seed):
    """A seeded generator of the tests' device."""
    return torch.Generator(device=DEVICE).manual_seed(seed)


def cpu_only(why):
    """Marks a test of what only the CPU does."""
    return pytest.mark.skipif(ON_GPU, reason=why)


def relative_error(actual, expected):
    """||a - e|| / ||e||; 0 for two zeros, infinite where anything is not finite."""
    actual, expected = values(actual), np.asarray(expected)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return np.inf
    difference, size = np.linalg.norm(actual - expected), np.linalg.norm(expected)
    return 0.0 if difference == 0.0 else difference / max(size, np.finfo(np.float64).tiny)


def bound_of(dtype, hard=False):
    """The project's bounds on relative_error."""
    if hard:
        return 5e-5 if dtype == "f32" else 2e-2
    return 2e-6 if dtype == "f32" else 6e-3


def assert_close(actual, expected, dtype, hard=False, what=""):
    """Fail if the error is over the project's bound."""
    error = relative_error(actual, expected)
    assert error <= bound_of(dtype, hard), f"{what}: error {error:.3g} for {dtype}"


def normalised(x):
    """Rows of length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def draw(batch=1, tokens=70, hk=2, hv=4, dk=32, dv=32, seed=0):
    """q, k, v, g, beta of the public ladder, float64."""
    rng = np.random.default_rng(seed)
    q = normalised(rng.standard_normal((batch, tokens, hk, dk)))
    k = normalised(rng.standard_normal((batch, tokens, hk, dk)))
    v = rng.standard_normal((batch, tokens, hv, dv))
    g = -np.logaddexp(0.0, -rng.standard_normal((batch, tokens, hv)))
    beta = rng.random((batch, tokens, hv))
    return q, k, v, g, beta


def tensors(dtype="f32", **shape):
    """draw() as torch tensors: q, k, v of the type, g and beta float32."""
    q, k, v, g, beta = draw(**shape)
    return *(as_torch(x, dtype) for x in (q, k, v)), as_torch(g, "f32"), as_torch(beta, "f32")


class CaseInputs:
    """Tensors and keyword arguments of a named case."""

    def __init__(self, case, dtype, seed=None):
        self.case = case
        self.dtype = dtype
        self.rng = np.random.default_rng(zlib.crc32(case.name.encode()) if seed is None else seed)
        own = dtype if "gates_same_type" in case.options else "f32"
        self.gate_dtypes = [own] * 4
        if "gates_mixed" in case.options:
            names = list(TORCH_DTYPES)
            self.gate_dtypes = [names[(names.index(dtype) + 1 + i) % 3] for i in range(4)]
        self.index_dtype = np.int64 if "index64" in case.options else np.int32
        self.options = {}
        self._draw_keys()
        self._draw_gates()
        self._draw_states()
        self._set_switches()

    def _tensor(self, x, dtype):
        t = as_torch(x, dtype)
        if "strided" in self.case.options and t.dim() == 4:
            padded = torch.full((*t.shape[:2], t.shape[2] + 1, t.shape[3] + 8), float("nan"))
            padded = padded.to(t.dtype)
            padded[..., : t.shape[2], : t.shape[3]] = t
            return padded[..., : t.shape[2], : t.shape[3]]
        if "head_first" in self.case.options and t.dim() >= 3:
            return t.transpose(1, 2).contiguous().transpose(1, 2)
        return t

    def _draw_keys(self):
        c, rng = self.case, self.rng
        shape = (c.batch, c.tokens, c.hk, c.dk)
        q, k = rng.standard_normal(shape), rng.standard_normal(shape)
        if c.recipe != "raw":
            norm = 0.5 if c.recipe == "small_keys" else 1.0
            q, k = norm * normalised(q), norm * normalised(k)
        if c.recipe == "repeated_key":
            k[:] = k[:1, :1]
        if c.recipe == "reflections":  # one direction: exactly in even key heads, near it in odd
            noise = 0.1 * (np.arange(c.hk) % 2)[:, None]
            k = k[:1, :1] + noise * k
        if c.recipe == "zero_rows":
            k[:, ::3], q[:, 1::3] = 0.0, 0.0
        if c.recipe == "zero_tail":  # of the last 14 tokens, one with a key
            k[:, -14], k[:, -12:] = 0.0, 0.0
        if c.recipe == "mixed_keys":  # lengths from 1 down to 10^-3
            k *= 10.0 ** (-3.0 * rng.random((c.batch, c.tokens, c.hk, 1)))
        huge = (1e3 if self.dtype == "f16" else 1e20) if c.recipe == "huge_v" else 1.0
        v = huge * rng.standard_normal((c.batch, c.tokens, c.hv, c.dv))
        if "broadcast" in c.options:
            q[:], k[:], v[:] = q[:, :, :1], k[:, :, :1], v[:1]
        self.q, self.k, self.v = (self._tensor(x, self.dtype) for x in (q, k, v))
        if "broadcast" in c.options:
            self.q = self.q[:, :, :1].expand(shape)
            self.k = self.k[:, :, :1].expand(shape)
            self.v = self.v[:1].expand(self.v.shape)

    def _draw_gates(self):
        c, rng = self.case, self.rng
        shape = (c.batch, c.tokens, c.hv)
        g, beta = rng.standard_normal(shape), rng.random(shape)
        if c.recipe == "gate_extremes":
            g[:, ::4] *= 40.0
        elif "gate" not in c.options:
            g = -np.logaddexp(0.0, -g)
        if "beta_sigmoid" in c.options:
            beta = (30.0 if c.recipe == "gate_extremes" else 1.0) * rng.standard_normal(shape)
        if c.recipe == "repeated_key":
            g[:], beta[:] = -1e-6, 1.0
        if c.recipe == "reflections":
            g[:], beta = -0.01, rng.choice([1.9, 2.0], shape)
        if c.recipe == "strong_decay":
            g = -80.0 * rng.random(shape)
        if c.recipe == "decay_spikes":
            g = -0.01 * rng.random(shape)
            g[:, ::3], g[:, 7::19] = 0.0, -80.0
        if c.recipe == "slow_decay":
            g = -2e-3 * rng.random(shape)
        if c.recipe == "fading_tail":  # what enters the state decays to about 10^-8
            g[:], beta[:, -14:] = -1.25, 0.0
        if c.recipe == "beta_levels":
            beta = rng.integers(0, 3, shape).astype(float)
        self.g = None if "no_g" in c.options else self._tensor(g, self.gate_dtypes[0])
        self.beta = None if "no_beta" in c.options else self._tensor(beta, self.gate_dtypes[1])
        if "gate" in c.options:
            self.options["A_log"] = as_torch(
                np.log(1 + 15 * rng.random(c.hv)) - 2, self.gate_dtypes[2]
            )
            if "no_dt_bias" not in c.options:
                self.options["dt_bias"] = as_torch(rng.standard_normal(c.hv), self.gate_dtypes[3])

    def _draw_states(self):
        c, rng = self.case, self.rng
        count = len(c.lengths)
        pool = bool({"pool", "slot_per_token", "in_place"} & c.options)
        columns = 1
        if "slot_per_token" in c.options:
            columns = max([3 if c.packed else 2, *c.lengths])
        entries = count * columns + 3 if pool else count
        if pool or "initial_state" in c.options:
            shape = (entries, c.hv, *((c.dv, c.dk) if "v_first" in c.options else (c.dk, c.dv)))
            dtype = next((t for t in ("bf16", "f16") if f"state_{t}" in c.options), "f32")
            state = as_torch(rng.standard_normal(shape), dtype)
            if "strided_state" in c.options:
                state = torch.cat([state, torch.full_like(state, 7.0)], 1)[:, : c.hv]
            self.options["initial_state"] = state
        if pool:
            free = rng.permutation(entries)[: count * columns]
            if "negative_index" in c.options:
                free[1::3] = -1
            index = free.reshape(count, columns) if columns > 1 else free
            self.options["state_indices"] = as_torch(index.astype(self.index_dtype))
            if "num_accepted_tokens" in c.options:
                accepted = rng.integers(1, columns + 1, count).astype(self.index_dtype)
                self.options["num_accepted_tokens"] = as_torch(accepted)
        self.pool = pool

    def _set_switches(self):
        c = self.case
        for option, name in (
            ("qk_l2norm", "use_qk_l2norm_in_kernel"),
            ("gate", "use_gate_in_kernel"),
            ("beta_sigmoid", "use_beta_sigmoid_in_kernel"),
            ("allow_neg_eigval", "allow_neg_eigval"),
            ("v_first", "state_v_first"),
        ):
            if option in c.options:
                self.options[name] = True
        if "interleaved" in c.options:
            self.options["head_map"] = "interleaved"
        if c.scale is not None:
            self.options["scale"] = c.scale
        if c.packed:
            cu = np.cumsum([0, *c.lengths]).astype(self.index_dtype)
            self.options["cu_seqlens"] = as_torch(cu)
        if c.checkpoint_every:
            self.options["checkpoint_every"] = c.checkpoint_every
        if c.chunk_size:
            self.options["chunk_size"] = c.chunk_size
        if {"final_state_f16", "checkpoints_f16"} & c.options:
            self.options["state_dtype"] = "float16"

    def reference_options(self):
        """Keyword arguments for recurrence.delta_rule, as NumPy."""
        return {
            name: (x.cpu().double().numpy() if x.is_floating_point() else x.cpu().numpy())
            if isinstance(x, torch.Tensor)
            else x
            for name, x in self.options.items()
            if name != "state_dtype"  # The reference rounds nothing.
        }
