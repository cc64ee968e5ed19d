"""flash-linear-attention's functions and its GatedDeltaNet layer on the CPU, computed by libgdn."""

import pytest
import torch
import torch.nn.functional as F

import gdn

pytest.importorskip("fla", reason="flash-linear-attention is missing (requirements/fla.txt)")

import gdn.integrations.fla as hook

CALLS = ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule")


@pytest.fixture(autouse=True)
def switched_on():
    hook.disable()
    hook.calls.clear()
    with hook.enabled():
        yield
    assert not hook.is_enabled()


def fla_ops():
    import fla.ops.gated_delta_rule as ops

    return ops


def inputs(tokens=70, hk=2, hv=4, dtype=torch.float32):
    torch.manual_seed(0)
    q, k = (F.normalize(torch.randn(1, tokens, hk, 32), dim=-1).to(dtype) for _ in "qk")
    v = torch.randn(1, tokens, hv, 48).to(dtype)
    return q, k, v, F.logsigmoid(torch.randn(1, tokens, hv)), torch.rand(1, tokens, hv)


def call(name, q, k, v, g, beta, **kwargs):
    return getattr(fla_ops(), name)(q=q, k=k, v=v, g=g, beta=beta, **kwargs)


def layer(seed=0, **changes):
    from fla.layers import GatedDeltaNet

    torch.manual_seed(seed)
    options = dict(hidden_size=48, head_dim=16, num_heads=2, num_v_heads=4, expand_v=2, layer_idx=0)
    found = GatedDeltaNet(**{**options, **changes}).eval()
    for name, parameter in found.named_parameters():
        if "norm" in name or "bias" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return found


def written_out(m, x):
    """The layer on one row [T, hidden] by torch and FLA's own reference of the recurrence."""

    def convolved(name):
        columns = getattr(m, f"{name}_proj")(x).T[None]
        conv = getattr(m, f"{name}_conv1d")
        columns = F.pad(columns, (m.conv_size - 1, 0))
        y = F.conv1d(columns, conv.weight, conv.bias, groups=columns.shape[1])
        return F.silu(y[0].T)[None].unflatten(-1, (-1, m.head_v_dim if name == "v" else m.head_dim))

    group = m.num_v_heads // m.num_heads
    q, k = (
        F.normalize(convolved(name), dim=-1, eps=1e-6).repeat_interleave(group, dim=2)
        for name in "qk"
    )
    o, _ = fla_ops().naive_recurrent_gated_delta_rule(
        q,
        k,
        convolved("v"),
        beta=m.b_proj(x)[None].sigmoid() * (2 if m.allow_neg_eigval else 1),
        g=-m.A_log.exp() * F.softplus(m.a_proj(x) + m.dt_bias)[None],
    )
    o = o[0] * torch.rsqrt(o[0].square().mean(-1, keepdim=True) + m.o_norm.eps) * m.o_norm.weight
    if m.use_gate:
        o = o * F.silu(m.g_proj(x).unflatten(-1, (-1, m.head_v_dim)))
    return m.o_proj(o.flatten(-2))


def assert_close(found, expected, bound=2e-5):
    assert found.shape == expected.shape and torch.isfinite(found).all()
    error = ((found - expected).norm() / expected.norm()).item()
    assert error <= bound, f"error {error:.2e}"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("packed", [False, True])
def test_functions_run_on_libgdn(name, packed):
    """The same bits as gdn's own function, and a count of one."""
    arguments = dict(zip(("q", "k", "v", "g", "beta"), inputs(), strict=True))
    options = dict(use_qk_l2norm_in_kernel=True, output_final_state=True, scale=0.2)
    if packed:
        options.update(
            cu_seqlens=torch.tensor([0, 5, 5, 70]), initial_state=torch.randn(3, 4, 32, 48)
        )
    found = call(name, **arguments, **options)
    expected = getattr(gdn, name)(**arguments, **options)
    assert all(map(torch.equal, found, expected))
    assert hook.calls == {name: 1}


@pytest.mark.parametrize("name", CALLS)
def test_off_is_fla_again(name):
    """On a CPU FLA's kernels need a Triton driver that does not exist: nothing falls back."""
    hook.disable()
    with pytest.raises(RuntimeError, match="driver"):
        call(name, *inputs())
    assert not hook.calls
    hook.enable()
    call(name, *inputs())
    assert hook.calls == {name: 1}


def test_names_imported_before():
    """Modules that hold FLA's functions already are served: the layer's own module is one."""
    from fla.layers import gated_deltanet

    held = gated_deltanet.chunk_gated_delta_rule, gated_deltanet.fused_recurrent_gated_delta_rule
    hook.disable()
    hook.enable()
    q, k, v, g, beta = inputs()
    for function in held:
        function(q=q, k=k, v=v, g=g, beta=beta)
    assert hook.calls == dict.fromkeys(CALLS, 1)


VARIANTS = [
    {},
    dict(num_v_heads=2, expand_v=1.5, allow_neg_eigval=True),
    dict(conv_bias=True, conv_size=3),
    dict(use_gate=False),
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda c: "-".join(c) or "plain")
@pytest.mark.parametrize("tokens", [1, 20, 150])
def test_layer(changes, tokens):
    """FLA takes its recurrent function up to 64 tokens, the chunked one from there on."""
    m = layer(**changes)
    x = torch.randn(2, tokens, 48)
    found, _, _ = m(x)
    for b in range(2):
        assert_close(found[b], written_out(m, x[b]))
    assert hook.calls[CALLS[0] if tokens > 64 else CALLS[1]] == 1
    assert hook.calls["causal_conv1d_fwd"] + hook.calls["causal_conv1d_update"] >= 1
    assert hook.calls["layer_norm_gated_fwd" if m.use_gate else "layer_norm_fwd"] == 1


@pytest.mark.parametrize("conv_bias", [False, True])
def test_layer_with_a_cache(conv_bias):
    """Prefill, a further prefill, decode: together the layer read in one pass."""
    from fla.models.utils import Cache

    m, cache = layer(conv_bias=conv_bias), Cache()
    x = torch.randn(2, 80, 48)
    pieces, start = [], 0
    for size in (66, 2, 1, 9, 1, 1):
        piece, _, cache = m(x[:, start : start + size], past_key_values=cache, use_cache=True)
        pieces.append(piece)
        start += size
    assert start == 80
    found = torch.cat(pieces, dim=1)
    for b in range(2):
        assert_close(found[b], written_out(m, x[b]))
    assert hook.calls["causal_conv1d_update"] == 9


def test_layer_packed_and_masked():
    m = layer()
    x = torch.randn(1, 100, 48)
    cu_seqlens = torch.tensor([0, 1, 30, 100])
    found = m(x, cu_seqlens=cu_seqlens)[0][0]
    for begin, end in [(0, 1), (1, 30), (30, 100)]:
        assert_close(found[begin:end], written_out(m, x[0, begin:end]))
    mask = torch.ones(2, 70, dtype=torch.long)
    mask[1, :40] = 0
    x = torch.randn(2, 70, 48)
    found = m(x, attention_mask=mask)[0]
    assert_close(found[0], written_out(m, x[0]))
    assert_close(found[1, 40:], written_out(m, x[1, 40:]))
    assert not found[1, :40].any()


def test_layer_in_bfloat16():
    m = layer()
    x = torch.randn(1, 200, 48)
    expected = written_out(m, x[0])
    assert_close(m.bfloat16()(x.bfloat16())[0][0].float(), expected, bound=2e-2)


def test_state_of_the_convolution():
    """FLA's function of its own for it."""
    from fla.modules.causal_conv1d import causal_conv1d_update_states

    x, before = torch.randn(1, 9, 5), torch.randn(3, 5, 4)
    found = causal_conv1d_update_states(x, 4, before, torch.tensor([0, 2, 2, 9]))
    assert torch.equal(found[0], torch.cat([before[0, :, 2:], x[0, :2].T], dim=1))
    assert torch.equal(found[1], before[1])
    assert torch.equal(found[2], x[0, 5:].T)


def gated_norm(**changes):
    from fla.modules.norm.fused_norm_gate import layer_norm_gated_fwd

    x, weight = torch.randn(3, 8), torch.ones(8)
    return layer_norm_gated_fwd(
        **{**dict(x=x, g=x, weight=weight, bias=None, is_rms_norm=True), **changes}
    )


@pytest.mark.parametrize("activation, gate", [("swish", F.silu), ("sigmoid", torch.sigmoid)])
def test_gated_norm(activation, gate):
    x, z = torch.randn(3, 8), torch.randn(3, 8)
    y, *_ = gated_norm(x=x, g=z, activation=activation, eps=1e-5)
    expected = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * gate(z)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("shape", [(2, 7, 4), (5, 4)])
@pytest.mark.parametrize("biased", [False, True])
def test_gate(shape, biased):
    from fla.ops.gated_delta_rule.gate import fused_gdn_gate, naive_gdn_gate

    g, A_log = torch.randn(shape), torch.randn(4)
    bias = torch.randn(4) if biased else None
    torch.testing.assert_close(fused_gdn_gate(g, A_log, bias), naive_gdn_gate(g, A_log, bias))
    half = fused_gdn_gate(g.bfloat16(), A_log, bias, torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.shape == shape
    assert hook.calls["gdn_gate_fwd"] == 2


def plain_norm(**changes):
    from fla.modules.norm.layernorm import layer_norm_fwd

    return layer_norm_fwd(
        **{
            **dict(x=torch.randn(3, 8), weight=torch.ones(8), bias=None, is_rms_norm=True),
            **changes,
        }
    )


def convolution(**changes):
    from fla.modules.causal_conv1d import causal_conv1d

    return causal_conv1d(torch.randn(1, 5, 8), **{**dict(weight=torch.ones(8, 3)), **changes})


def recurrent(**changes):
    return call(CALLS[1], *inputs(), **changes)


def chunk(**changes):
    return call(CALLS[0], *inputs(), **changes)


@pytest.mark.parametrize(
    "function, changes, error, name",
    [
        (gated_norm, dict(is_rms_norm=False), NotImplementedError, "is_rms_norm"),
        (gated_norm, dict(bias=torch.ones(8)), NotImplementedError, "bias"),
        (gated_norm, dict(residual=torch.ones(3, 8)), NotImplementedError, "residual"),
        (gated_norm, dict(activation="gelu"), ValueError, "activation"),
        (gated_norm, dict(out_dtype=torch.float16), NotImplementedError, "out_dtype"),
        (plain_norm, dict(num_groups=2), NotImplementedError, "num_groups"),
        (plain_norm, dict(residual_dtype=torch.float16), NotImplementedError, "residual_dtype"),
        (convolution, dict(weight=None), NotImplementedError, "weight"),
        (convolution, dict(weight=torch.ones(8, 5)), ValueError, "weight"),
        (convolution, dict(activation="gelu"), ValueError, "activation"),
        (recurrent, dict(gk=torch.zeros(1, 70, 4, 32)), ValueError, "gk"),
        (chunk, dict(head_first=True), DeprecationWarning, "head_first"),
        (chunk, dict(cp_context=object()), ValueError, "cp_context"),
    ],
)
def test_refused_by_name(function, changes, error, name):
    function()
    with pytest.raises(error, match=name):
        function(**changes)


@torch.enable_grad()
def test_gradients_are_refused():
    q, *others = inputs()
    with pytest.raises(NotImplementedError, match="q: requires a gradient"):
        call(CALLS[0], q.requires_grad_(), *others)
    o, _ = call(CALLS[1], q, *others)  # FLA's own function has no backward pass either
    with pytest.raises(NotImplementedError):
        o.sum().backward()


def test_other_releases_are_refused(monkeypatch):
    import fla

    hook.disable()
    monkeypatch.setattr(fla, "__version__", "0.5.2")
    with pytest.raises(ImportError, match=r"0\.5\.2"):
        hook.enable()
    assert not hook.is_enabled()


def test_a_registry_that_is_off_is_refused(monkeypatch):
    """FLA reads FLA_DISABLE_BACKEND_DISPATCH when it is imported."""
    hook.disable()
    monkeypatch.setattr("fla.backends._DISPATCH_DISABLED", True)
    with pytest.raises(RuntimeError, match="FLA_DISABLE_BACKEND_DISPATCH=1"):
        hook.enable()
    assert not hook.is_enabled()
