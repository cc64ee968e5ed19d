"""The command line: what it prints, what it computes, its exit codes and messages."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gdn

COMMAND = Path(sys.executable).with_name("gdn")
pytestmark = pytest.mark.skipif(
    not COMMAND.exists(), reason="the command gdn is not beside this interpreter"
)


def run(*arguments, code=0):
    """Output of one call that must end with `code`; errors go to stderr and nowhere else."""
    result = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == code, (result.stdout, result.stderr)
    if code != 0:
        assert result.stdout == ""
        return result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.fixture
def inputs(tmp_path):
    """A file of two packed sequences and the arrays in it."""
    rng = np.random.default_rng()
    hk, hv, dk, dv, tokens = 2, 4, 32, 48, 100
    arrays = {
        "q": rng.standard_normal((1, tokens, hk, dk)),
        "k": rng.standard_normal((1, tokens, hk, dk)),
        "v": rng.standard_normal((1, tokens, hv, dv)),
        "g": -rng.random((1, tokens, hv)),
        "beta": rng.random((1, tokens, hv)),
        "initial_state": rng.standard_normal((2, hv, dk, dv)),
    }
    arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
    arrays["cu_seqlens"] = np.array([0, 37, tokens], np.int32)
    path = tmp_path / "in.safetensors"
    save_file(arrays, path)
    return path, arrays


def test_info():
    text = run("info")
    assert gdn.__version__ in text
    assert gdn.info()["isa"] in text


@pytest.mark.parametrize("command", ["info", "verify", "bench", "run"])
def test_help(command):
    assert f"gdn {command}" in run(command, "--help")


def test_verify():
    found = json.loads(run("verify", "--case", "dims_8x8", "--dtype", "f32", "--json"))
    assert found["failed"] == 0
    assert found["passed"] == len(found["results"]) > 0
    assert all(0 < r["o"] < 1e-5 and r["dtype"] == "f32" for r in found["results"])


def test_bench():
    shape = ["--tokens", "64", "--batch", "2", "--heads", "1/1", "--seconds", "0.01"]
    found = json.loads(run("bench", *shape, "--json"))
    assert {row["operation"] for row in found["rows"]} >= {"fused", "decode"}
    assert all(0 < row["best_ms"] <= row["median_ms"] for row in found["rows"])
    assert found["peak"]["copy_gbps"] > 0


def test_run_gives_what_the_function_gives(inputs, tmp_path):
    path, arrays = inputs
    out = tmp_path / "out.safetensors"
    run("run", path, out, "--l2norm")
    o, state = gdn.chunk_gated_delta_rule(
        **{name: arrays[name] for name in ("q", "k", "v", "g", "beta", "initial_state")},
        cu_seqlens=arrays["cu_seqlens"],
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    found = load_file(out)
    assert sorted(found) == ["final_state", "o"]
    np.testing.assert_array_equal(found["o"], o)
    np.testing.assert_array_equal(found["final_state"], state)


def test_run_recurrent_agrees(inputs, tmp_path):
    path, _ = inputs
    run("run", path, tmp_path / "chunk", "--l2norm")
    run("run", path, tmp_path / "recurrent", "--l2norm", "--op", "recurrent")
    chunk, recurrent = load_file(tmp_path / "chunk"), load_file(tmp_path / "recurrent")
    for name in ("o", "final_state"):
        np.testing.assert_allclose(chunk[name], recurrent[name], rtol=1e-4, atol=1e-4)


def test_errors(inputs, tmp_path):
    path, arrays = inputs
    out = tmp_path / "out.safetensors"
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\xff" * 100)
    short = tmp_path / "short"
    save_file({name: a for name, a in arrays.items() if name != "v"}, short)
    assert "No such file" in run("run", tmp_path / "nowhere", out, code=1)
    assert str(tmp_path) in run("run", tmp_path, out, code=1)
    assert "garbage" in run("run", garbage, out, code=1)
    assert '"v"' in run("run", short, out, code=1)
    assert "cannot write" in run("run", path, tmp_path / "nowhere" / "out", code=1)
    assert "avx1024" in run("run", path, out, "--isa", "avx1024", code=1)
    assert not out.exists()
    assert "nonesuch" in run("verify", "--case", "nonesuch", code=1)
    assert "nonesuch" in run("verify", "--backend", "nonesuch", code=1)
    assert "--nonesuch" in run("verify", "--nonesuch", code=2)
    assert "subcommand" in run(code=2)
