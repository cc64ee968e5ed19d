"""A GDN layer's calls as vLLM makes them on a GPU, and what they mean in float64.

Tokens are parts of wider projections, slots are further apart than they are long, arrays that
belong to sequences are longer than the call needs, and what pads them is vLLM's: block 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import recurrence
import torch
from support import DEVICE, TORCH_DTYPES, values

WIDTH = 4


@dataclass
class Step:
    """Inputs of one step: packed tokens and what vLLM says of the sequences."""

    mixed_qkv: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    lengths: list[int]
    offsets: torch.Tensor

    def spans(self):
        """The tokens of each sequence."""
        ends = np.cumsum([0, *self.lengths]).tolist()
        return [slice(*ends[n : n + 2]) for n in range(len(self.lengths))]


class Layer:
    """A layer's parameters and pools, with values of their own in every slot."""

    def __init__(
        self, dtype="bf16", hk=2, hv=4, dk=32, dv=32, slots=12, drafts=0, state_dtype="f32",
        seed=0, device=DEVICE,
    ):  # fmt: skip
        self.rng, self.device = np.random.default_rng(seed), device
        self.dtype, self.hk, self.hv, self.dk, self.dv = dtype, hk, hv, dk, dv
        self.channels = 2 * hk * dk + hv * dv
        self.weight = self.draw(self.channels, WIDTH) / 2
        self.A_log, self.dt_bias = self.draw(hv, dtype="f32"), self.draw(hv)
        length = WIDTH - 1 + drafts
        # [slots, C, L] of memory [slots, L, C], as vLLM's default layout has it.
        self.conv_pool = self.pool(slots, (length, self.channels), dtype).transpose(1, 2)
        self.states = self.pool(slots, (hv, dv, dk), state_dtype)

    def draw(self, *shape, dtype=None):
        """Standard normal values."""
        x = torch.from_numpy(self.rng.standard_normal(shape)).to(TORCH_DTYPES[dtype or self.dtype])
        return x.to(self.device)

    def pool(self, slots, shape, dtype):
        """Slots that are further apart than they are long."""
        size = int(np.prod(shape))
        return self.draw(slots, size + 32, dtype=dtype)[:, :size].unflatten(1, shape)

    def step(self, lengths, padding=0):
        """Tokens of sequences; `padding` tokens and as many sequences without any follow."""
        tokens = sum(lengths) + padding
        wide, ba = self.draw(tokens, self.channels + 40), self.draw(tokens, 2 * self.hv)
        ends = [0, *np.cumsum(lengths).tolist()] + [sum(lengths)] * padding
        return Step(
            wide[:, : self.channels], ba[:, : self.hv], ba[:, self.hv :], list(lengths),
            self.integers(ends),
        )  # fmt: skip

    def integers(self, entries):
        """int32 entries that belong to sequences."""
        return torch.tensor(entries, dtype=torch.int32, device=self.device)

    def indices(self, rows, padding=0):
        """Slots of sequences, with those of padding."""
        pad = [0] * len(rows[0]) if isinstance(rows[0], list) else 0
        return self.integers([*rows, *[pad] * padding])

    def heads(self, mixed):
        """q, k, v [T, .., ..] of rows [T, C]."""
        keys = self.hk * self.dk
        q, k, v = mixed.split([keys, keys, self.hv * self.dv], dim=-1)
        return (
            q.unflatten(-1, (self.hk, self.dk)),
            k.unflatten(-1, (self.hk, self.dk)),
            v.unflatten(-1, (self.hv, self.dv)),
        )

    def gating(self, a, b):
        """(g, beta) in float64."""
        return recurrence.gating(*(values(x) for x in (self.A_log, a, b, self.dt_bias)))

    def rule(self, mixed, a, b, state, l2norm=True):
        """(o [T, HV, V], the state after each token [T, HV, V, K]) of one sequence, in float64."""
        q, k, v = (values(x)[None] for x in self.heads(mixed))
        g, beta = self.gating(a, b)
        # One token at a time, to have the states between them.
        outputs, states, state = [], [], np.swapaxes(values(state), -1, -2)[None]
        for t in range(mixed.shape[0]):
            o, state, _ = recurrence.delta_rule(
                q[:, t : t + 1], k[:, t : t + 1], v[:, t : t + 1], g[None, t : t + 1],
                beta[None, t : t + 1], initial_state=state, use_qk_l2norm_in_kernel=l2norm,
            )  # fmt: skip
            outputs.append(o[0, 0])
            states.append(np.swapaxes(state[0], -1, -2))
        return np.array(outputs), np.array(states)

    def convolution(self, mixed, before):
        """silu of the convolution [T, C] of one sequence after the inputs `before` [C, W - 1]."""
        line = np.concatenate([before, values(mixed).T], axis=1)
        weight = values(self.weight)
        y = sum(weight[:, j : j + 1] * line[:, j : j + len(mixed)] for j in range(WIDTH))
        return recurrence.silu(y).T
