"""Streams and CUDA graphs: calls queue on torch's current stream and wait for nothing."""

import pytest
import torch
from gpu_support import gpu_tensors, recurrent

import gdn
from gdn import stages

LONG = 200_000_000  # cycles of waiting: about 0.1 s


def whole_layer(x, weight, conv_state, A_log, a, b, q, k, v, pool, slots, cu):
    """Every kind of call that a decode or prefill step makes."""
    y = gdn.causal_conv1d_update(x, conv_state, weight, None, "silu")
    g, beta = gdn.fused_gdn_gating(A_log, a, b, beta_dtype=torch.float32)
    step, _ = recurrent(
        *(t[:, :2].transpose(0, 1) for t in (q, k, v, g, beta)),
        initial_state=pool, state_indices=slots,
    )  # fmt: skip
    o, final = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, output_final_state=True, cu_seqlens=cu, use_qk_l2norm_in_kernel=True
    )
    c = stages.chunk_local_cumsum(g, cu_seqlens=cu)
    T = stages.solve_tril(stages.chunk_scaled_dot_kkt(k, beta, c, cu_seqlens=cu), cu_seqlens=cu)
    w, u = stages.recompute_w_u(k, v, beta, T, c, cu_seqlens=cu)
    return y, step, o, final, w, u, gdn.rms_norm_gated(o, None, o), gdn.l2norm(q)


def layer_inputs(seed=0):
    q, k, v, g, beta = gpu_tensors("bf16", tokens=150, hk=2, hv=4, dk=128, dv=128, seed=seed)
    generator = torch.Generator(device="cuda").manual_seed(seed)
    draw = lambda *s: torch.randn(*s, device="cuda", generator=generator)  # noqa: E731
    return (
        draw(2, 64), draw(64, 4), draw(2, 64, 3), draw(4), g, beta, q, k, v, draw(5, 4, 128, 128),
        torch.tensor([3, 1], device="cuda"), torch.tensor([0, 20, 20, 150], device="cuda"),
    )  # fmt: skip


def test_calls_wait_for_their_own_stream():
    """The inputs arrive late, on a stream of their own; any other stream would read NaN."""
    inputs = layer_inputs()
    expected = whole_layer(*(x.clone() for x in inputs))
    late = [
        torch.full_like(x, float("nan")) if x.is_floating_point() else torch.zeros_like(x)
        for x in inputs
    ]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(LONG)
        for target, source in zip(late, inputs, strict=True):
            target.copy_(source)
        found = whole_layer(*late)
        assert not stream.query(), "a call waited for the device"
    stream.synchronize()
    for a, e in zip(found, expected, strict=True):
        assert torch.equal(a, e)


def test_streams_side_by_side():
    """Two streams at once, each with its own data."""
    streams = [torch.cuda.Stream() for _ in range(2)]
    inputs = [gpu_tensors("bf16", tokens=400, dk=128, dv=128, seed=s) for s in range(2)]
    expected = [gdn.chunk_gated_delta_rule(*x, output_final_state=True) for x in inputs]
    torch.cuda.synchronize()
    for _ in range(20):
        found = []
        for stream, x in zip(streams, inputs, strict=True):
            with torch.cuda.stream(stream):
                found.append(gdn.chunk_gated_delta_rule(*x, output_final_state=True))
        torch.cuda.synchronize()
        for a, e in zip(found, expected, strict=True):
            assert torch.equal(a[0], e[0]) and torch.equal(a[1], e[1])


def test_graph():
    """One capture of everything; replays read what the buffers then hold."""
    static = layer_inputs()
    warm = torch.cuda.Stream()
    with torch.cuda.stream(warm):
        whole_layer(*(x.clone() for x in static))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = whole_layer(*static)
    for seed in (1, 2):
        fresh = layer_inputs(seed)
        for target, source in zip(static, fresh, strict=True):
            target.copy_(source)
        graph.replay()
        torch.cuda.synchronize()
        expected = whole_layer(*fresh)
        for a, e in zip(results, expected, strict=True):
            assert torch.equal(a, e)
        for target, source in zip(static, fresh, strict=True):
            assert torch.equal(target, source), "pool and convolution state alike"


def test_graph_follows_cu_seqlens():
    """The lengths stay on the device: a replay honours new ones."""
    inputs = gpu_tensors("bf16", tokens=300, dk=128, dv=128)
    cu = torch.tensor([0, 100, 300], device="cuda")
    gdn.chunk_gated_delta_rule(*inputs, cu_seqlens=cu)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        o, final = gdn.chunk_gated_delta_rule(*inputs, cu_seqlens=cu, output_final_state=True)
    for middle in (0, 1, 64, 257, 300):
        cu.copy_(torch.tensor([0, middle, 300]))
        graph.replay()
        expected, state = gdn.chunk_gated_delta_rule(
            *inputs, cu_seqlens=cu, output_final_state=True
        )
        assert torch.equal(o, expected) and torch.equal(final, state)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_decode(mode):
    """torch.compile of a decode step whose pool is updated in place."""

    def step(q, k, v, g, beta, pool, slots):
        o, _ = recurrent(q, k, v, g, beta, initial_state=pool, state_indices=slots)
        return gdn.l2norm(o * 2)

    slots = torch.tensor([2, 0], device="cuda")
    pools = [torch.ones(4, 4, 128, 128, device="cuda") for _ in range(2)]
    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, mode=mode)
    for seed in range(4):
        inputs = gpu_tensors("bf16", batch=2, tokens=1, dk=128, dv=128, seed=seed)
        expected = step(*inputs, pools[0], slots)
        found = compiled(*inputs, pools[1], slots).clone()
        assert torch.equal(found, expected) and torch.equal(*pools)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_prefill(mode):
    def prefill(q, k, v, g, beta, cu):
        o, final = gdn.chunk_gated_delta_rule(
            q, k, v, g, beta, output_final_state=True, cu_seqlens=cu
        )
        return gdn.rms_norm_gated(o, None, o), final

    torch._dynamo.reset()
    compiled = torch.compile(prefill, fullgraph=True, mode=mode)
    for seed in range(4):
        inputs = gpu_tensors("bf16", tokens=150, dk=128, dv=128, seed=seed)
        cu = torch.tensor([0, 10 + seed, 150], device="cuda")
        for a, e in zip(compiled(*inputs, cu), prefill(*inputs, cu), strict=True):
            assert torch.equal(a, e)
