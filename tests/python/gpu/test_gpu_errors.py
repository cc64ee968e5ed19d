"""Operands in the wrong place: an exception that names the argument, and nothing left behind."""

import re

import numpy as np
import pytest
import torch
from gpu_support import gpu_tensors, recurrent

import gdn
from gdn import stages


def arguments(**shape):
    q, k, v, g, beta = gpu_tensors(batch=1, tokens=70, dk=32, dv=32, **shape)
    return dict(
        q=q, k=k, v=v, g=g, beta=beta, use_gate_in_kernel=True,
        A_log=torch.zeros(4, device="cuda"), dt_bias=torch.zeros(4, device="cuda"),
        cu_seqlens=torch.tensor([0, 30, 70], device="cuda"),
        initial_state=torch.zeros(5, 4, 32, 32, device="cuda"),
        state_indices=torch.tensor([3, 1], device="cuda"),
        out=torch.zeros(1, 70, 4, 32, device="cuda"),
    )  # fmt: skip


NAMES = [
    "q", "k", "v", "g", "beta", "A_log", "dt_bias", "cu_seqlens", "initial_state",
    "state_indices", "out",
]  # fmt: skip


def refused(function, exception, name, **kwargs):
    with pytest.raises(exception) as caught:
        function(**kwargs)
    assert re.match(rf"{name}\b", str(caught.value)), str(caught.value)
    torch.cuda.synchronize()
    good = gdn.chunk_gated_delta_rule(**arguments())[0]
    assert bool(torch.isfinite(good).all()), "the next call is right"


@pytest.mark.parametrize("function", [gdn.chunk_gated_delta_rule, recurrent])
@pytest.mark.parametrize("name", NAMES)
def test_one_operand_on_the_cpu(function, name):
    kwargs = arguments()
    kwargs[name] = kwargs[name].cpu()
    copies = {n: x.clone() for n, x in kwargs.items() if isinstance(x, torch.Tensor)}
    # The first operand says where the others are expected.
    refused(function, ValueError, "k" if name == "q" else name, **kwargs)
    for n, copy in copies.items():
        assert torch.equal(copy, kwargs[n]), "nothing was written"


@pytest.mark.parametrize("name", ["v", "cu_seqlens", "out"])
def test_one_operand_a_numpy_array(name):
    kwargs = arguments()
    kwargs[name] = kwargs[name].cpu().numpy()
    refused(gdn.chunk_gated_delta_rule, TypeError, name, **kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_one_operand_on_the_cpu_while_compiling(name):
    kwargs = arguments()
    del kwargs["out"]
    if name == "out":
        pytest.skip("a traced call fills `out` by an operator of torch's own")
    kwargs[name] = kwargs[name].cpu()
    torch._dynamo.reset()
    compiled = torch.compile(gdn.chunk_gated_delta_rule, fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"device"):
        compiled(**kwargs)


def test_layer_and_stages_on_two_devices():
    x, weight = torch.zeros(2, 8, 5, device="cuda"), torch.zeros(8, 4)
    refused(gdn.causal_conv1d_fwd, ValueError, "weight", x=x, weight=weight)
    state = torch.zeros(2, 8, 3)
    refused(
        gdn.causal_conv1d_update, ValueError, "conv_state", x=x, weight=weight.cuda(),
        conv_state=state,
    )  # fmt: skip
    refused(gdn.rms_norm_gated, ValueError, "z", x=x, weight=None, z=x.cpu())
    refused(gdn.l2norm, ValueError, "out", x=x, out=x.cpu())
    g = torch.zeros(1, 70, 4, device="cuda")
    refused(
        stages.chunk_local_cumsum, ValueError, "cu_seqlens", g=g, cu_seqlens=torch.tensor([0, 70])
    )


def test_a_backend_that_cannot_read_the_device():
    kwargs = arguments()
    with gdn.use("cpu"), pytest.raises(ValueError, match="cannot read tensors on"):
        gdn.chunk_gated_delta_rule(**kwargs)
    with pytest.raises(ValueError, match="backend"), gdn.use("cuda"):
        gdn.l2norm(torch.ones(2, 8))


def test_widths_that_gpus_do_not_serve():
    with pytest.raises(ValueError, match="DK = 257, but the cuda backend serves up to 256"):
        gdn.chunk_gated_delta_rule(*gpu_tensors(dk=257, dv=32))
    with pytest.raises(ValueError, match="DV = 1025, but the cuda backend serves up to 1024"):
        gdn.chunk_gated_delta_rule(*gpu_tensors(dk=32, dv=1025))


def test_hints_on_the_cpu_are_accepted():
    """FLA's callers pass cu_seqlens_cpu beside a cu_seqlens on the device."""
    q, k, v, g, beta = gpu_tensors(tokens=70)
    cu = torch.tensor([0, 30, 70])
    plain, _ = gdn.chunk_gated_delta_rule(q, k, v, g, beta, cu_seqlens=cu.cuda())
    hinted, _ = gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, cu_seqlens=cu.cuda(), cu_seqlens_cpu=cu,
        chunk_indices=torch.tensor([[0, 0], [1, 0]], device="cuda"),
    )  # fmt: skip
    assert torch.equal(plain, hinted)
    with pytest.raises(ValueError, match="cu_seqlens_cpu"):
        gdn.chunk_gated_delta_rule(q, k, v, g, beta, cu_seqlens=cu.cuda(), cu_seqlens_cpu=cu[:2])


def test_wild_indices_touch_nothing_outside():
    """Without GDN_CHECK what index arrays hold is not looked at on the host: it is clamped."""
    q, k, v, g, beta = gpu_tensors(batch=3, tokens=5, dk=32, dv=32)
    memory = torch.full((9, 4, 32, 32), 7.0, device="cuda")
    pool = memory[2:7]
    indices = torch.tensor([2**40, 4, -(2**40)], device="cuda")
    o, _ = recurrent(q, k, v, g, beta, initial_state=pool, state_indices=indices)
    torch.cuda.synchronize()
    assert bool((o[0] == 0).all()) and bool((o[2] == 0).all()) and bool((o[1] != 0).any())
    assert bool((memory[:6] == 7).all()) and bool((memory[7:] == 7).all())


def test_numpy_beside_torch_still_works():
    x = np.ones((2, 8), np.float32)
    assert np.isfinite(gdn.l2norm(x)).all()
