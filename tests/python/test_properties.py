"""Properties that hold for every input, on random problems (fresh seeds in every run)."""

import numpy as np
import recurrence
import torch
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from support import ON_GPU, as_torch, assert_close, generator, tensors, values

import gdn

problems = st.fixed_dictionaries(
    {
        "hk": st.integers(1, 3),
        "group": st.integers(1, 3),
        "dk": st.sampled_from([16, 48, 64, 128] if ON_GPU else [8, 16, 24, 64, 128]),
        "dv": st.sampled_from([16, 48, 64, 128] if ON_GPU else [8, 16, 40, 64, 128]),
        "lengths": st.lists(
            st.one_of(st.integers(0, 5), st.integers(60, 68), st.integers(0, 150)), max_size=5
        ),
        "dtype": st.sampled_from(["f32", "bf16", "f16"]),
        "seed": st.integers(0, 2**32 - 1),
    }
)
runs = settings(max_examples=25, deadline=None, derandomize=False)


def make(problem):
    note(str(problem))
    lengths = problem["lengths"]
    inputs = tensors(
        problem["dtype"], tokens=sum(lengths), hk=problem["hk"],
        hv=problem["hk"] * problem["group"], dk=problem["dk"], dv=problem["dv"],
        seed=problem["seed"],
    )  # fmt: skip
    return inputs, torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)


@runs
@given(
    problem=problems,
    head_map=st.sampled_from(["block", "interleaved"]),
    v_first=st.booleans(),
    # float32 is what kernels scale in: factors far below its range make o vanish.
    scale=st.one_of(st.none(), st.just(0.0), st.floats(1e-3, 2), st.floats(-2, -1e-3)),
    normalise=st.booleans(),
)
# Sums of log decays reach 61 in base 2: rounded to float32, they are off by 2e-6.
@example(
    problem=dict(hk=1, group=1, dk=16, dv=48, lengths=[60], dtype="f32", seed=0),
    head_map="block", v_first=False, scale=None, normalise=False,
)  # fmt: skip
def test_against_the_recurrence(problem, head_map, v_first, scale, normalise):
    inputs, cu = make(problem)
    options = dict(
        cu_seqlens=cu, head_map=head_map, state_v_first=v_first, scale=scale,
        use_qk_l2norm_in_kernel=normalise,
    )  # fmt: skip
    expected, states, _ = recurrence.delta_rule(*(values(x) for x in inputs), **options)
    # A lone token's output is a multiple of q . k, which may nearly vanish.
    hard = problem["dtype"] == "f32"
    o, state = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True, **options)
    assert_close(o, expected, problem["dtype"], hard, "o")
    assert_close(state, states, problem["dtype"], what="state")
    o, state = gdn.fused_recurrent_gated_delta_rule(
        *inputs[:4], beta=inputs[4], output_final_state=True, **options
    )
    assert_close(o, expected, problem["dtype"], hard, "recurrent o")
    assert_close(state, states, problem["dtype"], what="recurrent state")


@runs
@given(problem=problems)
def test_packing_changes_no_bit(problem):
    inputs, cu = make(problem)
    o, states = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True, cu_seqlens=cu)
    for n, (first, end) in enumerate(zip(cu[:-1].tolist(), cu[1:].tolist(), strict=True)):
        alone, state = gdn.chunk_gated_delta_rule(
            *(x[:, first:end] for x in inputs), output_final_state=True
        )
        assert torch.equal(alone[0], o[0, first:end])
        assert torch.equal(state[0], states[n])


@runs
@given(problem=problems, threads=st.integers(1, 8))
def test_threads_change_no_bit(problem, threads):
    inputs, cu = make(problem)
    results = []
    for count in (1, threads):
        with gdn.use(threads=count):
            results.append(
                (
                    *gdn.chunk_gated_delta_rule(*inputs, output_final_state=True, cu_seqlens=cu),
                    *gdn.fused_recurrent_gated_delta_rule(
                        *inputs[:4], beta=inputs[4], output_final_state=True, cu_seqlens=cu
                    ),
                )
            )
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@runs
@given(problem=problems, order=st.permutations([0, 1, 2, 3]), gap=st.integers(0, 3))
def test_strides_change_no_bit(problem, order, gap):
    """Any layout of the inputs, last stride 1 or not, gives the same bits."""
    inputs, cu = make(problem)

    def restride(x):
        dims = [d for d in order if d < x.dim()]
        moved = x.permute(dims)
        padded = torch.full((*moved.shape[:-1], moved.shape[-1] + gap), float("nan"))
        padded = padded.to(x.dtype)
        padded[..., : moved.shape[-1]] = moved
        back = [dims.index(d) for d in range(x.dim())]
        return padded[..., : moved.shape[-1]].permute(back)

    strided = [restride(x) for x in inputs]
    for x, y in zip(inputs, strided, strict=True):
        assert torch.equal(x, y)
    o, state = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True, cu_seqlens=cu)
    o2, state2 = gdn.chunk_gated_delta_rule(*strided, output_final_state=True, cu_seqlens=cu)
    assert torch.equal(o, o2) and torch.equal(state, state2)


@runs
@given(problem=problems, data=st.data())
def test_pool_equals_fresh_states(problem, data):
    inputs, cu = make(problem)
    count = len(cu) - 1
    slots = data.draw(st.permutations(range(count + 2)))[:count]
    hv, dk, dv = inputs[2].shape[2], inputs[0].shape[3], inputs[2].shape[3]
    pool = torch.randn(count + 2, hv, dk, dv, generator=generator(problem["seed"]))
    indices = torch.tensor(slots, dtype=torch.int64)
    start = pool[indices]
    o, states = gdn.chunk_gated_delta_rule(
        *inputs, initial_state=start, output_final_state=True, cu_seqlens=cu
    )
    o2, _ = gdn.chunk_gated_delta_rule(
        *inputs, initial_state=pool, state_indices=indices, cu_seqlens=cu
    )
    assert torch.equal(o, o2) and torch.equal(pool[indices], states)


@runs
@given(
    channels=st.integers(1, 20),
    lengths=st.lists(st.integers(0, 12), max_size=4),
    width=st.integers(2, 4),
    spare=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_convolution(channels, lengths, width, spare, seed):
    rng = np.random.default_rng(seed)
    x = as_torch(rng.standard_normal((1, channels, sum(lengths))), "f32")
    weight = as_torch(rng.standard_normal((channels, width)), "f32")
    pool = as_torch(rng.standard_normal((len(lengths), channels, width - 1 + spare)), "f32")
    cu = torch.tensor(np.cumsum([0, *lengths]))
    expected, state = recurrence.causal_conv1d(
        values(x), values(weight), None, True, values(pool), cu_seqlens=cu
    )
    y = gdn.causal_conv1d_fwd(x, weight, activation="silu", conv_state=pool, cu_seqlens=cu)
    assert_close(y, expected, "f32")
    np.testing.assert_array_equal(values(pool), state)
