"""Convolution, gating and norms against float64 formulas."""

import numpy as np
import pytest
import recurrence
import torch
from support import TORCH_DTYPES, as_torch, assert_close, values

import gdn

DTYPES = list(TORCH_DTYPES)
RNG = np.random.default_rng(7)


def randn(*shape, dtype="f32"):
    return as_torch(RNG.standard_normal(shape), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("activation", [None, "silu", "swish"])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_conv_batch(dtype, width, activation, layout):
    x = randn(2, 23, 24, dtype=dtype)
    x = x.transpose(1, 2) if layout == "channels_last" else x
    channels = x.shape[1]
    weight, bias = randn(channels, width), randn(channels, dtype=dtype)
    y = gdn.causal_conv1d_fwd(x, weight, bias, activation=activation)
    expected, _ = recurrence.causal_conv1d(values(x), weight, values(bias), activation is not None)
    assert y.dtype == x.dtype
    assert_close(y, expected, dtype)
    if layout == "channels_last":
        assert y.stride(1) == 1, "channels stay fastest, so that slices of y need no copy"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [3, 4, 9])
def test_conv_packed_with_state(dtype, length):
    lengths = [5, 0, 1, 17, 2]
    x = randn(16, sum(lengths), dtype=dtype)
    weight = randn(16, 4, dtype=dtype)
    pool = randn(7, 16, length, dtype=dtype)
    before = values(pool)
    indices = torch.tensor([6, 2, -1, 0, 3], dtype=torch.int32)
    has_state = torch.tensor([True, False, True, False, True])
    cu = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)
    y = gdn.causal_conv1d_fwd(
        x, weight, activation="silu", conv_state=pool, state_indices=indices,
        has_initial_state=has_state, cu_seqlens=cu,
    )  # fmt: skip
    expected, state = recurrence.causal_conv1d(
        values(x)[None], values(weight), None, True, before, indices, has_state, cu
    )
    assert y.shape == x.shape
    assert_close(y, expected[0], dtype)
    np.testing.assert_array_equal(values(pool), state)


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv_update_continues_conv_fwd(dtype):
    x, weight, bias = randn(3, 16, 30, dtype=dtype), randn(16, 4), randn(16)
    whole = gdn.causal_conv1d_fwd(x, weight, bias, activation="silu")
    state = torch.zeros(3, 16, 3, dtype=x.dtype)
    parts = [gdn.causal_conv1d_fwd(x[..., :11], weight, bias, activation="silu", conv_state=state)]
    parts.append(gdn.causal_conv1d_update(x[..., 11:15], state, weight, bias, "silu"))
    for t in range(15, 30):
        y = gdn.causal_conv1d_update(x[..., t], state, weight, bias, "silu")
        assert y.shape == (3, 16)
        parts.append(y[..., None])
    torch.testing.assert_close(torch.cat(parts, -1), whole, rtol=0, atol=0)
    torch.testing.assert_close(state, x[..., -3:], rtol=0, atol=0)


def test_conv_update_drops_rejected_tokens():
    x, weight = randn(2, 8, 10), randn(8, 4)
    draft = randn(2, 8, 3)
    plain = torch.zeros(2, 8, 5)
    gdn.causal_conv1d_update(x[..., :6], plain, weight)
    verify = plain.clone()
    gdn.causal_conv1d_update(draft, verify, weight)
    accepted = torch.tensor([1, 3], dtype=torch.int32)
    y = gdn.causal_conv1d_update(x[..., 6:9], verify, weight, num_accepted_tokens=accepted)
    for n, count in enumerate(accepted.tolist()):
        state = plain[n : n + 1].clone()
        gdn.causal_conv1d_update(draft[n : n + 1, :, :count].contiguous(), state, weight)
        expected = gdn.causal_conv1d_update(x[n : n + 1, :, 6:9], state, weight)
        torch.testing.assert_close(y[n : n + 1], expected, rtol=0, atol=0)


def test_conv_update_pool():
    x, weight = randn(3, 8), randn(8, 4)
    pool = randn(6, 8, 4)
    before = pool.clone()
    y = gdn.causal_conv1d_update(x, pool, weight, state_indices=torch.tensor([4, -1, 1]))
    expected = (torch.cat([before[4][:, 1:], x[0][:, None]], -1) * weight).sum(-1)
    torch.testing.assert_close(y[0], expected)
    assert (y[1] == 0).all()
    for slot in (0, 2, 3, 5):
        assert torch.equal(pool[slot], before[slot])
    assert torch.equal(pool[1], torch.cat([before[1][:, 1:], x[2][:, None]], -1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 5, 6), (7, 6), (0, 6), (1, 0, 6)])
def test_gating(dtype, shape):
    A_log, dt_bias = randn(6), randn(6)
    a, b = 10 * randn(*shape, dtype=dtype), 10 * randn(*shape, dtype=dtype)
    g, beta = gdn.fused_gdn_gating(A_log, a, b, dt_bias)
    expected_g, expected_beta = recurrence.gating(A_log, values(a), values(b), dt_bias)
    assert g.dtype == torch.float32 and beta.dtype == b.dtype
    assert g.shape == beta.shape == a.shape
    assert_close(g, expected_g, "f32")
    assert_close(beta, expected_beta, dtype)


@pytest.mark.parametrize("wanted", [torch.float32, "float32", np.float32, np.dtype("float32")])
def test_gating_options(wanted):
    A_log, a, b = randn(4), randn(1, 9, 4, dtype="bf16"), randn(1, 9, 4, dtype="bf16")
    g, beta = gdn.fused_gdn_gating(A_log, a, b, allow_neg_eigval=True, beta_dtype=wanted)
    expected_g, expected_beta = recurrence.gating(A_log, values(a), values(b), None, True)
    assert beta.dtype == torch.float32
    assert_close(g, expected_g, "f32")
    assert_close(beta, expected_beta, "f32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8,), (3, 128), (2, 3, 4, 5, 33), (0, 8), (2, 0, 8)])
def test_norms(dtype, shape):
    x, z = randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)
    weight = randn(shape[-1])
    assert_close(gdn.l2norm(x), recurrence.l2norm(values(x)), dtype)
    assert_close(gdn.l2norm(x, eps=0.5), recurrence.l2norm(values(x), 0.5), dtype)
    for w in (weight, None):
        for gate in (z, None):
            y = gdn.rms_norm_gated(x, w, gate, eps=1e-5)
            expected = recurrence.rms_norm_gated(
                values(x), w, None if gate is None else values(gate), 1e-5
            )
            assert y.dtype == x.dtype
            assert_close(y, expected, dtype)


def test_norms_of_strided_rows():
    x = randn(3, 5, 64)
    transposed = randn(3, 64, 5).transpose(1, 2)
    for view in (x[:, ::2], x[..., 8:40], x[..., ::2], transposed, x[:1].expand(4, 5, 64)):
        assert_close(gdn.l2norm(view), recurrence.l2norm(values(view)), "f32")
        y = gdn.rms_norm_gated(view, None, view)
        assert_close(y, recurrence.rms_norm_gated(values(view), None, values(view)), "f32")


def test_out_is_written_and_returned():
    x, weight = randn(2, 8, 9), randn(8, 4)
    out = torch.full_like(x, float("nan"))
    assert gdn.causal_conv1d_fwd(x, weight, out=out) is out
    assert torch.equal(out, gdn.causal_conv1d_fwd(x, weight))
    state = torch.zeros(2, 8, 4)
    out = torch.empty(2, 8)
    assert gdn.causal_conv1d_update(x[..., 0], state, weight, out=out) is out
    assert torch.equal(out, gdn.causal_conv1d_update(x[..., 0], torch.zeros(2, 8, 4), weight))
    out = torch.empty_like(x)
    assert gdn.l2norm(x, out=out) is out and torch.equal(out, gdn.l2norm(x))
    assert gdn.rms_norm_gated(x, None, out=out) is out
    assert torch.equal(out, gdn.rms_norm_gated(x, None))
    packed = torch.full((8, 9), float("nan"))
    assert gdn.causal_conv1d_fwd(x[0], weight, out=packed) is packed
    assert torch.equal(packed, gdn.causal_conv1d_fwd(x, weight)[0])


def test_the_name_of_causal_conv1d():
    assert gdn.causal_conv1d_fn is gdn.causal_conv1d_fwd
