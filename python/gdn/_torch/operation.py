"""How an operation becomes custom ops that torch can trace.

The arguments of a function of the extension ``_C`` are written once, in the notation of torch's
schemas. From them follow the ops, their kernels, which call ``_C``, and the function that stands
for ``_C``'s while torch traces: it checks the options and calls the op that serves the call.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from gdn import _C, _checks
from gdn._torch.common import absent, check_together, fill
from gdn._torch.out import like_out, twin


class Op:
    """A custom op: the function `target` of _C with some of its arguments fixed.

    `out`, which an op only reads, is the last of its arguments and may be left away. `updates`
    names those that are updated in place; where the function also returns the only one, as result
    number `returned`, the op leaves that result out.
    """

    def __init__(
        self,
        target: str,
        arguments: str,
        fake: Callable[[SimpleNamespace], tuple],
        *,
        results: int = 1,
        fixed: dict[str, Any] | None = None,
        updates: str = "",
        returned: int | None = None,
    ):
        fixed = fixed or {}
        typed = [argument.split() for argument in arguments.split(", ")]
        self.all_names = [name for _, name in typed]
        typed = [(kind, name) for kind, name in typed if name not in fixed]
        typed.sort(key=lambda argument: argument[1] == "out")
        self.names = [name for _, name in typed]
        self.tensors = [name for kind, name in typed if kind.startswith("Tensor")]
        self.target, self.fake, self.fixed = target, fake, fixed
        self.kept = [i for i in range(results) if i != returned]
        self.results = results
        updated = tuple(updates.split())
        schema = ", ".join(
            f"{f'Tensor({chr(97 + updated.index(name))}!)' if name in updated else kind} {name}"
            f"{'=None' if name == 'out' else ''}"
            for kind, name in typed
        )
        returns = ", ".join(["Tensor"] * len(self.kept))
        returns = f"({returns})" if len(self.kept) > 1 else returns
        self.call = custom_op(
            f"gdn::{target}{'_' if updates else ''}", self._kernel,
            mutates_args=updated, schema=f"({schema}) -> {returns}",
        )  # fmt: skip
        self.call.register_fake(self._fake)

    def _arguments(self, given: tuple) -> dict[str, Any]:
        return {"out": None, **dict(zip(self.names, given, strict=False)), **self.fixed}

    def _answer(self, found: tuple, like: Tensor) -> Any:
        """What the op returns: a schema has no optional results, so stand-ins for absent ones."""
        found = (*found, *[None] * (self.results - len(found)))
        kept = tuple(absent(like) if found[i] is None else found[i] for i in self.kept)
        return kept if len(kept) > 1 else kept[0]

    def _kernel(self, *given):
        arguments = self._arguments(given)
        if (out := arguments["out"]) is not None:
            operands = {name: arguments[name] for name in self.tensors if name != "out"}
            arguments["out"] = twin(out, operands)
        found = getattr(_C, self.target)(*(arguments[name] for name in self.all_names))
        return self._answer(found if isinstance(found, tuple) else (found,), given[0])

    def _fake(self, *given):
        arguments = self._arguments(given)
        check_together(**{name: arguments[name] for name in self.tensors})
        found = self.fake(SimpleNamespace(**arguments))
        if (out := arguments["out"]) is not None:
            found = (like_out(out, found[0]), *found[1:])
        return self._answer(found, given[0])


def route(
    arguments: str,
    functional: Op | None,
    in_place: Op | None = None,
    updates: str = "",
    wants_update: Callable[[dict], bool] = lambda _: True,
    check: Callable[[dict], None] = lambda _: None,
    token_axis: Callable[[Tensor], int] = lambda _: 1,
) -> Callable[..., Any]:
    """Return the function with the signature of _C's that calls one of two ops.

    `updates` names the argument that in_place returns as a result of the function, if any.
    `token_axis` tells which axis of a packed result its tokens are.
    """
    typed = tuple(argument.split() for argument in arguments.split(", "))
    names = tuple(name for _, name in typed)
    tensors = tuple(name for kind, name in typed if kind.startswith("Tensor"))
    calls = tuple(
        (None, (), 1, ()) if op is None else (op.call, tuple(op.names), op.results, tuple(op.kept))
        for op in (functional, in_place)
    )

    def traced(*args):
        given = dict(zip(names, args, strict=True))
        for name in names:
            if name not in tensors:
                given[name] = _checks.plain(name, given[name])
        check(given)
        if torch.is_grad_enabled():
            for name in tensors:
                if given[name] is not None and given[name].requires_grad:
                    _checks.refuse_gradient(name)
        second = in_place is not None and wants_update(given)
        call, call_names, results, kept = calls[1 if second else 0]
        out = given.get("out")
        found = call(*[given[name] for name in call_names])
        ends = given["cu_seqlens"] if out is not None and given.get("padded") else None
        axis = 0 if ends is None else token_axis(out)
        if results == 1:
            return fill(out, found, ends, axis)
        answer = [given[updates] if updates else None] * results
        for i, result in zip(kept, found if len(kept) > 1 else (found,), strict=True):
            # The stand-in of an absent result has one dimension, a result among several has more.
            answer[i] = None if result.dim() == 1 else result
        return (fill(out, answer[0], ends, axis), *answer[1:])

    return traced
