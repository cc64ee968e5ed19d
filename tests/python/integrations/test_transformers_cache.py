"""Prefill, decode and generation through a cache."""

import copy

import pytest
import torch
import transformers
from tiny_models import assert_close, continued, left_padded, tokens

import gdn.integrations.transformers as hook


@pytest.mark.parametrize(
    "pieces",
    [[100], [1] * 12, [2, 1, 1, 3, 5], [64, 64, 1, 1, 70], [50, 1, 33, 1, 1, 2]],
    ids=lambda p: "-".join(map(str, p[:6])),
)
@pytest.mark.parametrize("batch", [1, 2])
def test_cache_continuation(model, calls, batch, pieces):
    """Prefill, more prefill and decode in any order equal one pass over the whole text.

    The whole pass is transformers' own: before 5.10 its continuation forgot the states.
    """
    ids = tokens(batch, sum(pieces))
    expected = model(ids).logits
    with hook.enabled():
        found = continued(model, ids, pieces)
    assert_close(found, expected)
    decodes = sum(piece == 1 for piece in pieces[1:])
    assert len(calls.get("fused_gdn_decode", [])) == 3 * decodes
    assert len(calls["chunk_gated_delta_rule"]) == 3 * (len(pieces) - decodes)


def test_cache_moves_between_the_two_paths(model):
    """A cache filled by one path serves the other."""
    ids = tokens(1, 40)
    expected = model(ids).logits
    with hook.enabled():
        cache = model(ids[:, :30], use_cache=True).past_key_values
    found = [model(ids[:, 30:31], past_key_values=cache, use_cache=True).logits]
    with hook.enabled():
        for t in range(31, 40):
            found.append(model(ids[:, t : t + 1], past_key_values=cache, use_cache=True).logits)
    assert_close(torch.cat(found, dim=1), expected[:, 30:])


@pytest.mark.parametrize("batch", [1, 3])
def test_generate(model, calls, batch):
    ids = tokens(batch, 37)
    expected = model.generate(ids, max_new_tokens=16, do_sample=False)
    with hook.enabled():
        found = model.generate(ids, max_new_tokens=16, do_sample=False)
    assert torch.equal(found, expected)
    assert len(calls["fused_gdn_decode"]) == 3 * 15


def test_beam_search_reorders_the_states(model):
    ids = tokens(2, 20)
    expected = model.generate(ids, max_new_tokens=12, num_beams=3, do_sample=False)
    with hook.enabled():
        found = model.generate(ids, max_new_tokens=12, num_beams=3, do_sample=False)
    assert torch.equal(found, expected)


def test_half_precision_decode(model):
    """The same over prefill and decode with a cache."""
    ids = tokens(2, 90)
    exact = model(ids).logits
    half = copy.deepcopy(model).to(torch.bfloat16)
    pieces = [60] + [1] * 30
    torch_path = continued(half, ids, pieces).float()
    with hook.enabled():
        found = continued(half, ids, pieces).float()
    theirs = (torch_path - exact).norm() / exact.norm()
    ours = (found - exact).norm() / exact.norm()
    assert 0 < ours <= 1.5 * theirs, f"libgdn {ours:.2e}, torch {theirs:.2e}"


def test_left_padding_generate_equals_each_alone(model):
    ids, mask = left_padded()
    with hook.enabled():
        found = model.generate(ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
    for row in range(3):
        alone = ids[row : row + 1, mask[row].bool()]
        expected = model.generate(alone, max_new_tokens=10, do_sample=False)
        assert torch.equal(found[row, 80:], expected[0, alone.shape[1] :])


def test_cache_that_records_past_columns(model, calls):
    """Convolution states that grow until the cache is cropped."""
    cache = transformers.DynamicCache(config=model.config)
    recorders = [c for c in cache.layers if hasattr(c, "activate_past_recording")]
    if not recorders:
        pytest.skip(f"transformers {transformers.__version__} records no past columns")
    for recorder in recorders:
        recorder.activate_past_recording()
    ids = tokens(1, 40)
    expected = model(ids).logits
    found, start = [], 0
    with hook.enabled():
        for end in (20, 21, 22, 35, 36, 40):
            piece = ids[:, start:end]
            found.append(model(piece, past_key_values=cache, use_cache=True).logits)
            start = end
    assert_close(torch.cat(found, dim=1), expected)
    assert cache.layers[0].conv_states[0].shape[-1] == 40
    assert "causal_conv1d_update" not in calls and "fused_gdn_decode" not in calls
