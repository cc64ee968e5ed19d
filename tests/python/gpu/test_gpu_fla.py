"""flash-linear-attention's own functions beside these, where it is installed: a second oracle."""

import pytest
import torch
from gpu_support import error, gpu_tensors, reference
from support import bound_of

import gdn

fla = pytest.importorskip("fla.ops.gated_delta_rule", reason="flash-linear-attention is missing")

LENGTHS = [1, 63, 64, 65, 130]


def arguments(lengths, hk, hv):
    q, k, v, g, beta = gpu_tensors("bf16", tokens=sum(lengths), hk=hk, hv=hv, dk=128, dv=128)
    cu = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], device="cuda")
    state = torch.randn(len(lengths), hv, 128, 128, device="cuda")
    return (q, k, v, g, beta.bfloat16()), dict(
        initial_state=state, output_final_state=True, cu_seqlens=cu
    )


@pytest.mark.parametrize("name", ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"])
@pytest.mark.parametrize("heads", [(2, 4), (4, 4)])
@torch.no_grad()
def test_beside_fla(name, heads):
    """The same call of both, neither further from float64 than the bound, nor from the other."""
    inputs, options = arguments(LENGTHS, *heads)
    options["use_qk_l2norm_in_kernel"] = True

    def call(module):
        function = getattr(module, name)
        if name.startswith("chunk"):
            return function(*inputs, **options)
        return function(*inputs[:4], beta=inputs[4], **options)

    ours, theirs = call(gdn), call(fla)
    expected = reference(gdn.chunk_gated_delta_rule, *inputs, **options)
    for a, b, e in zip(ours, theirs, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert error(a, e) <= bound_of("bf16")
        assert error(a, b) <= 2 * bound_of("bf16")
