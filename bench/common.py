"""Timing, statistics and printing that all benchmark programs share."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import gdn

ROOT = Path(__file__).resolve().parent.parent
SETTLE = 0.02
OUTPUT = ROOT / "build" / "bench"


@dataclass
class Sample:
    """Times of one contender at one shape, in milliseconds."""

    times: list[float]

    @property
    def median(self) -> float:
        """Median time."""
        return statistics.median(self.times)

    @property
    def best(self) -> float:
        """Shortest time."""
        return min(self.times)

    @property
    def worst(self) -> float:
        """Longest time."""
        return max(self.times)

    def __str__(self) -> str:
        """Median with the spread."""
        return f"{self.median:8.3f} ({self.best:.3f} .. {self.worst:.3f})"


def interleave(
    contenders: dict[str, Callable[[], object]], budget_s: float, least: int = 5
) -> dict[str, Sample]:
    """Time contenders in turn, so that a machine whose speed drifts slows all of them alike.

    Every contender runs twice unmeasured, then all run in turn until the budget is spent, at least
    `least` times each. OpenMP threads spin for some 10 ms after a call, on the cores that the next
    contender needs. So each measured call comes SETTLE seconds after the contender before: spent on
    unmeasured calls where they are short, asleep where one call takes longer than that.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    short: dict[str, bool] = {}
    for name, call in contenders.items():
        call()
        start = time.perf_counter()
        call()
        short[name] = time.perf_counter() - start < SETTLE
    end = time.perf_counter() + budget_s
    while time.perf_counter() < end or len(next(iter(times.values()))) < least:
        for name, call in contenders.items():
            if short[name]:
                settled = time.perf_counter() + SETTLE
                while time.perf_counter() < settled:
                    call()
            else:
                time.sleep(SETTLE)
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: Sample(t) for name, t in times.items()}


def processor() -> str:
    """Name of this machine's processor, with its instruction sets that matter."""
    name, flags = platform.processor(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
            elif line.startswith("flags"):
                flags = line
                break
    except OSError:
        pass
    known = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags.split()]
    return f"{name} ({', '.join(known)})"


def print_setting(question: str, peer: str) -> None:
    """Say what is measured and on what."""
    print(question)
    chosen = gdn.info()
    ours = f"gdn {chosen['version']} on {chosen['backend']} / {chosen['isa']}"
    print(f"{processor()}; {ours}; peers: {peer}, torch {torch.__version__}\n")


def use_threads(threads: int) -> dict:
    """Set everybody's number of threads; returns the machine's peaks from `gdn bench --peak`."""
    torch.set_num_threads(threads)
    gdn.set_num_threads(threads)
    command = [str(Path(sys.executable).parent / "gdn"), "bench", "--peak", "--json"]
    out = subprocess.run(
        [*command, "--threads", str(threads)], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(out)["peak"]


def write_json(name: str, result: dict) -> None:
    """Save a result beside the others."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"saved {path.relative_to(ROOT)}")
