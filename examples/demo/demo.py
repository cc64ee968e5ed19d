#!/usr/bin/env python3
"""Reads a text with a Qwen3.5 model twice: on transformers' torch path, then on libgdn.

The model (models/demo, trained by train.py) reads the end of Jane Austen's Persuasion, which it
never saw in training, and continues it greedily. Both paths do the same work; the second differs
by one line, gdn.integrations.transformers.enable(). Shown are both continuations, whether their
tokens agree, the largest difference between logits, the perplexity of the text, and the speed of
prefill and decode; a plot of prefill time against length is saved.

Exit status 1 if the tokens part other than at a near-tie, or the perplexities differ by more than
the tolerance (see TOLERANCES). The default type is float32, in which both paths must agree token
by token; in bfloat16 two right implementations round differently, and the tolerances are wider.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

# Threads that wait for each other should sleep, not spin: on a machine with other work spinning
# threads take the time of those that they wait for. Must be set before torch is loaded.
os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")

import torch
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, DynamicCache, logging

import gdn.integrations.transformers as libgdn

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Tolerance:
    """How far two right implementations of one model may be apart."""

    near_tie: float
    """Greedy tokens may part only where the two best logits are closer than this, as a fraction of
    the text's largest logit."""
    perplexity: float
    """Largest relative difference of the text's perplexity."""


TOLERANCES = {
    "float32": Tolerance(near_tie=5e-5, perplexity=1e-4),
    "bfloat16": Tolerance(near_tie=2e-2, perplexity=1e-2),
}


@dataclass
class Reading:
    """What one path made of the text."""

    logits: torch.Tensor
    """[T, vocabulary], float32: after each token of the text."""
    perplexity: float
    tokens: list[int] = field(default_factory=list)
    """The greedy continuation."""
    gaps: list[float] = field(default_factory=list)
    """Best logit less second best, at each token of the continuation."""
    prefill_seconds: float = 0.0
    """Best time to read the text."""
    decode_seconds: float = 0.0
    """Median time of one token of the continuation."""
    curve: dict[int, float] = field(default_factory=dict)
    """Prefill seconds by length."""


def synchronise(device: torch.device) -> None:
    """Waits for the device, so that a clock measures its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def prefill_seconds(model, ids: torch.Tensor) -> float:
    """Time of one prefill that keeps a cache and computes one row of logits."""
    synchronise(ids.device)
    start = time.perf_counter()
    model(ids, use_cache=True, logits_to_keep=1)
    synchronise(ids.device)
    return time.perf_counter() - start


def time_prefills(model, ids: torch.Tensor, args, theirs: Reading, ours: Reading, tick) -> None:
    """Best prefill time by length of both paths, taken in turns so that noise meets both alike."""
    for length in args.lengths:
        best = {False: float("inf"), True: float("inf")}
        for _ in range(args.repeats):
            for hooked in best:
                with libgdn.enabled() if hooked else contextlib.nullcontext():
                    best[hooked] = min(best[hooked], prefill_seconds(model, ids[:, :length]))
            tick()
        theirs.curve[length], ours.curve[length] = best[False], best[True]
    for reading in (theirs, ours):
        reading.prefill_seconds = reading.curve[args.tokens]


def continue_greedily(model, ids: torch.Tensor, count: int, reading: Reading, tick) -> None:
    """Appends `count` greedy tokens, their logit gaps and the time of one to `reading`."""
    # The argument is called cache from transformers 5.24 on.
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    cache = {name: DynamicCache(config=model.config), "use_cache": True}
    out = model(ids, logits_to_keep=1, **cache)
    seconds = []
    for step in range(count):
        best = out.logits[0, -1].float().topk(2)
        token = best.indices[:1]
        reading.tokens.append(int(token))
        reading.gaps.append(float(best.values[0] - best.values[1]))
        tick()
        if step + 1 < count:
            synchronise(ids.device)
            start = time.perf_counter()
            out = model(token[None], **cache)
            synchronise(ids.device)
            seconds.append(time.perf_counter() - start)
    reading.decode_seconds = statistics.median(seconds)


def read(model, ids: torch.Tensor, args, tick: Callable[[], None]) -> Reading:
    """Logits and perplexity of the text, and its continuation, on one path."""
    text = ids[:, : args.tokens]
    logits = model(text, use_cache=False).logits[0].float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], text[0, 1:])
    reading = Reading(logits=logits, perplexity=float(loss.exp()))
    tick()
    continue_greedily(model, text, args.new_tokens, reading, tick)
    return reading


def first_difference(a: list[int], b: list[int]) -> int | None:
    """Index of the first tokens that differ."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)


def problems(theirs: Reading, ours: Reading, tolerance: Tolerance) -> list[str]:
    """What is wrong with libgdn's reading, in words."""
    found = []
    part = first_difference(theirs.tokens, ours.tokens)
    near_tie = tolerance.near_tie * float(theirs.logits.abs().max())
    if part is not None and theirs.gaps[part] > near_tie:
        found.append(
            f"greedy token {part} differs where the best logit leads by {theirs.gaps[part]:.3g} "
            f"(a near-tie is {near_tie:.3g})"
        )
    ratio = ours.perplexity / theirs.perplexity - 1
    if not abs(ratio) <= tolerance.perplexity:
        found.append(f"perplexities differ by {ratio:.2e} (allowed: {tolerance.perplexity:g})")
    return found


def results_table(theirs: Reading, ours: Reading, args) -> Table:
    """The figures of both paths, side by side."""
    table = Table(title=f"{args.dtype}, {args.device}, {args.tokens} tokens of text")
    for heading in ("", "transformers (torch)", "libgdn", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        "perplexity of the text",
        f"{theirs.perplexity:.4f}",
        f"{ours.perplexity:.4f}",
        f"{ours.perplexity / theirs.perplexity:.6f}",
    )
    rates = {
        "prefill tokens/s": (args.tokens, "prefill_seconds"),
        "decode tokens/s": (1, "decode_seconds"),
    }
    for name, (count, attribute) in rates.items():
        a, b = (count / getattr(reading, attribute) for reading in (theirs, ours))
        table.add_row(name, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.2f}x")
    return table


def agreement(theirs: Reading, ours: Reading) -> str:
    """One line on the tokens and one on the logits."""
    part = first_difference(theirs.tokens, ours.tokens)
    if part is None:
        tokens = f"all {len(ours.tokens)} greedy tokens agree"
    else:
        tokens = (
            f"greedy tokens agree up to token {part}, where the torch path's two best logits "
            f"are {theirs.gaps[part]:.3g} apart"
        )
    difference = (theirs.logits - ours.logits).abs().max()
    scale = theirs.logits.abs().max()
    return f"{tokens}\nlargest logit difference {difference:.3g} (largest logit {scale:.3g})"


def plot(theirs: Reading, ours: Reading, args) -> None:
    """Prefill time against length, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.4), constrained_layout=True)
    for reading, label, marker in (
        (theirs, "transformers (torch)", "o"),
        (ours, "libgdn", "s"),
    ):
        milliseconds = [1e3 * reading.curve[n] for n in args.lengths]
        axes.loglog(args.lengths, milliseconds, marker=marker, label=label)
    axes.set_xlabel("prefill length, tokens")
    axes.set_ylabel("time of the whole model, ms")
    axes.set_title(f"Qwen3.5 demo model, {args.dtype}, {args.device}")
    axes.set_xticks(args.lengths, [str(n) for n in args.lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.plot, dpi=150)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--text", type=Path, help="default: held_out.txt of the model")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of the text to read")
    parser.add_argument("--new-tokens", type=int, default=96, help="tokens to continue by")
    parser.add_argument("--dtype", choices=sorted(TOLERANCES), default="float32")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        default=[256, 512, 1024, 2048, 4096, 8192],
        help="prefill lengths of the plot; --tokens is added",
    )
    parser.add_argument("--repeats", type=int, default=3, help="prefills a length; the best counts")
    parser.add_argument("--plot", type=Path, default=ROOT / "build" / "demo" / "prefill.png")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    if args.new_tokens < 2 or args.tokens < 2:
        parser.error("--tokens and --new-tokens must be at least 2")
    if min(args.lengths) < 1 or args.repeats < 1:
        parser.error("--lengths and --repeats must be at least 1")
    args.lengths = sorted({*args.lengths, args.tokens})
    return args


def fail(message: str) -> NoReturn:
    """Ends the program with one line."""
    sys.exit(f"demo.py: {message}")


def check_device(name: str) -> None:
    """Ends the program unless the device is there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        fail(f"--device {name}: expected cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        fail(f"--device {name}: torch finds {count} CUDA devices here")


def read_text(path: Path) -> str:
    """The text to read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"--text {path}: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"--text {path}: not UTF-8")


def load(args) -> tuple[torch.nn.Module, Tokenizer, torch.Tensor]:
    """The model, its tokenizer and the text as tokens [1, T]."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    check_device(args.device)
    for name in ("config.json", "tokenizer.json"):
        if not (args.model / name).is_file():
            fail(f"--model {args.model}: there is no {name}")
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    text = read_text(args.text or args.model / "held_out.txt")
    ids = torch.tensor([tokenizer.encode(text).ids], device=args.device)
    for option, needed in (("--tokens", args.tokens), ("--lengths", args.lengths[-1])):
        if ids.shape[1] < needed:
            fail(f"{option} asks for {needed} tokens, the text has {ids.shape[1]}")
    dtype = getattr(torch, args.dtype)
    try:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    except (OSError, ValueError) as error:
        fail(f"--model {args.model}: {str(error).strip().splitlines()[0]}")
    model = model.to(args.device).eval()
    return model, tokenizer, ids


def write_json(path: Path, theirs: Reading, ours: Reading, args) -> None:
    """The figures, for scripts."""
    figures = {"dtype": args.dtype, "device": args.device, "tokens": args.tokens}
    for name, reading in (("torch", theirs), ("libgdn", ours)):
        figures[name] = {
            "perplexity": reading.perplexity,
            "prefill_tokens_per_second": args.tokens / reading.prefill_seconds,
            "decode_tokens_per_second": 1 / reading.decode_seconds,
            "prefill_seconds_by_length": reading.curve,
        }
    figures["largest_logit_difference"] = float((theirs.logits - ours.logits).abs().max())
    figures["first_different_token"] = first_difference(theirs.tokens, ours.tokens)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


@torch.inference_mode()
def main() -> int:
    """Runs the demo; returns the exit status."""
    args = arguments()
    torch.backends.cudnn.allow_tf32 = False  # float32 is to mean float32 on a GPU too
    # cuDNN's attention plans a kernel for every new length: the path that comes first would pay.
    torch.backends.cuda.enable_cudnn_sdp(False)
    console = Console(highlight=False)
    model, tokenizer, ids = load(args)
    count = sum(p.numel() for p in model.parameters())
    console.print(
        f"A Qwen3.5 model of {count / 1e6:.2f} million parameters reads {args.tokens} tokens of "
        "the end of Persuasion (held out of its training) and continues it."
    )
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def stage(name: str, steps: int) -> Callable[[], None]:
            task = progress.add_task(name, total=steps)
            return lambda: progress.advance(task)

        theirs = read(model, ids, args, stage("transformers (torch) reads", 1 + args.new_tokens))
        libgdn.enable()  # the one line
        ours = read(model, ids, args, stage("libgdn reads", 1 + args.new_tokens))
        libgdn.disable()
        timing = stage("prefill times of both, in turns", len(args.lengths) * args.repeats)
        time_prefills(model, ids, args, theirs, ours, timing)

    tail = tokenizer.decode(ids[0, args.tokens - 48 : args.tokens].tolist())
    console.print(Panel(f"... {tail.strip()}", title="the text ends"))
    for name, reading in (("transformers (torch)", theirs), ("libgdn", ours)):
        console.print(Panel(tokenizer.decode(reading.tokens).strip(), title=f"{name} continues"))
    console.print(agreement(theirs, ours))
    console.print(results_table(theirs, ours, args))
    plot(theirs, ours, args)
    console.print(f"plot: {args.plot}")
    if args.json is not None:
        write_json(args.json, theirs, ours, args)
    wrong = problems(theirs, ours, TOLERANCES[args.dtype])
    for problem in wrong:
        console.print(f"FAILED: {problem}", style="bold red")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
