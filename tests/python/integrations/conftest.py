"""What the tests of the transformers hook share: a model, a clean state, a count of calls."""

import pytest
import tiny_models
import torch

import gdn
import gdn.integrations.transformers as hook


@pytest.fixture(params=tiny_models.FAMILIES)
def model(request):
    return tiny_models.build(request.param)


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    """Such small models lose more to waiting threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_gradients_and_clean_state():
    hook.disable()
    with torch.no_grad():
        yield
    hook.disable()


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls into libgdn by name, and keeps the last arguments."""
    seen = {}
    for name in (
        "chunk_gated_delta_rule",
        "fused_recurrent_gated_delta_rule",
        "fused_gdn_decode",
        "causal_conv1d_fwd",
        "causal_conv1d_update",
        "fused_gdn_gating",
        "rms_norm_gated",
    ):
        original = getattr(gdn, name)

        def counted(*args, _original=original, _name=name, **kwargs):
            seen.setdefault(_name, []).append((args, kwargs))
            return _original(*args, **kwargs)

        monkeypatch.setattr(gdn, name, counted)
    return seen
