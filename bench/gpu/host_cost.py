"""What a call costs the caller's thread: time to queue it, the device's own time not waited for.

    python bench/gpu/host_cost.py [--device cuda] [--json FILE]

Shapes are the smallest that a GPU serves, so that the device keeps up and the queue never fills.
Each figure is the median over runs of CALLS calls between two synchronisations, in microseconds a
call. Beside it what torch's own calls cost in the same process: an elementwise addition in place,
an allocation, and the least kernel. "Decode of nothing" has no sequence: all checks, no launch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

import gdn

CALLS = 100
RUNS = 60


def host_microseconds(call: Callable[[], object], synchronise: Callable[[], object]) -> float:
    """Median time to queue one call."""
    times = []
    for _ in range(RUNS + 5):
        synchronise()
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        times.append((time.perf_counter() - start) / CALLS * 1e6)
    return statistics.median(times[5:])


def calls(device: str) -> dict[str, Callable[[], object]]:
    """Named calls of the package, and torch's own for scale."""
    hk, hv, d = 1, 2, 16
    draw = lambda *s: torch.randn(*s, device=device)  # noqa: E731
    q, k, v = (draw(1, 1, h, d).bfloat16() for h in (hk, hk, hv))
    g, beta = -torch.rand(1, 1, hv, device=device), torch.rand(1, 1, hv, device=device)
    pool = draw(4, hv, d, d)
    states = draw(1, hv, d, d)
    slots = torch.tensor([2], dtype=torch.int32, device=device)
    out = torch.empty_like(v)
    none_q, none, no_gates, no_states = q[:0], v[:0], g[:0], states[:0]
    x, weight, conv_state = draw(1, 64), draw(64, 4), draw(1, 64, 4)
    cu = torch.tensor([0, 1], dtype=torch.int32, device=device)
    A_log, dt_bias, norm = draw(hv), draw(hv), draw(d)
    recurrent = gdn.fused_recurrent_gated_delta_rule
    return {
        "decode, pool": lambda: recurrent(
            q, k, v, g, beta=beta, initial_state=pool, state_indices=slots,
            use_qk_l2norm_in_kernel=True,
        ),
        "decode, pool, out=": lambda: recurrent(
            q, k, v, g, beta=beta, initial_state=pool, state_indices=slots,
            use_qk_l2norm_in_kernel=True, out=out,
        ),
        "decode of nothing, out=": lambda: recurrent(
            none_q, none_q, none, no_gates, beta=no_gates, initial_state=no_states, out=none,
            use_qk_l2norm_in_kernel=True, inplace_final_state=True,
        ),
        "decode, in place": lambda: recurrent(
            q, k, v, g, beta=beta, initial_state=states, use_qk_l2norm_in_kernel=True,
            inplace_final_state=True,
        ),
        "prefill, final state": lambda: gdn.chunk_gated_delta_rule(
            q, k, v, g, beta, output_final_state=True, cu_seqlens=cu,
        ),
        "causal_conv1d_update": lambda: gdn.causal_conv1d_update(
            x, conv_state, weight, None, "silu"
        ),
        "fused_gdn_gating": lambda: gdn.fused_gdn_gating(A_log, g, beta, dt_bias),
        "rms_norm_gated": lambda: gdn.rms_norm_gated(v, norm, v),
        "torch: x.add_(1)": lambda: x.add_(1),
        "torch: empty_like": lambda: torch.empty_like(v),
        "torch: least kernel": (lambda: torch.cuda._sleep(0)) if device != "cpu" else int,
    }  # fmt: skip


@torch.inference_mode()
def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json")
    args = parser.parse_args()
    on_gpu = args.device != "cpu"
    synchronise = torch.cuda.synchronize if on_gpu else lambda: None
    result = {"device": torch.cuda.get_device_name() if on_gpu else "cpu", "microseconds": {}}
    for name, call in calls(args.device).items():
        result["microseconds"][name] = t = host_microseconds(call, synchronise)
        print(f"{name:28} {t:7.2f} us a call", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
