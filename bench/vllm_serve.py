"""vLLM's server with libgdn in its GDN layers, beside the same server as it comes.

    .venv/vllm/bin/python bench/vllm_serve.py [--short] [--output DIR]        (make vllm)

Servers of the OpenAI-compatible kind run on the CPU beside each other with the demo model: vLLM in
bfloat16, vLLM with libgdn in bfloat16, and vLLM with libgdn in float32 and with prefix caching (as
it comes, vLLM's CPU kernels take bfloat16 alone). What is shown, and checked where it says so:

- greedy tokens of prompts of different lengths, sent together, so that prefills (in chunks) and
  decodes share steps: bfloat16 against bfloat16 may part at near-ties (checked); float32 against
  transformers' own path in float32 must agree (checked), from a cached prefix as well (checked)
- perplexity of a held-out text through the engine (checked: 1%)
- that libgdn's kernels ran on every token with it, and none without (checked, by its counts)
- prefill tokens/s of one long prompt, and with 1, 4 and 16 requests at a time the tokens/s, the
  time to the first token and the time between tokens; median and best of rounds in which both
  servers take turns. The model is small: much of a step is the engine's own.

Exit status 1 if a check fails. Results go to DIR/vllm.json and vllm.png (default build/vllm).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
from pathlib import Path

import aiohttp

from vllm_servers import (
    MODEL,
    ROOT,
    Server,
    at_a_time,
    complete,
    greedy,
    perplexity,
    transformers_greedy,
)

NEAR_TIE = 0.1  # difference of the two best logarithms of probability
PERPLEXITY = 0.01
CONCURRENCY = (1, 4, 16)
LAYERS = 3


class Checks:
    """What was checked, and what failed."""

    def __init__(self):
        self.lines: list[str] = []
        self.failed = False

    def __call__(self, good: bool, text: str) -> None:
        """Note and print one."""
        self.failed |= not good
        self.lines.append(f"{'ok  ' if good else 'FAIL'} {text}")
        print(self.lines[-1], flush=True)


def compare_greedy(check: Checks, theirs, ours) -> None:
    """Continuations may part where the two best tokens are nearly equal."""
    equal, ties, wrong = 0, 0, []
    for n, ((a, gaps), (b, _)) in enumerate(zip(theirs, ours, strict=True)):
        part = next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
        if part is None:
            equal += 1
        elif gaps[part] <= NEAR_TIE:
            ties += 1
        else:
            wrong.append((n, part, round(gaps[part], 3)))
    check(
        not wrong,
        f"greedy tokens, bfloat16: {equal} of {len(ours)} continuations equal, {ties} part at a "
        f"near-tie (two best within {NEAR_TIE}), {len(wrong)} elsewhere {wrong or ''}",
    )


async def speeds(session, servers: list[Server], ids: list[int], rounds: int) -> dict:
    """Medians over rounds in which the servers take turns."""
    seen: dict[str, dict[str, list[float]]] = {s.name: {} for s in servers}

    def note(server, name, value):
        seen[server.name].setdefault(name, []).append(value)

    lengths = (64, 700, 200, 1500, 100, 350, 64, 120)
    for turn in range(rounds + 1):
        for server in servers if turn % 2 else servers[::-1]:
            at = 97 * turn
            long = (ids * 2)[at : at + 8192]
            _, (timing,) = await at_a_time(session, server, [long], 1, 1)
            if turn:
                note(server, "prefill tokens/s", len(long) / timing.total)
            for count in CONCURRENCY:
                prompts = [
                    ids[(at + 31 * i) : (at + 31 * i) + lengths[i % len(lengths)]]
                    for i in range(max(8, 2 * count))
                ]
                seconds, timings = await at_a_time(session, server, prompts, count, 64)
                if not turn:
                    continue  # warm-up
                between = [(t.total - t.first) / (t.tokens - 1) for t in timings]
                note(server, f"tokens/s at {count}", sum(t.tokens for t in timings) / seconds)
                note(server, f"ms to first token at {count}",
                     1e3 * statistics.median(t.first for t in timings))  # fmt: skip
                note(server, f"ms between tokens at {count}", 1e3 * statistics.median(between))
    return seen


def table(seen: dict) -> str:
    """Median and best of the rounds; a ratio over 1 is in favour of libgdn."""
    theirs, ours = seen
    lines = [f"| median (best) | {theirs} | {ours} | ratio (of best) |", "|---|---|---|---|"]
    for name in seen[theirs]:
        high = "tokens/s" in name
        cells, found = [], []
        for values in (seen[theirs][name], seen[ours][name]):
            found.append((statistics.median(values), max(values) if high else min(values)))
            cells.append("{:.4g} ({:.4g})".format(*found[-1]))
        ratios = [b / a if high else a / b for a, b in zip(*found, strict=True)]
        cells.append("{:.2f} ({:.2f})".format(*ratios))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(seen: dict, path: Path) -> None:
    """Bars of the medians."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = ["tokens/s", "ms to first token", "ms between tokens"]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.5))
    for i, (name, rows) in enumerate(seen.items()):
        for axis, panel in zip(axes, panels, strict=False):
            heights = [statistics.median(rows[f"{panel} at {c}"]) for c in CONCURRENCY]
            axis.bar([x + 0.4 * i for x in range(len(heights))], heights, 0.4, label=name)
            axis.set_xticks([x + 0.2 for x in range(len(heights))], CONCURRENCY)
            axis.set_xlabel("requests at a time")
            axis.set_title(panel)
        axes[3].bar(i, statistics.median(rows["prefill tokens/s"]), 0.8, label=name)
    axes[3].set_xticks([])
    axes[3].set_title("prefill tokens/s, 8192 tokens")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def encode(text: str) -> list[int]:
    """Token ids of the model's tokenizer."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(text).ids


async def check_float32(check: Checks, session, server: Server, prompts, tokens: int) -> None:
    """The float32 server beside transformers, and its prefix cache beside itself."""
    expected = transformers_greedy(prompts, tokens)
    found = [ids for ids, _ in await greedy(session, server, prompts, tokens)]
    equal = sum(a == b for a, b in zip(expected, found, strict=True))
    check(equal == len(prompts), f"greedy tokens, float32: {equal} of {len(prompts)} equal those "
          "of transformers in float32")  # fmt: skip
    # The longest prompt twice more: in the end its beginning comes out of the prefix cache.
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    for _ in range(2):
        answer = await complete(
            session, server, prompts[longest], max_tokens=tokens, ignore_eos=True, logprobs=0,
            return_tokens_as_token_ids=True,
        )  # fmt: skip
    cached = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    again = [int(t.split(":")[1]) for t in answer["choices"][0]["logprobs"]["tokens"]]
    check(
        cached > 0 and again == expected[longest],
        f"prefix cache: {cached} of {len(prompts[longest])} tokens of a prompt were cached, and "
        "its continuation is the same",
    )


def check_counts(check: Checks, theirs: Server, ours: Server) -> None:
    """Which kernels ran, by the plugin's counts."""
    counts = ours.counts()
    operations = (
        "causal_conv1d_fwd", "chunk_gated_delta_rule", "rms_norm_gated", "fused_gdn_decode",
    )  # fmt: skip
    text = ", ".join(
        f"{name} {counts.get(name, 0)} calls on {counts.get(f'{name} tokens', 0)} tokens"
        for name in operations
    )
    check(
        all(counts.get(name, 0) > 0 and counts[name] % LAYERS == 0 for name in operations),
        f"{ours.name} ran {text}",
    )
    check(not any(theirs.counts().values()), f"{theirs.name} ran none of them")


async def run(args) -> bool:
    """All of it; return whether nothing failed."""
    text = (MODEL / "held_out.txt").read_text()
    ids = encode(text)
    lengths = [2, 63, 64, 65, 130, 500] if args.short else [2, 3, 17, 63, 64, 65, 130, 257, 500,
                                                           900, 1500, 5000]  # fmt: skip
    prompts = [ids[101 * i : 101 * i + length] for i, length in enumerate(lengths)]
    tokens = 16 if args.short else 48
    folder = args.output / "logs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plain = ["--dtype", "bfloat16", "--no-enable-prefix-caching"]
    eager = ["--enforce-eager"] if args.short else []
    theirs = Server("vLLM", args.port, folder, False, plain + eager)
    ours = Server("vLLM with libgdn", args.port + 1, folder, True, plain + eager)
    exact = Server("vLLM with libgdn in float32", args.port + 2, folder, True, [
        "--dtype", "float32", "--enable-prefix-caching", "--mamba-cache-mode", "align",
        "--enable-prompt-tokens-details", "--enforce-eager",
    ])  # fmt: skip
    check = Checks()
    result: dict = {"short": args.short}
    timeout = aiohttp.ClientTimeout(total=600)
    servers = [theirs, ours, exact]
    try:
        # A server closes connections that are idle while the other one is measured.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            for server in servers:
                server.start()
            await asyncio.gather(*(server.ready(session) for server in servers))
            compare_greedy(
                check,
                await greedy(session, theirs, prompts, tokens),
                await greedy(session, ours, prompts, tokens),
            )
            exact_prompts = prompts if args.short else prompts[:-1]
            await check_float32(check, session, exact, exact_prompts, tokens)
            exact.stop()
            pieces = [ids[1024 * i : 1024 * (i + 1)] for i in range(1 if args.short else 12)]
            a, b = (
                await perplexity(session, theirs, pieces),
                await perplexity(session, ours, pieces),
            )
            result["perplexity"] = {theirs.name: a, ours.name: b}
            check(
                abs(b / a - 1) <= PERPLEXITY,
                f"perplexity of {sum(map(len, pieces))} tokens: {a:.4f} and {b:.4f}",
            )
            if not args.short:
                seen = await speeds(session, [theirs, ours], ids, args.rounds)
                result["speeds"] = seen
                print(table(seen))
                plot(seen, args.output / "vllm.png")
            check_counts(check, theirs, ours)
    finally:
        for server in servers:
            server.stop()
    result["checks"] = check.lines
    (args.output / "vllm.json").write_text(json.dumps(result, indent=1))
    return not check.failed


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the checks alone, with less text")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=8470)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "vllm")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    return 0 if asyncio.run(run(args)) else 1


if __name__ == "__main__":
    sys.exit(main())
