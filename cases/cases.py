"""The table of named test cases: reads cases.json, expands it, and writes it as C++.

    cases.py OUTPUT.cc    writes the table that cases.h declares

From Python: `import cases; for case in cases.load(): ...`
"""

import dataclasses
import json
import pathlib
import sys

RECIPES = (
    "ladder",
    "repeated_key",
    "reflections",
    "strong_decay",
    "decay_spikes",
    "slow_decay",
    "beta_levels",
    "huge_v",
    "gate_extremes",
    "zero_rows",
    "zero_tail",
    "mixed_keys",
    "small_keys",
    "fading_tail",
    "raw",
)

# In the order of the bits of gdn::testing::Option.
OPTIONS = (
    "initial_state",
    "no_final_state",
    "v_first",
    "interleaved",
    "in_place",
    "pool",
    "negative_index",
    "slot_per_token",
    "num_accepted_tokens",
    "state_bf16",
    "checkpoints_bf16",
    "index64",
    "gates_same_type",
    "no_g",
    "no_beta",
    "qk_l2norm",
    "gate",
    "no_dt_bias",
    "beta_sigmoid",
    "allow_neg_eigval",
    "strided",
    "strided_state",
    "head_first",
    "broadcast",
    "reversed",
    "state_f16",
    "checkpoints_f16",
    "final_state_f16",
    "gates_mixed",
    "null_slot",
    "output_indices",
    "output_per_token",
    "has_initial_state",
    "checkpoint_indices",
    "positions",
    "padded",
    "round_states",
)

# Tokens after the end of cu_seqlens in a padded case.
PADDING = 13

DTYPES = ("f32", "bf16", "f16")
TAGS = ("quick", "ladder", "whole", "hard", "semantics", "recurrent")


@dataclasses.dataclass(frozen=True)
class Case:
    """One case; the fields are those of gdn::testing::Case in cases.h."""

    name: str
    lengths: tuple
    packed: bool
    batch: int
    tokens: int
    hk: int
    hv: int
    dk: int = 128
    dv: int = 128
    recipe: str = "ladder"
    dtypes: tuple = ("bf16", "f32")
    options: frozenset = frozenset()
    tags: frozenset = frozenset()
    checkpoint_every: int = 0
    chunk_size: int = 0
    scale: float | None = None


def _expand(entry):
    entry = dict(entry)
    name = entry.pop("name")
    heads = entry.pop("hv")
    quick_heads = entry.pop("quick_hv", None)
    tags = set(entry.pop("tags"))
    options = frozenset(entry.pop("options"))
    if "lengths" in entry:
        lengths = tuple(entry.pop("lengths"))
        tokens = sum(lengths) + (PADDING if "padded" in options else 0)
        shape = {"lengths": lengths, "packed": True, "batch": 1, "tokens": tokens}
    else:
        batch, tokens = entry.pop("batch"), entry.pop("tokens")
        shape = {"lengths": (tokens,) * batch, "packed": False, "batch": batch, "tokens": tokens}
    if "dtypes" in entry:
        entry["dtypes"] = tuple(entry["dtypes"])
    for hv in heads if isinstance(heads, list) else [heads]:
        quick = quick_heads is None or hv in quick_heads
        case = Case(
            name=f"{name}_hv{hv}" if isinstance(heads, list) else name,
            hv=hv,
            options=options,
            tags=frozenset(tags | {"quick"} if quick else tags),
            **shape,
            **entry,
        )
        for kind, found, known in (
            ("option", case.options, OPTIONS),
            ("tag", case.tags, TAGS),
            ("dtype", case.dtypes, DTYPES),
            ("recipe", (case.recipe,), RECIPES),
        ):
            unknown = set(found) - set(known)
            if unknown:
                raise ValueError(f"case {case.name}: unknown {kind} {sorted(unknown)}")
        yield case


def load():
    """Returns all cases in the order of cases.json."""
    table = json.loads(pathlib.Path(__file__).with_name("cases.json").read_text())
    cases = [case for entry in table["cases"] for case in _expand(entry)]
    names = [case.name for case in cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"case names used twice: {repeated}")
    return cases


def _bits(found, known):
    return sum(1 << i for i, name in enumerate(known) if name in found)


def to_cc(cases):
    """Returns a C++ file that defines gdn::testing::cases()."""
    lines = [
        "// Written by cases.py from cases.json.",
        '#include "cases/cases.h"',
        "",
        "namespace gdn::testing {",
        "namespace {",
        "",
    ]
    for i, case in enumerate(cases):
        if case.lengths:
            values = ", ".join(map(str, case.lengths))
            lines.append(f"constexpr int64_t kLengths{i}[] = {{{values}}};")
    lines += ["", "constexpr Case kCases[] = {"]
    for i, case in enumerate(cases):
        lengths = f"kLengths{i}" if case.lengths else "{}"
        numbers = [case.batch, case.tokens, case.hk, case.hv, case.dk, case.dv]
        scale = f"true, {float(case.scale)!r}" if case.scale is not None else "false, 0.0"
        lines.append(
            f'    {{"{case.name}", {lengths}, {str(case.packed).lower()}, '
            + ", ".join(map(str, numbers))
            + f", Recipe::{case.recipe}, {_bits(case.dtypes, DTYPES)}U, "
            f"{_bits(case.options, OPTIONS)}ULL, {_bits(case.tags, TAGS)}U, "
            f"{case.checkpoint_every}, {case.chunk_size}, {scale}}},"
        )
    lines += [
        "};",
        "",
        "}  // namespace",
        "",
        "std::span<const Case> cases() { return kCases; }",
        "",
        "}  // namespace gdn::testing",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pathlib.Path(sys.argv[1]).write_text(to_cc(load()))
