"""Pools, checkpoints, resuming, speculative verify, the caller's output."""

import numpy as np
import pytest
import recurrence
import torch
from support import assert_close, generator, tensors, values

import gdn

FUNCTIONS = {
    "chunk": lambda q, k, v, g, beta, **kw: gdn.chunk_gated_delta_rule(q, k, v, g, beta, **kw),
    "recurrent": lambda q, k, v, g, beta, **kw: gdn.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta=beta, **kw
    ),
}
both = pytest.mark.parametrize("run", FUNCTIONS.values(), ids=FUNCTIONS.keys())


def random_state(count, hv=4, dk=32, dv=32, dtype=torch.float32, seed=3):
    return torch.randn(count, hv, dk, dv, generator=generator(seed)).to(dtype)


@both
def test_inputs_are_not_modified(run):
    inputs = tensors()
    state = random_state(1)
    copies = [x.clone() for x in (*inputs, state)]
    run(*inputs, initial_state=state, output_final_state=True)
    for x, copy in zip((*inputs, state), copies, strict=True):
        assert torch.equal(x, copy)


@both
def test_out_is_written_and_returned(run):
    inputs = tensors(batch=2)
    wide = torch.full((2, 70, 6, 40), float("nan"))
    out = wide[:, :, 1:5, 4:36]
    o, _ = run(*inputs, out=out)
    assert o is out
    assert torch.equal(out, run(*inputs)[0])
    assert wide[:, :, 0].isnan().all() and wide[..., :4].isnan().all()
    assert wide[..., 36:].isnan().all() and wide[:, :, 5].isnan().all()


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_pool(run, dtype, index_dtype):
    inputs = tensors(batch=3, tokens=20)
    pool = random_state(7, dtype=dtype)
    before = pool.clone()
    indices = torch.tensor([5, -1, 2], dtype=index_dtype)
    o, returned = run(*inputs, initial_state=pool, state_indices=indices)
    assert returned is pool
    expected, states, _ = recurrence.delta_rule(
        *(values(x) for x in inputs), initial_state=values(before), state_indices=indices
    )
    assert_close(o, expected, "f32" if dtype == torch.float32 else "bf16")
    assert_close(pool, states, "f32" if dtype == torch.float32 else "bf16")
    assert (o[1] == 0).all()
    for slot in (0, 1, 3, 4, 6):
        assert torch.equal(pool[slot], before[slot])


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_in_place(run, dtype):
    """Without a pool: sequence n updates initial_state[n], which keeps its type and strides."""
    inputs = tensors(batch=3, tokens=20)
    memory = torch.full((3, 6, 32, 32), 7.0, dtype=dtype)
    state = memory[:, 1:5]
    state.copy_(random_state(3, dtype=dtype))
    before = state.clone()
    o, returned = run(*inputs, initial_state=state, inplace_final_state=True)
    assert returned is state
    expected, final = run(*inputs, initial_state=before, output_final_state=True)
    assert torch.equal(o, expected) and torch.equal(state, final.to(dtype))
    assert (memory[:, [0, 5]] == 7).all()
    with pytest.raises(ValueError, match=r"^initial_state: .*inplace_final_state"):
        run(*inputs, inplace_final_state=True)
    with pytest.raises(ValueError, match="initial_state"):
        run(*inputs, initial_state=state.mT, inplace_final_state=True)


@both
def test_pool_with_strided_slots(run):
    inputs = tensors(batch=2, tokens=5)
    memory = torch.full((6, 3, 4, 32, 32), 7.0)
    pool = memory[:, 1]
    pool.copy_(random_state(6))
    compact = pool.clone()
    indices = torch.tensor([4, 0])
    o, _ = run(*inputs, initial_state=pool, state_indices=indices)
    expected, _ = run(*inputs, initial_state=compact, state_indices=indices)
    assert torch.equal(o, expected) and torch.equal(pool, compact)
    assert (memory[:, 0] == 7).all() and (memory[:, 2] == 7).all()


@both
def test_v_first_is_the_transpose(run):
    inputs = tensors(dk=32, dv=48)
    state = random_state(1, dv=48)
    o, final = run(*inputs, initial_state=state, output_final_state=True)
    turned = dict(initial_state=state.mT.contiguous(), output_final_state=True)
    o2, final2 = run(*inputs, **turned, state_v_first=True)
    assert_close(o2, values(o), "f32")
    assert_close(final2.mT, values(final), "f32")
    with pytest.warns(DeprecationWarning, match="state_v_first") as warned:
        former = run(*inputs, **turned, transpose_state_layout=True)
    assert all(map(torch.equal, former, (o2, final2)))
    assert warned[0].filename == __file__
    # A state whose last stride is not 1 is copied and right.
    o3, final3 = run(*inputs, initial_state=state.mT, output_final_state=True, state_v_first=True)
    assert torch.equal(o2, o3) and torch.equal(final2, final3)


@pytest.mark.parametrize("cut", [64, 128, 192])
def test_resumed_prefill_is_bitwise_the_same(cut):
    inputs = tensors("bf16", tokens=200, dk=64, dv=64)
    whole, final = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True)
    head, state = gdn.chunk_gated_delta_rule(*(x[:, :cut] for x in inputs), output_final_state=True)
    tail, last = gdn.chunk_gated_delta_rule(
        *(x[:, cut:] for x in inputs), initial_state=state, output_final_state=True
    )
    assert torch.equal(torch.cat([head, tail], 1), whole)
    assert torch.equal(last, final)


@pytest.mark.parametrize("v_first", [False, True])
@pytest.mark.parametrize("every", [64, 128])
def test_checkpoints(every, v_first):
    lengths = [130, 0, 64, 20, 128]
    inputs = tensors(tokens=sum(lengths))
    cu = torch.tensor(np.cumsum([0, *lengths]))
    options = dict(cu_seqlens=cu, output_final_state=True, state_v_first=v_first)
    o, final, points = gdn.chunk_gated_delta_rule(*inputs, checkpoint_every=every, **options)
    plain, final2 = gdn.chunk_gated_delta_rule(*inputs, **options)
    assert torch.equal(o, plain) and torch.equal(final, final2)
    assert points.dtype == torch.float32
    row = 0
    for n, length in enumerate(lengths):
        first = int(cu[n])
        for stop in range(every, length + 1, every):
            _, state = gdn.chunk_gated_delta_rule(
                *(x[:, first : first + stop] for x in inputs),
                output_final_state=True, state_v_first=v_first,
            )  # fmt: skip
            assert torch.equal(points[row], state[0])
            row += 1
    assert row == len(points) == sum(length // every for length in lengths)


def test_checkpoints_of_a_skipped_sequence_are_zero():
    inputs = tensors(batch=2, tokens=64)
    pool = random_state(3)
    _, _, points = gdn.chunk_gated_delta_rule(
        *inputs, initial_state=pool, state_indices=torch.tensor([-1, 1]), checkpoint_every=64
    )
    assert (points[0] == 0).all() and torch.equal(points[1], pool[1])


def test_decode_continues_prefill():
    inputs = tensors(tokens=40)
    whole, final = gdn.fused_recurrent_gated_delta_rule(
        *inputs[:4], beta=inputs[4], output_final_state=True
    )
    _, state = gdn.chunk_gated_delta_rule(*(x[:, :30] for x in inputs), output_final_state=True)
    pool = torch.zeros(2, *state.shape[1:])
    pool[1] = state[0]
    for t in range(30, 40):
        q, k, v, g, beta = (x[:, t : t + 1] for x in inputs)
        o, _ = gdn.fused_recurrent_gated_delta_rule(
            q, k, v, g, beta=beta, initial_state=pool, state_indices=torch.tensor([1])
        )
        assert_close(o, values(whole[:, t : t + 1]), "f32")
    assert_close(pool[1:], values(final), "f32")


def test_speculative_verify():
    """Three steps with three tokens each, of which 2, 1 and 3 are accepted."""
    steps, draft, accepted = 3, 3, [2, 1, 3]
    pool = random_state(2 * draft)
    slots = torch.tensor([[5, 0, 3]], dtype=torch.int32)
    truth = pool[5].clone()[None]
    count = torch.tensor([1], dtype=torch.int32)
    for step in range(steps):
        inputs = tensors(tokens=draft, seed=step)
        o, returned = gdn.fused_recurrent_gated_delta_rule(
            *inputs[:4], beta=inputs[4], initial_state=pool, state_indices=slots,
            num_accepted_tokens=count,
        )  # fmt: skip
        assert returned is pool
        expected, _ = gdn.fused_recurrent_gated_delta_rule(
            *inputs[:4], beta=inputs[4], initial_state=truth, output_final_state=True
        )
        assert torch.equal(o, expected)
        keep = accepted[step]
        _, truth = gdn.fused_recurrent_gated_delta_rule(
            *(x[:, :keep] for x in inputs[:4]), beta=inputs[4][:, :keep], initial_state=truth,
            output_final_state=True,
        )  # fmt: skip
        assert torch.equal(pool[slots[0, keep - 1]], truth[0])
        count = torch.tensor([keep], dtype=torch.int32)
