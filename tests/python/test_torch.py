"""torch.compile, export, fake tensors, opcheck, subclasses: through the dispatcher."""

import pytest
import torch
from support import relative_error, tensors, values
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

import gdn
from gdn import stages

BACKENDS = ["aot_eager", "inductor"]
CU = torch.tensor([0, 66, 70], dtype=torch.int32)


def close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype and a.stride() == e.stride()
        assert relative_error(a, values(e)) < 1e-5


def compiled(function, backend, *args):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)(*args)


def functional(q, k, v, g, beta):
    o, state, points = gdn.chunk_gated_delta_rule(
        q, k, v * 2, g, beta, output_final_state=True, checkpoint_every=64, scale=0.5,
        head_map="interleaved", use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    one = (x[:, :1] for x in (q, k, v, g))
    o2, state2 = gdn.fused_recurrent_gated_delta_rule(
        *one, beta=beta[:, :1], initial_state=state, output_final_state=True
    )
    plain, nothing = gdn.chunk_gated_delta_rule(q, k, v, g, beta, state_v_first=True)
    assert nothing is None
    return o + 1, state, points, o2, state2, plain


def packed(q, k, v, g, beta):
    c = stages.chunk_local_cumsum(g, cu_seqlens=CU)
    T = stages.solve_tril(
        stages.chunk_scaled_dot_kkt(k, beta, c, cu_seqlens=CU),
        cu_seqlens=CU, output_dtype=torch.float32,
    )  # fmt: skip
    w, u = stages.recompute_w_u(k, v, beta, T, c, cu_seqlens=CU)
    h, v_new, final = stages.chunk_fwd_h(k, w, u, c, None, True, cu_seqlens=CU)
    o = stages.chunk_fwd_o(q, k, v_new, h, c, cu_seqlens=CU)
    fused, _, points = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, cu_seqlens=CU, checkpoint_every=64
    )
    return h, final, o, fused, points * 2


def layer(x, weight, a, b, A_log):
    y = gdn.causal_conv1d_fwd(x, weight, activation="silu")
    g, beta = gdn.fused_gdn_gating(A_log, a, b, beta_dtype=torch.float32)
    rows = y.transpose(1, 2)
    return y, g, beta, gdn.l2norm(rows), gdn.rms_norm_gated(rows, None, rows.contiguous())


def layer_inputs():
    return (
        torch.randn(2, 20, 16).transpose(1, 2), torch.randn(16, 4), torch.randn(2, 7, 4),
        torch.randn(2, 7, 4).bfloat16().float(), torch.randn(4),
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_compile_functional(backend):
    inputs = tensors()
    close(compiled(functional, backend, *inputs), functional(*inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compile_packed(backend):
    inputs = tensors()
    close(compiled(packed, backend, *inputs), packed(*inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compile_layer(backend):
    inputs = layer_inputs()
    close(compiled(layer, backend, *inputs), layer(*inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compile_in_place(backend):
    """Pools and convolution states that a compiled function updates."""

    def step(q, k, v, g, beta, x, weight, pool, slots, conv_state, out):
        y = gdn.causal_conv1d_update(x, conv_state, weight, None, "silu")
        z = gdn.causal_conv1d_fwd(x[..., None], weight, conv_state=conv_state)
        o, state = gdn.fused_recurrent_gated_delta_rule(
            q, k, v, g, beta=beta, initial_state=pool, state_indices=slots, out=out
        )
        assert state is pool and o is out
        o2, _ = gdn.chunk_gated_delta_rule(
            q, k, v, g, beta, initial_state=pool, state_indices=slots
        )
        rest = pool[3:]
        o3, state = gdn.chunk_gated_delta_rule(
            q, k, v, g, beta, initial_state=rest, inplace_final_state=True
        )
        assert state is rest
        gdn.fused_recurrent_gated_delta_rule(
            q, k, v, g, beta=beta, initial_state=rest, inplace_final_state=True
        )
        return y + 1, z, o2, o3

    inputs = tensors(batch=2)

    def arguments():
        return (
            *inputs, torch.ones(2, 16), torch.ones(16, 4), torch.ones(5, 4, 32, 32),
            torch.tensor([3, 1]), torch.ones(2, 16, 3), torch.empty(2, 70, 4, 32),
        )  # fmt: skip

    eager, traced = arguments(), arguments()
    expected = step(*eager)
    close(compiled(step, backend, *traced), expected)
    close(traced[-4:], eager[-4:])
    assert not torch.equal(eager[-4], torch.ones(5, 4, 32, 32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_padded_calls_leave_the_rest_of_out(backend):
    """What lies in out after the end of cu_seqlens stays, whichever axis the tokens are."""
    q, k, v, g, beta = tensors("f32", batch=1, tokens=9, hk=1, hv=2, dk=36, dv=60)
    ends = torch.tensor([0, 3, 5])
    x, weight, pool = torch.randn(9, 6), torch.randn(6, 4), torch.zeros(3, 6, 3)

    def calls(o, c, y, z):
        same = {"cu_seqlens": ends, "padded": True}
        gdn.chunk_gated_delta_rule(q, k, v, g, beta, out=o, **same)
        stages.chunk_local_cumsum(g, out=c, **same)
        gdn.causal_conv1d_update(x, pool, weight, out=y, **same)
        gdn.causal_conv1d_fwd(x.T, weight, out=z.T, **same)
        return o, c, y, z

    shapes = ((1, 9, 2, 60), (1, 9, 2), (9, 6), (9, 6))
    expected = calls(*(torch.full(shape, 7.0) for shape in shapes))
    pool.zero_()
    found = compiled(calls, backend, *(torch.full(shape, 7.0) for shape in shapes))
    for e, f in zip(expected, found, strict=True):
        rows = 1 if e.shape[0] == 1 else 0
        assert bool((f.movedim(rows, 0)[5:] == 7).all())
        assert relative_error(f, values(e)) < 1e-5


def test_compile_with_dynamic_shapes():
    torch._dynamo.reset()
    function = torch.compile(functional, fullgraph=True, backend="aot_eager", dynamic=True)
    for tokens in (70, 129, 200):
        inputs = tensors(tokens=tokens)
        close(function(*inputs), functional(*inputs))


def test_errors_while_compiling():
    q, k, v, g, beta = tensors()
    with pytest.raises(Exception, match="out"):
        compiled(
            lambda *x: gdn.chunk_gated_delta_rule(*x, out=torch.empty(1, 70, 4, 16)), "eager",
            q, k, v, g, beta,
        )  # fmt: skip
    with pytest.raises(Exception, match="q"):
        compiled(gdn.chunk_gated_delta_rule, "eager", q[0], k, v, g, beta)


def test_gradients_are_refused():
    q, *rest = tensors()
    q.requires_grad_()
    torch._dynamo.reset()
    for fullgraph in (False, True):
        function = torch.compile(functional, fullgraph=fullgraph, backend="aot_eager")
        # With fullgraph torch reports the exception that it met while tracing.
        with pytest.raises((NotImplementedError, torch._dynamo.exc.Unsupported)) as caught:
            function(q, *rest)
        assert fullgraph or "q: requires a gradient" in str(caught.value)
        with torch.no_grad():
            function(q, *rest)
    # The op itself, called without the public function, refuses at the latest in backward().
    y = torch.ops.gdn.l2norm(q, 1e-6)
    with pytest.raises(RuntimeError):
        y.sum().backward()


def test_compiled_code_refuses_tangents():
    compiled = torch.compile(lambda x: gdn.l2norm(x), fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 8)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        with pytest.raises(NotImplementedError, match=r"^x: .*tangent"):
            compiled(dual)
    assert torch.equal(compiled(x), gdn.l2norm(x))


def test_export():
    class Model(torch.nn.Module):
        def forward(self, *inputs):
            return functional(*inputs)

    inputs = tensors()
    program = torch.export.export(Model(), inputs)
    close(program.module()(*inputs), functional(*inputs))
    names = {str(node.target) for node in program.graph.nodes}
    assert "gdn.chunk_gated_delta_rule.default" in names


@pytest.mark.filterwarnings("ignore")
def test_jit_trace_holds_the_op():
    inputs = tensors()
    traced = torch.jit.trace(lambda *x: gdn.chunk_gated_delta_rule(*x)[0], inputs)
    other = tensors(seed=1)
    assert torch.equal(traced(*other), gdn.chunk_gated_delta_rule(*other)[0])


def test_fake_tensors():
    inputs = tensors()
    expected = functional(*inputs)
    with FakeTensorMode() as mode:
        fake = functional(*(mode.from_tensor(x) for x in inputs))
    for a, e in zip(fake, expected, strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype and a.stride() == e.stride()
    with pytest.raises(TypeError, match="q: a FakeTensor"):
        gdn.chunk_gated_delta_rule(mode.from_tensor(inputs[0]), *inputs[1:])


def test_parameters_and_subclasses():
    class Named(torch.Tensor):
        pass

    x = torch.randn(3, 8)
    expected = gdn.l2norm(x)
    assert torch.equal(gdn.l2norm(torch.nn.Parameter(x, requires_grad=False)), expected)
    assert torch.equal(gdn.l2norm(x.as_subclass(Named)), expected)


def test_results_are_ordinary_tensors():
    o, _ = gdn.chunk_gated_delta_rule(*tensors())
    assert type(o) is torch.Tensor and o.is_contiguous() and not o.requires_grad
    assert o.untyped_storage().resizable()
    with torch.device("meta"):
        assert gdn.l2norm(torch.ones(2, 8, device="cpu")).device.type == "cpu"
    with torch.inference_mode():
        assert gdn.l2norm(torch.ones(2, 8)).is_inference()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        y = gdn.l2norm(torch.ones(0, 3, 8, dtype=dtype))
        assert (y.shape, y.dtype, y.stride()) == ((0, 3, 8), dtype, (24, 8, 1))


def test_views_with_the_negative_bit():
    """The imaginary part of a conjugate is stored unnegated."""
    g = torch.randn(1, 70, 4, dtype=torch.cfloat).conj().imag
    assert g.is_neg()
    q, k, v, _, beta = tensors()
    o, _ = gdn.chunk_gated_delta_rule(q, k, v, -(g * g), beta)
    plain = g.resolve_neg()
    assert torch.equal(o, gdn.chunk_gated_delta_rule(q, k, v, -(plain * plain), beta)[0])
    for a, b in zip(
        gdn.fused_gdn_gating(g[0, 0], g, g), gdn.fused_gdn_gating(plain[0, 0], plain, plain),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="out"):
        gdn.causal_conv1d_fwd(plain, torch.ones(70, 4), out=g)


def test_writes_are_visible_to_autograd():
    """A graph that saved a pool notices that it was updated."""
    inputs = tensors()
    weight = torch.ones(1, requires_grad=True)
    pool, out = torch.ones(2, 4, 32, 32), torch.ones(1, 70, 4, 32)
    for written in (pool, out):
        product = weight * written
        with torch.no_grad():
            gdn.chunk_gated_delta_rule(
                *inputs, initial_state=pool, state_indices=torch.tensor([1]), out=out
            )
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()
    with torch.inference_mode():
        state = torch.zeros(1, 8, 4)
        gdn.causal_conv1d_update(torch.ones(1, 8), state, torch.ones(8, 4))


def ops():
    q, k, v, g, beta = tensors()
    x, weight, a, b, A_log = layer_inputs()
    pool, slots = torch.randn(5, 4, 32, 32), torch.tensor([3])
    none4 = (None,) * 4
    plain, v_first = ("block", *[False] * 5), ("interleaved", *[False] * 4, True)
    c = stages.chunk_local_cumsum(g)
    A = stages.chunk_scaled_dot_kkt(k, beta, c)
    T = stages.solve_tril(A)
    w, u = stages.recompute_w_u(k, v, beta, T, c)
    h, v_new, _ = stages.chunk_fwd_h(k, w, u, c)
    state, rows = torch.randn(2, 16, 3), x.transpose(1, 2)
    ops = torch.ops.gdn
    return {
        "chunk": (
            ops.chunk_gated_delta_rule, (
                q, k, v, g, beta, *none4, None, *plain, True, None, 64,
                torch.tensor([70]), None, False, "float16",
            ),
        ),
        "chunk packed": (
            ops.chunk_gated_delta_rule,
            (
                q, k, v, g, beta, None, None, CU, None, 0.5, *v_first, True, None, None,
                None, None, True, None,
            ),
        ),
        "chunk_": (
            ops.chunk_gated_delta_rule_,
            (
                q, k, v, g, beta, None, None, None, pool, slots, None, *plain, None, 64,
                torch.tensor([[2]]), None, torch.tensor([4]), torch.tensor([True]), 0, False, None,
            ),
        ),
        "recurrent": (
            ops.fused_recurrent_gated_delta_rule,
            (
                q, k, v, g, beta, *none4, None, *plain, True, None,
                None, False, "bfloat16", True,
            ),
        ),
        "recurrent_": (
            ops.fused_recurrent_gated_delta_rule_,
            (
                q, k, v, g, beta, None, None, None, pool, slots, None, *plain, None,
                torch.tensor([2]), None, 0, False, None, True,
            ),
        ),
        "recurrent_ without a pool": (
            ops.fused_recurrent_gated_delta_rule_,
            (
                q, k, v, g, beta, None, None, None, pool[:1].clone(), None, None, *plain, None,
                None, None, None, False, None, False,
            ),
        ),
        "decode_": (
            ops.fused_gdn_decode_,
            (
                torch.randn(2, 2, 64), torch.randn(9, 64, 5), torch.randn(64, 4), None, a[:, :2],
                b[:, :2], A_log, A_log, torch.randn(2, 2, 4, 8), torch.ones(8),
                torch.randn(9, 4, 16, 8), torch.tensor([[1, 2], [3, 4]]), None,
                torch.tensor([7, 8]), torch.tensor([2, 1]), None, 0.5, 1e-5, "block", "sigmoid",
                True, False, 0, False, True,
            ),
        ),
        "conv_fwd": (
            ops.causal_conv1d_fwd, (x, weight, None, None, None, None, "silu", None, False),
        ),
        "conv_fwd_": (
            ops.causal_conv1d_fwd_,
            (x, weight, None, state, torch.tensor([1, 0]), None, None, "silu", 5, False),
        ),
        "conv_update_": (
            ops.causal_conv1d_update_,
            (x[..., 0], state, weight, None, None, None, None, None, None, False),
        ),
        "conv_update_ packed": (
            ops.causal_conv1d_update_,
            (
                x[0].T, torch.randn(5, 16, 4), weight, None, torch.tensor([3, 0, 2]),
                torch.tensor([1, 0, 2]), torch.tensor([0, 2, 18, 20]), "silu", 0, True,
            ),
        ),
        "gating": (ops.fused_gdn_gating, (A_log, a, b, None, False, "float32")),
        "l2norm": (ops.l2norm, (rows, 1e-6)),
        "rms_norm_gated": (ops.rms_norm_gated, (rows, torch.ones(16), rows, 1e-6, "sigmoid")),
        "cumsum": (ops.chunk_local_cumsum, (g, None, 64, False)),
        "kkt": (ops.chunk_scaled_dot_kkt, (k, beta, c, None, None, "block", False)),
        "solve": (ops.solve_tril, (A, None, 64, "bfloat16", False)),
        "w_u": (ops.recompute_w_u, (k, v, beta, T, c, None, 64, "block", False)),
        "fwd_h": (
            ops.chunk_fwd_h,
            (k, w, u, c, None, None, True, 64, False, "block", "float32", False, "float16"),
        ),
        "fwd_o": (ops.chunk_fwd_o, (q, k, v_new, h, c, None, None, 64, False, "block", False)),
    }  # fmt: skip


OPS = ops()


@pytest.mark.parametrize("name", OPS)
def test_opcheck(name):
    op, arguments = OPS[name]
    opcheck(op.default, arguments)


def test_every_op_is_checked():
    registered = {
        name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if "gdn::" in name
    }
    assert registered == {str(op).split(".")[-1] for op, _ in OPS.values()}


def test_schemas_declare_what_is_mutated():
    for op, _ in OPS.values():
        mutated = [a.name for a in op.default._schema.arguments if a.is_write]
        name = str(op).split(".")[-1]
        assert bool(mutated) == name.endswith("_")
        assert set(mutated) <= {"initial_state", "conv_state", "state"}
