"""Device times of the stages beside flash-linear-attention's, in one process.

    python bench/gpu/stages_vs_fla.py [--repeat N] [--json FILE]

The chain behind chunk_gated_delta_rule at 16 x 16384 tokens, chunk 64, bf16, 16 key heads and 16,
32, 48, 64 value heads. FLA's second step holds what three stages of libgdn do. "total" is the whole
operation by stages, each called by itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_cases import SETS, D, Inputs, draw
from gpu_timing import Timer, card, ceilings, print_setting

from gdn import stages

INVERSE = "kkt + solve_tril + recompute_w_u"
Timed = Callable[..., Any]


def _gdn_chain(x: Inputs, timed: Timed) -> None:
    common = dict(cu_seqlens=x.cu_seqlens)

    def inverse(g):
        a = stages.chunk_scaled_dot_kkt(x.k, x.beta, g, **common)
        t = stages.solve_tril(a, output_dtype=x.k.dtype, **common)
        return stages.recompute_w_u(x.k, x.v, x.beta, t, g, **common)

    g = timed("cumsum", stages.chunk_local_cumsum, x.g, **common)
    w, u = timed(INVERSE, inverse, g)
    h, v_new, _ = timed(
        "chunk_fwd_h", stages.chunk_fwd_h, x.k, w, u, g, output_final_state=True,
        h_dtype=x.k.dtype, **common,
    )  # fmt: skip
    del w, u
    timed("chunk_fwd_o", stages.chunk_fwd_o, x.q, x.k, v_new, h, g, **common)


def _fla_chain(x: Inputs, timed: Timed) -> None:
    import fla.ops.gated_delta_rule.chunk as fla
    from fla.ops.utils.constant import RCP_LN2
    from fla.ops.utils.index import prepare_chunk_indices

    common = dict(
        cu_seqlens=x.cu_seqlens, chunk_indices=prepare_chunk_indices(x.cu_seqlens, 64),
        chunk_size=64,
    )  # fmt: skip
    g = timed("cumsum", fla.chunk_local_cumsum, x.g, scale=RCP_LN2, **common)
    w, u, _ = timed(
        INVERSE, fla.chunk_gated_delta_rule_fwd_intra,
        k=x.k, v=x.v, g=g, beta=x.beta.to(x.q.dtype), **common,
    )  # fmt: skip
    h, v_new, _ = timed(
        "chunk_fwd_h", fla.chunk_gated_delta_rule_fwd_h,
        k=x.k, w=w, u=u, g=g, initial_state=None, output_final_state=True, **common,
    )  # fmt: skip
    del w, u
    timed(
        "chunk_fwd_o", fla.chunk_fwd_o,
        q=x.q, k=x.k, v=v_new, h=h, g=g, scale=D**-0.5, **common,
    )  # fmt: skip


CHAINS = {"gdn": _gdn_chain, "fla": _fla_chain}


def _measure(chain: Callable[[Inputs, Timed], None], x: Inputs, timer: Timer, repeat: int):
    """Milliseconds by stage."""
    times: dict[str, float] = {}

    def timed(name, function, *arguments, **options):
        call = partial(function, *arguments, **options)
        result = call()
        times[name] = timer.device(call, repeat)
        return result

    chain(x, timed)
    return {**times, "total": sum(times.values())}


@torch.no_grad()
def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=10, help="calls of each stage (%(default)s)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    timer = Timer()
    state, found = card(), ceilings(timer)
    print_setting(state, found)
    rows = {}
    for shape in SETS["rows"][:4]:
        x, row = draw(shape), {}
        for name, chain in CHAINS.items():
            row[name] = _measure(chain, x, timer, args.repeat)
            torch.cuda.empty_cache()
        for stage, fla in row["fla"].items():
            own = row["gdn"][stage]
            print(
                f"{shape.name:20} {stage:32} gdn {own:8.4f} ms | fla {fla:8.4f} ms"
                f" | x {fla / own:.2f}",
                flush=True,
            )
        rows[shape.name] = row
    if args.json:
        args.json.write_text(json.dumps({"card": state, "ceilings": found, "ms": rows}, indent=1))


if __name__ == "__main__":
    main()
