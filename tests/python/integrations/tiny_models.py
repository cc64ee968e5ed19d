"""Tiny random Qwen3.5 and Qwen3-Next models, and how their logits are compared.

The models are initialised wide enough that the GDN layers matter (a sensitivity test holds that).
In float32 libgdn's path is compared with transformers' own; in half precision each is compared with
float32, since two right implementations differ by rounding.
"""

import pytest
import torch
import transformers
from support import DEVICE

FAMILIES = ["qwen3_5", "qwen3_next"]
F32_TOLERANCE = 2e-5  # of the largest logit
VOCABULARY = 96


def build(family: str, seed: int = 0, **changes):
    """A random model of four layers, three of them GDN, in float32."""
    common = dict(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        linear_key_head_dim=32,
        linear_value_head_dim=48,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        initializer_range=0.15,
        pad_token_id=0,
        eos_token_id=None,
        bos_token_id=None,
    )
    common.update(changes)
    if family.startswith("qwen3_5"):
        if not hasattr(transformers, "Qwen3_5ForCausalLM"):
            pytest.skip(f"transformers {transformers.__version__} has no Qwen3.5")
        rope = {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
        }
        if family == "qwen3_5_moe":
            common.update(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16)
            config = transformers.Qwen3_5MoeTextConfig(rope_parameters=rope, **common)
            cls = transformers.Qwen3_5MoeForCausalLM
        else:
            config = transformers.Qwen3_5TextConfig(rope_parameters=rope, **common)
            cls = transformers.Qwen3_5ForCausalLM
    else:
        # Dense layers: a router's choice may flip on a rounding difference.
        config = transformers.Qwen3NextConfig(
            num_experts=2, num_experts_per_tok=1, mlp_only_layers=[0, 1, 2, 3], **common
        )
        cls = transformers.Qwen3NextForCausalLM
    torch.manual_seed(seed)
    model = cls(config).eval()
    for layer in gdn_layers(model):  # time constants from a token to some hundreds
        with torch.no_grad():
            layer.dt_bias.uniform_(-6.0, 1.0)
            layer.A_log.uniform_(-1.0, 2.0)
    return model


def gdn_layers(model):
    return [m for m in model.modules() if hasattr(m, "A_log")]


def tokens(batch, length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (batch, length), generator=generator, device="cpu")
    return ids.to(DEVICE)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert torch.isfinite(found).all()
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= F32_TOLERANCE, f"relative error {error:.2e}"


def continued(model, ids, pieces, **kwargs):
    """Logits of a text read in pieces through one cache."""
    logits, cache, start = [], None, 0
    for piece in pieces:
        out = model(ids[:, start : start + piece], past_key_values=cache, use_cache=True, **kwargs)
        cache, start = out.past_key_values, start + piece
        logits.append(out.logits)
    assert start == ids.shape[1]
    return torch.cat(logits, dim=1)


def left_padded():
    """Three rows of 80 tokens, the last two padded on the left, and their mask.

    The padding is tokens like others: only the mask can keep them out.
    """
    ids = tokens(3, 80)
    mask = torch.ones_like(ids)
    mask[1, :13] = 0
    mask[2, :77] = 0
    return ids, mask
