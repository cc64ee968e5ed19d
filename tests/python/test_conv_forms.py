"""The convolutions called as causal-conv1d's, vLLM's and SGLang's functions are."""

import numpy as np
import pytest
import recurrence
import torch
from support import DEVICE, TORCH_DTYPES, as_torch, assert_close, values

import gdn

RNG = np.random.default_rng(11)
I32 = torch.int32


def randn(*shape, dtype="f32"):
    return as_torch(RNG.standard_normal(shape), dtype)


def ints(*numbers, dtype=I32):
    return torch.tensor(numbers, dtype=dtype, device=DEVICE)


def offsets(lengths):
    return ints(*np.cumsum([0, *lengths]))


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_positional_call_of_causal_conv1d():
    x, weight, bias = randn(2, 9, 6).transpose(1, 2), randn(6, 4), randn(6)
    states, out = randn(2, 6, 3), torch.full((2, 6, 3), float("nan"))
    before = states.clone()
    y, final = gdn.causal_conv1d_fn(x, weight, bias, None, states, True, out, "silu")
    pool = before.clone()
    same(y, gdn.causal_conv1d_fwd(x, weight, bias, activation="silu", conv_state=pool))
    assert final is out and y.stride(1) == 1
    same(final, pool)
    same(states, before)
    same(gdn.causal_conv1d_fn(x, weight, None, None, states),
         gdn.causal_conv1d_fwd(x, weight, conv_state=before.clone()))  # fmt: skip


def test_final_states_without_initial_ones():
    x, weight = randn(2, 5, 2, dtype="bf16"), randn(5, 4)
    y, final = gdn.causal_conv1d_fn(x, weight, return_final_states=True)
    same(y, gdn.causal_conv1d_fn(x, weight))
    same(final, torch.nn.functional.pad(x, (1, 0)))
    out = torch.full((2, 5, 3), float("nan"))
    gdn.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=out)
    same(out, final.float())
    packed, final = gdn.causal_conv1d_fn(
        x.transpose(0, 1).reshape(5, 4), weight, return_final_states=True, cu_seqlens=ints(0, 2, 4)
    )
    assert packed.shape == (5, 4)
    same(final, torch.nn.functional.pad(x, (1, 0)))


def test_states_of_arrays():
    x, weight = RNG.standard_normal((2, 5, 7)).astype("f4"), np.ones((5, 3), "f4")
    y, final = gdn.causal_conv1d_fn(x, weight, return_final_states=True)
    np.testing.assert_array_equal(final, x[..., -2:])
    rest, _ = gdn.causal_conv1d_fn(
        x[..., 4:], weight, initial_states=x[..., 2:4], return_final_states=True
    )
    np.testing.assert_array_equal(rest, y[..., 4:])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_seq_idx(batch, kind):
    x, weight = randn(batch, 12, 10).transpose(1, 2), randn(10, 4)
    rows = [[0] * 5 + [1] + [2] * 4 + [-1] * 2, [7] * 12, [-1] * 3 + [4] * 9][:batch]
    seq_idx = ints(*rows)
    expected = torch.zeros(batch, 10, 12)
    for b, row in enumerate(rows):
        for n in {*row} - {-1}:
            own = seq_idx[b] == n
            expected[b, :, own] = gdn.causal_conv1d_fwd(x[b : b + 1, :, own], weight)[0]
    if kind == "numpy":
        if DEVICE != "cpu":
            pytest.skip("NumPy arrays are on the CPU")
        y = gdn.causal_conv1d_fn(x.numpy(), weight.numpy(), seq_idx=seq_idx.numpy())
        np.testing.assert_array_equal(y, expected)
        return
    y = gdn.causal_conv1d_fn(x, weight, None, seq_idx)
    same(y, expected)
    assert y.stride(1) == 1
    out = torch.empty(batch, 10, 12)
    assert gdn.causal_conv1d_fn(x, weight, seq_idx=seq_idx.long(), out=out) is out
    same(out, expected)


def vllm_update(x, state, weight, slots, accepted, cu):
    """What vLLM's update does with packed steps, in float64. Slots are filled from the front."""
    y, width = np.zeros_like(x), weight.shape[1]
    for n, slot in enumerate(slots):
        begin, end = cu[n], cu[n + 1]
        if slot < 0 or begin == end:
            continue
        first = 0 if accepted is None else accepted[n] - 1
        line = np.concatenate([state[slot][:, first : first + width - 1], x[begin:end].T], -1)
        for t in range(end - begin):
            y[begin + t] = (line[:, t : t + width] * weight).sum(-1)
        kept = line[:, 1:] if accepted is not None else line[:, -(width - 1) :]
        state[slot][:, : kept.shape[1]] = kept
    return y


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
@pytest.mark.parametrize("state_dtype", TORCH_DTYPES)
def test_calls_of_vllm(dtype, state_dtype):
    """Prefill, decode and verify steps of changing lengths in one pool of blocks."""
    channels, width, entries = 12, 4, 6
    weight, bias = randn(channels, width), randn(channels, dtype=dtype)
    blocks = randn(5, entries + 2, channels, dtype=state_dtype)
    pool = blocks[:, :entries].transpose(1, 2)  # Slots that are not contiguous, channels fastest.
    state = values(pool)

    lengths, slots = [7, 2, 5], [3, -1, 1]
    x = randn(sum(lengths), channels, dtype=dtype)
    y = gdn.causal_conv1d_fn(
        x.T, weight, bias, activation="silu", conv_states=pool,
        has_initial_state=torch.tensor([False, True, True]), cache_indices=ints(*slots),
        query_start_loc=offsets(lengths), metadata=object(), pad_slot_id=-1, null_block_id=0,
    )  # fmt: skip
    expected, short = recurrence.causal_conv1d(
        values(x.T)[None], weight, values(bias), True, state[:, :, : width - 1], ints(*slots),
        torch.tensor([False, True, True]), offsets(lengths),
    )  # fmt: skip
    state[:, :, : width - 1] = values(as_torch(short, state_dtype))
    assert_close(y, expected[0], dtype)

    for lengths, accepted in (
        ([3, 1, 2, 0], [1, 1, 9, 9]),
        ([2, 3, 1, 0], [2, 1, 9, 9]),
        ([1, 1, 1, 1], None),
        ([1, 2, 1, 0], [1, 1, 9, 9]),
        ([3, 3, 1, 0], [1, 2, 9, 9]),
    ):
        x = randn(sum(lengths) + 2, channels, dtype=dtype)
        expected = vllm_update(
            values(x), state, values(weight), [3, 1, -1, -1], accepted, np.cumsum([0, *lengths])
        )
        y = gdn.causal_conv1d_update(
            x[: sum(lengths)], pool, weight, None, None,
            conv_state_indices=ints(3, 1, 0, -1),
            num_accepted_tokens=None if accepted is None else ints(*accepted),
            query_start_loc=offsets(lengths), max_query_len=3, null_block_id=0,
            validate_data=False,
        )  # fmt: skip
        assert_close(y, expected[: sum(lengths)], dtype)
        state = values(as_torch(state, state_dtype))
        same(pool.double(), torch.tensor(state))

    x = randn(2, channels, dtype=dtype)
    expected = vllm_update(values(x), state, values(weight), [1, 3], None, [0, 1, 2])
    y = gdn.causal_conv1d_update(
        x, pool, weight, None, False, conv_state_indices=ints(1, 3), validate_data=True
    )
    assert_close(y, expected, dtype)
    same(pool.double(), torch.tensor(values(as_torch(state, state_dtype))))


def test_a_state_that_is_converted_keeps_its_padding():
    blocks = torch.full((4, 20, 6), float("nan"), dtype=torch.float16)
    pool = blocks[:, 8:11].transpose(1, 2)
    pool[...] = 1
    gdn.causal_conv1d_update(
        randn(4, 6, dtype="bf16"), pool, randn(6, 4, dtype="bf16"), state_indices=ints(2, 0, 2, 2),
        null_slot=2,
    )  # fmt: skip
    assert blocks[:, :8].isnan().all() and blocks[:, 11:].isnan().all()
    assert (pool[1:] == 1).all() and not (pool[0] == 1).all()


def test_calls_of_causal_conv1d_update():
    x, weight = randn(3, 6), randn(6, 4)
    pool = randn(5, 6, 5)
    plain = pool.clone()
    y = gdn.causal_conv1d_update(
        x, pool, weight, None, "silu", cache_seqlens=None, conv_state_indices=ints(4, 0, 2)
    )
    same(y, gdn.causal_conv1d_update(x, plain, weight, None, "silu", state_indices=ints(4, 0, 2)))
    same(pool, plain)
    y = gdn.causal_conv1d_update(x, pool, weight, None, True, conv_state_indices=ints(4, 0, 2))
    same(y, gdn.causal_conv1d_update(x, plain, weight, None, "silu", state_indices=ints(4, 0, 2)))


def test_packed_update_as_rows():
    """[T, C] and [1, C, T] with cu_seqlens; each sequence is what it is alone."""
    lengths, slots, accepted = [2, 1, 3], [4, 0, 2], [3, 1, 2]
    x, weight = randn(sum(lengths), 6), randn(6, 4)
    pool = randn(5, 6, 5)
    alone, channels = pool.clone(), pool.clone()
    arguments = dict(state_indices=ints(*slots), num_accepted_tokens=ints(*accepted))
    y = gdn.causal_conv1d_update(x, pool, weight, cu_seqlens=offsets(lengths), **arguments)
    assert y.shape == x.shape
    z = gdn.causal_conv1d_update(
        x.T[None], channels, weight, cu_seqlens=offsets(lengths), **arguments
    )
    same(z[0].T, y)
    same(channels, pool)
    begin = 0
    for length, slot, a in zip(lengths, slots, accepted, strict=True):
        part = gdn.causal_conv1d_update(
            x[begin : begin + length], alone, weight, state_indices=ints(slot),
            num_accepted_tokens=ints(a), cu_seqlens=ints(0, length),
        )  # fmt: skip
        same(part, y[begin : begin + length])
        begin += length
    same(alone, pool)
    out = torch.empty(sum(lengths), 6)
    assert gdn.causal_conv1d_update(x, pool, weight, out=out, cu_seqlens=offsets(lengths),
                                    **arguments) is out  # fmt: skip


def test_padded_buffers():
    x, weight, pool = randn(8, 6), randn(6, 4), randn(3, 6, 3)
    exact, short = pool.clone(), pool.clone()
    x[5:] = float("nan")
    out = torch.full_like(x, 7)
    arguments = dict(cu_seqlens=ints(0, 2, 5), state_indices=ints(2, 0))
    gdn.causal_conv1d_update(x, pool, weight, out=out, padded=True, **arguments)
    same(out[:5], gdn.causal_conv1d_update(x[:5], exact, weight, **arguments))
    assert (out[5:] == 7).all()
    same(pool, exact)
    out = torch.full_like(x, 7).T
    y = gdn.causal_conv1d_fwd(x.T, weight, conv_state=short, out=out, padded=True, **arguments)
    assert y is out and (y[:, 5:] == 7).all()
    same(short, exact)


X, W, STATES = torch.zeros(2, 8, 5), torch.zeros(8, 4), torch.zeros(3, 8, 3)
ROW = X[:1]
BAD = [
    (gdn.causal_conv1d_fwd, dict(conv_state=STATES, conv_states=STATES), "conv_states"),
    (gdn.causal_conv1d_fwd, dict(conv_states=STATES, state_indices=ints(0, 1),
     cache_indices=ints(0, 1)), "cache_indices"),
    (gdn.causal_conv1d_fwd, dict(conv_states=STATES, cache_indices=ints(0, 1),
     conv_state_indices=ints(0, 1)), "conv_state_indices"),
    (gdn.causal_conv1d_fwd, dict(x=ROW, cu_seqlens=ints(0, 5), query_start_loc=ints(0, 5)),
     "query_start_loc"),
    (gdn.causal_conv1d_fwd, dict(null_slot=0, pad_slot_id=-1), "pad_slot_id"),
    (gdn.causal_conv1d_fwd, dict(pad_slot_id=1, null_block_id=0), "null_block_id"),
    (gdn.causal_conv1d_fwd, dict(pad_slot_id=1.5), "pad_slot_id"),
    (gdn.causal_conv1d_fwd, dict(conv_states=STATES[:, :7]), "conv_states"),
    (gdn.causal_conv1d_fwd, dict(conv_states=[1]), "conv_states"),
    (gdn.causal_conv1d_fwd, dict(conv_states=STATES, cache_indices=ints(0, 3)), "cache_indices"),
    (gdn.causal_conv1d_fwd, dict(conv_states=STATES, cache_indices=ints(1, 1)), "cache_indices"),
    (gdn.causal_conv1d_fwd, dict(cache_indices=ints(0, 1)), "cache_indices"),
    (gdn.causal_conv1d_fwd, dict(x=ROW, query_start_loc=ints(0, 4)), "query_start_loc"),
    (gdn.causal_conv1d_fwd, dict(x=ROW, query_start_loc=[0, 5]), "query_start_loc"),
    (gdn.causal_conv1d_fwd, dict(num_computed_tokens=ints(1, 1)), "num_computed_tokens"),
    (gdn.causal_conv1d_fwd, dict(block_size_to_align=64), "block_size_to_align"),
    (gdn.causal_conv1d_fwd, dict(cache_index=ints(0, 1)), "cache_index"),
    (gdn.causal_conv1d_fwd, dict(initial_states=STATES), "initial_states"),
    (gdn.causal_conv1d_fwd, dict(initial_states=3), "initial_states"),
    (gdn.causal_conv1d_fwd, dict(initial_states=STATES[:2].double()), "initial_states"),
    (gdn.causal_conv1d_fwd, dict(final_states_out=STATES[:2]), "final_states_out"),
    (gdn.causal_conv1d_fwd, dict(final_states_out=STATES, return_final_states=True),
     "final_states_out"),
    (gdn.causal_conv1d_fwd, dict(return_final_states=1), "return_final_states"),
    (gdn.causal_conv1d_fwd, dict(initial_states=STATES[:2], conv_states=STATES), "conv_states"),
    (gdn.causal_conv1d_fwd, dict(return_final_states=True, weight=W[0]), "weight"),
    (gdn.causal_conv1d_fwd, dict(return_final_states=True, x=W[0]), "x"),
    (gdn.causal_conv1d_fwd, dict(seq_idx=ints(0, 1)), "seq_idx"),
    (gdn.causal_conv1d_fwd, dict(seq_idx=torch.zeros(2, 5)), "seq_idx"),
    (gdn.causal_conv1d_fwd, dict(seq_idx=torch.zeros(2, 5, dtype=I32), return_final_states=True),
     "seq_idx"),
    (gdn.causal_conv1d_fwd, dict(seq_idx=torch.zeros(1, 5, dtype=I32), x=ROW,
     query_start_loc=ints(0, 5)), "query_start_loc"),
    (gdn.causal_conv1d_update, dict(conv_state_indices=ints(0, 3)), "conv_state_indices"),
    (gdn.causal_conv1d_update, dict(conv_state_indices=ints(0, 1, 2)), "conv_state_indices"),
    (gdn.causal_conv1d_update, dict(conv_state_indices=ints(0, 1), state_indices=ints(0, 1)),
     "conv_state_indices"),
    (gdn.causal_conv1d_update, dict(conv_state_indices=ints(0, 1), cache_indices=ints(0, 1)),
     "conv_state_indices"),
    (gdn.causal_conv1d_update, dict(cache_seqlens=ints(0, 1)), "cache_seqlens"),
    (gdn.causal_conv1d_update, dict(initial_state_idx=ints(0, 1)), "initial_state_idx"),
    (gdn.causal_conv1d_update, dict(retrieve_parent_token=ints(0, 1)), "retrieve_parent_token"),
    (gdn.causal_conv1d_update, dict(conv_states=STATES), "conv_states"),
    (gdn.causal_conv1d_update, dict(activation=1), "activation"),
]  # fmt: skip


def test_slots_count_where_vllm_says_so():
    """With its conv_states and no has_initial_state sequences start from zeros."""
    x, weight, pool = randn(4, 10), randn(4, 4), randn(5, 4, 3)
    words = {"query_start_loc": ints(0, 4, 10), "cache_indices": ints(3, 1)}
    stale, none = pool.clone(), torch.zeros_like(pool)
    y = gdn.causal_conv1d_fn(x, weight, None, conv_states=stale, **words)
    same(y, gdn.causal_conv1d_fn(x, weight, None, conv_states=none, activation=True, **words))
    same(stale[[1, 3]], none[[1, 3]])
    own = {"cu_seqlens": words["query_start_loc"], "state_indices": words["cache_indices"]}
    kept = gdn.causal_conv1d_fwd(x, weight, conv_state=pool.clone(), activation="silu", **own)
    assert not torch.equal(kept, y)


@pytest.mark.parametrize(
    "words",
    [{"pad_slot_id": -1}, {"validate_data": True}, {"initial_state_idx": None}],
    ids=lambda words: next(iter(words)),
)
def test_updates_of_vllm_continue_its_prefill(words):
    """In a slot that is longer than the call needs both use the first entries."""
    x, weight, pool, slot = randn(6, 8), randn(6, 4), torch.zeros(4, 6, 6, device=DEVICE), ints(2)
    whole = gdn.causal_conv1d_fn(x, weight, activation="silu")
    gdn.causal_conv1d_fn(
        x[:, :7], weight, conv_states=pool, query_start_loc=ints(0, 7), cache_indices=slot
    )
    y = gdn.causal_conv1d_update(
        x[:, 7][None], pool, weight, None, "silu", conv_state_indices=slot, **words
    )
    torch.testing.assert_close(y[0], whole[:, 7])


def test_refused_calls_write_nothing():
    x, weight = randn(2, 6, 9), randn(6, 4)
    final = torch.full((2, 6, 3), 7.0)
    for wrong in ({"activation": "relu"}, {"bias": randn(5)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            gdn.causal_conv1d_fn(
                x, weight, return_final_states=True, final_states_out=final, **wrong
            )
    assert bool((final == 7).all())
    out = torch.full((2, 6, 9), 7.0)
    for kind in (torch.float32, torch.int16):
        with pytest.raises(ValueError, match="seq_idx: found torch"):
            gdn.causal_conv1d_fn(x, weight, seq_idx=torch.zeros(2, 9, dtype=kind), out=out)
    with pytest.raises(ValueError, match="seq_idx: found shape"):
        gdn.causal_conv1d_fn(x, weight, None, randn(2, 6, 3))
    assert bool((out == 7).all())


@pytest.mark.parametrize("function, change, name", BAD)
def test_errors_name_what_the_caller_wrote(function, change, name):
    kwargs = {"x": X, "weight": W, **change}
    if function is gdn.causal_conv1d_update:
        kwargs.setdefault("conv_state", STATES)
    before = STATES.clone()
    with pytest.raises((TypeError, ValueError)) as caught:
        function(**kwargs)
    message = str(caught.value)
    assert message.startswith((f"{name} ", f"{name}:", f"{name}[")) or f"'{name}'" in message
    same(STATES, before)


def test_gradients_of_states_are_refused_by_name():
    states = torch.zeros(2, 8, 3, requires_grad=True)
    with pytest.raises(NotImplementedError, match="initial_states"):
        gdn.causal_conv1d_fn(X, W, initial_states=states)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled(backend):
    def step(x, pool, weight, slots, cu, accepted, states):
        y, final = gdn.causal_conv1d_fn(x.T[None], weight, None, None, states, True)
        z = gdn.causal_conv1d_fn(
            x.T, weight, None, conv_states=pool, cache_indices=slots, query_start_loc=cu,
            activation="silu",
        )  # fmt: skip
        return y, final, z, gdn.causal_conv1d_update(
            x, pool, weight, None, True, conv_state_indices=slots, query_start_loc=cu,
            num_accepted_tokens=accepted, null_block_id=0, max_query_len=2,
        )  # fmt: skip

    x, weight = randn(3, 6), randn(6, 4)
    pool = randn(4, 6, 5, dtype="bf16")
    pools = pool, pool.clone()
    rest = (weight, ints(3, 0), ints(0, 2, 3), ints(1, 1), randn(1, 6, 3))
    torch._dynamo.reset()
    found = torch.compile(step, fullgraph=True, backend=backend)(x, pools[0], *rest)
    for a, e in zip(found, step(x, pools[1], *rest), strict=True):
        torch.testing.assert_close(a, e)
    same(*pools)
