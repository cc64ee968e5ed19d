"""Plots relative RMS errors over the cases, one line for each instruction set.

    plot_errors.py RESULTS.json ERRORS.png [--dtype bf16] [--case ladder-name-part]

RESULTS.json: lines of JSON as the C++ tests append them to $GDN_TEST_RESULTS, or an object with a
list "results" of the same records: case, dtype, backend, isa, o, state.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BOUNDS = {"f32": 2e-6, "bf16": 6e-3, "f16": 6e-3}
HARD_BOUNDS = {"f32": 5e-5, "bf16": 2e-2, "f16": 2e-2}


def read(path):
    """Returns the records of a results file."""
    text = path.read_text()
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return whole.get("results", [whole])


def draw(axis, records, quantity, dtype):
    """One panel: the errors of o or of the state."""
    names = list(dict.fromkeys(r["case"] for r in records))
    position = {name: i for i, name in enumerate(names)}
    for isa in dict.fromkeys(f"{r['backend']} {r['isa']}" for r in records):
        points = [
            (position[r["case"]], r[quantity])
            for r in records
            if f"{r['backend']} {r['isa']}" == isa and r[quantity]
        ]
        if points:
            axis.plot(*zip(*points, strict=True), ".-", linewidth=0.6, label=isa)
    for label, style, bounds in (("bound", "--", BOUNDS), ("hard cases", ":", HARD_BOUNDS)):
        axis.axhline(bounds[dtype], color="black", linestyle=style, linewidth=0.8, label=label)
    axis.set_yscale("log")
    axis.set_ylabel(f"relative RMS error of {quantity}")
    axis.grid(alpha=0.3)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=5)


def main():
    """Reads the arguments and writes the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("image", type=pathlib.Path)
    parser.add_argument("--dtype", default="bf16", choices=sorted(BOUNDS))
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    records = [
        r
        for r in read(arguments.results)
        if r["dtype"] == arguments.dtype and arguments.case in r["case"]
    ]
    if not records:
        parser.error(f"no record of type {arguments.dtype} with {arguments.case!r} in its case")
    figure, axes = plt.subplots(2, 1, figsize=(14, 9), sharex=True)
    draw(axes[0], records, "o", arguments.dtype)
    draw(axes[1], records, "state", arguments.dtype)
    axes[0].legend(fontsize=7)
    axes[0].set_title(f"Fused forward against the float64 reference, {arguments.dtype}")
    figure.tight_layout()
    figure.savefig(arguments.image, dpi=130)
    print(arguments.image)


if __name__ == "__main__":
    main()
