"""vLLM's functions of GDN layers on a GPU, computed by libgdn: the same calls on any device.

They also run on CUDA tensors (GDN_TEST_DEVICE=cuda); tests/python/gpu has CUDA graphs, and vLLM's
own kernels beside them.
"""

import numpy as np
import pytest
import recurrence
import torch
from support import DEVICE, assert_close, relative_error, values
from vllm_layer import WIDTH, Layer

import gdn.integrations._vllm_cuda as ours
import gdn.integrations.vllm as plugin


@pytest.fixture(autouse=True)
def clean_counts():
    plugin.calls.clear()
    yield
    plugin.calls.clear()


def counted(name, tokens, calls=1):
    """Whether exactly these calls of libgdn were made."""
    return dict(plugin.calls) == {name: calls, f"{name} tokens": tokens}


def check_pool(pool, before, expected, dtype):
    """Slots of `expected` hold its values; all others are as they were, bit for bit."""
    for slot in range(pool.shape[0]):
        if slot in expected:
            assert_close(pool[slot], expected[slot], dtype, what=f"slot {slot}")
        else:
            assert torch.equal(pool[slot], before[slot]), f"slot {slot} was written"


@pytest.mark.parametrize("state_dtype", ["f32", "bf16"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_packed_decode(dtype, state_dtype):
    layer = Layer(dtype, state_dtype=state_dtype)
    slots = [5, 0, 2, 0, -1, 9]
    step = layer.step([1] * len(slots))
    before = layer.states.clone()
    out = torch.full((len(slots), 1, layer.hv, layer.dv), 7.0, device=DEVICE).to(layer.weight.dtype)
    found, pool = ours.fused_recurrent_gated_delta_rule_packed_decode(
        mixed_qkv=step.mixed_qkv, a=step.a, b=step.b, A_log=layer.A_log, dt_bias=layer.dt_bias,
        scale=layer.dk**-0.5, initial_state=layer.states, out=out,
        ssm_state_indices=layer.indices(slots), use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    assert found.data_ptr() == out.data_ptr() and pool.data_ptr() == layer.states.data_ptr()
    states = {}
    for n, slot in enumerate(slots):
        if slot <= 0:
            assert not out[n].any()
            continue
        row = slice(n, n + 1)
        o, after = layer.rule(step.mixed_qkv[row], step.a[row], step.b[row], before[slot])
        assert_close(out[n, 0], o[0], dtype)
        states[slot] = after[-1]
    worse = "bf16" if "bf16" in (dtype, state_dtype) else "f32"
    check_pool(layer.states, before, states, worse)
    assert counted("fused_recurrent_gated_delta_rule", len(slots))


def verify_arguments():
    """(layer, step, table, accepted): two rows of the table have unused entries, one is padding.

    Behind the sequences come three without tokens, and three tokens of no sequence.
    """
    layer = Layer("f32", slots=16, drafts=3)
    step = layer.step([4, 2, 3, 1], padding=3)
    rows = [[3, 4, 5, 6], [7, 8, 0, 0], [0, 0, 0, 0], [11, 12, 13, 14]]
    accepted = layer.integers([2, 1, 1, 4, 1, 1, 1])
    return layer, step, rows, accepted


def check_verify(layer, step, rows, accepted, o, before):
    expected = {}
    for row, count, span in zip(rows, accepted.tolist(), step.spans(), strict=False):
        if row[count - 1] <= 0:
            assert not o[span].any()
            continue
        y, after = layer.rule(
            step.mixed_qkv[span], step.a[span], step.b[span], before[row[count - 1]]
        )
        assert_close(o[span], y, layer.dtype)
        expected |= {slot: after[t] for t, slot in enumerate(row[: len(after)])}
    check_pool(layer.states, before, expected, layer.dtype)


@pytest.mark.parametrize("gated", [False, True], ids=["raw gates", "gates"])
def test_verify(gated):
    layer, step, rows, accepted = verify_arguments()
    before = layer.states.clone()
    q, k, v = (x[None] for x in layer.heads(step.mixed_qkv))
    table = layer.indices(rows, padding=3)
    states = dict(
        initial_state=layer.states, inplace_final_state=True,
        cu_seqlens=step.offsets[: len(rows) + 1], ssm_state_indices=table,
        num_accepted_tokens=accepted, use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    if gated:
        g, beta = (torch.from_numpy(x).float().to(DEVICE) for x in layer.gating(step.a, step.b))
        o, pool = ours.fused_recurrent_gated_delta_rule(
            q=q, k=k, v=v, g=g[None], beta=beta[None], **states
        )
    else:
        o, pool = ours.fused_sigmoid_gating_delta_rule_update(
            A_log=layer.A_log, a=step.a, b=step.b, dt_bias=layer.dt_bias, q=q, k=k, v=v, **states
        )
    assert pool.data_ptr() == layer.states.data_ptr()
    check_verify(layer, step, rows, accepted, o[0], before)
    assert counted("fused_recurrent_gated_delta_rule", 13)


def test_verify_with_the_norm():
    layer, step, rows, accepted = verify_arguments()
    before = layer.states.clone()
    tokens = step.mixed_qkv.shape[0]
    gate = layer.draw(tokens, layer.hv * layer.dv + 8)[:, : layer.hv * layer.dv]
    gate = gate.unflatten(1, (layer.hv, layer.dv))
    weight = layer.draw(layer.dv)
    out = torch.full((tokens, layer.hv, layer.dv), 7.0, device=DEVICE)
    found = ours.fused_gdn_decode_post_conv_mtp(
        mixed_qkv=step.mixed_qkv, a=step.a, b=step.b, A_log=layer.A_log, dt_bias=layer.dt_bias,
        state_indices=layer.indices(rows), cu_seqlens=step.offsets[: len(rows) + 1],
        num_accepted_tokens=accepted[: len(rows)], state=layer.states, output_gate=gate,
        norm_weight=weight, out=out, scale=layer.dk**-0.5, norm_eps=1e-5,
        output_gate_activation="sigmoid",
    )  # fmt: skip
    assert found.data_ptr() == out.data_ptr()
    for row, count, span in zip(rows, accepted.tolist(), step.spans(), strict=False):
        if row[count - 1] <= 0:
            assert not out[span].any()
            continue
        y, _ = layer.rule(step.mixed_qkv[span], step.a[span], step.b[span], before[row[count - 1]])
        normed = recurrence.rms_norm_gated(y, weight, eps=1e-5)
        assert_close(out[span], normed * recurrence.sigmoid(values(gate[span])), "f32")
    assert not out[sum(step.lengths) :].any()
    assert plugin.calls["fused_recurrent_gated_delta_rule tokens"] == tokens
    assert plugin.calls["rms_norm_gated tokens"] == tokens


def test_decodes_in_front_of_prefills():
    """One slot a sequence, of an array that goes on with those of the prefills."""
    layer = Layer()
    step = layer.step([1, 1, 1])
    before = layer.states.clone()
    slots = [4, 0, 6]
    q, k, v = (x[None] for x in layer.heads(step.mixed_qkv))
    o, _ = ours.fused_sigmoid_gating_delta_rule_update(
        A_log=layer.A_log, a=step.a, b=step.b, dt_bias=layer.dt_bias, q=q, k=k, v=v,
        initial_state=layer.states, inplace_final_state=True, cu_seqlens=step.offsets,
        ssm_state_indices=layer.indices([*slots, 8, 9]), use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    states = {}
    for n in (0, 2):
        row = slice(n, n + 1)
        y, after = layer.rule(step.mixed_qkv[row], step.a[row], step.b[row], before[slots[n]])
        assert_close(o[0, row], y, "bf16")
        states[slots[n]] = after[-1]
    assert not o[0, 1].any()
    check_pool(layer.states, before, states, "bf16")


@pytest.mark.parametrize("into_buffer", [False, True])
def test_chunk(into_buffer):
    layer = Layer()
    lengths = [70, 1, 130]
    step = layer.step(lengths)
    q, k, v = (torch.nn.functional.normalize(x.float(), dim=-1).bfloat16()[None]
               for x in layer.heads(step.mixed_qkv))  # fmt: skip
    g, beta = (torch.from_numpy(x).float().to(DEVICE)[None] for x in layer.gating(step.a, step.b))
    initial = layer.draw(3, layer.hv, layer.dv, layer.dk, dtype="f32")
    buffer = torch.full((sum(lengths) + 5, layer.hv, layer.dv), 7.0, device=DEVICE).bfloat16()
    o, final = ours.chunk_forward(
        None, q=q, k=k, v=v, g=g, beta=beta, initial_state=initial, output_final_state=True,
        cu_seqlens=step.offsets, chunk_indices=torch.zeros(1, 2), chunk_offsets=torch.zeros(1),
        use_qk_l2norm_in_kernel=False, core_attn_out=buffer.view(-1) if into_buffer else None,
        aiter_prefill_metadata=None,
    )  # fmt: skip
    expected, states, _ = recurrence.delta_rule(
        *(values(x) for x in (q, k, v, g, beta)), initial_state=values(initial),
        cu_seqlens=values(step.offsets).astype(int), state_v_first=True,
    )  # fmt: skip
    assert final.dtype == torch.float32
    assert_close(o, expected, "bf16")
    assert_close(final, states, "bf16")
    if into_buffer:
        assert torch.equal(buffer[:-5], o[0]) and (buffer[-5:] == 7).all()
    assert counted("chunk_gated_delta_rule", sum(lengths))


def test_convolution_of_prefills():
    layer = Layer(drafts=2)
    lengths, slots, started = [70, 2, 9, 5], [3, 8, 0, 6], [True, False, True, True]
    step = layer.step(lengths)
    before = layer.conv_pool.clone()
    y = ours.causal_conv1d_fn(
        step.mixed_qkv.transpose(0, 1), layer.weight, None, activation="silu",
        conv_states=layer.conv_pool, cache_indices=layer.indices(slots, padding=2),
        has_initial_state=torch.tensor([*started, False, False], device=DEVICE),
        query_start_loc=step.offsets, metadata=object(),
    ).transpose(0, 1)  # fmt: skip
    for slot, known, span in zip(slots, started, step.spans(), strict=True):
        if slot == 0:
            assert not y[span].any()
            continue
        old = values(before[slot, :, : WIDTH - 1]) * known
        assert_close(y[span], layer.convolution(step.mixed_qkv[span], old), "bf16")
        line = np.concatenate([old, values(step.mixed_qkv[span]).T], axis=1)
        assert relative_error(layer.conv_pool[slot, :, : WIDTH - 1], line[:, 1 - WIDTH :]) == 0
    # Room for drafts, and slots of others.
    assert torch.equal(layer.conv_pool[:, :, WIDTH - 1 :], before[:, :, WIDTH - 1 :])
    rest = [n for n in range(before.shape[0]) if n not in (3, 8, 6)]
    assert torch.equal(layer.conv_pool[rest], before[rest])
    assert counted("causal_conv1d_fwd", sum(lengths))


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_convolution_of_decodes(dtype):
    layer = Layer(dtype, drafts=1)
    slots = [7, 0, 2, 0]
    step = layer.step([1] * 4)
    before, x = layer.conv_pool.clone(), step.mixed_qkv.clone()
    y = ours.causal_conv1d_update(
        step.mixed_qkv, layer.conv_pool, layer.weight, None, "silu",
        conv_state_indices=layer.indices(slots), validate_data=True,
    )  # fmt: skip
    assert torch.equal(step.mixed_qkv, x)
    for n, slot in enumerate(slots):
        if slot == 0:
            assert not y[n].any()
            continue
        old = values(before[slot, :, : WIDTH - 1])
        assert_close(y[n : n + 1], layer.convolution(x[n : n + 1], old), dtype)
        line = np.concatenate([old, values(x[n])[:, None]], axis=1)
        assert relative_error(layer.conv_pool[slot, :, : WIDTH - 1], line[:, 1:]) == 0
    assert torch.equal(layer.conv_pool[[0, 1, 3]], before[[0, 1, 3]])
    assert counted("causal_conv1d_update", 4)


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_convolution_of_verify_steps(dtype):
    """Two steps: the second continues after the drafts of the first that were accepted."""
    layer = Layer(dtype, drafts=3)
    slots, lengths, accepted = [5, 0, 9], ([4, 2, 2], [2, 2, 4]), [1, 1, 1]
    taken = [3, 1, 2]  # of the first step
    history = {n: values(layer.conv_pool[s, :, : WIDTH - 1]) for n, s in enumerate(slots)}
    before = layer.conv_pool.clone()
    table = layer.indices([[s, s + 1, s + 2, s + 3] if s else [0] * 4 for s in slots], padding=2)
    for number, counts in enumerate(lengths):
        step = layer.step(counts, padding=2)
        y = ours.causal_conv1d_update(
            step.mixed_qkv, layer.conv_pool, layer.weight, None, "silu",
            conv_state_indices=table[:, 0][:3],
            num_accepted_tokens=layer.integers([*(accepted if number == 0 else taken), 1, 1]),
            query_start_loc=step.offsets, max_query_len=4, validate_data=False,
        )  # fmt: skip
        for n, span in enumerate(step.spans()):
            if slots[n] == 0:
                assert not y[span].any()
                continue
            old = history[n][:, 1 - WIDTH :]
            assert_close(y[span], layer.convolution(step.mixed_qkv[span], old), dtype)
            kept = values(step.mixed_qkv[span]).T[:, : taken[n]]
            history[n] = np.concatenate([history[n], kept], axis=1)
    rest = [n for n in range(before.shape[0]) if n not in (5, 9)]
    assert torch.equal(layer.conv_pool[rest], before[rest])
    assert counted("causal_conv1d_update", 20, calls=2)


def test_refused_by_name():
    layer = Layer("f32")
    step = layer.step([1, 1])
    q, k, v = (x[None] for x in layer.heads(step.mixed_qkv))
    common = dict(
        initial_state=layer.states, ssm_state_indices=layer.indices([3, 4]), cu_seqlens=None
    )
    raw = dict(A_log=layer.A_log, a=step.a, b=step.b, dt_bias=layer.dt_bias, q=q, k=k, v=v)
    before = layer.states.clone()

    def refused(match, function, **arguments):
        with pytest.raises(NotImplementedError, match=match):
            function(**arguments)

    update, recurrent = (
        ours.fused_sigmoid_gating_delta_rule_update, ours.fused_recurrent_gated_delta_rule
    )  # fmt: skip
    refused("is_kda", update, **raw, **common, is_kda=True)
    refused("threshold", update, **raw, **common, threshold=10.0)
    refused("inplace_final_state", update, **raw, **common, inplace_final_state=False)
    refused("ssm_state_indices", update, **raw, initial_state=layer.states)
    refused("ssm_state_indices", recurrent, q=q, k=k, v=v, g=step.a[None])
    refused("beta", recurrent, q=q, k=k, v=v, g=step.a[None], beta=v, **common)
    with pytest.raises(ValueError, match="block boundaries"):
        ours.causal_conv1d_update(
            step.mixed_qkv, layer.conv_pool, layer.weight, conv_state_indices=layer.indices([3, 4]),
            block_idx_last_scheduled_token=layer.indices([0, 0]),
        )  # fmt: skip
    with pytest.raises(ValueError, match="conv_state_indices"):
        ours.causal_conv1d_update(
            step.mixed_qkv, layer.conv_pool, layer.weight, query_start_loc=step.offsets
        )
    assert torch.equal(layer.states, before) and not plugin.calls
