"""The stages: each against its formula in float64, and chained against the fused call."""

import numpy as np
import pytest
import recurrence
import torch
from support import ON_GPU, as_torch, assert_close, generator, relative_error, tensors, values

import gdn
from gdn import stages

LAYOUTS = {
    "batch": (dict(batch=2, tokens=150), None),
    "packed": (dict(batch=1, tokens=150), [0, 1, 1, 65, 150]),
}


def setup(layout, dtype, dk=32, dv=48):
    shape, offsets = LAYOUTS[layout]
    q, k, v, g, beta = tensors(dtype, dk=dk, dv=dv, **shape)
    cu = None if offsets is None else torch.tensor(offsets, dtype=torch.int32)
    return q, k, v, g, beta, cu


def expected_stages(k, v, g, beta, cu, size, initial_state):
    """g_cumsum, A, T, w, u, h, v_new, final_state in float64, chunk by chunk."""
    k, v, g, beta = (values(x) for x in (k, v, g, beta))
    k = np.repeat(k, v.shape[2] // k.shape[2], axis=2)
    c = np.zeros(g.shape)
    A, T = np.zeros((*g.shape, size)), np.zeros((*g.shape, size))
    w, u, v_new = np.zeros(k.shape), np.zeros(v.shape), np.zeros(v.shape)
    h, final = [], []
    for n, (row, first, end) in enumerate(recurrence.segments(*g.shape[:2], cu)):
        state = np.array(values(initial_state)[n])
        for at in range(first, end, size):
            stop = min(at + size, end)
            span = (row, slice(at, stop))
            length = stop - at
            c[span] = np.cumsum(g[span], 0)
            h.append(state.copy())
            for head in range(g.shape[2]):
                cc, kk, bb = c[span][:, head], k[span][:, head], beta[span][:, head]
                decay = np.exp(np.minimum(cc[:, None] - cc[None, :], 0.0))
                a = np.tril(bb[:, None] * decay * (kk @ kk.T), -1)
                t = np.linalg.inv(np.eye(length) + a)
                A[row, at:stop, head, :length] = a
                T[row, at:stop, head, :length] = t
                w[row, at:stop, head] = t @ (bb[:, None] * np.exp(cc)[:, None] * kk)
                u[row, at:stop, head] = t @ (bb[:, None] * v[span][:, head])
                v_new[row, at:stop, head] = (
                    u[row, at:stop, head] - w[row, at:stop, head] @ (state[head])
                )
                state[head] = (
                    np.exp(cc[-1]) * state[head]
                    + (np.exp(cc[-1] - cc)[:, None] * kk).T @ (v_new[row, at:stop, head])
                )
        final.append(state)
    return c, A, T, w, u, np.array(h), v_new, np.array(final)


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_each_stage(dtype, layout, size):
    q, k, v, g, beta, cu = setup(layout, dtype)
    count = k.shape[0] if cu is None else len(cu) - 1
    start = torch.randn(count, 4, 32, 48, generator=generator(1))
    c, A, T, w, u, h, v_new, final = expected_stages(k, v, g, beta, cu, size, start)
    options = dict(cu_seqlens=cu)
    to = lambda x, kind=torch.float32: as_torch(x).to(kind)  # noqa: E731

    actual_c = stages.chunk_local_cumsum(g, chunk_size=size, **options)
    assert_close(actual_c, c, "f32", what="g_cumsum")
    c = to(c)
    actual_A = stages.chunk_scaled_dot_kkt(k, beta, c, chunk_size=size, **options)
    assert actual_A.dtype == torch.float32
    # A of 16-bit keys may be computed from 16-bit products.
    assert_close(actual_A, A, dtype, hard=True, what="A")
    assert (values(actual_A)[A == 0.0] == 0.0).all(), "zeros outside the triangle"
    actual_T = stages.solve_tril(to(A), **options)
    assert_close(actual_T, T, "f32", hard=True, what="T")
    assert stages.solve_tril(to(A), output_dtype=q.dtype, **options).dtype == q.dtype
    actual_w, actual_u = stages.recompute_w_u(k, v, beta, to(T), c, chunk_size=size, **options)
    assert actual_w.dtype == actual_u.dtype == q.dtype
    assert_close(actual_w, w, dtype, hard=True, what="w")
    assert_close(actual_u, u, dtype, hard=True, what="u")
    result = stages.chunk_fwd_h(
        k, to(w, q.dtype), to(u, q.dtype), c, start, True, chunk_size=size, **options
    )
    assert_close(result[0], h, dtype, hard=True, what="h")
    assert_close(result[1], v_new, dtype, hard=True, what="v_new")
    assert_close(result[2], final, dtype, hard=True, what="final_state")
    rounded = stages.chunk_fwd_h(
        k, to(w, q.dtype), to(u, q.dtype), c, start, chunk_size=size, h_dtype=q.dtype, **options
    )[0]
    assert rounded.dtype == q.dtype
    assert_close(rounded, h, dtype, hard=True, what="h of h_dtype")
    o = stages.chunk_fwd_o(q, k, to(v_new, q.dtype), to(h), c, chunk_size=size, **options)
    expected_o, _, _ = recurrence.delta_rule(
        values(q), values(k), values(v), values(g), values(beta), initial_state=start,
        cu_seqlens=cu,
    )  # fmt: skip
    assert o.dtype == q.dtype
    assert_close(o, expected_o, dtype, hard=True, what="o")


@pytest.mark.parametrize("v_first", [False, True])
@pytest.mark.parametrize("head_map", ["block", "interleaved"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chain_equals_fused(layout, head_map, v_first):
    q, k, v, g, beta, cu = setup(layout, "f32")
    common = dict(cu_seqlens=cu, head_map=head_map)
    c = stages.chunk_local_cumsum(g, cu_seqlens=cu)
    T = stages.solve_tril(stages.chunk_scaled_dot_kkt(k, beta, c, **common), cu_seqlens=cu)
    w, u = stages.recompute_w_u(k, v, beta, T, c, **common)
    h, v_new, final = stages.chunk_fwd_h(k, w, u, c, None, True, state_v_first=v_first, **common)
    o = stages.chunk_fwd_o(q, k, v_new, h, c, scale=0.3, state_v_first=v_first, **common)
    fused, state = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, scale=0.3, output_final_state=True, state_v_first=v_first, **common
    )
    assert relative_error(o, values(fused)) < 1e-5
    assert relative_error(final, values(state)) < 1e-5


def test_without_gates():
    q, k, v, _, beta, _ = setup("batch", "f32")
    T = stages.solve_tril(stages.chunk_scaled_dot_kkt(k, beta))
    w, u = stages.recompute_w_u(k, v, beta, T)
    h, v_new, nothing = stages.chunk_fwd_h(k, w, u)
    assert nothing is None
    fused, _ = gdn.chunk_gated_delta_rule(q, k, v, None, beta)
    assert relative_error(stages.chunk_fwd_o(q, k, v_new, h), values(fused)) < 1e-5


def test_out():
    q, k, v, g, beta, _ = setup("batch", "f32")
    c = torch.full_like(g, float("nan"))
    assert stages.chunk_local_cumsum(g, out=c) is c
    A = torch.full((*g.shape, 64), float("nan"))
    assert stages.chunk_scaled_dot_kkt(k, beta, c, out=A) is A
    T = torch.full_like(A, float("nan"))
    assert stages.solve_tril(A, out=T) is T
    w, u = stages.recompute_w_u(k, v, beta, T, c)
    h, v_new, _ = stages.chunk_fwd_h(k, w, u, c)
    o = torch.full_like(v, float("nan"))
    assert stages.chunk_fwd_o(q, k, v_new, h, c, out=o) is o
    fused, _ = gdn.chunk_gated_delta_rule(q, k, v, g, beta)
    assert relative_error(o, values(fused)) < 1e-5


def test_rows_of_h_must_fit_the_chunks():
    q, k, v, *_ = setup("packed", "f32")
    cu = torch.tensor([0, 1, 2, 3, 150], dtype=torch.int32)  # 1 + 1 + 1 + 3 chunks
    h = torch.zeros(6, v.shape[2], q.shape[3], v.shape[3])
    stages.chunk_fwd_o(q, k, v, h, cu_seqlens=cu)
    # What cu_seqlens holds is looked at on the CPU; elsewhere shapes alone say what is too few.
    for rows, expected in ((2, "at least 3"), (0, "at least 3"), *([] if ON_GPU else [(5, "6")])):
        with pytest.raises(ValueError, match=rf"^h has {rows} rows, expected {expected}:"):
            stages.chunk_fwd_o(q, k, v, h[:rows], cu_seqlens=cu)
