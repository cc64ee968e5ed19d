"""One door into the extension for every eager call, and torch's dispatcher where torch traces."""

import inspect

import numpy as np
import pytest
import torch
from support import DEVICE, tensors
from torch.utils._python_dispatch import TorchDispatchMode

import gdn
from gdn import stages

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


class Recorder(TorchDispatchMode):
    """Lets every op through and keeps the names of this package's."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op.namespace == "gdn":
            self.seen.append(op._opname)
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(o) or "none")
@pytest.mark.parametrize("form", FORMS)
def test_dispatched_calls_agree_bitwise(form, options):
    eager = FORMS[form](**arguments(options))
    with Recorder() as mode:
        dispatched = FORMS[form](**arguments(options))
    in_place = "inplace_final_state" in options
    assert mode.seen == [FORMS[form].__name__ + ("_" if in_place else "")]
    assert len(eager) == len(dispatched) == 2
    for a, b in zip(eager, dispatched, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_every_operation_is_seen_by_a_mode():
    q, k, v, g, beta = tensors("f32", batch=1, tokens=70, hk=2, hv=2, dk=16, dv=16)
    x, weight = torch.randn(1, 8, 5, device=DEVICE), torch.randn(8, 4, device=DEVICE)
    heads = torch.zeros(2, device=DEVICE)
    with Recorder() as mode:
        c = stages.chunk_local_cumsum(g)
        A = stages.chunk_scaled_dot_kkt(k, beta, c)
        T = stages.solve_tril(A, output_dtype=torch.float32)
        w, u = stages.recompute_w_u(k, v, beta, T, c)
        h, v_new, final_state = stages.chunk_fwd_h(k, w, u, c)
        o = stages.chunk_fwd_o(q, k, v_new, h, c)
        y = gdn.causal_conv1d_fwd(x, weight, activation="swish")
        gdn.causal_conv1d_update(x[..., 0], torch.zeros(1, 8, 4, device=DEVICE), weight)
        gdn.fused_gdn_gating(heads, g, beta, allow_neg_eigval=True)
        gdn.rms_norm_gated(gdn.l2norm(y), None)
        with gdn.use(threads=1):
            whole, state, points = gdn.chunk_gated_delta_rule(q, k, v, g, beta, checkpoint_every=64)
    assert final_state is None and state is None and points.shape == (1, 2, 16, 16)
    assert torch.equal(o, stages.chunk_fwd_o(q, k, v_new, h, c))
    assert torch.equal(whole, gdn.chunk_gated_delta_rule(q, k, v, g, beta)[0])
    assert mode.seen == [
        "chunk_local_cumsum", "chunk_scaled_dot_kkt", "solve_tril", "recompute_w_u",
        "chunk_fwd_h", "chunk_fwd_o", "causal_conv1d_fwd", "causal_conv1d_update_",
        "fused_gdn_gating", "l2norm", "rms_norm_gated", "chunk_gated_delta_rule",
    ]  # fmt: skip


def test_a_mode_leaves_numpy_alone():
    x = np.ones((2, 8), np.float32)
    with Recorder() as mode:
        y = gdn.l2norm(x)
    assert isinstance(y, np.ndarray) and mode.seen == []


@pytest.mark.parametrize("form", FORMS)
def test_plain_options_need_no_python(form, monkeypatch):
    def unreachable(*_):
        raise AssertionError("a plain call reached the Python checks")

    monkeypatch.setattr(gdn._checks, "plain", unreachable)
    for options in SWITCHES:
        FORMS[form](**arguments(options))
    FORMS[form](**arguments({"head_map": "interleaved"}))
    with pytest.raises(AssertionError, match="plain call"):
        FORMS[form](**arguments({"state_v_first": 1}))


@pytest.mark.parametrize("form", FORMS)
def test_a_head_map_is_known_by_its_letters(form):
    name = "".join(["bl", "ock"])
    expected = FORMS[form](**arguments({}))[0]
    assert torch.equal(FORMS[form](**arguments({"head_map": name}))[0], expected)
    interleaved = FORMS[form](**arguments({"head_map": "interleaved"}))[0]
    assert not torch.equal(interleaved, expected)


def test_the_door_counts_its_arguments():
    for name in gdn._torch.__all__:
        with pytest.raises(TypeError, match=f"{name}: expected [0-9]+ arguments, got 2"):
            getattr(gdn._C, name)(1, 2)


@pytest.mark.parametrize("name", gdn._torch.__all__)
def test_traced_and_eager_take_the_same_arguments(name):
    """The op names the public function's arguments and no others, out and fixed ones left out."""
    public = inspect.signature(getattr(gdn, name, None) or getattr(stages, name)).parameters
    found = []
    for op_name in (name, f"{name}_"):
        if hasattr(torch.ops.gdn, op_name):
            schema = getattr(torch.ops.gdn, op_name).default._schema
            found.append([argument.name for argument in schema.arguments])
    assert found
    for names in found:
        assert set(names) - {"chunk_size"} <= set(public)
