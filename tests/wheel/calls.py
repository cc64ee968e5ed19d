"""Calls of an installed wheel against the recurrence in NumPy: calls.py numpy|torch."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "python"))

import numpy as np
import recurrence

import gdn


def main() -> None:
    """Compare a prefill and a decode step with the recurrence in float64."""
    kind = sys.argv[1]
    assert Path(gdn.__file__).is_relative_to(sys.prefix), gdn.__file__
    assert kind == "torch" or "torch" not in sys.modules
    names = [backend["name"] for backend in gdn.info()["backends"]]
    rng = np.random.default_rng()
    tokens, heads, width = 150, 2, 32
    q, k, v = (rng.standard_normal((1, tokens, heads, width), dtype=np.float32) for _ in "qkv")
    k /= np.sqrt(width)
    g = -rng.random((1, tokens, heads), dtype=np.float32)
    beta = rng.random((1, tokens, heads), dtype=np.float32)
    expected = recurrence.delta_rule(q, k, v, g, beta)

    def array(x):
        if kind == "numpy":
            return x
        import torch

        return torch.from_numpy(x)

    def part(start, end):
        return [array(np.ascontiguousarray(x[:, start:end])) for x in (q, k, v, g, beta)]

    o, state = gdn.chunk_gated_delta_rule(*part(0, tokens - 1), output_final_state=True)
    *operands, strength = part(tokens - 1, tokens)
    last, _ = gdn.fused_recurrent_gated_delta_rule(*operands, beta=strength, initial_state=state)
    found = np.concatenate([np.asarray(o), np.asarray(last)], 1)
    error = np.linalg.norm(found - expected[0]) / np.linalg.norm(expected[0])
    print(f"gdn {gdn.__version__}, {kind}, backends {', '.join(names)}: error {error:.1e}")
    assert error < 2e-6


main()
