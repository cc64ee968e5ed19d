"""How far are the layer's small operations from a copy of the same bytes?

Contenders, in one process and in turn: gdn's operation with out=; torch.Tensor.copy_ of as many
bytes as the operation has to move (every operand once; read + written counts as both); torch's own
operators for the same result, as transformers' torch path calls them. Shapes of a Qwen3-Next layer,
bf16: 8192 convolution channels, 32 value heads of 128. Times are medians with best and worst.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch.nn import functional

import gdn
from common import interleave, print_setting, processor, write_json

CHANNELS, WIDTH, HEADS, D = 8192, 4, 32, 128


def conv_fwd(tokens: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """causal_conv1d_fwd with silu, channels fastest."""
    x = torch.randn(1, tokens, CHANNELS).bfloat16().transpose(1, 2)
    weight = torch.randn(CHANNELS, WIDTH).bfloat16()
    state = torch.zeros(1, CHANNELS, WIDTH).bfloat16()
    out = torch.empty_like(x)

    def ours():
        return gdn.causal_conv1d_fwd(x, weight, activation="silu", conv_state=state, out=out)

    def theirs():
        y = functional.conv1d(x, weight[:, None], padding=WIDTH - 1, groups=CHANNELS)
        return functional.silu(y[..., :tokens])

    return 2 * x.nbytes, {"gdn": ours, "torch": theirs}


def conv_update(batch: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """causal_conv1d_update with silu, one token a sequence, state [N, C, 4]."""
    x = torch.randn(batch, CHANNELS).bfloat16()
    weight = torch.randn(CHANNELS, WIDTH).bfloat16()
    state = torch.randn(batch, CHANNELS, WIDTH).bfloat16()
    out = torch.empty_like(x)

    def ours():
        return gdn.causal_conv1d_update(x, state, weight, activation="silu", out=out)

    def theirs():
        window = torch.cat([state, x[..., None]], dim=-1)
        state.copy_(window[..., 1:])
        y = functional.conv1d(window[..., 1:], weight[:, None], groups=CHANNELS)
        return functional.silu(y)

    return 2 * x.nbytes + 2 * state.nbytes + weight.nbytes, {"gdn": ours, "torch": theirs}


def rms_norm(tokens: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """rms_norm_gated over value heads."""
    x = torch.randn(1, tokens, HEADS, D).bfloat16()
    z = torch.randn_like(x)
    weight = torch.ones(D)
    out = torch.empty_like(x)

    def ours():
        return gdn.rms_norm_gated(x, weight, z, out=out)

    def theirs():
        y = x.float()
        y = weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6))
        return (y * functional.silu(z.float())).bfloat16()

    return 3 * x.nbytes, {"gdn": ours, "torch": theirs}


def l2norm(tokens: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """l2norm over heads."""
    x = torch.randn(1, tokens, HEADS, D).bfloat16()
    out = torch.empty_like(x)

    def ours():
        return gdn.l2norm(x, out=out)

    def theirs():
        return x * torch.rsqrt((x * x).sum(dim=-1, keepdim=True) + 1e-6)

    return 2 * x.nbytes, {"gdn": ours, "torch": theirs}


def gating(tokens: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """fused_gdn_gating."""
    a = torch.randn(1, tokens, HEADS).bfloat16()
    b = torch.randn_like(a)
    a_log = torch.randn(HEADS)
    bias = torch.randn(HEADS)

    def ours():
        return gdn.fused_gdn_gating(a_log, a, b, bias)

    def theirs():
        return -a_log.exp() * functional.softplus(a.float() + bias), b.sigmoid()

    return 2 * a.nbytes + 4 * a.numel() + b.nbytes, {"gdn": ours, "torch": theirs}


OPERATIONS = {
    "causal_conv1d_fwd": (conv_fwd, "T", (128, 2048)),
    "causal_conv1d_update": (conv_update, "N", (1, 64)),
    "rms_norm_gated": (rms_norm, "T", (1, 2048)),
    "l2norm": (l2norm, "T", (1, 2048)),
    "fused_gdn_gating": (gating, "T", (1, 2048)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--budget", type=float, default=1.0, help="seconds per row")
    parser.add_argument("--no-torch", action="store_true", help="leave out torch's operators")
    args = parser.parse_args()

    print_setting(__doc__, "none")
    rows = []
    for threads in args.threads:
        torch.set_num_threads(threads)
        gdn.set_num_threads(threads)
        print(f"{threads} thread(s)")
        for name, (make, letter, sizes) in OPERATIONS.items():
            for size in sizes:
                moved, calls = make(size)
                if args.no_torch:
                    del calls["torch"]
                source = torch.ones(moved // 2, dtype=torch.uint8)
                target = torch.ones_like(source)
                calls["copy"] = lambda target=target, source=source: target.copy_(source)
                samples = interleave(calls, args.budget)
                for contender, sample in samples.items():
                    print(
                        f"  {name:21s} {letter} {size:5d} {contender:6s} {sample} ms"
                        f"  {moved / sample.median / 1e6:6.1f} GB/s"
                        f"  {sample.median / samples['copy'].median:6.2f} x copy"
                    )
                    rows.append(
                        {
                            "threads": threads,
                            "operation": name,
                            "size": size,
                            "name": contender,
                            "times_ms": sample.times,
                            "bytes": moved,
                        }
                    )
        print()
    write_json("layer", {"processor": processor(), "rows": rows})


if __name__ == "__main__":
    main()
