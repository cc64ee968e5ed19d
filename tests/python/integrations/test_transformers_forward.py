"""One forward pass without a cache: the logits of transformers' own path."""

import copy

import pytest
import torch
from support import DEVICE
from tiny_models import F32_TOLERANCE, assert_close, build, gdn_layers, left_padded, tokens

import gdn
import gdn.integrations.transformers as hook


@pytest.mark.parametrize("length", [1, 2, 5, 64, 65, 200])
@pytest.mark.parametrize("batch", [1, 3])
def test_forward(model, calls, batch, length):
    ids = tokens(batch, length)
    expected = model(ids).logits
    assert not calls
    with hook.enabled():
        found = model(ids).logits
    assert_close(found, expected)
    assert {name: len(c) for name, c in calls.items()} == {
        "chunk_gated_delta_rule": 3,
        "causal_conv1d_fwd": 3,
        "fused_gdn_gating": 3,
        "rms_norm_gated": 3,
    }
    count = sum(len(c) for c in calls.values())
    model(ids)
    assert sum(len(c) for c in calls.values()) == count, "still routed after the context"


def test_key_heads_are_shared_not_repeated(model, calls):
    with hook.enabled():
        model(tokens(1, 70))
    (q, k, v, *_), _ = calls["chunk_gated_delta_rule"][0]
    assert q.shape[2] == k.shape[2] == 2
    assert v.shape[2] == 4


def test_the_comparison_is_sensitive(model, monkeypatch):
    """One per cent of error in beta must show, or the other tests could not fail."""
    ids = tokens(1, 100)
    expected = model(ids).logits
    gating = gdn.fused_gdn_gating
    monkeypatch.setattr(
        gdn, "fused_gdn_gating", lambda *a, **k: (gating(*a, **k)[0], 1.01 * gating(*a, **k)[1])
    )
    with hook.enabled():
        found = model(ids).logits
    error = (found - expected).abs().max() / expected.abs().max()
    assert error > 10 * F32_TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(model, dtype):
    """libgdn's error against float32 is no more than half again that of the torch path."""
    ids = tokens(2, 150)
    exact = model(ids).logits
    half = copy.deepcopy(model).to(dtype)
    torch_path = half(ids).logits.float()
    with hook.enabled():
        found = half(ids).logits.float()
    assert torch.isfinite(found).all()
    theirs = (torch_path - exact).norm() / exact.norm()
    ours = (found - exact).norm() / exact.norm()
    assert 0 < ours <= 1.5 * theirs, f"libgdn {ours:.2e}, torch {theirs:.2e}"


def test_float32_weights_under_autocast(model):
    """Projections in bfloat16, the small parameters in float32."""
    ids = tokens(1, 70)
    exact = model(ids).logits
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        theirs = model(ids).logits.float()
        with hook.enabled():
            ours = model(ids).logits.float()
    assert (ours - exact).norm() <= 1.5 * (theirs - exact).norm()


def test_layer_takes_positional_arguments(model):
    layer = gdn_layers(model)[0]
    x = torch.randn(2, 9, 48)
    expected = layer(x, None)
    with hook.enabled():
        assert_close(layer(x, None), expected)


def test_left_padding(model):
    ids, mask = left_padded()
    expected = model(ids, attention_mask=mask).logits
    with hook.enabled():
        found = model(ids, attention_mask=mask).logits
    real = mask.bool()
    assert_close(found[real], expected[real])


def test_mixture_of_experts_family(calls):
    """Each GDN layer by itself (a router's choice may flip on a rounding difference)."""
    model = build("qwen3_5_moe")
    x = torch.randn(2, 70, 48)
    for layer in gdn_layers(model):
        expected = layer(x)
        with hook.enabled():
            assert_close(layer(x), expected)
    assert len(calls["chunk_gated_delta_rule"]) == 3
    with hook.enabled():
        model(tokens(1, 20))
    assert len(calls["chunk_gated_delta_rule"]) == 6
