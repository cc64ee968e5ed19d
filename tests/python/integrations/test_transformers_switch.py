"""Switching the hook on and off, and what it refuses."""

import sys

import pytest
import torch
import transformers
from tiny_models import build, gdn_layers, tokens

import gdn.integrations.transformers as hook


def test_layer_refuses_what_it_does_not_know(model):
    layer = gdn_layers(model)[0]
    x = torch.randn(1, 5, 48)
    with hook.enabled():
        layer(x, use_cache=True, output_attentions=False)
        layer(x, other=None)
        with pytest.raises(TypeError, match="other"):
            layer(x, other=1)


def test_other_activation_is_refused():
    model = build("qwen3_5", hidden_act="gelu")
    with hook.enabled(), pytest.raises(NotImplementedError, match="silu"):
        model(tokens(1, 5))


def test_gradients_are_refused(model):
    with torch.enable_grad(), hook.enabled(), pytest.raises(RuntimeError, match="no backward"):
        model(tokens(1, 5))
    with torch.enable_grad(), hook.enabled():
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        model(tokens(1, 5))


def test_a_replaced_layer_is_no_silent_fallback(model):
    layer = gdn_layers(model)[1]
    layer.forward = layer.forward  # bound to the original: what an early hook does
    with hook.enabled(), pytest.raises(RuntimeError, match="2 of 3 GDN layers"):
        model(tokens(1, 5))


def test_enable_and_disable_nest():
    family = transformers.models.qwen3_next.modeling_qwen3_next
    original = family.Qwen3NextGatedDeltaNet.forward
    hook.enable()
    hook.enable()
    assert hook.is_enabled()
    assert family.Qwen3NextGatedDeltaNet.forward is not original
    with hook.enabled():
        pass
    assert hook.is_enabled(), "the context leaves an earlier enable() alone"
    hook.disable()
    assert family.Qwen3NextGatedDeltaNet.forward is original
    hook.disable()
    with pytest.raises(KeyError), hook.enabled():
        raise KeyError
    assert not hook.is_enabled()


@pytest.mark.parametrize("version", ["4.56.2", "5.1.0", "5.25.0", "6.0.0.dev0"])
def test_unsupported_version_is_named(monkeypatch, version):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    with pytest.raises(ImportError, match=version.replace(".", r"\.")):
        hook.enable()
    assert not hook.is_enabled()
