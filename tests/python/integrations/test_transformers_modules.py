"""What a user changed inside a layer counts: modules that are not as written are called."""

import pytest
import torch
from tiny_models import assert_close, continued, gdn_layers, tokens
from torch import nn

import gdn.integrations.transformers as hook


class Scaled(nn.Module):
    """What an adapter does: wraps a module and shows its weight."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.weight, self.bias = inner.weight, getattr(inner, "bias", None)
        self.variance_epsilon = getattr(inner, "variance_epsilon", None)

    def forward(self, *args):
        return self.inner(*args) / 2


def halve_output(module, args, output):
    return output / 2


def halve_input(module, args):
    return (args[0] / 2, *args[1:])


def change(layer, name, how):
    """Change one module of the layer; return what undoes a change of the whole process."""
    module = getattr(layer, name)
    if how == "hook":
        return module.register_forward_hook(halve_output).remove
    if how == "pre_hook":
        return module.register_forward_pre_hook(halve_input).remove
    if how == "wrapped":
        setattr(layer, name, Scaled(module))
    elif how == "forward":
        forward = module.forward
        module.forward = lambda *args: forward(*args) / 2
    elif how == "global hook":
        return nn.modules.module.register_module_forward_hook(
            lambda m, args, output: output / 2 if m is module else None
        ).remove
    elif how == "parametrised":
        nn.utils.parametrize.register_parametrization(module, "weight", Half())
    return lambda: None


class Half(nn.Module):
    def forward(self, weight):
        return weight / 2


PROJECTIONS = {
    "qwen3_5": ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"],
    "qwen3_next": ["in_proj_qkvz", "in_proj_ba", "out_proj"],
}


def check(model, expected, read):
    """The change matters, and libgdn's path sees it."""
    with hook.enabled():
        found = read(model)
    assert_close(found, expected)


@pytest.mark.parametrize(
    "how", ["hook", "pre_hook", "wrapped", "forward", "global hook", "parametrised"]
)
@pytest.mark.parametrize("name", ["norm", "out_proj", "projections"])
def test_changed_modules(model, name, how):
    """Against transformers' own path, which calls them."""
    ids, layer = tokens(2, 70), gdn_layers(model)[1]
    before = model(ids).logits
    names = [name]
    if name == "projections":
        names = PROJECTIONS[model.config.model_type.removesuffix("_text")][:-1]
    undo = [change(layer, n, how) for n in names]
    try:
        expected = model(ids).logits
        if not (name == "norm" and how == "pre_hook"):  # a norm does not see a scale
            assert (expected - before).abs().max() > 1e-3 * before.abs().max()
        check(model, expected, lambda m: m(ids).logits)
        check(model, expected, lambda m: continued(m, ids, (60, 9, 1)))
    finally:
        for function in undo:
            function()


@pytest.mark.parametrize("how", ["hook", "wrapped", "forward", "global hook"])
def test_changed_convolution(model, how):
    """transformers reads the weight and calls nothing: the expectation is made with the weights.

    Half the convolution is what half its weight gives.
    """
    ids, layer = tokens(2, 70), gdn_layers(model)[1]
    layer.conv1d.weight.data /= 2
    expected = model(ids).logits
    layer.conv1d.weight.data *= 2
    undo = change(layer, "conv1d", how)
    try:
        check(model, expected, lambda m: m(ids).logits)
        check(model, expected, lambda m: continued(m, ids, (60, 7, 1, 1, 1)))
        with hook.enabled(), pytest.raises(NotImplementedError, match="conv1d"):
            model(ids[:1], use_cache=False, cu_seq_lens_q=torch.tensor([0, 30, 70]))
    finally:
        undo()


def test_parametrised_convolution(model, calls):
    """Its weight says all: libgdn's kernels run, packed sequences too."""
    ids, layer = tokens(1, 70), gdn_layers(model)[1]
    change(layer, "conv1d", "parametrised")
    expected = model(ids).logits
    check(model, expected, lambda m: m(ids).logits)
    assert len(calls["causal_conv1d_fwd"]) == 3
    with hook.enabled():
        model(ids, use_cache=False, cu_seq_lens_q=torch.tensor([0, 30, 70]))


def test_another_activation_of_the_norm(model):
    ids, layer = tokens(1, 70), gdn_layers(model)[1]
    if not hasattr(layer.norm, "activation"):
        pytest.skip("the gate of this release's norm is silu")
    layer.norm.activation = "sigmoid"
    expected = model(ids).logits
    check(model, expected, lambda m: m(ids).logits)


def test_epsilon_of_the_norm(model):
    """It is the module's own, not the configuration's."""
    ids, layer = tokens(1, 70), gdn_layers(model)[1]
    layer.norm.variance_epsilon = 0.5
    expected = model(ids).logits
    check(model, expected, lambda m: m(ids).logits)


def test_untouched_modules_run_on_libgdn(model, calls):
    with hook.enabled():
        model(tokens(1, 70))
    assert len(calls["rms_norm_gated"]) == len(calls["causal_conv1d_fwd"]) == 3
