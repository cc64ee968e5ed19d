"""fused_gdn_decode against the operations that it is made of, in Python's forms."""

import numpy as np
import pytest
import torch
from recurrence import host
from support import TORCH_DTYPES, as_torch, assert_close, cpu_only, values

import gdn

RNG = np.random.default_rng(11)
HK, HV, DK, DV, WIDTH = 2, 4, 16, 24, 4
CHANNELS = 2 * HK * DK + HV * DV


def randn(*shape, dtype="f32"):
    return as_torch(RNG.standard_normal(shape), dtype)


def operands(batch, tokens, dtype="f32", state="f32", slots=None, entries=WIDTH):
    """Keyword arguments of a call; sequence n has slot n."""
    slots = batch if slots is None else slots
    return {
        "mixed_qkv": randn(batch, tokens, CHANNELS, dtype=dtype),
        "conv_state": randn(slots, CHANNELS, entries, dtype=dtype),
        "conv_weight": randn(CHANNELS, WIDTH, dtype=dtype),
        "a": randn(batch, tokens, HV, dtype=dtype),
        "b": randn(batch, tokens, HV, dtype=dtype),
        "A_log": randn(HV),
        "z": randn(batch, tokens, HV, DV, dtype=dtype),
        "norm_weight": randn(DV),
        "state": randn(slots, HV, DK, DV, dtype=state),
        "dt_bias": randn(HV),
    }


def copied(arguments):
    return {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}


def one_by_one(
    mixed_qkv, conv_state, conv_weight, a, b, A_log, z, norm_weight, state, dt_bias=None,
    conv_bias=None, gate_activation="silu", eps=1e-6, state_indices=None,
    num_accepted_tokens=None, **options,
):  # fmt: skip
    """The same by the operations that it is made of, each rounding its result."""
    slots = (
        state_indices if state_indices is None or state_indices.ndim == 1 else state_indices[:, 0]
    )
    y = gdn.causal_conv1d_update(
        mixed_qkv.transpose(1, 2), conv_state, conv_weight, conv_bias, "silu",
        state_indices=slots, num_accepted_tokens=num_accepted_tokens,
    ).transpose(1, 2)  # fmt: skip
    q, k, v = y.split([HK * DK, HK * DK, HV * DV], dim=-1)
    g, beta = gdn.fused_gdn_gating(A_log, a, b, dt_bias, beta_dtype="float32")
    o, _ = gdn.fused_recurrent_gated_delta_rule(
        q.unflatten(-1, (HK, DK)), k.unflatten(-1, (HK, DK)), v.unflatten(-1, (HV, DV)), g=g,
        beta=beta, initial_state=state, use_qk_l2norm_in_kernel=True,
        inplace_final_state=state_indices is None, state_indices=state_indices,
        num_accepted_tokens=num_accepted_tokens, **options,
    )  # fmt: skip
    return gdn.rms_norm_gated(o, norm_weight, z, eps, gate_activation=gate_activation)


def check(arguments, dtype):
    expected = copied(arguments)
    o = gdn.fused_gdn_decode(**arguments)
    assert o.dtype == arguments["z"].dtype and o.shape == arguments["z"].shape
    assert_close(o, values(one_by_one(**expected)), dtype)
    assert_close(arguments["state"], values(expected["state"]), dtype)
    assert torch.equal(arguments["conv_state"], expected["conv_state"])


@pytest.mark.parametrize("dtype", list(TORCH_DTYPES))
@pytest.mark.parametrize("tokens", [1, 3])
def test_is_the_operations_one_by_one(dtype, tokens):
    check(operands(3, tokens, dtype), dtype)
    given = operands(2, tokens, dtype, slots=7, entries=WIDTH + 1)
    given["state_indices"] = torch.tensor([6, 1], dtype=torch.int32)
    check(given, dtype)
    given["state_indices"] = torch.tensor([[6, 1, 2], [5, 0, 3]])
    check(given, dtype)
    given["num_accepted_tokens"] = torch.tensor([min(2, tokens), 1])
    check(given, dtype)


def test_options():
    given = operands(2, 2)
    given |= {"scale": 0.3, "eps": 0.1, "gate_activation": "sigmoid", "conv_bias": randn(CHANNELS)}
    check(given, "f32")
    given = operands(2, 2)
    given["state"] = randn(2, HV, DV, DK)
    check(given | {"state_v_first": True, "head_map": "interleaved"}, "f32")
    doubled, plain = operands(1, 1), None
    plain = copied(doubled)
    doubled["b"] = doubled["b"] * 0 - 60.0  # beta 0 in any case
    plain["b"] = doubled["b"].clone()
    assert torch.equal(
        gdn.fused_gdn_decode(**doubled, allow_neg_eigval=True), gdn.fused_gdn_decode(**plain)
    )


@pytest.mark.parametrize("dtype", list(TORCH_DTYPES))
def test_rounded_states_are_those_of_single_tokens(dtype):
    together, single = operands(2, 5, "f32", dtype), None
    together["conv_state"] = together["conv_state"].to(TORCH_DTYPES[dtype])
    single, exact = copied(together), copied(together)
    o = gdn.fused_gdn_decode(**together, round_states=True)
    per_token = ("mixed_qkv", "a", "b", "z")
    steps = [
        gdn.fused_gdn_decode(
            **{k: v[:, t : t + 1] if k in per_token else v for k, v in single.items()}
        )
        for t in range(5)
    ]
    assert torch.equal(o, torch.cat(steps, 1))
    assert torch.equal(together["state"], single["state"])
    assert torch.equal(together["conv_state"], single["conv_state"])
    assert torch.equal(gdn.fused_gdn_decode(**exact), o) == (dtype == "f32")


def test_rounded_states_of_the_recurrent_operation():
    q, k, v = (randn(1, 6, 2, 8, dtype="bf16") for _ in range(3))
    pool = randn(2, 2, 8, 8, dtype="bf16")
    slots = torch.tensor([1])
    single, exact, fresh = pool.clone(), pool.clone(), pool[1:].clone()
    o, _ = gdn.fused_recurrent_gated_delta_rule(
        q, k, v, initial_state=pool, state_indices=slots, round_states=True
    )
    steps = [
        gdn.fused_recurrent_gated_delta_rule(
            *(x[:, t : t + 1] for x in (q, k, v)), initial_state=single, state_indices=slots
        )[0]
        for t in range(6)
    ]
    assert torch.equal(o, torch.cat(steps, 1)) and torch.equal(pool, single)
    gdn.fused_recurrent_gated_delta_rule(q, k, v, initial_state=exact, state_indices=slots)
    assert not torch.equal(exact, single)
    other, final = gdn.fused_recurrent_gated_delta_rule(
        q, k, v, initial_state=fresh, output_final_state=True, state_dtype="bfloat16",
        round_states=True,
    )  # fmt: skip
    assert torch.equal(other, o) and torch.equal(final, single[1:])
    with pytest.raises(ValueError, match="round_states: needs states that are stored"):
        gdn.fused_recurrent_gated_delta_rule(q, k, v, round_states=True)


def test_packed_sequences():
    given = operands(1, 6, slots=4)
    given["cu_seqlens"] = torch.tensor([0, 2, 2, 5], dtype=torch.int32)
    alone = copied(given)
    o = gdn.fused_gdn_decode(**given, padded=True)
    for n, (first, end) in enumerate([(0, 2), (2, 2), (2, 5)]):
        part = {k: v[:, first:end] if k in ("mixed_qkv", "a", "b", "z") else v
                for k, v in alone.items() if k != "cu_seqlens"}  # fmt: skip
        part |= {k: alone[k][n : n + 1] for k in ("state", "conv_state")}
        assert torch.equal(gdn.fused_gdn_decode(**part), o[:, first:end])
    assert torch.equal(given["state"], alone["state"])
    assert torch.equal(given["conv_state"], alone["conv_state"])


def test_skipped_sequences():
    given = operands(3, 1, slots=5)
    before = copied(given)
    given["state_indices"] = torch.tensor([3, 4, -1])
    given["conv_state_indices"] = torch.tensor([2, 4, 0])
    o = gdn.fused_gdn_decode(**given, null_slot=4)
    assert (o[1:] == 0).all() and (o[0] != 0).any()
    for name, used in (("state", 3), ("conv_state", 2)):
        for slot in range(5):
            same = torch.equal(given[name][slot], before[name][slot])
            assert same == (slot != used)


def test_out():
    given = operands(2, 1)
    same = copied(given)
    out = torch.full((2, 1, HV, DV), float("nan"))
    assert gdn.fused_gdn_decode(**given, out=out) is out
    assert torch.equal(gdn.fused_gdn_decode(**same), out)


@cpu_only("NumPy arrays are on the CPU")
def test_numpy():
    given = operands(2, 1)
    same = {k: host(v).copy() for k, v in given.items()}
    out = gdn.fused_gdn_decode(**given)
    o = gdn.fused_gdn_decode(**same)
    assert isinstance(o, np.ndarray)
    np.testing.assert_array_equal(o, host(out))
    np.testing.assert_array_equal(same["state"], host(given["state"]))


@pytest.mark.parametrize("state", ["f32", "bf16"])
@pytest.mark.parametrize("entries", [WIDTH - 1, WIDTH + 2])
def test_calls_as_models_make_them_have_the_bits_of_others(state, entries):
    # The same numbers as weights of another type.
    hk, hv, d = 2, 4, 128
    channels = (2 * hk + hv) * d
    given = {
        "mixed_qkv": randn(3, 1, channels, dtype="bf16"),
        "conv_state": randn(3, channels, entries, dtype="bf16"),
        "conv_weight": randn(channels, WIDTH, dtype="bf16"),
        "a": randn(3, 1, hv, dtype="bf16"),
        "b": randn(3, 1, hv, dtype="bf16"),
        "A_log": randn(hv),
        "z": randn(3, 1, hv, d, dtype="bf16"),
        "norm_weight": randn(d),
        "state": randn(3, hv, d, d, dtype=state),
    }
    other = copied(given)
    other["conv_weight"] = other["conv_weight"].float()
    assert torch.equal(gdn.fused_gdn_decode(**given), gdn.fused_gdn_decode(**other))
    assert torch.equal(given["state"], other["state"])
    assert torch.equal(given["conv_state"], other["conv_state"])


def test_wide_projection_slices_need_no_copy():
    given = operands(2, 1)
    wide = randn(2, 1, CHANNELS + HV * DV + 2 * HV)
    mixed, z, a, b = wide.split([CHANNELS, HV * DV, HV, HV], dim=-1)
    given |= {"mixed_qkv": mixed, "z": z.unflatten(-1, (HV, DV)), "a": a, "b": b}
    compact = {k: v.contiguous() for k, v in copied(given).items()}
    assert torch.equal(gdn.fused_gdn_decode(**given), gdn.fused_gdn_decode(**compact))
    transposed = given["mixed_qkv"].transpose(1, 2).contiguous().transpose(1, 2)
    given["mixed_qkv"] = transposed
    assert given["state"].isfinite().all()
    gdn.fused_gdn_decode(**given)


@pytest.mark.parametrize("tokens", [1, 2])
def test_compiled(tokens):
    given = operands(2, tokens, "bf16", "bf16")
    expected = copied(given)

    def step(arguments):
        return gdn.fused_gdn_decode(**arguments, round_states=True, gate_activation="swish") + 1

    o = torch.compile(step, fullgraph=True)(given)
    assert torch.equal(o, step(expected))
    assert torch.equal(given["state"], expected["state"])
    assert torch.equal(given["conv_state"], expected["conv_state"])


def test_writes_are_visible_to_autograd():
    given = operands(2, 1)
    out = torch.empty(2, 1, HV, DV)
    weight = torch.ones(1, requires_grad=True)
    for written in (given["state"], given["conv_state"], out):
        product = weight * written
        with torch.no_grad():
            gdn.fused_gdn_decode(**given, out=out)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mixed_qkv", randn(2, 1, CHANNELS + 1), "mixed_qkv has C = "),
        ("mixed_qkv", None, "mixed_qkv"),
        ("conv_weight", randn(CHANNELS, 5), "conv_weight has shape .*width W of 2, 3 or 4"),
        ("conv_state", randn(2, CHANNELS, 2), "conv_state .* at least 3"),
        ("conv_state", randn(1, CHANNELS, 4), "conv_state has 1 slots, expected at least N = 2"),
        ("state", randn(1, HV, DK, DV), "state has 1 slots, expected at least N = 2"),
        ("z", randn(2, 1, HV, DV, dtype="bf16"), "z has type bfloat16"),
        ("norm_weight", randn(DV, dtype="f16"), "norm_weight has type float16"),
        ("gate_activation", "tanh", "gate_activation: expected 'silu', 'swish' or 'sigmoid'"),
        pytest.param(
            *("state_indices", torch.tensor([1, 1]), "state_indices names slot 1 twice"),
            marks=cpu_only("a GPU's indices are not looked at"),
        ),
        ("num_accepted_tokens", torch.tensor([1, 1]), "num_accepted_tokens"),
        ("output_state_indices", torch.tensor([1, 0]), "without state_indices"),
        ("conv_state_indices", torch.tensor([1, 0]), "without state_indices"),
        ("round_states", 1, "round_states: expected True or False"),
    ],
)
def test_bad_arguments_are_refused_by_name(name, value, message):
    given = operands(2, 1)
    before = copied(given)
    with pytest.raises((ValueError, TypeError), match=message):
        gdn.fused_gdn_decode(**(given | {name: value}))
    assert torch.equal(given["state"], before["state"])
    assert torch.equal(given["conv_state"], before["conv_state"])


def test_gradients_are_refused():
    given = operands(1, 1)
    given["z"].requires_grad_()
    with pytest.raises(NotImplementedError, match="z: requires a gradient"):
        gdn.fused_gdn_decode(**given)


@pytest.mark.parametrize("dtype", list(TORCH_DTYPES))
def test_sigmoid_gate_of_the_norm(dtype):
    x, z, weight = randn(3, 5, 24, dtype=dtype), randn(3, 5, 24, dtype=dtype), randn(24)
    y = gdn.rms_norm_gated(x, weight, z, gate_activation="sigmoid")
    plain = values(gdn.rms_norm_gated(x.float(), weight))
    assert_close(y, plain / (1 + np.exp(-values(z))), dtype)
    with pytest.raises(ValueError, match="z is None, expected a tensor with gate_activation"):
        gdn.rms_norm_gated(x, weight, gate_activation="sigmoid")
