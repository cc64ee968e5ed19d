"""libgdn's Python functions and one peer's, side by side in one process on one GPU.

    python bench/gpu/prefill_vs_peer.py [--peer fla|flashqla|flashinfer] [--set rows|grid]
        [--cases N ..] [--gates ladder|sixteenth|slow] [--repeat N] [--decode] [--json FILE]
        [--compile]

Every case: libgdn, then the peer, on the same inputs; two times each (gpu_timing.py): the device's
alone with launches hidden, and what the caller waits. The floor moves each operand once at the copy
bandwidth of the same run. Both outputs are compared with each other at every case, and on a small
case with float64. --decode adds one token for 1, 8, 64 and 256 sequences. A peer that compiles at
first use is given a process for each pair of head counts by --compile, which measures nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from gpu_cases import GATES, SETS, D, Inputs, Shape, draw
from gpu_peers import DECODE, FORWARD, V_FIRST, version
from gpu_timing import Timer, card, ceilings, print_setting

SMALL = Shape("errors", (1, 63, 64, 65, 447), 16, 32)
APART = 2e-2
"""Two right implementations on bf16 inputs are at most this far from each other."""


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """||a - b|| / ||b||, in pieces where the tensors are large."""
    difference = size = 0.0
    pieces = a.flatten().split(1 << 28), b.flatten().split(1 << 28)
    for x, y in zip(*pieces, strict=True):
        x, y = x.float(), y.float()
        difference += float((x - y).square().sum(dtype=torch.float64))
        size += float(y.square().sum(dtype=torch.float64))
    return (difference / size) ** 0.5


def exact(x: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """The small case by libgdn's float64 backend."""
    import gdn

    cpu = [t.float().cpu() for t in (x.q, x.k, x.v, x.g, x.beta)]
    with gdn.use("reference"):
        return gdn.chunk_gated_delta_rule(
            *cpu, scale=D**-0.5, output_final_state=True, cu_seqlens=x.cu_seqlens.cpu()
        )


def errors(names: list[str], forwards: dict) -> dict[str, list[float]]:
    """[o, state] of each contender against float64."""
    x = draw(SMALL)
    o, state = exact(x)
    found = {}
    for name in names:
        o2, state2 = forwards[name](x)
        state2 = state2.mT if name in V_FIRST else state2
        found[name] = [distance(o2.cpu(), o), distance(state2.cpu(), state)]
        print(f"{name}: error o {found[name][0]:.2e}, state {found[name][1]:.2e}", flush=True)
    return found


def prefill(shapes, names, forwards, timer, bandwidth, args) -> list[dict]:
    """One row per case."""
    rows = []
    for shape in shapes:
        row = {"name": shape.name, "floor_ms": shape.floor_bytes / bandwidth * 1e3}
        x, outputs, call = draw(shape, gates=args.gates), {}, None
        for name in names:
            try:
                outputs[name] = forwards[name](x)
                call = partial(forwards[name], x)
                row[name] = {
                    "device_ms": timer.device(call, args.repeat),
                    "caller_ms": timer.caller(call, args.repeat),
                }
            except Exception as e:  # a peer that cannot serve a case is a finding, not an end
                row[name] = {"failed": f"{type(e).__name__}: {str(e)[:200]}"}
        if len(outputs) == 2:
            (o, s), (o2, s2) = outputs.values()
            s2 = s2.mT if names[1] in V_FIRST else s2
            row["apart"] = [distance(o, o2), distance(s, s2)]
            row["agree"] = max(row["apart"]) <= APART
        rows.append(row)
        print(line(row, names), flush=True)
        del x, outputs, call
        torch.cuda.empty_cache()
    return rows


def line(row: dict, names: list[str]) -> str:
    """A row as text."""
    parts = [f"{row['name']:26} floor {row['floor_ms']:7.3f}"]
    for name in names:
        r = row[name]
        parts.append(
            f"{name} " + r["failed"]
            if "failed" in r
            else f"{name} {r['device_ms']:8.4f} (caller {r['caller_ms']:8.4f})"
        )
    if all("device_ms" in row[name] for name in names) and len(names) == 2:
        parts.append(f"x {row[names[1]]['device_ms'] / row[names[0]]['device_ms']:.2f}")
        parts.append("" if row["agree"] else f"DISAGREE {row['apart']}")
    return " | ".join(parts)


def decode(names, timer, bandwidth) -> list[dict]:
    """One token for a batch of sequences, 16/32 heads, states updated in place."""
    rows = []
    for batch in (1, 8, 64, 256):
        for name in names:
            for label, size, call in DECODE[name](batch) if name in DECODE else ():
                floor = batch * 32 * D * D * 2 * size / bandwidth * 1e6
                row = {"batch": batch, "contender": name, "state": label, "floor_us": floor}
                try:
                    call()
                    row["graph_us"] = timer.graph(call) * 1e3
                    row["caller_us"] = timer.caller(call) * 1e3
                    text = f"graph {row['graph_us']:.1f} us, caller {row['caller_us']:.1f} us"
                except Exception as e:
                    text = row["failed"] = f"{type(e).__name__}: {str(e)[:200]}"
                rows.append(row)
                print(f"decode B={batch} {name}, {label}: {text}, floor {floor:.1f}", flush=True)
        torch.cuda.empty_cache()
    return rows


def compile_all(args, shapes: list[Shape]) -> None:
    """Runs the peer once on every shape, a process for each pair of head counts, all at once."""
    if args.heads is None:
        pairs = sorted({f"{s.hk}/{s.hv}" for s in [*shapes, SMALL]})
        running = {p: subprocess.Popen([sys.executable, *sys.argv, "--heads", p]) for p in pairs}
        print({p: "ok" if r.wait() == 0 else "FAILED" for p, r in running.items()}, flush=True)
        return
    forward = FORWARD[args.peer]()
    mine = [s for s in [*shapes, SMALL] if f"{s.hk}/{s.hv}" == args.heads]
    if args.tokens is not None:
        mine = [Shape("one", (args.tokens,), mine[0].hk, mine[0].hv)]
    for shape in mine:
        forward(draw(shape))
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", choices=[n for n in FORWARD if n != "gdn"])
    parser.add_argument("--set", choices=sorted(SETS), default="rows", dest="cases_of")
    parser.add_argument("--cases", type=int, nargs="+", help="indices into the set")
    parser.add_argument("--gates", choices=sorted(GATES), default="ladder")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--tokens", type=int, help="with --compile: one sequence of so many tokens for all shapes"
    )
    parser.add_argument("--heads", help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.no_grad()
def main() -> int:
    """Returns 1 if two contenders disagree or libgdn failed."""
    args = arguments()
    shapes = SETS[args.cases_of]
    if args.cases is not None:
        shapes = [shapes[i] for i in args.cases]
    if args.compile:
        compile_all(args, shapes)
        return 0
    names = ["gdn"] + ([args.peer] if args.peer else [])
    forwards = {name: FORWARD[name]() for name in names}
    timer = Timer()
    state = card()
    found = ceilings(timer)
    print_setting(state, found)
    bandwidth = found["copy_bytes_per_second"]
    result = {
        "card": state, "ceilings": found, "set": args.cases_of, "gates": args.gates,
        "versions": {name: version(name) for name in names},
        "errors": errors(names, forwards),
        "rows": prefill(shapes, names, forwards, timer, bandwidth, args),
        "decode": decode(names, timer, bandwidth) if args.decode else [],
        "card_after": card(),
    }  # fmt: skip
    print("card after:", ", ".join(f"{k} {v}" for k, v in result["card_after"].items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    bad = [r["name"] for r in result["rows"] if "failed" in r["gdn"] or not r.get("agree", True)]
    print(f"wrong: {bad}" if bad else "all cases agree")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
