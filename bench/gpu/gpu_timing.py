"""How the GPU benchmarks of this folder time a call, and the card's own ceilings."""

from __future__ import annotations

import datetime
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import partial

import torch


class Timer:
    """Times calls on the current device, in milliseconds.

    device: by events around one call that is queued behind a fill of several GiB, so that the host
        has queued all of it before it starts. The fill also empties the cache. A call that waits
        for the device itself still shows that wait.
    caller: by the host's clock, from the call until the device has finished it; nothing is queued
        before it.
    """

    def __init__(self, fill_bytes: int = 6 << 30):
        self._fill = torch.empty(fill_bytes, dtype=torch.uint8, device="cuda")

    def device(self, call: Callable[[], object], repeat: int = 20) -> float:
        """Median time of the device's work for one call."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        times = []
        for _ in range(repeat):
            self._fill.zero_()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        return statistics.median(times)

    def caller(self, call: Callable[[], object], repeat: int = 20) -> float:
        """Median time from the call until its results are there."""
        times = []
        for _ in range(repeat):
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)

    def graph(self, call: Callable[[], object], calls: int = 20, repeat: int = 20) -> float:
        """Median time of one call among `calls` in a CUDA graph."""
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                call()
        return self.device(graph.replay, repeat) / calls


def card() -> dict[str, str]:
    """Name, driver, clocks, power and temperature now, and the date."""
    fields = "name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    out = subprocess.run(
        ["nvidia-smi", "--format=csv,noheader", f"--query-gpu={fields}"],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = dict(zip(fields.split(","), out.strip().split("\n")[0].split(", "), strict=False))
    return {**found, "date": datetime.datetime.now().date().isoformat(), "torch": torch.__version__}


def ceilings(timer: Timer) -> dict[str, float]:
    """Copy bandwidth (bytes read and written) and bf16 matrix product rate, measured now."""
    a = torch.empty(1 << 31, dtype=torch.uint8, device="cuda").random_()
    b = torch.empty_like(a)
    copy = 2 * a.numel() / timer.device(partial(b.copy_, a)) * 1e3
    del a, b
    x = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    y = torch.randn_like(x)

    def products():
        for _ in range(10):
            torch.mm(x, y)

    rate = 10 * 2 * 8192**3 / timer.device(products, 5) * 1e3
    return {"copy_bytes_per_second": copy, "matmul_flops": rate}


def print_setting(state: dict[str, str], found: dict[str, float]) -> None:
    """One line each on the card and its ceilings."""
    print("card:", ", ".join(f"{k} {v}" for k, v in state.items()), flush=True)
    print(
        f"copy {found['copy_bytes_per_second'] / 1e12:.2f} TB/s (read + written), "
        f"bf16 matmul 8192^3 {found['matmul_flops'] / 1e12:.0f} TFLOP/s",
        flush=True,
    )
