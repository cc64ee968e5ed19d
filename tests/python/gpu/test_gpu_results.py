"""Public functions on CUDA tensors against the float64 backend on copies of them."""

import pytest
import torch
from gpu_support import error, gpu_tensors, on_gpu, recurrent, reference
from support import bound_of

import gdn

FUNCTIONS = {"chunk": gdn.chunk_gated_delta_rule, "recurrent": recurrent}
DTYPES = ["f32", "bf16", "f16"]
each = pytest.mark.parametrize("run", FUNCTIONS.values(), ids=FUNCTIONS.keys())
LENGTHS = [1, 63, 64, 65, 0, 130]


def packed(lengths=LENGTHS):
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], device="cuda")


def state(count, hv=4, dk=128, dv=128, dtype=torch.float32):
    generator = torch.Generator(device="cuda").manual_seed(5)
    return torch.randn(count, hv, dk, dv, device="cuda", generator=generator).to(dtype)


def check(found, expected, dtype):
    for a, e in zip(found, expected, strict=True):
        if e is None:
            assert a is None
            continue
        assert a.is_cuda and a.is_contiguous()
        assert error(a, e) <= bound_of(dtype)


@each
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widths", [(128, 128), (64, 48), (16, 256)])
def test_packed_with_states(run, dtype, widths):
    dk, dv = widths
    inputs = gpu_tensors(dtype, tokens=sum(LENGTHS), dk=dk, dv=dv)
    options = dict(
        initial_state=state(len(LENGTHS), dk=dk, dv=dv), output_final_state=True,
        cu_seqlens=packed(), use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    check(run(*inputs, **options), reference(run, *inputs, **options), dtype)


@each
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_switch(run, dtype):
    """Gates, sigmoid, doubling, interleaved heads, V first, scale, all at once."""
    q, k, v, g, beta = gpu_tensors(dtype, batch=2, tokens=70, hk=2, hv=6, dk=128, dv=128)
    A_log, dt_bias = torch.linspace(-2, 1, 6).cuda(), torch.linspace(-1, 1, 6).cuda()
    options = dict(
        scale=0.3, initial_state=state(2, hv=6), output_final_state=True, state_v_first=True,
        use_qk_l2norm_in_kernel=True, use_beta_sigmoid_in_kernel=True, allow_neg_eigval=True,
        use_gate_in_kernel=True, A_log=A_log, dt_bias=dt_bias, head_map="interleaved",
    )  # fmt: skip
    inputs = q, k, v, 3 * g, 3 * beta
    check(run(*inputs, **options), reference(run, *inputs, **options), dtype)


@each
@pytest.mark.parametrize("state_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_pool(run, state_dtype, index_dtype):
    inputs = gpu_tensors("bf16", batch=3, tokens=5, dk=128, dv=128)
    pool = state(7, dtype=state_dtype)
    before = pool.clone()
    indices = torch.tensor([5, -1, 2], dtype=index_dtype, device="cuda")
    copy = before.float().cpu()
    # A float32 pool on the CPU is what the reference updates.
    expected, _ = reference(run, *inputs, initial_state=copy, state_indices=indices)
    o, returned = run(*inputs, initial_state=pool, state_indices=indices)
    assert returned is pool
    assert error(o, expected) <= bound_of("bf16") and error(pool, copy) <= bound_of("bf16")
    assert bool((o[1] == 0).all())
    untouched = [0, 1, 3, 4, 6]
    assert torch.equal(pool[untouched], before[untouched])


def test_verify_then_accept():
    """Slots per token: any accepted prefix can be resumed from."""
    inputs = gpu_tensors("bf16", batch=2, tokens=4, dk=128, dv=128)
    pool = state(10)
    start = pool.clone()
    slots = torch.tensor([[0, 2, 4, 6], [1, 3, 5, 7]], dtype=torch.int32, device="cuda")
    accepted = torch.tensor([1, 1], dtype=torch.int32, device="cuda")
    o, _ = recurrent(*inputs, initial_state=pool, state_indices=slots, num_accepted_tokens=accepted)
    for keep in range(1, 5):
        cut = [x[:, :keep] for x in inputs]
        part, final = recurrent(*cut, initial_state=start[:2], output_final_state=True)
        assert torch.equal(part, o[:, :keep])
        assert torch.equal(pool[slots[:, keep - 1].long()], final)
    assert torch.equal(pool[8:], start[8:])


@each
def test_views_give_the_same_bits(run):
    """q, k and v as slices of one projection, transposed, expanded, last stride not 1."""
    q, k, v, g, beta = gpu_tensors("bf16", batch=2, tokens=70, hk=4, hv=4, dk=128, dv=128)
    plain = run(q, k, v, g, beta, output_final_state=True)
    fused = torch.cat([q, k, v], dim=2)
    sliced = (*(fused[:, :, i : i + 4] for i in (0, 4, 8)), g, beta)
    transposed = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v, g, beta)]
    last = [x.mT.contiguous().mT for x in (q, k, v)]
    shifted = [torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) for x in (q, k, v)]
    for views in (sliced, transposed, (*last, g, beta), (*shifted, g, beta)):
        found = run(*views, output_final_state=True)
        for a, b in zip(found, plain, strict=True):
            assert torch.equal(a, b)


def test_the_layer():
    """Convolution, gating and norms at a layer's widths."""
    x = torch.randn(1, 50, 8192).bfloat16().transpose(1, 2)
    weight, z = torch.randn(8192, 4), torch.randn(50, 32, 128).bfloat16()
    a, b = torch.randn(1, 50, 32).bfloat16(), torch.randn(1, 50, 32).bfloat16()
    A_log, dt_bias, gamma = torch.randn(32), torch.randn(32), torch.randn(128)
    calls = [
        (gdn.causal_conv1d_fwd, (x, weight), dict(activation="silu")),
        (gdn.fused_gdn_gating, (A_log, a, b, dt_bias), dict(beta_dtype="float32")),
        (gdn.l2norm, (z,), {}),
        (gdn.rms_norm_gated, (z, gamma, z.flip(0)), {}),
    ]
    for function, inputs, options in calls:
        found = function(*on_gpu(*inputs), **options)
        expected = reference(function, *inputs, **options)
        found, expected = (r if isinstance(r, tuple) else (r,) for r in (found, expected))
        for f, e in zip(found, expected, strict=True):
            assert f.is_cuda and error(f, e) <= (2e-6 if f.dtype == torch.float32 else 3e-3)


PATHS = {
    entry["name"]: entry["supported"]
    for backend in gdn.info()["backends"] if backend["name"] == "cuda"
    for entry in backend["isas"]
}  # fmt: skip


@pytest.mark.parametrize("isa", PATHS)
def test_code_paths_by_name(isa):
    if not PATHS[isa]:
        pytest.skip(f"this GPU does not run {isa}")
    inputs = gpu_tensors("bf16", tokens=200, hk=2, hv=4, dk=128, dv=128)
    with gdn.use("cuda", isa):
        assert gdn.info()["isa"] == isa
        found = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True)
    check(found, reference(gdn.chunk_gated_delta_rule, *inputs, output_final_state=True), "bf16")


def test_runs_and_batches_change_no_bit():
    inputs = gpu_tensors("bf16", tokens=sum(LENGTHS), hk=4, hv=8, dk=128, dv=128)
    options = dict(output_final_state=True)
    o, final = gdn.chunk_gated_delta_rule(*inputs, cu_seqlens=packed(), **options)
    again, final2 = gdn.chunk_gated_delta_rule(*inputs, cu_seqlens=packed(), **options)
    assert torch.equal(o, again) and torch.equal(final, final2)
    first = 0
    for n, length in enumerate(LENGTHS):
        alone, last = gdn.chunk_gated_delta_rule(
            *(x[:, first : first + length] for x in inputs), **options
        )
        assert torch.equal(alone[0], o[0, first : first + length])
        assert torch.equal(last[0], final[n])
        first += length
