"""vLLM servers as processes, and requests to them, for vllm_serve.py."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from gdn.integrations.vllm import read_counts

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "demo"
STEP = 2048  # tokens a step: longer prompts are read in chunks


@dataclass
class Server:
    """One vLLM server process."""

    name: str
    port: int
    folder: Path
    libgdn: bool
    options: list[str] = field(default_factory=list)
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process; ready() waits for it."""
        env = {
            **os.environ,
            "GDN_VLLM": "1" if self.libgdn else "0",
            "GDN_VLLM_COUNTS": str(self.counts_folder),
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(MODEL),
            "--served-model-name", "demo", "--host", "127.0.0.1", "--port", str(self.port),
            "--max-model-len", "16384", "--max-num-batched-tokens", str(STEP), "--max-num-seqs",
            "16", *self.options,
        ]  # fmt: skip
        log = (self.folder / f"{self.port}.log").open("w")
        self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    @property
    def counts_folder(self) -> Path:
        """Where the plugin of its processes writes."""
        return self.folder / f"counts-{self.port}"

    def counts(self) -> dict[str, int]:
        """What the plugin has counted in the server's processes."""
        return read_counts(self.counts_folder)

    async def ready(self, session: aiohttp.ClientSession, seconds: float = 300) -> None:
        """Wait until it answers; raise with the end of its log if it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                async with session.get(f"{self.url}/health") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.5)
        tail = (self.folder / f"{self.port}.log").read_text()[-4000:]
        raise RuntimeError(f"{self.name}: the server did not start\n{tail}")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()


@dataclass
class Timing:
    """One request."""

    first: float
    """Seconds to the first token."""
    total: float
    tokens: int


async def complete(session, server: Server, prompt: list[int], **options) -> dict:
    """One request, answered at once."""
    body = {"model": "demo", "prompt": prompt, "temperature": 0, **options}
    async with session.post(f"{server.url}/v1/completions", json=body) as response:
        answer = await response.json()
        if response.status != 200:
            raise RuntimeError(f"{server.name}: {answer}")
        return answer


async def timed(session, server: Server, prompt: list[int], tokens: int) -> Timing:
    """One request of a given number of tokens, answered token by token."""
    body = {
        "model": "demo", "prompt": prompt, "temperature": 0, "max_tokens": tokens,
        "ignore_eos": True, "stream": True,
    }  # fmt: skip
    start, first = time.perf_counter(), None
    async with session.post(f"{server.url}/v1/completions", json=body) as response:
        async for line in response.content:
            if first is None and line.startswith(b"data: {"):
                first = time.perf_counter() - start
    return Timing(first, time.perf_counter() - start, tokens)


async def at_a_time(session, server: Server, prompts: list[list[int]], count: int, tokens: int):
    """Send all prompts, `count` of them at a time; return (seconds, timings)."""
    gate = asyncio.Semaphore(count)

    async def one(prompt):
        async with gate:
            return await timed(session, server, prompt, tokens)

    start = time.perf_counter()
    timings = await asyncio.gather(*map(one, prompts))
    return time.perf_counter() - start, timings


async def greedy(session, server: Server, prompts: list[list[int]], tokens: int):
    """(token texts, gaps between the two best) of each prompt's continuation, all sent together."""
    answers = await asyncio.gather(
        *(
            complete(
                session, server, prompt, max_tokens=tokens, logprobs=2, ignore_eos=True,
                return_tokens_as_token_ids=True,
            )
            for prompt in prompts
        )
    )  # fmt: skip
    found = []
    for answer in answers:
        logprobs = answer["choices"][0]["logprobs"]
        ids = [int(text.split(":")[1]) for text in logprobs["tokens"]]
        best = [sorted(top.values(), reverse=True)[:2] for top in logprobs["top_logprobs"]]
        found.append((ids, [b[0] - b[1] for b in best]))
    return found


async def perplexity(session, server: Server, pieces: list[list[int]]) -> float:
    """Perplexity of the pieces, each read from its own beginning."""
    answers = await asyncio.gather(
        *(complete(session, server, p, max_tokens=1, prompt_logprobs=0) for p in pieces)
    )
    losses = []
    for piece, answer in zip(pieces, answers, strict=True):
        rows = answer["choices"][0]["prompt_logprobs"]
        losses += [-rows[i][str(piece[i])]["logprob"] for i in range(1, len(piece))]
    return math.exp(statistics.fmean(losses))


def transformers_greedy(prompts: list[list[int]], tokens: int) -> list[list[int]]:
    """Continuations by transformers' own path in float32, each prompt by itself."""
    import torch
    from transformers import AutoModelForCausalLM

    # So small a model loses more to waiting threads than it gains.
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    found = []
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens,
                min_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
            found.append(out[0, len(prompt) :].tolist())
    return found
