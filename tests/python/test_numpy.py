"""NumPy arrays: the same results as tensors, and no need of torch."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from support import as_torch, numpy_dtype, tensors

import gdn

OPERATIONS = {
    "chunk": lambda q, k, v, g, beta, **kw: gdn.chunk_gated_delta_rule(
        q, k, v, g, beta, output_final_state=True, checkpoint_every=64, **kw
    ),
    "recurrent": lambda q, k, v, g, beta, **kw: gdn.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta=beta, output_final_state=True, **kw
    ),
    "l2norm": lambda q, k, v, g, beta, **kw: (gdn.l2norm(q),),
    "rms_norm_gated": lambda q, k, v, g, beta, **kw: (gdn.rms_norm_gated(q, None, k),),
    "gating": lambda q, k, v, g, beta, **kw: gdn.fused_gdn_gating(g[0, 0], g, beta),
    "conv": lambda q, k, v, g, beta, **kw: (
        gdn.causal_conv1d_fwd(g, beta[0, :, :3], activation="silu"),
    ),
}


def to_numpy(t):
    if t.dtype == torch.bfloat16:
        return t.view(torch.int16).numpy().view(numpy_dtype("bf16"))
    return t.numpy()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_same_bits_as_torch(name, dtype):
    if numpy_dtype(dtype) is None:
        pytest.skip("ml_dtypes is not installed")
    inputs = tensors(dtype, tokens=80)
    expected = OPERATIONS[name](*inputs)
    actual = OPERATIONS[name](*(to_numpy(x) for x in inputs))
    for a, e in zip(actual, expected, strict=True):
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, to_numpy(e))


def test_strided_and_unaligned_arrays():
    inputs = [x.numpy() for x in tensors()]
    expected = gdn.chunk_gated_delta_rule(*inputs)[0]
    fortran = [np.asfortranarray(x) for x in inputs]
    np.testing.assert_array_equal(gdn.chunk_gated_delta_rule(*fortran)[0], expected)
    sliced = [np.repeat(x, 2, axis=-1)[..., ::2] for x in inputs]
    np.testing.assert_array_equal(gdn.chunk_gated_delta_rule(*sliced)[0], expected)
    reverse = [np.ascontiguousarray(x[:, ::-1])[:, ::-1] for x in inputs]
    np.testing.assert_array_equal(gdn.chunk_gated_delta_rule(*reverse)[0], expected)
    unaligned = []
    for x in inputs:
        memory = np.zeros(x.nbytes + 1, np.uint8)
        view = memory[1:].view(x.dtype).reshape(x.shape)
        view[...] = x
        unaligned.append(view)
    np.testing.assert_array_equal(gdn.chunk_gated_delta_rule(*unaligned)[0], expected)


def test_pool_and_out():
    inputs = [x.numpy() for x in tensors(batch=2)]
    pool = np.zeros((3, 4, 32, 32), np.float32)
    out = np.empty_like(inputs[2])
    o, state = gdn.chunk_gated_delta_rule(
        *inputs, initial_state=pool, state_indices=np.array([2, 0]), out=out
    )
    assert o is out and state is pool
    fresh, final = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True)
    np.testing.assert_array_equal(out, fresh)
    np.testing.assert_array_equal(pool[[2, 0]], final)


def test_empty_arrays():
    for shape in (dict(batch=0), dict(tokens=0), dict(batch=0, tokens=0)):
        inputs = [x.numpy() for x in tensors(**shape)]
        o, state = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True)
        assert o.shape == inputs[2].shape and (state == 0).all()


def test_negative_strides_are_right():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(gdn.l2norm(x[::-1]), gdn.l2norm(x)[::-1])
    np.testing.assert_allclose(gdn.l2norm(x[:, ::-1]), gdn.l2norm(x)[:, ::-1], rtol=1e-6)


def test_without_torch():
    """In a process where torch cannot be imported, everything works on arrays."""
    program = """
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "torch":
                    raise ModuleNotFoundError("torch is blocked", name=name)

        sys.meta_path.insert(0, Blocker())
        import numpy as np
        import gdn

        rng = np.random.default_rng(0)
        q, k, v = (rng.standard_normal((1, 70, h, 32)).astype("f") for h in (2, 2, 4))
        k /= np.linalg.norm(k, axis=-1, keepdims=True)
        g, beta = -rng.random((1, 70, 4)).astype("f"), rng.random((1, 70, 4)).astype("f")
        o, s = gdn.chunk_gated_delta_rule(q, k, v, g, beta, output_final_state=True)
        o2, s2 = gdn.fused_recurrent_gated_delta_rule(
            q, k, v, g, beta=beta, output_final_state=True)
        assert np.allclose(o, o2, atol=1e-5) and np.allclose(s, s2, atol=1e-5)
        gdn.stages.chunk_local_cumsum(g)
        try:
            gdn.chunk_gated_delta_rule([1], k, v, g, beta)
        except TypeError as error:
            assert "q" in str(error)
        assert "torch" not in sys.modules
        print("fine", gdn.info()["version"])
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("fine")


def test_bfloat16_needs_no_copy():
    if numpy_dtype("bf16") is None:
        pytest.skip("ml_dtypes is not installed")
    x = to_numpy(as_torch(np.ones((2, 8)), "bf16"))
    out = np.zeros_like(x)
    assert gdn.l2norm(x, out=out) is out and (out != 0).all()


def test_convolutions_keep_the_order_of_memory():
    x, w = np.ones((2, 5, 3), np.float32), np.ones((3, 4), np.float32)
    y = gdn.causal_conv1d_fwd(x.swapaxes(1, 2), w)
    assert y.shape == (2, 3, 5) and y.strides == (60, 4, 12)
    np.testing.assert_array_equal(y, gdn.causal_conv1d_fwd(x.swapaxes(1, 2).copy(), w))
    y = gdn.causal_conv1d_fwd(x[0].T, w)
    assert y.shape == (3, 5) and y.strides == (4, 12)
