"""Names and argument orders of libraries for Ascend NPUs: each stage against its formula."""

import pytest
import torch
from support import assert_close, relative_error, tensors, values
from test_stages import expected_stages

import gdn
from gdn import compat

C = 128
LENGTHS = [1, 127, 128, 129, 300]


def offsets(lengths):
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def one_row(dtype="f16", lengths=LENGTHS, hk=2, hv=4):
    """q, k, v, g, beta as [1, T, ..], beta in the type of q, and cu_seqlens."""
    q, k, v, g, beta = tensors(dtype, batch=1, tokens=sum(lengths), hk=hk, hv=hv, dk=32, dv=32)
    return q, k, v, g.float(), beta.to(q.dtype), offsets(lengths)


def mask(diagonal):
    return torch.ones(C, C).tril(diagonal)


def by_head(x):
    return x[0].T.contiguous()


def chain(q, k, v, g, beta, batch_size, seq_len, cu):
    """The stages in the order and with the positional arguments of their library."""
    sizes = (batch_size, seq_len, cu)
    g_sum = compat.pto_gdn_chunk_cumsum(g[0], *sizes)
    G, Beta = g_sum.T.contiguous(), by_head(beta)
    A = compat.pto_gdn_scaled_dot_kkt(k[0], Beta, G, mask(-1), *sizes)
    packed = offsets([seq_len] * batch_size) if cu is None else cu
    inverse = gdn.stages.solve_tril(A[None].float(), cu_seqlens=packed, output_dtype=k.dtype)[0]
    W, U = compat.pto_gdn_wy_fast(k[0], v[0], Beta, G, inverse, *sizes)
    lengths = (packed[1:] - packed[:-1]).tolist()
    chunks = sum(-(-length // C) for length in lengths)
    S, V, FS = compat.pto_chunk_h(k[0], W, U, G, packed, batch_size, seq_len, chunks)
    O = compat.pto_gdn_chunk_o(q[0], k[0], V, S, G, mask(0), *sizes)  # noqa: E741
    return g_sum, A, inverse, W, U, S, V, FS, O


@pytest.mark.parametrize("packed", [True, False])
def test_stages(packed):
    """Shapes, types and values of every stage; the last one scaled equals the whole operation."""
    lengths = LENGTHS if packed else [200, 200]
    q, k, v, g, beta, cu = one_row(lengths=lengths)
    found = chain(
        q, k, v, g, beta, len(lengths), 0 if packed else lengths[0], cu if packed else None
    )
    zeros = torch.zeros(len(lengths), 4, 32, 32)
    c, A, T, w, u, h, v_new, final = expected_stages(k, v, g, beta, cu, C, zeros)
    for name, actual, expected in zip(
        ("g_sum", "A", "T", "W", "U", "S", "V", "FS"),
        found,
        (c[0], A[0], T[0], w[0], u[0], h, v_new[0], final),
        strict=False,
    ):
        assert actual.shape == expected.shape, name
        assert actual.dtype == (torch.float32 if name == "g_sum" else torch.float16), name
        assert_close(actual, expected, "f16", what=name)
    o, _ = gdn.chunk_gated_delta_rule(q, k, v, g, beta, scale=1.0, cu_seqlens=cu)
    assert found[-1].dtype == torch.float16
    assert_close(found[-1][None], values(o), "f16")


def test_a_leading_one_comes_back():
    q, k, v, g, beta, cu = one_row()
    n, chunks = len(LENGTHS), sum(-(-length // C) for length in LENGTHS)
    plain = chain(q, k, v, g, beta, n, 0, cu)
    g_sum = compat.pto_gdn_chunk_cumsum(g, n, 0, cu_seqlens=cu)
    A = compat.pto_gdn_scaled_dot_kkt(k, beta, g_sum, mask(-1), n, 0, cu_seqlens=cu)
    W, U = compat.pto_gdn_wy_fast(k, v, beta, g_sum, plain[2][None], n, 0, cu_seqlens=cu)
    S, V, FS = compat.pto_chunk_h(
        k, W, U, g_sum, cu_seqlens=cu, batch_size=n, seq_len=0, total_chunks=chunks
    )
    flat = S.flatten(0, 1)  # [chunks H, D, D], another form of it there
    O = compat.pto_gdn_chunk_o(q, k, V, flat, g_sum, mask(0), n, 0, cu_seqlens=cu)  # noqa: E741
    for found, expected in zip((g_sum, A, W, U, V, O), (plain[i] for i in (0, 1, 3, 4, 6, 8)),
                               strict=True):  # fmt: skip
        assert torch.equal(found, expected[None])
    assert torch.equal(S, plain[5]) and torch.equal(FS, plain[7])


@pytest.mark.parametrize("chunk_size", [64, 128])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_whole_operation(chunk_size, started, packed):
    """o and final_state are the plain call's bits; h is the state before each chunk."""
    lengths = [*LENGTHS, 0, 64] if packed else [150]
    q, k, v, g, beta, cu = one_row(lengths=lengths)
    cu = cu if packed else None
    state = torch.randn(len(lengths), 4, 32, 32) if started else None
    o, final, h = compat.chunk_gated_delta_rule_npu(
        q, k, v, g, beta, 0.2, state, True, cu, False, True, chunk_size=chunk_size
    )
    expected = gdn.chunk_gated_delta_rule(q, k, v, g, beta, 0.2, state, True, True, cu_seqlens=cu)
    assert torch.equal(o, expected[0]) and torch.equal(final, expected[1])
    kn = gdn.l2norm(k.float())
    zeros = torch.zeros(len(lengths), 4, 32, 32) if state is None else state
    cu = offsets(lengths) if cu is None else cu
    before = expected_stages(kn, v, g, beta, cu, chunk_size, zeros)[5]
    assert h.shape == (1, *before.shape) and h.dtype == q.dtype
    assert_close(h[0], before, "f16")


def test_rows_of_a_batch():
    q, k, v, g, beta = tensors("f16", batch=2, tokens=70, dk=32, dv=32)
    o, final, h = compat.chunk_gated_delta_rule_npu(q, k, v, g, beta, output_final_state=False)
    assert final is None and h.shape == (2, 2, v.shape[2], 32, 32)
    for b in range(2):
        row = compat.chunk_gated_delta_rule_npu(*(x[b : b + 1] for x in (q, k, v, g, beta)))
        assert torch.equal(o[b : b + 1], row[0]) and torch.equal(h[b : b + 1], row[2])


def test_nothing_to_do():
    q, k, v, g, beta = (x[:, :0] for x in tensors("f16", batch=1, tokens=1, dk=32, dv=32))
    o, final, h = compat.chunk_gated_delta_rule_npu(q, k, v, g, beta)
    assert o.shape == v.shape and h.shape == (1, 0, v.shape[2], 32, 32)
    assert relative_error(final, torch.zeros_like(final).cpu().numpy()) == 0


def bad(call, name, error=ValueError):
    with pytest.raises(error, match=f"^{name}"):
        call()


def test_refused_by_name():
    q, k, v, g, beta, cu = one_row()
    n, tokens = len(LENGTHS), sum(LENGTHS)
    G, Beta, sizes = by_head(g), by_head(beta), (len(LENGTHS), 0, cu)
    W, V = torch.zeros_like(v[0]), v[0]
    A = torch.zeros(tokens, 4, C, dtype=torch.float16)
    S = torch.zeros(8, 4, 32, 32, dtype=torch.float16)
    bad(lambda: compat.chunk_gated_delta_rule_npu(q, k, v, g, beta, head_first=True), "head_first")
    bad(lambda: compat.chunk_gated_delta_rule_npu(q, k, v, g, beta, chunk_size=32), "chunk_size")
    bad(lambda: compat.pto_gdn_chunk_cumsum(g, 2, 5), "seq_len")
    bad(lambda: compat.pto_gdn_chunk_cumsum(g, n + 1, 0, cu), "cu_seqlens")
    bad(lambda: compat.pto_gdn_chunk_cumsum(g[None], *sizes), "g")
    bad(lambda: compat.pto_gdn_scaled_dot_kkt(k[0], Beta, G, mask(0), *sizes), "Msk")
    bad(lambda: compat.pto_gdn_scaled_dot_kkt(k[0], Beta, G, mask(-1)[:64], *sizes), "Msk")
    bad(lambda: compat.pto_gdn_scaled_dot_kkt(k[0], Beta[:, 1:], G, mask(-1), *sizes), "Beta")
    bad(lambda: compat.pto_gdn_scaled_dot_kkt(k[0], Beta[0], G, mask(-1), *sizes), "Beta")
    bad(lambda: compat.pto_gdn_wy_fast(k[0], V, Beta, G, A[..., :64], *sizes), "A")
    bad(lambda: compat.pto_chunk_h(k[0], W, V, G, cu, n, 0, 3), "total_chunks")
    bad(lambda: compat.pto_chunk_h(k[0], W, V, G, cu, n, 0), "total_chunks", TypeError)
    bad(lambda: compat.pto_gdn_chunk_o(q[0], k[0], V, S, G, mask(-1), *sizes), "Msk")
