"""Draws build/bench/*.png from the JSON files that the benchmark programs saved."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "bench"


def grouped_bars(name: str, label, unit: str) -> None:
    """One group of bars per shape, one bar per contender, of median times."""
    path = OUTPUT / f"{name}.json"
    if not path.exists():
        print(f"{path.name} is not there; run bench/{name}_vs_peers.py first")
        return
    result = json.loads(path.read_text())
    bars: dict[str, dict[str, float]] = defaultdict(dict)
    for row in result["rows"]:
        bars[label(row)][row["name"]] = median(row["times_ms"])
    contenders = list(dict.fromkeys(row["name"] for row in result["rows"]))
    figure, axes = plt.subplots(figsize=(10, 5))
    width = 0.8 / len(contenders)
    for i, contender in enumerate(contenders):
        heights = [bars[group].get(contender, 0) for group in bars]
        axes.bar([g + i * width for g in range(len(bars))], heights, width, label=contender)
    axes.set_xticks([g + 0.4 - width / 2 for g in range(len(bars))], bars, fontsize=7)
    axes.set_yscale("log")
    axes.set_ylabel(unit)
    axes.set_title(f"{name}, {result['processor']}", fontsize=9)
    axes.legend()
    figure.tight_layout()
    figure.savefig(OUTPUT / f"{name}.png", dpi=120)
    print(f"saved build/bench/{name}.png")


def main() -> None:
    """Draw what there is."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    grouped_bars(
        "prefill",
        lambda r: f"T {r['tokens']}\n{r['heads']}\n{r['threads']} thr",
        "ms, median",
    )
    grouped_bars("decode", lambda r: f"B {r['batch']}\n{r['threads']} thr", "ms, median")


if __name__ == "__main__":
    main()
