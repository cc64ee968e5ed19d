#!/usr/bin/env python3
"""Trains the demo's language model, reproducibly: python examples/demo/train.py

A small Qwen3.5 text model (three Gated DeltaNet layers to one attention layer, head dimension 128,
two value heads to a key head) learns Jane Austen's novels (austen.py) with a byte-level BPE
tokenizer of 1024 tokens. Seeds are fixed. models/demo/training.json has the device, the settings
and the log of the committed weights. The schedule is short on purpose: a model of this size learns
the novels' language in some 500 steps and then goes on to learn them by heart (1200 steps: held-out
perplexity 26, against 19). On a CPU of two cores the same 7 million tokens take about
an hour (2300 tokens a second were measured). libgdn has no backward pass: training uses
transformers' own torch path.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from austen import fetch, novels, split
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

ROOT = Path(__file__).resolve().parents[2]
SEED = 20
VOCAB = 1024


def train_tokenizer(text: str) -> Tokenizer:
    """A byte-level BPE tokenizer of VOCAB tokens; every text round-trips exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    # Paragraph by paragraph: no token spans two of them except the blank line itself.
    tokenizer.train_from_iterator((p + "\n\n" for p in text.split("\n\n")), trainer)
    return tokenizer


def model_config() -> Qwen3_5TextConfig:
    """The demo model: 1.6 million parameters, 3 GDN layers to 1 attention layer."""
    return Qwen3_5TextConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        max_position_embeddings=16384,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 100000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [3, 3, 2],
        },
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def initialise_gates(model: Qwen3_5ForCausalLM) -> None:
    """Spreads the heads' time constants over 10 to 1000 tokens.

    transformers' own values (dt_bias 1) forget within a token, from which a short training does
    not recover: softplus(dt_bias) is drawn log-uniformly from [0.001, 0.1] instead, and A from
    [1, 16].
    """
    for layer in model.model.layers:
        if hasattr(layer, "linear_attn"):
            gdn = layer.linear_attn
            heads = gdn.dt_bias.numel()
            dt = torch.exp(torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)))
            with torch.no_grad():
                gdn.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
                gdn.A_log.copy_(torch.empty(heads).uniform_(1.0, 16.0).log())


def optimizer_for(model: torch.nn.Module, lr: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices alone."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def loss_of(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy, in nats a token, of tokens [B, T + 1]."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, tokens: torch.Tensor, length: int) -> float:
    """Mean cross entropy of the held-out text, read in pieces of `length` tokens."""
    count = (len(tokens) - 1) // length
    total = 0.0
    for i in range(count):
        piece = tokens[i * length : (i + 1) * length + 1]
        total += float(loss_of(model, piece[None]))
    return total / max(count, 1)


def train(model, train_tokens, held_out, args) -> list[dict]:
    """Runs the schedule of `args`; returns the log. The last tenth reads longer sequences."""
    device = train_tokens.device
    optimizer = optimizer_for(model, args.lr)
    generator = torch.Generator().manual_seed(SEED)
    warmup = max(1, min(100, args.steps // 10))
    log, start = [], time.time()
    for step in range(args.steps):
        long = step >= args.steps * 9 // 10
        length = args.length * (2 if long else 1)
        batch = max(1, args.batch // (2 if long else 1))
        progress = max(0.0, (step - warmup) / max(1, args.steps - warmup))
        scale = min(1.0, (step + 1) / warmup) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        )
        for group in optimizer.param_groups:
            group["lr"] = args.lr * scale
        starts = torch.randint(len(train_tokens) - length - 1, (batch,), generator=generator)
        index = starts[:, None] + torch.arange(length + 1)
        loss = loss_of(model, train_tokens[index.to(device)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % args.report == args.report - 1 or step == args.steps - 1:
            entry = {
                "step": step + 1,
                "train": round(float(loss.detach()), 4),
                "held_out": round(held_out_loss(model, held_out, args.length), 4),
                "seconds": round(time.time() - start, 1),
            }
            log.append(entry)
            print(entry, flush=True)
    return log


def main() -> None:
    """Trains and writes the files of models/demo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--text", type=Path, help="Rdata.rdb of r-cran-janeaustenr (default: download)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--batch", type=int, default=16, help="sequences a step")
    parser.add_argument("--length", type=int, default=1024, help="tokens a sequence")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--report", type=int, default=100, help="steps between two reports")
    args = parser.parse_args()

    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("high")
    text, held_out = split(novels(args.text or fetch(ROOT / "build" / "demo" / "text")))
    tokenizer = train_tokenizer(text)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out / "tokenizer.json"))
    (args.out / "held_out.txt").write_text(held_out, encoding="utf-8")

    config = model_config()
    model = Qwen3_5ForCausalLM(config)
    initialise_gates(model)
    parameters = sum(p.numel() for p in model.parameters())
    train_tokens = torch.tensor(tokenizer.encode(text).ids, device=args.device)
    held_tokens = torch.tensor(tokenizer.encode(held_out).ids, device=args.device)
    print(
        f"{parameters} parameters, {len(text)} characters = {len(train_tokens)} tokens to learn,"
        f" {len(held_tokens)} held out, on {args.device}",
        flush=True,
    )

    model.to(args.device)
    log = train(model, train_tokens, held_tokens, args)

    model.to(torch.bfloat16)
    state = {
        k: v.contiguous().cpu() for k, v in model.state_dict().items() if k != "lm_head.weight"
    }
    save_file(state, args.out / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["Qwen3_5ForCausalLM"]
    config.dtype = "bfloat16"
    config.save_pretrained(args.out)
    final = held_out_loss(model.float(), held_tokens, 4096)
    summary = {
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device,
        "torch": torch.__version__,
        "seed": SEED,
        "steps": args.steps,
        "batch": args.batch,
        "length": args.length,
        "lr": args.lr,
        "parameters": parameters,
        "train_tokens": len(train_tokens),
        "held_out_tokens": len(held_tokens),
        "held_out_perplexity_of_bf16_weights_4096_tokens": round(math.exp(final), 3),
        "log": log,
    }
    (args.out / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print({k: v for k, v in summary.items() if k != "log"})


if __name__ == "__main__":
    main()
