"""What engines lean on: rejected drafts leave no trace, and any checkpoint can be gone on from."""

import pytest
import torch
from support import generator, tensors

import gdn

STEPS = 6
DRAFTS = 4


def states(slots, heads=4, dk=32, dv=32):
    return torch.randn(slots, heads, dk, dv, generator=generator(5))


def integers(values):
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("seed", range(4))
def test_any_accepted_count_goes_on_as_the_plain_run(dtype, seed):
    """Verify steps of DRAFTS tokens, of which chance accepts some, beside one token at a time.

    A step is DRAFTS tokens: the accepted ones of a step are followed in the next one by those that
    come after them, the rejected ones are replaced. o and the states are the same bits.
    """
    chance = torch.Generator().manual_seed(seed)
    sequences, length = 3, STEPS * DRAFTS
    q, k, v, g, beta = tensors(dtype, batch=sequences, tokens=length + DRAFTS, dk=32, dv=32)
    start = states(sequences)
    plain, expected, after = start.clone(), [], []
    for t in range(length):
        o, _ = gdn.fused_recurrent_gated_delta_rule(
            *(x[:, t : t + 1] for x in (q, k, v)), g=g[:, t : t + 1], beta=beta[:, t : t + 1],
            initial_state=plain, inplace_final_state=True,
        )  # fmt: skip
        expected.append(o[:, 0].clone())
        after.append(plain.clone())

    pool = states(sequences * DRAFTS)
    indices = torch.arange(sequences * DRAFTS, dtype=torch.int32).view(sequences, DRAFTS)
    pool[indices[:, 0].long()] = start
    at = [0] * sequences
    accepted = integers([1] * sequences)
    noise = tensors(dtype, batch=sequences, tokens=DRAFTS, dk=32, dv=32, seed=seed + 1)
    for _ in range(STEPS):
        counts = torch.randint(1, DRAFTS + 1, (sequences,), generator=chance).tolist()
        drafts = []
        for whole, other in zip((q, k, v, g, beta), noise, strict=True):
            rows = [whole[n, at[n] : at[n] + DRAFTS].clone() for n in range(sequences)]
            for n, count in enumerate(counts):
                rows[n][count:] = other[n, count:]  # drafts that will be rejected
            drafts.append(torch.stack(rows))
        o, _ = gdn.fused_recurrent_gated_delta_rule(
            *drafts[:3], g=drafts[3], beta=drafts[4], initial_state=pool, state_indices=indices,
            num_accepted_tokens=accepted,
        )  # fmt: skip
        for n, count in enumerate(counts):
            for i in range(min(count, length - at[n])):
                assert torch.equal(o[n, i], expected[at[n] + i][n]), (n, at[n], i)
                assert torch.equal(pool[indices[n, i]], after[at[n] + i][n])
            at[n] += count
        accepted = integers(counts)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("every", [64, 128])
@gdn.use(no_split=True)
def test_any_checkpoint_resumes_bitwise(dtype, every):
    """A prefill of three packed sequences, and each of its checkpoints as a beginning."""
    lengths = [300, 64, 450]
    q, k, v, g, beta = tensors(dtype, batch=1, tokens=sum(lengths), dk=32, dv=32)
    offsets = [0, 300, 364, 814]
    o, final, checkpoints = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, initial_state=states(3), output_final_state=True,
        cu_seqlens=integers(offsets), checkpoint_every=every,
    )  # fmt: skip
    row = 0
    for n, length in enumerate(lengths):
        for done in range(every, length + 1, every):
            span = slice(offsets[n] + done, offsets[n + 1])
            rest = [x[:, span] for x in (q, k, v, g, beta)]
            found, last = gdn.chunk_gated_delta_rule(
                *rest, initial_state=checkpoints[row : row + 1], output_final_state=True
            )
            assert torch.equal(found, o[:, span])
            assert torch.equal(last[0], final[n])
            row += 1
    assert row == len(checkpoints)
