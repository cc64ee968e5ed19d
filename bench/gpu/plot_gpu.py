"""Draws what prefill_vs_peer.py saved: the rows as bars, the grid as a map of ratios.

    python bench/gpu/plot_gpu.py OUT_FOLDER FILE.json ..

Files of one card; several files of the rows (one a peer) share a picture, in which libgdn's bar is
that of the first file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

LABELS = {"gdn": "libgdn", "fla": "FLA", "flashqla": "FlashQLA", "flashinfer": "FlashInfer"}


def device_ms(row: dict, name: str) -> float:
    """Device time of a contender at a row; NaN where there is none."""
    return row.get(name, {}).get("device_ms", float("nan"))


def card_of(result: dict) -> str:
    """Card and date, for titles."""
    return (
        f"{result['card']['name']}, driver {result['card']['driver_version']}, "
        + (result["card"]["date"])
    )


def draw_rows(results: list[dict], path: Path) -> None:
    """Time over the floor by bytes, a group of bars a shape."""
    names = [row["name"] for row in results[0]["rows"]]
    floors = np.array([row["floor_ms"] for row in results[0]["rows"]])
    bars = {"gdn": np.array([device_ms(row, "gdn") for row in results[0]["rows"]])}
    for result in results:
        for peer in result["versions"]:
            if peer != "gdn":
                by_name = {row["name"]: device_ms(row, peer) for row in result["rows"]}
                bars[peer] = np.array([by_name.get(name, float("nan")) for name in names])
    figure, axes = plt.subplots(figsize=(11, 5), constrained_layout=True)
    width = 0.8 / len(bars)
    for i, (name, times) in enumerate(bars.items()):
        label = LABELS[name] + " " + next(
            (r["versions"][name] for r in results if name in r["versions"]), ""
        )  # fmt: skip
        axes.bar(np.arange(len(names)) + i * width, times / floors, width, label=label)
    axes.set_xticks(
        np.arange(len(names)) + 0.4 - width / 2, [n.replace(", ", "\n") for n in names], fontsize=7
    )
    axes.set_yscale("log")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel("device time / time to move each operand once")
    axes.set_title(f"chunk_gated_delta_rule, bf16, {card_of(results[0])}", fontsize=9)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def draw_grid(result: dict, path: Path) -> None:
    """How many times as long the peer takes, heads by sequences."""
    peer = next(name for name in result["versions"] if name != "gdn")
    split = [row["name"].rsplit(", ", 1) for row in result["rows"]]
    shapes, heads = (list(dict.fromkeys(part)) for part in zip(*split, strict=True))
    ratios = np.full((len(heads), len(shapes)), np.nan)
    for (shape, head), row in zip(split, result["rows"], strict=True):
        ratios[heads.index(head), shapes.index(shape)] = device_ms(row, peer) / device_ms(
            row, "gdn"
        )
    figure, axes = plt.subplots(figsize=(11, 5), constrained_layout=True)
    image = axes.imshow(np.log2(ratios), cmap="RdYlGn", vmin=-1, vmax=1, aspect="auto")
    for (i, j), ratio in np.ndenumerate(ratios):
        axes.text(j, i, f"{ratio:.2f}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(shapes)), shapes, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(heads)), heads)
    axes.set_ylabel("HK/HV")
    axes.set_title(
        f"time of {LABELS[peer]} {result['versions'][peer]} over libgdn's, {card_of(result)}",
        fontsize=9,
    )
    figure.colorbar(image, label="log2")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Draw what the files hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("files", type=Path, nargs="+", help="what prefill_vs_peer.py saved")
    args = parser.parse_args()
    folder = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    results = [json.loads(f.read_text()) for f in args.files]
    rows = [r for r in results if r["set"] == "rows"]
    if rows:
        draw_rows(rows, folder / "gpu_rows.png")
    for grid in (r for r in results if r["set"] == "grid"):
        draw_grid(grid, folder / "gpu_grid.png")


if __name__ == "__main__":
    main()
