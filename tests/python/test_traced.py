"""What an eager call refuses, a traced one refuses too; and what one takes, the other takes."""

import pytest
import torch
from support import tensors

import gdn
from gdn import stages

# What torch makes of an exception that it meets while it traces, and what a graph raises when run.
TRACED = (torch._dynamo.exc.TorchDynamoException, ValueError)
T, HK, HV, D = 7, 2, 4, 8
SLOTS = torch.tensor([1], dtype=torch.int32)


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def rule_inputs():
    q, k, v, g, beta = tensors("f32", batch=1, tokens=T, hk=HK, hv=HV, dk=D, dv=D)
    return dict(q=q, k=k, v=v, g=g, beta=beta)


def calls():
    """Of each kind of operation: its arguments, the one that `out` must not overlap, its result."""
    rule = rule_inputs()
    x, weight = torch.randn(2, 6, T), torch.randn(6, 4)
    decode = dict(
        mixed_qkv=torch.randn(1, T, (2 * HK + HV) * D), conv_state=torch.zeros(1, 64, 3),
        conv_weight=torch.randn(64, 4), a=rule["g"], b=rule["g"], A_log=torch.ones(HV),
        z=rule["v"], norm_weight=torch.ones(D), state=torch.zeros(1, HV, D, D),
    )  # fmt: skip
    A = torch.zeros(1, T, HV, 64)
    return {
        "chunk": (gdn.chunk_gated_delta_rule, rule, "v"),
        "recurrent": (gdn.fused_recurrent_gated_delta_rule, rule, "v"),
        "recurrent in place": (
            gdn.fused_recurrent_gated_delta_rule,
            {**rule, "initial_state": torch.zeros(1, HV, D, D), "inplace_final_state": True},
            "v",
        ),
        "conv_fwd": (gdn.causal_conv1d_fwd, dict(x=x, weight=weight), "x"),
        "conv_update": (
            gdn.causal_conv1d_update,
            dict(x=x, conv_state=torch.zeros(2, 6, 3), weight=weight), "x",
        ),
        "fused_gdn_decode": (gdn.fused_gdn_decode, decode, "z"),
        "l2norm": (gdn.l2norm, dict(x=rule["v"]), "x"),
        "rms_norm_gated": (gdn.rms_norm_gated, dict(x=rule["v"], weight=None), "x"),
        "cumsum": (stages.chunk_local_cumsum, dict(g=rule["g"]), "g"),
        "solve": (stages.solve_tril, dict(A=A), "A"),
    }  # fmt: skip


CALLS = calls()
ANY_STRIDES = ("conv_fwd", "conv_update", "cumsum")


def bad_outs(like, last_stride):
    """(a tensor, what the message says of it)"""
    *front, last = like.shape
    strides = (like.stride(0), *[1] * (like.dim() - 1))
    yield like.new_empty(*front, last, 1), "out has (rank|shape)|out: found"
    yield like.bfloat16(), "out has type|out: found"
    yield like.new_empty(like.numel() * 2).as_strided(like.shape, strides), "overlap"
    yield like.new_empty(*front, 1).expand(like.shape), "overlap|last stride"
    yield like.to("meta"), "out: found"
    yield like, "out overlaps"
    if last_stride:
        yield like.new_empty(*front, 2 * last)[..., ::2], "last stride"


@pytest.mark.parametrize("name", CALLS)
def test_out(name):
    function, given, other = CALLS[name]
    for out, message in bad_outs(given[other], name not in ANY_STRIDES):
        if name == "solve" and out.dtype == torch.bfloat16:
            continue  # says the type of the result
        with pytest.raises(ValueError, match=message):
            function(**given, out=out)
        kept = {n: v.clone() for n, v in given.items() if isinstance(v, torch.Tensor)}
        with pytest.raises(TRACED):
            compiled(function)(**given, out=out)
        for n, v in kept.items():
            assert torch.equal(given[n], v), "a call that is refused writes nothing"


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_sentence_about_shared_memory(backend):
    q, k, v, g, beta = rule_inputs().values()
    torch._dynamo.reset()
    call = torch.compile(gdn.chunk_gated_delta_rule, fullgraph=True, backend=backend)
    for out in (v, v.view(v.shape)):
        with pytest.raises(ValueError, match=r"^out overlaps v in memory"):
            call(q, k, v, g, beta, out=out)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_slices_of_one_buffer(backend):
    """Operands and result may be interlocked slices, in eager and traced calls."""
    wide = torch.randn(1, T, HV, 4 * D)
    given = rule_inputs()
    given["v"] = wide[..., :D].copy_(given["v"])
    expected = gdn.chunk_gated_delta_rule(**given)[0]
    torch._dynamo.reset()
    call = torch.compile(gdn.chunk_gated_delta_rule, fullgraph=True, backend=backend)
    out = wide[..., 2 * D : 3 * D]
    assert call(**given, out=out)[0] is out
    torch.testing.assert_close(out, expected)
    with pytest.raises(ValueError, match="out overlaps v"):
        gdn.chunk_gated_delta_rule(**given, out=wide[..., D - 1 : 2 * D - 1])


def without_indices():
    x, weight, state = torch.ones(2, 6, T), torch.ones(6, 4), torch.zeros(2, 6, 3)
    rule = rule_inputs()
    pool = {"initial_state": torch.zeros(1, HV, D, D)}
    return {
        "chunk": (gdn.chunk_gated_delta_rule, {**rule, **pool}),
        "recurrent": (gdn.fused_recurrent_gated_delta_rule, {**rule, **pool}),
        "in place": (
            gdn.fused_recurrent_gated_delta_rule, {**rule, **pool, "inplace_final_state": True},
        ),
        "conv_fwd": (gdn.causal_conv1d_fwd, dict(x=x, weight=weight, conv_state=state)),
        "conv_update": (gdn.causal_conv1d_update, dict(x=x, weight=weight, conv_state=state)),
        "fused_gdn_decode": CALLS["fused_gdn_decode"][:2],
    }  # fmt: skip


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", without_indices())
def test_null_slot_needs_indices(name, traced):
    function, given = without_indices()[name]
    call = compiled(function) if traced else function
    # With fullgraph torch reports the exception that it met while tracing.
    wanted = torch._dynamo.exc.Unsupported if traced else ValueError
    with pytest.raises(wanted, match=None if traced else "^null_slot: found 0"):
        call(**given, null_slot=0)
    call(**given)


def test_other_libraries_pass_it_with_and_without_indices():
    x, weight = torch.randn(2, 6, T), torch.randn(6, 4)
    states = torch.zeros(2, 6, 3), torch.zeros(2, 6, 3)
    y = gdn.causal_conv1d_update(x, states[0], weight, None, "silu", pad_slot_id=1)
    assert torch.equal(y, gdn.causal_conv1d_update(x, states[1], weight, None, "silu"))
    assert torch.equal(*states)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("indices", [None, SLOTS])
@pytest.mark.parametrize(
    "operation", [gdn.chunk_gated_delta_rule, gdn.fused_recurrent_gated_delta_rule]
)
def test_state_dtype_of_states_that_are_updated(operation, indices, traced):
    given = rule_inputs()
    pool = torch.zeros(1 if indices is None else 3, HV, D, D, dtype=torch.float16)
    options = {"initial_state": pool, "state_indices": indices, "inplace_final_state": True}
    call = compiled(operation) if traced else operation
    wanted = torch._dynamo.exc.Unsupported if traced else ValueError
    message = "^state_dtype: found bfloat16, .* which stay float16"
    with pytest.raises(wanted, match=None if traced else message):
        call(**given, **options, state_dtype="bfloat16")
    assert bool((pool == 0).all())
    assert call(**given, **options, state_dtype=torch.float16)[1] is pool


def test_state_dtype_of_checkpoints_beside_a_pool():
    q, k, v, g, beta = tensors("f32", batch=1, tokens=70)
    pool = torch.zeros(1, *v.shape[2:3], q.shape[3], v.shape[3])
    _, state, points = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, initial_state=pool, inplace_final_state=True, checkpoint_every=64,
        state_dtype=torch.float16,
    )  # fmt: skip
    assert state is pool and points.dtype == torch.float16
