"""The named cases that C++ and Python share, against the float64 recurrence."""

import pytest
import recurrence
import torch
from support import CASES, CaseInputs, assert_close, values

import gdn

# Drawn by the C++ tests, which run the whole table; test_slots.py has Python's own.
NOT_DRAWN_HERE = {
    "null_slot", "output_indices", "output_per_token", "has_initial_state", "checkpoint_indices",
    "positions", "padded",
}  # fmt: skip
# More tokens and heads add nothing to the binding: the C++ tests run the whole table.
LARGEST = 4096
CHOSEN = [
    (case, dtype)
    for case in CASES
    if "quick" in case.tags and case.tokens * case.batch * case.hv <= LARGEST
    if not NOT_DRAWN_HERE & case.options
    for dtype in case.dtypes
]


def name_of(value):
    return value if isinstance(value, str) else value.name


class Expected:
    """The recurrence's results for one drawing of a case."""

    def __init__(self, case, dtype):
        self.case, self.dtype = case, dtype
        inputs = self.draw()
        self.o, self.state, self.checkpoints = recurrence.delta_rule(
            *(values(x) for x in (inputs.q, inputs.k, inputs.v)),
            None if inputs.g is None else values(inputs.g),
            None if inputs.beta is None else values(inputs.beta),
            **inputs.reference_options(),
        )

    def draw(self):
        return CaseInputs(self.case, self.dtype)

    def check(self, inputs, o, state, checkpoints=None):
        hard = "hard" in self.case.tags
        assert o.dtype == inputs.q.dtype
        assert_close(o, self.o, self.dtype, hard, "o")
        if state is not None:
            if inputs.pool:
                assert state is inputs.options["initial_state"]
            assert_close(state, self.state, self.bound_dtype(state), hard, "state")
        if checkpoints is not None:
            bound = self.bound_dtype(checkpoints)
            assert_close(checkpoints, self.checkpoints, bound, hard, "checkpoints")

    def bound_dtype(self, states):
        """The type whose bound holds: states may be narrower than the inputs."""
        narrow = {torch.bfloat16: "bf16", torch.float16: "f16"}
        return narrow.get(states.dtype, self.dtype)


def run_chunk(expected):
    case, inputs = expected.case, expected.draw()
    wanted = "no_final_state" not in case.options
    result = gdn.chunk_gated_delta_rule(
        inputs.q, inputs.k, inputs.v, inputs.g, inputs.beta, output_final_state=wanted,
        **inputs.options,
    )  # fmt: skip
    assert len(result) == (3 if case.checkpoint_every else 2)
    assert (result[1] is not None) == (wanted or inputs.pool)
    expected.check(inputs, *result)


def run_recurrent(expected):
    inputs = expected.draw()
    o, state = gdn.fused_recurrent_gated_delta_rule(
        inputs.q, inputs.k, inputs.v, inputs.g, beta=inputs.beta, output_final_state=True,
        **inputs.options,
    )  # fmt: skip
    expected.check(inputs, o, state)


@pytest.mark.parametrize("case, dtype", CHOSEN, ids=name_of)
def test_case(case, dtype):
    expected = Expected(case, dtype)
    if "slot_per_token" not in case.options:
        run_chunk(expected)
    if not case.checkpoint_every and not case.chunk_size:
        run_recurrent(expected)
