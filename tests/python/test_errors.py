"""Bad input: an exception of the right type that names the argument, outputs untouched."""

import re

import numpy as np
import pytest
import torch
from support import ON_GPU, cpu_only, tensors
from torch.autograd import forward_ad

import gdn
from gdn import stages

NAN = float("nan")
B, T, HK, HV, DK, DV = 2, 70, 2, 4, 16, 32


def arguments():
    q, k, v, g, beta = tensors(batch=B, tokens=T, hk=HK, hv=HV, dk=DK, dv=DV)
    return dict(q=q, k=k, v=v, g=g, beta=beta)


def packed(**more):
    q, k, v, g, beta = tensors(batch=1, tokens=T, hk=HK, hv=HV, dk=DK, dv=DV)
    return dict(dict(q=q, k=k, v=v, g=g, beta=beta, cu_seqlens=torch.tensor([0, 30, T])), **more)


def like(name, change):
    """arguments() with one changed by a function of its value."""
    return lambda: {**arguments(), name: change(arguments()[name])}


def with_(**more):
    return lambda: {**arguments(), **more}


def pool(indices, slots=5, **more):
    state = torch.zeros(slots, HV, DK, DV)
    return {**arguments(), "initial_state": state, "state_indices": torch.tensor(indices), **more}


I32 = torch.int32
# (what, arguments, exception, argument named)
SHARED = [
    ("rank", like("q", lambda x: x[0]), ValueError, "q"),
    ("rank", like("v", lambda x: x[None]), ValueError, "v"),
    ("rank", like("g", lambda x: x[..., None]), ValueError, "g"),
    ("tokens", like("k", lambda x: x[:, :-1]), ValueError, "k"),
    ("tokens", like("v", lambda x: x[:, :-1]), ValueError, "v"),
    ("heads", like("g", lambda x: x[..., :1]), ValueError, "g"),
    ("heads", like("beta", lambda x: x[..., :1]), ValueError, "beta"),
    ("ratio", like("v", lambda x: x[:, :, :3]), ValueError, "v"),
    ("width", like("k", lambda x: x[..., :8]), ValueError, "k"),
    ("dtype", like("q", lambda x: x.double()), ValueError, "q"),
    ("dtype", like("q", lambda x: x.to(torch.complex64)), ValueError, "q"),
    ("mixed", like("k", lambda x: x.bfloat16()), ValueError, "k"),
    ("mixed", like("v", lambda x: x.half()), ValueError, "v"),
    ("dtype", like("g", lambda x: x.double()), ValueError, "g"),
    ("kind", like("v", lambda x: x.cpu().numpy()), TypeError, "v"),
    ("kind", like("q", lambda x: x.tolist()), TypeError, "q"),
    ("kind", like("beta", lambda x: 1.0), TypeError, "beta"),
    ("none", with_(v=None), TypeError, "v"),
    ("meta", like("k", lambda x: x.to("meta")), ValueError, "k"),
    ("meta", like("q", lambda x: x.to("meta")), ValueError, "q"),
    ("sparse", like("v", lambda x: x.to_sparse()), ValueError, "v"),
    ("scale", with_(scale=NAN), ValueError, "scale"),
    ("scale", with_(scale=float("inf")), ValueError, "scale"),
    ("scale", with_(scale="1"), TypeError, "scale"),
    ("head_map", with_(head_map="mod"), ValueError, "head_map"),
    ("head_map", with_(head_map=0), ValueError, "head_map"),
    ("neg", with_(allow_neg_eigval=True), ValueError, "allow_neg_eigval"),
    ("layout", with_(state_v_first=True, transpose_state_layout=False), ValueError,
     "transpose_state_layout"),
    ("layout", with_(state_v_first=True, transpose_state_layout=True), ValueError,
     "transpose_state_layout"),
    ("A_log", with_(A_log=torch.zeros(HV)), ValueError, "A_log"),
    ("gate", with_(use_gate_in_kernel=True), ValueError, "A_log"),
    ("A_log", with_(use_gate_in_kernel=True, A_log=torch.zeros(HV + 1)), ValueError, "A_log"),
    ("dt_bias", with_(dt_bias=torch.zeros(HV)), ValueError, "dt_bias"),
    ("state shape", with_(initial_state=torch.zeros(B, HV, DV, DK)), ValueError, "initial_state"),
    ("state count", with_(initial_state=torch.zeros(B + 1, HV, DK, DV)), ValueError,
     "initial_state"),
    ("state dtype", with_(initial_state=torch.zeros(B, HV, DK, DV).double()), ValueError,
     "initial_state"),
    ("state rank", with_(initial_state=torch.zeros(HV, DK, DV)), ValueError, "initial_state"),
    ("no pool", with_(state_indices=torch.tensor([0, 1])), ValueError, "initial_state"),
    ("slot", lambda: pool([0, 5]), ValueError, "state_indices"),
    ("slot", lambda: pool([0, 2**40]), ValueError, "state_indices"),
    ("duplicate", lambda: pool([3, 3]), ValueError, "state_indices"),
    ("count", lambda: pool([0]), ValueError, "state_indices"),
    ("dtype", lambda: pool([0.0, 1.0]), ValueError, "state_indices"),
    ("strides", lambda: pool([0, 1], initial_state=torch.zeros(5, HV, DV, DK).mT), ValueError,
     "initial_state"),
    ("out shape", with_(out=torch.zeros(B, T, HV, DV + 1)), ValueError, "out"),
    ("out dtype", with_(out=torch.zeros(B, T, HV, DV).bfloat16()), ValueError, "out"),
    ("out strides", with_(out=torch.zeros(B, T, HV, 2 * DV)[..., ::2]), ValueError, "out"),
    ("out kind", with_(out=np.zeros((B, T, HV, DV), np.float32)), TypeError, "out"),
    ("cu batch", lambda: {**arguments(), "cu_seqlens": torch.tensor([0, T])}, ValueError, "q"),
    ("cu start", lambda: packed(cu_seqlens=torch.tensor([1, T])), ValueError, "cu_seqlens"),
    ("cu end", lambda: packed(cu_seqlens=torch.tensor([0, T + 1])), ValueError, "cu_seqlens"),
    ("cu end", lambda: packed(cu_seqlens=torch.tensor([0, T - 1])), ValueError, "cu_seqlens"),
    ("cu order", lambda: packed(cu_seqlens=torch.tensor([0, 40, 30, T])), ValueError,
     "cu_seqlens"),
    ("cu dtype", lambda: packed(cu_seqlens=torch.tensor([0, T], dtype=torch.int16)), ValueError,
     "cu_seqlens"),
    ("cu dtype", lambda: packed(cu_seqlens=torch.tensor([0.0, T])), ValueError, "cu_seqlens"),
    ("cu rank", lambda: packed(cu_seqlens=torch.tensor([[0, T]])), ValueError, "cu_seqlens"),
    ("cu empty", lambda: packed(cu_seqlens=torch.tensor([], dtype=I32)), ValueError,
     "cu_seqlens"),
    ("cu kind", lambda: packed(cu_seqlens=[0, T]), TypeError, "cu_seqlens"),
    ("unknown", with_(head_first=False), TypeError, "head_first"),
    ("unknown", with_(use_l2norm=True), TypeError, "use_l2norm"),
]  # fmt: skip

CHUNK = [
    ("chunk", with_(chunk_size=48), ValueError, "chunk_size"),
    ("chunk", with_(chunk_size="64"), TypeError, "chunk_size"),
    ("chunk", with_(chunk_size=64.0), TypeError, "chunk_size"),
    ("chunk", with_(chunk_size=True), TypeError, "chunk_size"),
    ("cp", with_(cp_context=object()), ValueError, "cp_context"),
    ("every", with_(checkpoint_every=65), ValueError, "checkpoint_every"),
    ("every", with_(checkpoint_every=0), ValueError, "checkpoint_every"),
    ("every", with_(checkpoint_every=-64), ValueError, "checkpoint_every"),
    ("every", with_(checkpoint_every=64.0), TypeError, "checkpoint_every"),
    ("every", with_(checkpoint_every=True), TypeError, "checkpoint_every"),
    ("hint", with_(cu_seqlens_cpu=torch.tensor([0, T])), ValueError, "cu_seqlens_cpu"),
    ("hint", lambda: packed(cu_seqlens_cpu=torch.tensor([0, T])), ValueError, "cu_seqlens_cpu"),
    ("hint", lambda: packed(cu_seqlens_cpu=[0, 30, T]), TypeError, "cu_seqlens_cpu"),
    ("hint", lambda: packed(cu_seqlens_cpu=np.array([0, 30, T])), TypeError, "cu_seqlens_cpu"),
    ("hint", lambda: packed(cu_seqlens=[0, T], chunk_indices=torch.tensor([[0, 0], [0, 1]])),
     TypeError, "cu_seqlens"),
    ("hint", lambda: packed(chunk_indices=torch.tensor([0, 0])), ValueError, "chunk_indices"),
    ("columns", lambda: pool([[0, 1], [2, 3]]), ValueError, "state_indices"),
    ("verify", with_(num_accepted_tokens=torch.tensor([1, 1])), TypeError, "num_accepted_tokens"),
]  # fmt: skip

# What hints hold is looked at where cu_seqlens is on the CPU.
HINT_CONTENTS = [
    ("hint", lambda: packed(cu_seqlens_cpu=torch.tensor([0, 31, T])), ValueError,
     "cu_seqlens_cpu"),
    ("hint", lambda: packed(chunk_indices=torch.tensor([[0, 0], [0, 1]])), ValueError,
     "chunk_indices"),
]  # fmt: skip
if not ON_GPU:
    CHUNK += HINT_CONTENTS

RECURRENT = [
    ("gk", with_(gk=torch.zeros(B, T, HV, DK)), ValueError, "gk"),
    ("gv", with_(gv=torch.zeros(B, T, HV, DV)), ValueError, "gv"),
    ("accepted", with_(num_accepted_tokens=torch.tensor([1, 1])), ValueError,
     "num_accepted_tokens"),
    ("accepted", lambda: pool([0, 1], num_accepted_tokens=torch.tensor([1, 1])), ValueError,
     "num_accepted_tokens"),
    ("accepted", lambda: pool([[0], [1]], num_accepted_tokens=torch.tensor([1, 2])), ValueError,
     "num_accepted_tokens"),
    ("columns", lambda: pool([[0, 1], [2, 3]]), ValueError, "state_indices"),
    ("chunk_size", with_(chunk_size=64), TypeError, "chunk_size"),
]  # fmt: skip


def refused(function, kwargs, exception, argument):
    out = kwargs.get("out")
    state = kwargs.get("initial_state")
    out = out if isinstance(out, torch.Tensor) else None
    before = [None if t is None else t.clone() for t in (out, state)]
    with pytest.raises(exception) as caught:
        function(**kwargs)
    assert caught.type is exception
    message = str(caught.value)
    named = re.match(rf"{argument}\b", message) or f"'{argument}'" in message
    assert named, f"expected a message about {argument}: {message}"
    assert "Exception raised from" not in message
    for t, copy in zip((out, state), before, strict=True):
        assert t is None or torch.equal(t, copy), "an output was written"
    good = arguments()
    assert torch.isfinite(gdn.chunk_gated_delta_rule(**good)[0]).all(), "the next call is right"


@pytest.mark.parametrize("what, make, exception, argument", SHARED + CHUNK)
def test_chunk(what, make, exception, argument):
    refused(gdn.chunk_gated_delta_rule, make(), exception, argument)


@pytest.mark.parametrize("what, make, exception, argument", SHARED + RECURRENT)
def test_recurrent(what, make, exception, argument):
    refused(gdn.fused_recurrent_gated_delta_rule, make(), exception, argument)


@pytest.mark.parametrize("name", ["q", "k", "v", "g", "beta"])
def test_overlapping_out(name):
    kwargs = arguments()
    kwargs["q"], kwargs["k"] = (torch.zeros(B, T, HV, DV) for _ in range(2))
    if kwargs[name].shape == kwargs["v"].shape:
        kwargs["out"] = kwargs[name]
        refused(gdn.chunk_gated_delta_rule, kwargs, ValueError, "out")
    else:
        memory = torch.zeros(B * T * HV * DV)
        kwargs["out"] = memory.view(B, T, HV, DV)
        kwargs[name] = memory[: B * T * HV].view(B, T, HV)
        refused(gdn.chunk_gated_delta_rule, kwargs, ValueError, "out")


def test_gradients_are_refused_by_name():
    for name in ("q", "beta"):
        kwargs = arguments()
        kwargs[name] = kwargs[name].requires_grad_()
        for function in (gdn.chunk_gated_delta_rule, gdn.fused_recurrent_gated_delta_rule):
            with pytest.raises(NotImplementedError, match=name):
                function(**kwargs)
            with torch.no_grad():
                function(**kwargs)
            with torch.inference_mode():
                function(**kwargs)
    weight = torch.nn.Parameter(torch.ones(8, 4))
    with pytest.raises(NotImplementedError, match="weight"):
        gdn.causal_conv1d_fwd(torch.zeros(1, 8, 5), weight)


def test_tangents_are_refused_by_name():
    primal = arguments()
    with forward_ad.dual_level():
        for name in ("q", "beta"):
            dual = forward_ad.make_dual(primal[name], torch.ones_like(primal[name]))
            for function in (gdn.chunk_gated_delta_rule, gdn.fused_recurrent_gated_delta_rule):
                with pytest.raises(NotImplementedError, match=rf"^{name}: .*tangent"):
                    function(**{**primal, name: dual})
                with torch.no_grad(), pytest.raises(NotImplementedError, match=rf"^{name}: "):
                    function(**{**primal, name: dual})
                with torch.inference_mode():  # torch's own operations drop tangents there too
                    function(**{**primal, name: dual})
                function(**{**primal, name: forward_ad.unpack_dual(dual).primal})
        gdn.chunk_gated_delta_rule(**primal)
    gdn.chunk_gated_delta_rule(**{**primal, name: dual})  # the tangent ended with its level
    with pytest.raises(NotImplementedError, match=r"^x: .*tangent"):
        torch.func.jvp(gdn.l2norm, (primal["q"],), (primal["q"],))


X, W = torch.zeros(2, 8, 5), torch.zeros(8, 4)
STATE = torch.zeros(2, 8, 3)
Q = torch.zeros(1, 4, 2, 8)
LAYER = [
    (gdn.causal_conv1d_fwd, dict(x=X, weight=torch.zeros(8, 5)), ValueError, "weight"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=torch.zeros(7, 4)), ValueError, "weight"),
    (gdn.causal_conv1d_fwd, dict(x=X.double(), weight=W), ValueError, "x"),
    (gdn.causal_conv1d_fwd, dict(x=X[0, 0], weight=W), ValueError, "x"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, bias=torch.zeros(9)), ValueError, "bias"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, activation="relu"), ValueError, "activation"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, activation=True), ValueError, "activation"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, conv_state=STATE[..., :2]), ValueError,
     "conv_state"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, conv_state=STATE[:1]), ValueError, "conv_state"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, state_indices=torch.tensor([0, 1])), ValueError,
     "state_indices"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, has_initial_state=torch.tensor([True, True])),
     ValueError, "has_initial_state"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, conv_state=STATE,
     has_initial_state=torch.tensor([True])), ValueError, "has_initial_state"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, cu_seqlens=torch.tensor([0, 5])), ValueError, "x"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, out=X), ValueError, "out"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, groups=8), TypeError, "groups"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, null_slot=0.5), TypeError, "null_slot"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, null_slot=1 << 63), ValueError, "null_slot"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, padded=1), TypeError, "padded"),
    (gdn.causal_conv1d_fwd, dict(x=X, weight=W, padded=True), ValueError, "cu_seqlens"),
    (gdn.causal_conv1d_fwd, dict(x=X[:1], weight=W, cu_seqlens=torch.tensor([0, 4])), ValueError,
     "cu_seqlens"),
    (gdn.causal_conv1d_fwd, dict(x=X[:1], weight=W, padded=True, cu_seqlens=torch.tensor([0, 6])),
     ValueError, "cu_seqlens"),
    (gdn.causal_conv1d_update, dict(x=X, weight=W, conv_state=None), TypeError, "conv_state"),
    (gdn.causal_conv1d_update, dict(x=X, weight=W, conv_state=STATE.double()), ValueError,
     "conv_state"),
    (gdn.causal_conv1d_update, dict(x=X, weight=W, conv_state=STATE,
     state_indices=torch.tensor([1, 1])), ValueError, "state_indices"),
    (gdn.causal_conv1d_update, dict(x=X, weight=W, conv_state=torch.zeros(2, 8, 9),
     num_accepted_tokens=torch.tensor([0, 1])), ValueError, "num_accepted_tokens"),
    (gdn.causal_conv1d_update, dict(x=X[0].T, weight=W, conv_state=STATE,
     cu_seqlens=torch.tensor([0, 4])), ValueError, "cu_seqlens"),
    (gdn.causal_conv1d_update, dict(x=X[0].T, weight=W, conv_state=torch.zeros(2, 8, 5),
     cu_seqlens=torch.tensor([0, 5]), num_accepted_tokens=torch.tensor([1])), ValueError,
     "cu_seqlens"),
    (gdn.causal_conv1d_update, dict(x=X[0].T, weight=W, conv_state=torch.zeros(2, 8, 7),
     cu_seqlens=torch.tensor([0, 5]), num_accepted_tokens=torch.tensor([6])), ValueError,
     "num_accepted_tokens"),
    (gdn.causal_conv1d_update, dict(x=X[0].T, weight=W, conv_state=STATE,
     cu_seqlens=torch.tensor([0, 1, 2, 5])), ValueError, "conv_state"),
    (gdn.fused_gdn_gating, dict(A_log=torch.zeros(3), a=X, b=X), ValueError, "A_log"),
    (gdn.fused_gdn_gating, dict(A_log=torch.zeros(5), a=X, b=X[..., :4]), ValueError, "b"),
    (gdn.fused_gdn_gating, dict(A_log=torch.zeros(5), a=X, b=X, beta_dtype=torch.int32),
     ValueError, "beta_dtype"),
    (gdn.fused_gdn_gating, dict(A_log=torch.zeros(5), a=X, b=X, allow_neg_eigval="False"),
     TypeError, "allow_neg_eigval"),
    (gdn.l2norm, dict(x=X, eps=-1.0), ValueError, "eps"),
    (gdn.l2norm, dict(x=X, eps=NAN), ValueError, "eps"),
    (gdn.l2norm, dict(x=torch.tensor(1.0)), ValueError, "x"),
    (gdn.l2norm, dict(x=torch.zeros(1, 1, 1, 1, 1, 1)), ValueError, "x"),
    (gdn.l2norm, dict(x=torch.zeros([1] * 12)), ValueError, "x"),
    (gdn.l2norm, dict(x=X, out=X[:1]), ValueError, "out"),
    (gdn.rms_norm_gated, dict(x=X, weight=torch.zeros(4)), ValueError, "weight"),
    (gdn.rms_norm_gated, dict(x=X, weight=None, z=X[..., :4]), ValueError, "z"),
    (gdn.rms_norm_gated, dict(x=X, weight=None, z=X.half()), ValueError, "z"),
    (stages.chunk_local_cumsum, dict(g=X[0]), ValueError, "g"),
    (stages.chunk_local_cumsum, dict(g=X, chunk_size=63), ValueError, "chunk_size"),
    (stages.chunk_local_cumsum, dict(g=X, chunk_size=64.0), TypeError, "chunk_size"),
    (stages.solve_tril, dict(A=torch.zeros(1, 64, 2, 60)), ValueError, "A"),
    (stages.solve_tril, dict(A=torch.zeros(1, 64, 2, 64).half()), ValueError, "A"),
    (stages.solve_tril, dict(A=torch.zeros(1, 64, 2, 64), output_dtype="float64"), ValueError,
     "output_dtype"),
    (stages.chunk_fwd_h, dict(k=Q, w=Q, u=Q, output_final_state="False"), TypeError,
     "output_final_state"),
    (stages.chunk_fwd_h, dict(k=Q, w=Q, u=Q, state_v_first=1), TypeError, "state_v_first"),
    (stages.chunk_fwd_h, dict(k=Q, w=Q, u=Q, h_dtype="float64"), ValueError, "h_dtype"),
    (stages.chunk_fwd_o, dict(q=Q, k=Q, v_new=Q, h=torch.zeros(1, 2, 8, 8), state_v_first=1),
     TypeError, "state_v_first"),
]  # fmt: skip


@pytest.mark.parametrize("function, kwargs, exception, argument", LAYER)
def test_layer_and_stages(function, kwargs, exception, argument):
    refused(function, kwargs, exception, argument)


def test_hints_that_agree_are_accepted():
    cu = torch.tensor([0, 30, 30, T])
    pairs = torch.tensor([[0, 0], [2, 0]])
    hinted = packed(cu_seqlens=cu, cu_seqlens_cpu=cu.clone(), chunk_indices=pairs)
    plain = packed(cu_seqlens=cu)
    assert torch.equal(
        gdn.chunk_gated_delta_rule(**hinted)[0], gdn.chunk_gated_delta_rule(**plain)[0]
    )


@cpu_only("NumPy arrays are on the CPU")
class TestNumPy:
    def arrays(self):
        return {name: x.numpy() for name, x in arguments().items()}

    @pytest.mark.parametrize(
        "name, change",
        [
            ("q", lambda x: x.astype(">f4")),
            ("q", lambda x: x.astype("f8")),
            ("q", lambda x: x.astype(object)),
            ("k", lambda x: x.astype("f2")),
            ("g", lambda x: x[0]),
            ("q", lambda x: np.zeros((1,) * 10, np.float32)),
        ],
    )
    def test_values(self, name, change):
        kwargs = self.arrays()
        kwargs[name] = change(kwargs[name])
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            gdn.chunk_gated_delta_rule(**kwargs)

    def test_masked_arrays(self):
        kwargs = self.arrays()
        kwargs["v"] = np.ma.masked_array(kwargs["v"])
        with pytest.raises(TypeError, match="v"):
            gdn.chunk_gated_delta_rule(**kwargs)

    def test_read_only_output(self):
        kwargs = self.arrays()
        kwargs["out"] = np.zeros_like(kwargs["v"])
        kwargs["out"].flags.writeable = False
        with pytest.raises(ValueError, match="out"):
            gdn.chunk_gated_delta_rule(**kwargs)

    def test_tensor_among_arrays(self):
        kwargs = self.arrays()
        kwargs["beta"] = torch.from_numpy(kwargs["beta"])
        with pytest.raises(TypeError, match="beta"):
            gdn.chunk_gated_delta_rule(**kwargs)


@pytest.mark.parametrize(
    "name",
    [
        "use_qk_l2norm_in_kernel", "use_gate_in_kernel", "use_beta_sigmoid_in_kernel",
        "allow_neg_eigval", "state_v_first", "transpose_state_layout", "output_final_state",
        "inplace_final_state",
    ],
)  # fmt: skip
@pytest.mark.parametrize("function", ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"])
def test_a_switch_is_a_bool(function, name):
    q = torch.zeros(1, 4, 1, 8)
    gates = torch.zeros(1, 4, 1)
    with pytest.raises(TypeError, match=f"^{name}: expected True or False, found 'False'"):
        getattr(gdn, function)(q, q, q, g=gates, beta=gates, **{name: "False"})


@pytest.mark.parametrize(("dk", "dv", "name"), [(257, 16, "q"), (16, 1025, "v")])
def test_a_width_that_no_backend_serves(dk, dv, name):
    q, k, v, g, beta = tensors(batch=1, tokens=4, hk=1, hv=1, dk=dk, dv=dv)
    kwargs = dict(q=q, k=k, v=v, g=g, beta=beta)
    for function in (gdn.chunk_gated_delta_rule, gdn.fused_recurrent_gated_delta_rule):
        refused(function, kwargs, ValueError, name)
