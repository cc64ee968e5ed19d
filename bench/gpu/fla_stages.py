"""Device times of flash-linear-attention's stages, for the table beside gdn_gpu_bench's.

    python bench/gpu/fla_stages.py [--json FILE]

The chain behind its chunk_gated_delta_rule at 16 x 16384 tokens, chunk 64, bf16, 16 key heads and
16, 32, 48, 64 value heads. Its second step holds what three stages of libgdn do.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from gpu_cases import SETS, D, draw
from gpu_timing import Timer, card, ceilings, print_setting


def chain(shape, timer: Timer) -> dict[str, float]:
    """Milliseconds by stage."""
    import fla.ops.gated_delta_rule.chunk as stages
    from fla.ops.utils.constant import RCP_LN2
    from fla.ops.utils.index import prepare_chunk_indices

    x = draw(shape)
    beta = x.beta.to(x.q.dtype)
    common = dict(
        cu_seqlens=x.cu_seqlens, chunk_indices=prepare_chunk_indices(x.cu_seqlens, 64),
        chunk_size=64,
    )  # fmt: skip
    times = {}

    def timed(name, function, **arguments):
        call = partial(function, **arguments, **common)
        result = call()
        times[name] = timer.device(call, 10)
        print(f"{shape.name:20} FLA {name:32} {times[name]:8.4f} ms", flush=True)
        return result

    g = timed("cumsum", partial(stages.chunk_local_cumsum, x.g), scale=RCP_LN2)
    w, u, _ = timed(
        "kkt + solve_tril + recompute_w_u", stages.chunk_gated_delta_rule_fwd_intra,
        k=x.k, v=x.v, g=g, beta=beta,
    )  # fmt: skip
    h, v_new, _ = timed(
        "chunk_fwd_h", stages.chunk_gated_delta_rule_fwd_h,
        k=x.k, w=w, u=u, g=g, initial_state=None, output_final_state=True,
    )  # fmt: skip
    timed(
        "chunk_fwd_o", stages.chunk_fwd_o,
        q=x.q, k=x.k, v=v_new, h=h, g=g, scale=D**-0.5,
    )  # fmt: skip
    return times


@torch.no_grad()
def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    timer = Timer()
    state, found = card(), ceilings(timer)
    print_setting(state, found)
    rows = {}
    for shape in SETS["rows"][:4]:
        rows[shape.name] = chain(shape, timer)
        torch.cuda.empty_cache()
    if args.json:
        args.json.write_text(json.dumps({"card": state, "ceilings": found, "ms": rows}, indent=1))


if __name__ == "__main__":
    main()
