"""Two ways into the extension: at once where every option is plain, else by way of Python."""

import pytest
import torch
from support import DEVICE, tensors

import gdn

FORMS = {
    "chunk": gdn.chunk_gated_delta_rule,
    "recurrent": gdn.fused_recurrent_gated_delta_rule,
}
SWITCHES = (
    {},
    {"output_final_state": True},
    {"use_qk_l2norm_in_kernel": True, "scale": 0.5},
    {"use_beta_sigmoid_in_kernel": True, "allow_neg_eigval": True},
    {"state_v_first": True, "output_final_state": True},
    {"use_gate_in_kernel": True},
    {"inplace_final_state": True},
)


def arguments(options):
    """Two sequences of 70 tokens, with what the options need."""
    q, k, v, g, beta = tensors("f32", batch=2, tokens=70, hk=2, hv=4, dk=16, dv=16)
    generator = torch.Generator(device=DEVICE).manual_seed(7)
    state = torch.randn(2, 4, 16, 16, generator=generator, device=DEVICE)
    kwargs = dict(q=q, k=k, v=v, g=g, beta=beta, initial_state=state, **options)
    if options.get("use_gate_in_kernel"):
        kwargs |= dict(A_log=torch.full((4,), 0.1, device=DEVICE))
    return kwargs


def through_python(monkeypatch):
    """Close the short way."""
    for name in ("try_chunk_gated_delta_rule", "try_fused_recurrent_gated_delta_rule"):
        monkeypatch.setattr(gdn._C, name, lambda *_: None)


@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(o) or "none")
@pytest.mark.parametrize("form", FORMS)
def test_both_ways_agree_bitwise(form, options, monkeypatch):
    at_once = FORMS[form](**arguments(options))
    through_python(monkeypatch)
    checked = FORMS[form](**arguments(options))
    assert len(at_once) == len(checked) == 2
    for a, b in zip(at_once, checked, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_plain_options_need_no_python(form, monkeypatch):
    def unreachable(*_):
        raise AssertionError("a plain call reached the Python checks")

    monkeypatch.setattr(gdn._options, "delta_rule_flags", unreachable)
    for options in SWITCHES:
        FORMS[form](**arguments(options))
    with pytest.raises(AssertionError, match="plain call"):
        FORMS[form](**arguments({"state_v_first": 1}))


@pytest.mark.parametrize("form", FORMS)
def test_a_head_map_is_known_by_its_letters(form):
    name = "".join(["bl", "ock"])
    expected = FORMS[form](**arguments({}))[0]
    assert torch.equal(FORMS[form](**arguments({"head_map": name}))[0], expected)
    interleaved = FORMS[form](**arguments({"head_map": "interleaved"}))[0]
    assert not torch.equal(interleaved, expected)


def test_the_short_way_counts_its_arguments():
    for name in ("try_chunk_gated_delta_rule", "try_fused_recurrent_gated_delta_rule"):
        with pytest.raises(TypeError, match="arguments"):
            getattr(gdn._C, name)(1, 2)
