"""Shapes and inputs of the GPU benchmarks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F

D = 128
RAGGED = (1, 63, 64, 65, 127, 128, 129, 447, 512, 640, 1920)


@dataclass(frozen=True)
class Shape:
    """Packed sequences and head counts of one call; head width 128."""

    label: str
    lengths: tuple[int, ...]
    hk: int
    hv: int
    states: bool = False
    """An initial state goes in (a final one always comes out)."""

    @property
    def name(self) -> str:
        """Label and heads."""
        return f"{self.label}, {self.hk}/{self.hv}"

    @property
    def floor_bytes(self) -> int:
        """q, k, v in and o out in bf16, g and beta in and the states in f32: each once."""
        states = len(self.lengths) * self.hv * D * D * 4 * (1 + self.states)
        return sum(self.lengths) * (4 * D * (self.hk + self.hv) + 8 * self.hv) + states


def _rows() -> list[Shape]:
    long = [Shape("16 x 16384", (16384,) * 16, 16, hv) for hv in (16, 32, 48, 64)]
    return [
        *long,
        Shape("1 x 32768", (32768,), 16, 32),
        Shape("1 x 32768", (32768,), 16, 16),
        Shape("1 x 131072", (131072,), 16, 32),
        Shape("1 x 65536", (65536,), 2, 8),
        Shape("8 x 4096", (4096,) * 8, 16, 32),
        Shape("2 x 4096", (4096,) * 2, 16, 32),
        Shape("1 x 2048", (2048,), 16, 32),
        Shape("1 x 8192", (8192,), 16, 64),
        Shape("64 x 512", (512,) * 64, 16, 32),
        Shape("[1 .. 1920] x 16", RAGGED * 16, 16, 32),
        Shape("1 x 32768", (32768,), 2, 4),
    ]


def _grid() -> list[Shape]:
    heads = [(2, 8), (4, 16), (8, 32), (16, 64), (16, 32), (16, 48), (16, 16), (32, 32)]
    lengths = [(n,) for n in (65536, 32768, 16384, 8192, 4096, 2048)]
    lengths += [(6144, 2048), (4096, 4096), (2048, 6144), (1024, 7168)]
    lengths += [(2048,) * 4, (1024,) * 8, (8192,) * 8, (8192,) * 16, (8192,) * 32]
    labels = ["+".join(map(str, n)) if len(set(n)) > 1 else f"{len(n)} x {n[0]}" for n in lengths]
    return [
        Shape(label, n, hk, hv, states=True)
        for (hk, hv), (label, n) in itertools.product(heads, zip(labels, lengths, strict=True))
    ]


SETS = {"rows": _rows(), "grid": _grid()}


@dataclass
class Inputs:
    """Tensors of one shape, on the GPU."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    g: torch.Tensor
    beta: torch.Tensor
    cu_seqlens: torch.Tensor
    initial_state: torch.Tensor | None
    """[N, HV, DK, DV]"""
    initial_state_v_first: torch.Tensor | None
    """The same as [N, HV, DV, DK]"""


GATES = {
    "ladder": lambda g: g,
    "sixteenth": lambda g: g / 16,
    "slow": lambda g: torch.full_like(g, -1e-3),
}
"""What becomes of the ladder's g: with slow gates a state remembers tens of thousands of tokens."""


def draw(shape: Shape, seed: int = 42, gates: str = "ladder") -> Inputs:
    """Inputs of the public ladder: q, k of length 1, g = logsigmoid(randn), beta = rand."""
    generator = torch.Generator(device="cuda").manual_seed(seed)
    tokens = sum(shape.lengths)

    def randn(*size: int) -> torch.Tensor:
        return torch.randn(*size, device="cuda", generator=generator)

    q, k = (F.normalize(randn(1, tokens, shape.hk, D), dim=-1).bfloat16() for _ in range(2))
    v = randn(1, tokens, shape.hv, D).bfloat16()
    g = GATES[gates](F.logsigmoid(randn(1, tokens, shape.hv)))
    beta = torch.rand(1, tokens, shape.hv, device="cuda", generator=generator)
    offsets = [0, *itertools.accumulate(shape.lengths)]
    cu_seqlens = torch.tensor(offsets, device="cuda")
    state = randn(len(shape.lengths), shape.hv, D, D) if shape.states else None
    transposed = None if state is None else state.mT.contiguous()
    return Inputs(q, k, v, g, beta, cu_seqlens, state, transposed)
