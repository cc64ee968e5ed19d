"""gdn.nn.GatedDeltaNet: transformers' layer with the same weights, and itself in other ways."""

import sys
from pathlib import Path

import pytest
import torch
from support import DEVICE

sys.path.insert(0, str(Path(__file__).parent / "integrations"))
import tiny_models

import gdn
from gdn.nn import GatedDeltaNet


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=tiny_models.FAMILIES)
def layers(request):
    """(transformers' layer, this one with its weights)."""
    model = tiny_models.build(request.param)
    theirs = tiny_models.gdn_layers(model)[1]
    ours = GatedDeltaNet.from_config(model.config)
    ours.load_state_dict(theirs.state_dict())  # strict: the same names, the same shapes
    return theirs, ours


def inputs(batch, tokens, seed=0):
    generator = torch.Generator(device=DEVICE).manual_seed(seed)
    return torch.randn(batch, tokens, 48, generator=generator)


def assert_close(found, expected, bound=2e-5):
    assert found.shape == expected.shape and torch.isfinite(found).all()
    error = ((found - expected).norm() / expected.norm()).item()
    assert error <= bound, f"error {error:.2e}"


@pytest.mark.parametrize("tokens", [1, 3, 64, 150])
def test_prefill(layers, tokens):
    theirs, ours = layers
    x = inputs(2, tokens)
    assert_close(ours(x), theirs(x))


def test_state_dict_both_ways(layers):
    theirs, ours = layers
    assert {n: p.shape for n, p in ours.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }
    before = theirs(inputs(1, 9))
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(theirs(inputs(1, 9)), before)


@pytest.mark.parametrize("pieces", [(70, 1, 1, 9, 1), (1, 1, 79), (2, 64, 1, 13)])
def test_cache(layers, pieces):
    """Prefill, decode and further prefills, in any order."""
    theirs, ours = layers
    x = inputs(3, sum(pieces))
    cache, found = ours.new_cache(slots=3), []
    for piece in x.split(pieces, dim=1):
        found.append(ours(piece, cache))
    assert_close(torch.cat(found, dim=1), theirs(x))


def test_a_decode_step_is_one_call(layers, monkeypatch):
    """But where the norm was changed, which is then called."""
    _, ours = layers
    cache, calls = ours.new_cache(slots=2), []
    for name in ("fused_gdn_decode", "fused_recurrent_gated_delta_rule"):
        function = getattr(gdn, name)

        def watched(*args, _function=function, _name=name, **kwargs):
            calls.append(_name)
            return _function(*args, **kwargs)

        monkeypatch.setattr(gdn, name, watched)
    ours(inputs(2, 9), cache)
    kept = [state.clone() for state in (cache.conv_state, cache.recurrent_state)]
    plain = ours(inputs(2, 1), cache)
    assert calls == ["fused_gdn_decode"]
    for state, before in zip((cache.conv_state, cache.recurrent_state), kept, strict=True):
        state.copy_(before)
    handle = ours.norm.register_forward_hook(lambda module, given, y: 2 * y)
    assert_close(ours(inputs(2, 1), cache), 2 * plain)
    handle.remove()
    assert calls == ["fused_gdn_decode", "fused_recurrent_gated_delta_rule"]


def test_sigmoid_gate():
    config = tiny_models.build("qwen3_5").config
    config.output_gate_type = "sigmoid"
    other = GatedDeltaNet.from_config(config)
    silu = GatedDeltaNet.from_config(tiny_models.build("qwen3_5").config)
    silu.in_proj_z.weight.zero_()
    other.load_state_dict(silu.state_dict())
    x = inputs(2, 9)
    assert not silu(x).any() and other(x).any()
    silu.norm, given = torch.nn.Module(), []
    silu.norm.forward = lambda o, z: given.append(o) or o
    silu(x)
    expected = (
        other.norm.weight
        * given[0]
        * torch.rsqrt(given[0].square().mean(-1, keepdim=True) + other.norm.eps)
    )
    assert_close(other(x), other.out_proj(expected.flatten(2) / 2))
    cache = other.new_cache(slots=2)
    parts = [other(piece, cache) for piece in x.split((8, 1), dim=1)]
    assert_close(torch.cat(parts, dim=1), other(x))
    with pytest.raises(ValueError, match="gate_activation"):
        GatedDeltaNet(48, 2, 4, 16, 16, gate_activation="gelu")


def test_packed(layers):
    theirs, ours = layers
    lengths = [1, 0, 69, 30]
    x = inputs(1, sum(lengths))
    cu_seqlens = torch.tensor([0, 1, 1, 70, 100])
    found = ours(x, cu_seqlens=cu_seqlens)
    for part, own in zip(x.split(lengths, 1), found.split(lengths, 1), strict=True):
        if part.shape[1]:
            assert_close(own, theirs(part))


def test_pool(layers):
    """Slots by index: packed prefills into reused slots, then decode in another order."""
    theirs, ours = layers
    cache = ours.new_cache(slots=5)
    for state in (cache.conv_state, cache.recurrent_state):
        state.normal_()  # what other sequences left
    untouched = [s[[0, 2]].clone() for s in (cache.conv_state, cache.recurrent_state)]
    x, more = inputs(1, 99), inputs(3, 1, seed=1)
    ours(
        x,
        cache,
        cu_seqlens=torch.tensor([0, 30, 99]),
        state_indices=torch.tensor([3, 1]),
        has_initial_state=torch.tensor([False, False]),
    )
    found = ours(more, cache, state_indices=torch.tensor([1, -1, 3]))
    assert_close(found[:1], theirs(torch.cat([x[:, 30:], more[:1]], 1))[:, -1:])
    assert_close(found[2:], theirs(torch.cat([x[:, :30], more[2:]], 1))[:, -1:])
    assert not found[1].any()
    for state, before in zip((cache.conv_state, cache.recurrent_state), untouched, strict=True):
        assert torch.equal(state[[0, 2]], before)


def test_one_graph(layers):
    _, ours = layers
    torch._dynamo.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="eager")
    x = inputs(2, 71)
    assert_close(compiled(x), ours(x))
    caches = ours.new_cache(slots=2), ours.new_cache(slots=2)
    for piece in x.split((70, 1), dim=1):
        assert torch.equal(compiled(piece, caches[0]), ours(piece, caches[1]))
    torch._dynamo.reset()


def test_bfloat16(layers):
    """No further from float32 than transformers' layer is, by half again."""
    theirs, ours = layers
    x = inputs(2, 150)
    exact = theirs(x)
    theirs, ours, x = theirs.bfloat16(), ours.bfloat16(), x.bfloat16()
    error = (theirs(x).float() - exact).norm() / exact.norm()
    assert_close(ours(x).float(), exact, bound=1.5 * error)


def test_refused_by_name(layers):
    theirs, ours = layers
    x = inputs(1, 5)
    with pytest.raises(ValueError, match="state_indices"):
        ours(x, state_indices=torch.tensor([0]))
    with pytest.raises(ValueError, match="has_initial_state"):
        ours(x, has_initial_state=torch.tensor([True]))
    with torch.enable_grad(), pytest.raises(NotImplementedError, match="requires a gradient"):
        ours(x)
    with pytest.raises(ValueError, match="num_v_heads"):
        GatedDeltaNet(48, 4, 6, 32, 32)
    config = tiny_models.build("qwen3_next", hidden_act="gelu").config
    with pytest.raises(ValueError, match="hidden_act"):
        GatedDeltaNet.from_config(config)
    config.model_type = "llama"
    with pytest.raises(ValueError, match="llama"):
        GatedDeltaNet.from_config(config)
    assert theirs(x).shape == x.shape
