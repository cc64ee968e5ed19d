"""vLLM's functions of GDN layers, libgdn's beside its own Triton kernels, in one process.

    VLLM_PATH=FOLDER python bench/gpu/vllm_vs_triton.py [--repeat N] [--only decode verify prefill]

FOLDER has vllm/, the sources of vLLM (those in its CPU package will do). The same arguments for
both: 16 key and 32 value heads of width 128, bf16, pools of float32 states, V first, whose slots
are vLLM's distance apart. Decode and verify are calls in a CUDA graph, as vLLM runs them, each
replay from an empty cache; prefill is the device's time for one call.
"""

from __future__ import annotations

import argparse
from functools import partial
from types import SimpleNamespace

import torch
from gpu_timing import Timer, card, ceilings, print_setting
from vllm_sources import load, sources

import gdn.integrations._vllm_cuda as ours

HK, HV, D, WIDTH, DRAFTS = 16, 32, 128, 4, 3
CHANNELS = 2 * HK * D + HV * D


class Layer:
    """Parameters and pools."""

    def __init__(self, slots: int):
        def draw(*shape, dtype=torch.bfloat16):
            return torch.randn(*shape, device="cuda", dtype=dtype)

        self.draw, length = draw, WIDTH - 1 + DRAFTS
        self.weight, self.A_log, self.dt_bias = (
            draw(CHANNELS, WIDTH),
            draw(HV, dtype=torch.float32),
            draw(HV),
        )
        # One block of vLLM holds a slot of both.
        bytes_of = length * CHANNELS * 2 + HV * D * D * 4
        block = torch.empty(slots, bytes_of, dtype=torch.uint8, device="cuda")
        conv = block[:, : length * CHANNELS * 2].view(torch.bfloat16)
        self.conv_pool = conv.unflatten(1, (length, CHANNELS)).transpose(1, 2)
        self.states = block[:, length * CHANNELS * 2 :].view(torch.float32).unflatten(1, (HV, D, D))
        self.conv_pool.normal_()
        self.states.normal_()

    def tokens(self, count: int):
        """Rows of wider projections: (mixed_qkv, a, b)."""
        wide, ba = self.draw(count, CHANNELS + HV * D), self.draw(count, 2 * HV)
        return wide[:, :CHANNELS], ba[:, :HV], ba[:, HV:]


def integers(values) -> torch.Tensor:
    """int32 on the GPU."""
    return torch.tensor(values, dtype=torch.int32, device="cuda")


def decode_calls(batch: int):
    """(name, call of a library) of the two functions of a decode step."""
    layer = Layer(batch + 1)
    x, a, b = layer.tokens(batch)
    slots = torch.randperm(batch, device="cuda").int() + 1
    y, out = x.contiguous(), layer.draw(batch, 1, HV, D)

    def convolution(functions):
        functions.causal_conv1d_update(
            x, layer.conv_pool, layer.weight, None, "silu", conv_state_indices=slots
        )

    def rule(functions):
        functions.fused_recurrent_gated_delta_rule_packed_decode(
            mixed_qkv=y, a=a, b=b, A_log=layer.A_log, dt_bias=layer.dt_bias, scale=D**-0.5,
            initial_state=layer.states, out=out, ssm_state_indices=slots,
            use_qk_l2norm_in_kernel=True,
        )  # fmt: skip

    yield f"decode, {batch}: causal_conv1d_update", convolution
    yield f"decode, {batch}: packed_decode", rule


def verify_calls(batch: int):
    """The same of a verify step of DRAFTS + 1 tokens a sequence."""
    steps = DRAFTS + 1
    layer = Layer(batch * steps + 1)
    x, a, b = layer.tokens(batch * steps)
    table = (torch.randperm(batch * steps, device="cuda").int() + 1).view(batch, steps)
    offsets = integers([n * steps for n in range(batch + 1)])
    accepted = integers([n % steps + 1 for n in range(batch)])
    q, k, v = (t.contiguous()[None] for t in x.split([HK * D, HK * D, HV * D], dim=1))
    q, k, v = q.unflatten(-1, (HK, D)), k.unflatten(-1, (HK, D)), v.unflatten(-1, (HV, D))

    def convolution(functions):
        functions.causal_conv1d_update(
            x, layer.conv_pool, layer.weight, None, "silu", conv_state_indices=table[:, 0],
            num_accepted_tokens=accepted, query_start_loc=offsets, max_query_len=steps,
        )  # fmt: skip

    def rule(functions):
        functions.fused_sigmoid_gating_delta_rule_update(
            A_log=layer.A_log, a=a, b=b, dt_bias=layer.dt_bias, q=q, k=k, v=v,
            initial_state=layer.states, inplace_final_state=True, cu_seqlens=offsets,
            ssm_state_indices=table, num_accepted_tokens=accepted, use_qk_l2norm_in_kernel=True,
        )  # fmt: skip

    yield f"verify, {batch} x {steps}: causal_conv1d_update", convolution
    yield f"verify, {batch} x {steps}: fused_sigmoid_gating", rule


def prefill_calls(count: int, length: int):
    """The same of a prefill of `count` prompts."""
    layer = Layer(count + 1)
    x, a, b = layer.tokens(count * length)
    slots = integers(list(range(1, count + 1)))
    offsets = integers([n * length for n in range(count + 1)])
    started = torch.ones(count, dtype=torch.bool, device="cuda")
    q, k, v = (t.contiguous() for t in x.split([HK * D, HK * D, HV * D], dim=1))
    q, k, v = (t.unflatten(-1, (-1, D))[None] for t in (q, k, v))
    q, k = (torch.nn.functional.normalize(t.float(), dim=-1).bfloat16() for t in (q, k))
    g = torch.nn.functional.logsigmoid(a.float())[None]
    beta = b.float().sigmoid()[None]
    initial = layer.states[1 : count + 1].contiguous()
    # What vLLM's planner hands to its kernels.
    chunks = torch.arange(length // 64, device="cuda")
    indices = torch.stack([torch.arange(count, device="cuda").repeat_interleave(len(chunks)),
                           chunks.repeat(count)], 1).int()  # fmt: skip
    chunk_offsets = torch.arange(count + 1, device="cuda") * len(chunks)
    pieces = torch.arange(length // 8, device="cuda").int()
    plan = dict(
        tot=count * length // 8, mlist=None, mlist_len=count * length // 8, offsetlist=None,
        batch_ptr=torch.arange(count, device="cuda").int().repeat_interleave(length // 8),
        token_chunk_offset_ptr=pieces.repeat(count),
    )  # fmt: skip
    metadata = SimpleNamespace(nums_dict={8: plan}, batch_ptr=plan["batch_ptr"],
                               token_chunk_offset_ptr=pieces)  # fmt: skip

    def convolution(functions):
        functions.causal_conv1d_fn(
            x.transpose(0, 1), layer.weight, None, activation="silu", conv_states=layer.conv_pool,
            has_initial_state=started, cache_indices=slots, query_start_loc=offsets,
            metadata=metadata,
        )  # fmt: skip

    def rule(functions):
        functions.chunk_gated_delta_rule(
            q=q, k=k, v=v, g=g, beta=beta, initial_state=initial, output_final_state=True,
            cu_seqlens=offsets, chunk_indices=indices, chunk_offsets=chunk_offsets,
            use_qk_l2norm_in_kernel=False,
        )  # fmt: skip

    yield f"prefill, {count} x {length}: causal_conv1d_fn", convolution
    yield f"prefill, {count} x {length}: chunk_gated_delta_rule", rule


@torch.no_grad()
def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    parts = ["decode", "verify", "prefill"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    repeat = options.repeat
    folder = sources()
    if folder is None:
        raise SystemExit("VLLM_PATH: expected a folder that has the sources of vLLM in vllm/")
    theirs = load(folder)
    timer = Timer(1 << 30)
    print_setting(card(), ceilings(timer))
    print(f"{'us':48} {'vLLM':>9} {'libgdn':>9} {'ratio':>6}")
    rows = [*((decode_calls, (n,)) for n in (1, 16, 64, 256)),
            *((verify_calls, (n,)) for n in (1, 16, 64)),
            *((prefill_calls, shape) for shape in ((1, 2048), (8, 2048), (1, 16384)))]  # fmt: skip
    for make, shape in rows:
        if make.__name__.removesuffix("_calls") not in options.only:
            continue
        for name, call in make(*shape):
            time = timer.device if make is prefill_calls else partial(timer.graph, calls=1)
            found = {"vllm": [], "gdn": []}
            call(theirs)  # compiles
            for _ in range(3):
                for library, functions in (("vllm", theirs), ("gdn", ours)):
                    found[library].append(time(partial(call, functions), repeat=repeat) * 1e3)
            a, b = (sorted(times)[1] for times in found.values())
            print(f"{name:48} {a:9.1f} {b:9.1f} {a / b:6.2f}", flush=True)


if __name__ == "__main__":
    main()
