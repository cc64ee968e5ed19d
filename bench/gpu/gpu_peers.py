"""libgdn and the packaged peers behind one call: Inputs -> (o [1, T, HV, 128], final state).

Each peer is imported when it is asked for. Give each a folder of its own on PYTHONPATH: FLA calls
FlashQLA instead of its own kernels where it can import it. States are [N, HV, DK, DV], FlashInfer's
[N, HV, DV, DK].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from gpu_cases import D, Inputs

SCALE = D**-0.5
Forward = Callable[[Inputs], tuple[torch.Tensor, torch.Tensor]]


def _gdn() -> Forward:
    import gdn

    return lambda x: gdn.chunk_gated_delta_rule(
        x.q, x.k, x.v, x.g, x.beta, scale=SCALE, initial_state=x.initial_state,
        output_final_state=True, cu_seqlens=x.cu_seqlens,
    )  # fmt: skip


def _fla() -> Forward:
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    return lambda x: chunk_gated_delta_rule(
        x.q, x.k, x.v, x.g, x.beta.to(x.q.dtype), scale=SCALE, initial_state=x.initial_state,
        output_final_state=True, cu_seqlens=x.cu_seqlens,
    )  # fmt: skip


def _flashqla() -> Forward:
    import flash_qla

    return lambda x: flash_qla.chunk_gated_delta_rule(
        x.q, x.k, x.v, x.g, x.beta, scale=SCALE, initial_state=x.initial_state,
        output_final_state=True, cu_seqlens=x.cu_seqlens,
    )[:2]  # fmt: skip


def _flashinfer() -> Forward:
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    # It takes the decay itself: the exponential is part of the call.
    def forward(x: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        o, state = chunk_gated_delta_rule(
            x.q[0], x.k[0], x.v[0], x.g[0].exp(), x.beta[0], scale=SCALE,
            initial_state=x.initial_state_v_first, output_final_state=True,
            cu_seqlens=x.cu_seqlens,
        )  # fmt: skip
        return o[None], state

    return forward


FORWARD = {"gdn": _gdn, "fla": _fla, "flashqla": _flashqla, "flashinfer": _flashinfer}
V_FIRST = {"flashinfer"}


def version(name: str) -> str:
    """Installed version of a peer's package, as far as it says."""
    from importlib import metadata

    if name == "gdn":
        import gdn

        return gdn.__version__
    if name == "flashinfer":
        import flashinfer.version

        return flashinfer.version.__version__
    try:
        return metadata.version({"fla": "flash-linear-attention", "flashqla": "flash-qla"}[name])
    except metadata.PackageNotFoundError:
        return "?"


def _decode_inputs(batch: int, dtype: torch.dtype):
    def randn(*size: int) -> torch.Tensor:
        return torch.randn(*size, device="cuda")

    q, k = (
        torch.nn.functional.normalize(randn(batch, 1, 16, D), dim=-1).bfloat16() for _ in range(2)
    )
    v = randn(batch, 1, 32, D).bfloat16()
    a, b = randn(batch, 1, 32).bfloat16(), randn(batch, 1, 32).bfloat16()
    return q, k, v, a, b, randn(32), randn(32), randn(batch, 32, D, D).to(dtype)


def _gdn_decode(batch: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    import gdn

    for label, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        q, k, v, a, b, A_log, dt_bias, state = _decode_inputs(batch, dtype)
        g, beta = torch.nn.functional.logsigmoid(a.float()), b.float().sigmoid()
        # The gates inside the call, as FlashInfer has them.
        yield (
            f"{label} state", state.element_size(),
            lambda q=q, k=k, v=v, a=a, b=b, A_log=A_log, dt=dt_bias, s=state: (
                gdn.fused_recurrent_gated_delta_rule(
                    q, k, v, a, beta=b, scale=SCALE, initial_state=s, inplace_final_state=True,
                    use_qk_l2norm_in_kernel=True, use_gate_in_kernel=True, A_log=A_log,
                    dt_bias=dt, use_beta_sigmoid_in_kernel=True,
                )
            ),
        )  # fmt: skip
        yield (
            f"{label} state, gates given", state.element_size(),
            lambda q=q, k=k, v=v, g=g, beta=beta, s=state: gdn.fused_recurrent_gated_delta_rule(
                q, k, v, g, beta=beta, scale=SCALE, initial_state=s, inplace_final_state=True
            ),
        )  # fmt: skip


def _fla_decode(batch: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    from fla.ops.gated_delta_rule import fused_recurrent_gated_delta_rule

    q, k, v, a, b, _, _, state = _decode_inputs(batch, torch.float32)
    g, beta = torch.nn.functional.logsigmoid(a.float()), b.float().sigmoid().bfloat16()
    yield (
        "f32 state, gates given", 4,
        lambda: fused_recurrent_gated_delta_rule(
            q, k, v, g, beta=beta, scale=SCALE, initial_state=state, output_final_state=True
        ),
    )  # fmt: skip


def _flashinfer_decode(batch: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    from flashinfer.gdn_decode import gated_delta_rule_decode_pretranspose

    for label, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        q, k, v, a, b, A_log, dt_bias, state = _decode_inputs(batch, dtype)
        yield (
            f"{label} state", state.element_size(),
            lambda x=(q, k, v, state, A_log, a, dt_bias, b): (
                gated_delta_rule_decode_pretranspose(*x)
            ),
        )  # fmt: skip


DECODE = {"gdn": _gdn_decode, "fla": _fla_decode, "flashinfer": _flashinfer_decode}
