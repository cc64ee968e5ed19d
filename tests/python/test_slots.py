"""Pools as engines use them: slots to read and to write, rows to skip, padded buffers, caches.

What a call does to a pool is held against plain calls of one sequence each, which give the same
bits.
"""

import itertools

import numpy as np
import pytest
import torch
from support import as_torch, tensors

import gdn
import gdn.stages

LENGTHS = (70, 130, 5, 64, 1)
POOL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def ints(*x):
    return as_torch(np.asarray(x, np.int32))


def packed(lengths=LENGTHS, padding=0, dtype="f32", **shape):
    """q, k, v, g, beta, cu_seqlens; the padding after the sequences is NaN."""
    total = sum(lengths)
    inputs = tensors(dtype, tokens=total + padding, **shape)
    for x in inputs:
        x[:, total:] = float("nan")
    return inputs, ints(*np.cumsum([0, *lengths]))


def pool_of(slots=12, dtype=torch.float32, hv=4, dk=32, dv=32):
    return as_torch(np.random.default_rng(1).standard_normal((slots, hv, dk, dv))).to(dtype)


def alone(inputs, begin, end, state, operation=gdn.chunk_gated_delta_rule):
    """o and final state of one sequence, from a float32 state or none."""
    part = [x[:, begin:end].contiguous() for x in inputs]
    q, k, v, g, beta = part
    return operation(
        q, k, v, g, beta=beta, initial_state=state, output_final_state=True,
    )  # fmt: skip


OPERATIONS = (gdn.chunk_gated_delta_rule, gdn.fused_recurrent_gated_delta_rule)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("dtype", POOL_DTYPES)
def test_read_here_write_there(operation, dtype):
    inputs, cu = packed()
    q, k, v, g, beta = inputs
    pool = pool_of(dtype=dtype)
    before = pool.clone()
    # 0 and 3 share a prefix; 1 is skipped; 2 starts from zeros; the state of 3 is not wanted.
    read, write = (4, 0, 5, 4, 7), (1, 9, 2, -1, 7)
    flags = torch.tensor([True, True, False, True, True], device=q.device)
    o, state = operation(
        q, k, v, g, beta=beta, cu_seqlens=cu, initial_state=pool, state_indices=ints(*read),
        output_state_indices=ints(*write), has_initial_state=flags, null_slot=0,
    )  # fmt: skip
    assert state is pool
    expected = before.clone()
    bounds = cu.tolist()
    for n in (0, 2, 3, 4):
        begin, end = bounds[n], bounds[n + 1]
        start = before[read[n]][None].float() if flags[n] else None
        alone_o, alone_state = alone(inputs, begin, end, start, operation)
        assert torch.equal(o[:, begin:end], alone_o), n
        if write[n] >= 0:
            expected[write[n]] = alone_state[0].to(dtype)
    assert not o[:, bounds[1] : bounds[2]].any()
    assert torch.equal(pool, expected)


def test_checkpoints_go_to_slots_on_the_sequence_own_grid():
    inputs, cu = packed((100, 200))
    q, k, v, g, beta = inputs
    pool = pool_of(dtype=torch.bfloat16)
    before = pool.clone()
    # Sequence 0 has 40 tokens behind it: a checkpoint after 24 and 88 tokens.
    result = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, cu_seqlens=cu, initial_state=pool, state_indices=ints(0, 1),
        checkpoint_every=64, positions=ints(40, 128),
        checkpoint_indices=as_torch(np.asarray([[2, 3, 99], [4, -1, 5]], np.int32)),
    )  # fmt: skip
    assert len(result) == 2
    written = {2: (0, 24), 3: (0, 88), 4: (100, 64), 5: (100, 192), 0: (0, 100), 1: (100, 200)}
    for slot, (begin, tokens) in written.items():
        start = before[0 if begin == 0 else 1][None].float()
        _, state = alone(inputs, begin, begin + tokens, start)
        error = (pool[slot].float() - state[0]).norm() / state.norm()
        assert error < 6e-3, slot
    assert torch.equal(pool[6:], before[6:])


@pytest.mark.parametrize("every", [64, 128])
def test_positions_make_cuts_invisible(every):
    """A prefill cut anywhere on the grid gives the bits and the checkpoints of the whole one."""
    inputs, _ = packed((300,))
    q, k, v, g, beta = inputs
    o, state, checkpoints = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, output_final_state=True, checkpoint_every=every
    )
    cuts, found, outputs, running = (0, 64, 192, 300), [], [], None
    for begin, end in itertools.pairwise(cuts):
        part = [x[:, begin:end].contiguous() for x in inputs]
        part_o, running, part_checkpoints = gdn.chunk_gated_delta_rule(
            *part, initial_state=running, output_final_state=True, checkpoint_every=every,
            positions=ints(begin),
        )  # fmt: skip
        outputs.append(part_o)
        found.append(part_checkpoints)
    assert torch.equal(torch.cat(outputs, 1), o)
    assert torch.equal(running, state)
    assert torch.equal(torch.cat(found), checkpoints)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_padded_buffers(operation):
    inputs, cu = packed((3, 70, 1), padding=20)
    q, k, v, g, beta = inputs
    out = torch.full_like(v, 7.0)
    o, state = operation(
        q, k, v, g, beta=beta, cu_seqlens=cu, output_final_state=True, padded=True, out=out
    )
    total = sum((3, 70, 1))
    same = [x[:, :total].contiguous() for x in inputs]
    plain_o, plain_state = operation(
        *same[:4], beta=same[4], cu_seqlens=cu, output_final_state=True
    )
    assert torch.equal(o[:, :total], plain_o)
    assert torch.equal(state, plain_state)
    assert (out[:, total:] == 7.0).all()
    with pytest.raises(ValueError, match="cu_seqlens ends at 74, expected T = 94"):
        operation(q, k, v, g, beta=beta, cu_seqlens=cu)
    with pytest.raises(ValueError, match="cu_seqlens"):
        operation(q, k, v, g, beta=beta, padded=True)


def test_padded_stages():
    inputs, cu = packed((70, 1), padding=20)
    total = 71
    short = [x[:, :total].contiguous() for x in inputs]
    results = []
    for (q, k, v, g, beta), padded in ((inputs, True), (short, False)):
        common = {"cu_seqlens": cu, "padded": padded}
        c = gdn.stages.chunk_local_cumsum(g, **common)
        A = gdn.stages.chunk_scaled_dot_kkt(k, beta, c, **common)
        T = gdn.stages.solve_tril(A, **common)
        w, u = gdn.stages.recompute_w_u(k, v, beta, T, c, **common)
        h, v_new, state = gdn.stages.chunk_fwd_h(
            k, w, u, c, output_final_state=True, state_dtype=torch.float16, **common
        )
        o = gdn.stages.chunk_fwd_o(q, k, v_new, h, c, **common)
        assert state.dtype == torch.float16
        results.append([c, A, T, w, u, v_new, o])
        results[-1] = [x[:, :total] for x in results[-1]] + [h[:3], state]
    for padded_result, result in zip(*results, strict=True):
        assert torch.equal(padded_result, result)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_state_dtype(operation, name):
    q, k, v, g, beta = tensors("bf16")
    dtype = getattr(torch, name)
    wide = operation(q, k, v, g, beta=beta, output_final_state=True)[1]
    for wanted in (dtype, name):
        state = operation(q, k, v, g, beta=beta, output_final_state=True, state_dtype=wanted)[1]
        assert torch.equal(state, wide.to(dtype))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gates_of_any_type(operation):
    q, k, v, g, beta = tensors("f32")
    g16, beta16 = g.to(torch.float16), beta.to(torch.bfloat16)
    mixed = operation(q, k, v, g16, beta=beta16)[0]
    assert torch.equal(mixed, operation(q, k, v, g16.float(), beta=beta16.float())[0])


def test_a_skipped_verify_row_is_not_looked_at():
    q, k, v, g, beta = tensors("f32", batch=3, tokens=2)
    pool = pool_of()
    before = pool.clone()
    slots = as_torch(np.asarray([[1, 2], [0, 0], [3, 4]], np.int32))
    gdn.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta=beta, initial_state=pool, state_indices=slots,
        num_accepted_tokens=ints(1, 0, 2), null_slot=0,
    )  # fmt: skip
    changed = [n for n in range(len(pool)) if not torch.equal(pool[n], before[n])]
    assert changed == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"state_indices": (1, 2), "output_state_indices": (3, 3)}, "slot 3 twice"),
        ({"state_indices": (1, 1)}, "slot 1 twice"),
        ({"state_indices": (1, 2), "output_state_indices": (2, 3)}, "sequence 0 writes it"),
        ({"state_indices": (1, 2), "output_state_indices": (3, 12)}, r"output_state_indices\[1\]"),
        ({"output_state_indices": (1, 2)}, "output_state_indices is given"),
        ({"state_indices": (1, 2), "null_slot": 1.5}, "null_slot"),
        ({"state_dtype": "int8"}, "state_dtype"),
        ({"padded": 1}, "padded"),
    ],
)
def test_refusals(options, message):
    q, k, v, g, beta = tensors("f32", batch=2)
    options = {n: ints(*x) if isinstance(x, tuple) else x for n, x in options.items()}
    pool = pool_of(slots=12 if "state_indices" in options else 2)
    before = pool.clone()
    with pytest.raises((ValueError, TypeError), match=message):
        gdn.chunk_gated_delta_rule(q, k, v, g, beta, initial_state=pool, **options)
    assert torch.equal(pool, before)


def test_refused_positions_and_checkpoints():
    q, k, v, g, beta = tensors("f32", batch=2)
    pool = pool_of()
    common = {"initial_state": pool, "state_indices": ints(1, 2)}
    with pytest.raises(ValueError, match=r"positions\[1\] is -1, expected 0 or more"):
        gdn.chunk_gated_delta_rule(q, k, v, g, beta, positions=ints(0, -1), **common)
    slots = as_torch(np.asarray([[], []], np.int32))
    with pytest.raises(ValueError, match="checkpoint_indices has K = 0 columns"):
        gdn.chunk_gated_delta_rule(
            q, k, v, g, beta, checkpoint_every=64, checkpoint_indices=slots, **common
        )
    with pytest.raises(
        ValueError, match=r"checkpoint_every is missing, .* of 64 with checkpoint_indices"
    ):
        gdn.chunk_gated_delta_rule(q, k, v, g, beta, checkpoint_indices=slots, **common)
    with pytest.raises(ValueError, match="has_initial_state is given"):
        gdn.chunk_gated_delta_rule(q, k, v, g, beta, has_initial_state=ints(1, 1))


def test_traced_calls_take_them_all():
    def call(q, k, v, g, beta, pool, cu, read, write, flags, positions, slots):
        return gdn.chunk_gated_delta_rule(
            q, k, v, g, beta, cu_seqlens=cu, initial_state=pool, state_indices=read,
            output_state_indices=write, has_initial_state=flags, null_slot=0, padded=True,
            positions=positions, checkpoint_every=64, checkpoint_indices=slots,
        )[0]  # fmt: skip

    inputs, cu = packed((70, 65), padding=5)
    rest = (ints(1, 2), ints(3, 4), ints(1, 0), ints(64, 5))
    rest = (*rest, as_torch(np.asarray([[5, 6], [7, 8]], np.int32)))
    total = 135
    results = []
    for function in (call, torch.compile(call, fullgraph=True)):
        pool = pool_of()
        o = function(*inputs, pool, cu, *rest)
        results.append((o[:, :total], pool))
    for eager, traced in zip(*results, strict=True):
        assert torch.equal(eager, traced)

    def without_pool(q, k, v, g, beta, write):
        return gdn.chunk_gated_delta_rule(q, k, v, g, beta, output_state_indices=write)

    with pytest.raises(Exception, match="output_state_indices"):
        torch.compile(without_pool, fullgraph=True)(*tensors("f32"), ints(1))
