"""vLLM's functions of GDN layers on a GPU: in CUDA graphs, and beside vLLM's own Triton kernels."""

import pytest
import torch
from gpu_support import error
from support import bound_of
from vllm_layer import WIDTH, Layer
from vllm_sources import load, sources

import gdn.integrations._vllm_cuda as ours

SHAPE = dict(hk=2, hv=4, dk=128, dv=128, slots=24, device="cuda")


def decode(functions, layer, step, slots):
    """A decode step as vLLM makes it: (result,)."""
    mixed = functions.causal_conv1d_update(
        step.mixed_qkv.clone(), layer.conv_pool, layer.weight, None, "silu",
        conv_state_indices=slots, validate_data=False,
    )  # fmt: skip
    out = torch.empty(len(step.mixed_qkv), 1, layer.hv, layer.dv, dtype=mixed.dtype, device="cuda")
    functions.fused_recurrent_gated_delta_rule_packed_decode(
        mixed_qkv=mixed, a=step.a, b=step.b, A_log=layer.A_log, dt_bias=layer.dt_bias,
        scale=layer.dk**-0.5, initial_state=layer.states, out=out, ssm_state_indices=slots,
        use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    return mixed, out


def verify(functions, layer, step, table, accepted):
    """A verify step of drafts."""
    count = step.offsets.shape[0] - 1
    mixed = functions.causal_conv1d_update(
        step.mixed_qkv.clone(), layer.conv_pool, layer.weight, None, "silu",
        conv_state_indices=table[:, 0][:count], num_accepted_tokens=accepted,
        query_start_loc=step.offsets, max_query_len=table.shape[1], validate_data=False,
    )  # fmt: skip
    q, k, v = (x[None] for x in layer.heads(mixed))
    o, _ = functions.fused_sigmoid_gating_delta_rule_update(
        A_log=layer.A_log, a=step.a, b=step.b, dt_bias=layer.dt_bias, q=q, k=k, v=v,
        initial_state=layer.states, inplace_final_state=True, cu_seqlens=step.offsets,
        ssm_state_indices=table, num_accepted_tokens=accepted, use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    return mixed, o


def prefill(functions, layer, step, slots, started):
    """A prefill, states gathered and scattered around it."""
    y = functions.causal_conv1d_fn(
        step.mixed_qkv.transpose(0, 1), layer.weight, None, activation="silu",
        conv_states=layer.conv_pool, has_initial_state=started, cache_indices=slots,
        query_start_loc=step.offsets, metadata=None,
    ).transpose(0, 1)  # fmt: skip
    q, k, v = layer.heads(y)
    q, k = (torch.nn.functional.normalize(x.float(), dim=-1).to(x.dtype) for x in (q, k))
    g = -layer.A_log.exp() * torch.nn.functional.softplus(step.a.float() + layer.dt_bias)
    initial = layer.states[slots.long()] * started[:, None, None, None]
    o, final = functions.chunk_gated_delta_rule(
        q=q[None], k=k[None], v=v[None].contiguous(), g=g[None],
        beta=step.b.float().sigmoid()[None], initial_state=initial, output_final_state=True,
        cu_seqlens=step.offsets, use_qk_l2norm_in_kernel=False,
    )  # fmt: skip
    layer.states[slots.long()] = final.to(layer.states.dtype)
    return y, o, final


def decode_call(layer):
    slots = [5, 0, 2, 17, 0, 9]
    return decode, layer.step([1] * len(slots)), (layer.indices(slots),)


def verify_call(layer, variant=0):
    """Sequences of different lengths, a skipped one, one without tokens, unused entries."""
    lengths, accepted = (([4, 2, 4, 1], [1, 2, 1, 4]), ([3, 4, 1, 3], [4, 1, 1, 2]))[variant]
    rows = ([[3, 4, 5, 6], [7, 8, 0, 0], [0] * 4, [11, 12, 13, 14]],
            [[8, 7, 6, 0], [1, 2, 3, 4], [0] * 4, [20, 21, 22, 23]])[variant]  # fmt: skip
    step = layer.step(lengths, padding=2)
    return verify, step, (layer.indices(rows, padding=2), layer.integers([*accepted, 1, 1]))


def prefill_call(layer):
    started = torch.tensor([True, False, True, False], device="cuda")
    return prefill, layer.step([70, 2, 1, 300]), (layer.indices([3, 8, 12, 6]), started)


CALLS = {"decode": decode_call, "verify": verify_call, "prefill": prefill_call}


def test_graphs():
    """Captured once, replayed on what the buffers hold then: as the same calls one by one."""
    make = lambda: Layer(drafts=3, **SHAPE)  # noqa: E731
    layer, plain = make(), make()
    captured = {"decode": decode_call(layer), "verify": verify_call(layer)}
    seconds = {
        "decode": (layer.step([1] * 6), (layer.indices([1, 6, 0, 2, 5, 23]),)),
        "verify": verify_call(layer, variant=1)[1:],
    }
    graphs, results = {}, {}
    stream = torch.cuda.Stream()
    before = layer.conv_pool.clone(), layer.states.clone()
    for name, (call, step, extra) in captured.items():
        with torch.cuda.stream(stream):
            call(ours, layer, step, *extra)
        torch.cuda.synchronize()
        graphs[name] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[name]):
            results[name] = call(ours, layer, step, *extra)
    layer.conv_pool.copy_(before[0])
    layer.states.copy_(before[1])
    for inputs in (captured, seconds):
        for name, (call, step, extra) in captured.items():
            new_step, new_extra = inputs[name][-2:]
            for target, source in zip(
                (step.mixed_qkv, step.a, step.b, step.offsets, *extra),
                (new_step.mixed_qkv, new_step.a, new_step.b, new_step.offsets, *new_extra),
                strict=True,
            ):
                target.copy_(source)
            graphs[name].replay()
            expected = call(ours, plain, new_step, *new_extra)
            end = sum(new_step.lengths)
            for found, e in zip(results[name], expected, strict=True):
                rows = (found[0], e[0]) if found.shape[0] == 1 else (found, e)
                assert torch.equal(rows[0][:end], rows[1][:end])
            assert torch.equal(layer.conv_pool, plain.conv_pool)
            assert torch.equal(layer.states, plain.states)


@pytest.mark.parametrize("name", ["f32", "bf16", "f16"])
def test_update_in_groups_of_channels(name):
    """Where channels are contiguous several go together: the bits of one by one, bias and all."""
    layer = Layer(name, drafts=3, **SHAPE)
    bias = layer.draw(layer.channels)
    step = layer.step([4, 2, 3, 1], padding=2)
    plain = layer.conv_pool.contiguous()  # the entries contiguous, channels apart
    calls = [
        (step.mixed_qkv[:6], dict(conv_state_indices=layer.indices([3, 0, 7, 5, 0, 9]))),
        (step.mixed_qkv, dict(conv_state_indices=layer.indices([5, 0, 9, 2]),
                              query_start_loc=step.offsets,
                              num_accepted_tokens=layer.integers([2, 1, 4, 1]))),
    ]  # fmt: skip
    for x, arguments in calls:
        for activation in ("silu", None):
            found, expected = (
                ours.causal_conv1d_update(x, pool, layer.weight, bias, activation, **arguments)
                for pool in (layer.conv_pool, plain)
            )
            end = sum(step.lengths)
            assert torch.equal(found[:end], expected[:end])
            assert torch.equal(layer.conv_pool, plain)


@pytest.fixture(scope="module")
def theirs():
    folder = sources()
    if folder is None:
        pytest.skip("no sources of vLLM: make vllm, or VLLM_PATH, a folder that has vllm/")
    return load(folder, tuned=False)


@pytest.mark.parametrize("state_dtype", ["f32", "bf16"])
@pytest.mark.parametrize("name", CALLS)
@torch.no_grad()
def test_beside_vllm(theirs, name, state_dtype):
    """The same calls of both on pools with the same contents: results, and what is written."""
    layers = [Layer(drafts=3, state_dtype=state_dtype, **SHAPE) for _ in range(2)]
    before = layers[0].conv_pool.clone(), layers[0].states.clone()
    found = []
    for functions, layer in zip((ours, theirs), layers, strict=True):
        call, step, extra = CALLS[name](layer)
        found.append(call(functions, layer, step, *extra))
    # Rows of skipped sequences and of no sequence: vLLM leaves some of them as they were.
    rows = torch.zeros(step.mixed_qkv.shape[0], dtype=torch.bool, device="cuda")
    slots = extra[0] if extra[0].dim() == 1 else extra[0][:, 0]
    for n, span in enumerate(step.spans()):
        rows[span] = bool(slots[n] > 0)
    tokens = len(rows)
    for a, b in zip(*found, strict=True):
        if tokens in a.shape[:2]:
            a, b = (x.reshape(tokens, -1)[rows] for x in (a, b))
        assert a.dtype == b.dtype and error(a, b) <= 2 * bound_of("bf16")
    assert torch.equal(layers[0].conv_pool, layers[1].conv_pool)
    mine, other, old = layers[0].states, layers[1].states, before[1]
    written = [n for n in range(len(old)) if not torch.equal(other[n], old[n])]
    assert written == [n for n in range(len(old)) if not torch.equal(mine[n], old[n])]
    assert written and 0 not in written
    assert error(mine[written], other[written]) <= 2 * bound_of("bf16")
    # Of a slot with room for drafts, what a prefill and a decode do not use.
    if name != "verify":
        room = slice(WIDTH - 1, None)
        assert torch.equal(layers[0].conv_pool[:, :, room], before[0][:, :, room])
