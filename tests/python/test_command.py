"""The command line: what it prints, what it computes, its exit codes and messages."""

import json
import os
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


def test_verify_of_stages():
    case = ("--case", "dims_8x8", "--dtype", "f32", "--isa", "generic")
    found = json.loads(run("verify", "--op", "stages", *case, "--json"))
    assert found["failed"] == 0 and found["passed"] == len(found["results"])
    rows = [r for r in found["results"] if r["case"] == "dims_8x8"]
    assert [r["stage"] for r in rows] == [
        "chunk_local_cumsum",
        "chunk_scaled_dot_kkt",
        "solve_tril",
        "recompute_w_u",
        "chunk_fwd_h",
        "chunk_fwd_o",
        "all stages",
    ]
    assert all(0 < r["error"] < 1e-5 for r in rows)


def test_verify_of_a_group():
    group = ("--op", "recurrent", "--case", "recurrent", "--isa", "generic", "--dtype", "f32")
    found = json.loads(run("verify", *group, "--json"))
    assert found["failed"] == 0
    # In it by its tag and by its name.
    assert {"verify_4", "recurrent_mixed"} <= {r["case"] for r in found["results"]}


def test_verify_of_a_layers_step():
    one = ("--isa", "generic", "--dtype", "bf16")
    found = json.loads(run("verify", "--op", "fused_gdn_decode", *one, "--json"))
    assert found["failed"] == 0 and found["not_served"] == 0
    assert {"decode_1", "decode_null_slot", "verify_slots_v_first", "decode_dims_1x1"} <= {
        r["case"] for r in found["results"]
    }
    assert all(0 < r["o"] < 6e-3 and 0 < r["state"] < 6e-3 for r in found["results"])
    other = json.loads(run("verify", "--op", "fused_gdn_decode", *one, "--seed", "1", "--json"))
    assert other["failed"] == 0 and other["results"] != found["results"]


# Operation, its results, a group of cases and some of those in it.
AROUND_THE_RULE = [
    ("causal_conv1d_fwd", {"y", "state"}, "semantics", {"padded", "null_slot", "strided"}),
    ("causal_conv1d_update", {"y", "state"}, "recurrent", {"decode_1", "verify_slots_null"}),
    ("fused_gdn_gating", {"g", "beta"}, "hard", {"raw_gate_extremes", "strong_decay"}),
    ("l2norm", {"y"}, "hard", {"zero_rows", "mixed_keys"}),
    ("rms_norm_gated", {"y"}, "hard", {"huge_v"}),
]


@pytest.mark.parametrize(("operation", "results", "group", "cases"), AROUND_THE_RULE)
def test_verify_of_the_operations_around_the_rule(operation, results, group, cases):
    one = ("verify", "--op", operation, "--isa", "generic", "--json")
    found = json.loads(run(*one, "--case", group))
    assert found["failed"] == 0 and found["not_served"] == 0
    rows = found["results"]
    assert cases <= {r["case"] for r in rows}
    assert {r["dtype"] for r in rows} == {"f32", "bf16", "f16"}
    about = {"case", "dtype", "backend", "isa", "served", "passed", "failure"}
    assert {name for r in rows for name in r} - about == results
    assert any(r[name] > 0 for r in rows for name in results), "something is rounded"
    case = ("--case", "decode_dims_8x8")
    other = [json.loads(run(*one, *case, "--seed", seed))["results"] for seed in (0, 1)]
    assert other[0] != other[1] and all(r["passed"] for r in other[1])


def test_verify_names_its_operations():
    text = " ".join(run("verify", "--help").split())
    assert all(operation in text for operation, *_ in AROUND_THE_RULE)
    assert "rms_norm_gated" in run("verify", "--op", "nonesuch", code=2)


def test_bench():
    shape = ["--tokens", "64", "--batch", "2", "--heads", "1/1", "--seconds", "0.01"]
    found = json.loads(run("bench", *shape, "--json"))
    around = {operation for operation, *_ in AROUND_THE_RULE}
    assert {row["operation"] for row in found["rows"]} >= {
        "chunk", "recurrent", "fused_gdn_decode", *around,
    }  # fmt: skip
    # Each operand once: the convolution of a step moves its slots too.
    (step,) = [row for row in found["rows"] if row["operation"] == "causal_conv1d_update"]
    channels = 3 * 128
    moved = 2 * (2 * 2 * channels + 4 * channels + 2 * 2 * 4 * channels)
    assert step["gbps"] * step["median_ms"] * 1e6 == pytest.approx(moved)
    assert step["batch"] == 2 and step["tokens"] == 1
    assert all(0 < row["best_ms"] <= row["median_ms"] for row in found["rows"])
    assert found["peak"]["copy_gbps"] > 0


def test_bench_takes_the_peak_of_the_code_path():
    """The products of the chosen set: those of bf16 for chunk, where it has them."""
    shape = ["--tokens", "64", "--batch", "1", "--heads", "1/1", "--seconds", "0.001"]
    cpu = next(b for b in json.loads(run("info", "--json"))["backends"] if b["name"] == "cpu")
    isas = [isa["name"] for isa in cpu["isas"] if isa["supported"]]
    for isa in isas:
        found = json.loads(
            run("bench", *shape, "--isa", isa, "--op", "chunk", "recurrent", "--json")
        )
        below = isas[: isas.index(isa) + 1]
        products = [p for p in found["peak"]["products"] if p["isa"] in below]
        peaks = {row["operation"]: row["peak_gflops"] for row in found["rows"]}
        assert peaks["chunk"] == products[-1]["gflops"]
        assert peaks["recurrent"] == [p for p in products if p["type"] == "f32"][-1]["gflops"]


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
    assert '"nonesuch"; it has info, verify, bench, run' in run("nonesuch", code=2)


@pytest.mark.parametrize("option", ["--backend", "--isa"])
def test_one_mistake_has_one_sentence(inputs, tmp_path, option):
    messages = {
        run("verify", option, "nonesuch", code=1),
        run("bench", option, "nonesuch", code=1),
        run("run", inputs[0], tmp_path / "out", option, "nonesuch", code=1),
    }
    assert len(messages) == 1
    assert messages.pop().startswith(f'gdn: {option} is "nonesuch", expected one of: ')


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("run --threads", "-1", "a whole number from 0 to 1024"),
        ("run --threads", "1025", "a whole number from 0 to 1024"),
        ("run --checkpoint-every", "63", "a multiple of 64"),
        ("run --checkpoint-every", "-64", "a multiple of 64"),
        ("verify --seed", "-1", "a whole number from 0 to 18446744073709551615"),
        ("verify --seed", "99999999999999999999", "a whole number from 0 to"),
        ("bench --threads", "-1", "a whole number from 0 to 1024"),
        ("bench --seconds", "-1", "a number from 0 to 3600"),
        ("bench --seconds", "nan", "a number from 0 to 3600"),
        ("bench --heads", "2/4/6", "HK/HV such as 16/32"),
        ("bench --heads", "2x/4", "HK/HV such as 16/32"),
        ("bench --heads", "3/4", "HK/HV such as 16/32, HV a multiple of HK"),
        ("bench --tokens", "0", "a whole number from 1 to"),
        ("bench --key-dim", "-8", "a whole number from 1 to"),
    ],
)
def test_numbers_out_of_range(option, value, expected, tmp_path):
    command, name = option.split()
    files = [tmp_path / "in", tmp_path / "out"] if command == "run" else []
    message = run(command, *files, f"{name}={value}", code=2)
    assert f"{name}: expected {expected}" in message and f"found {value}" in message


def test_the_largest_seed():
    case = ["--case", "dims_8x8", "--dtype", "f32", "--json"]
    assert json.loads(run("verify", *case, "--seed", 2**64 - 1))["failed"] == 0


def test_too_large_for_memory():
    shape = ["--batch", 10**8, "--heads", "4096/4096", "--key-dim", 1024, "--value-dim", 1024]
    message = run("bench", "--op", "recurrent", *shape, code=1)
    assert message == "gdn: not enough memory for gdn bench with these sizes\n"


def with_tensors(inputs, tmp_path, **changed):
    """A file of the inputs with some changed, and those of value None missing."""
    arrays = {**inputs[1], **changed}
    path = tmp_path / "changed.safetensors"
    save_file({name: a for name, a in arrays.items() if a is not None}, path)
    return path


def test_no_tensor_is_ignored(inputs, tmp_path):
    out = tmp_path / "out"
    heads = np.zeros(4, np.float32)
    misspelt = with_tensors(inputs, tmp_path, beta=None, Beta=inputs[1]["beta"])
    message = run("run", misspelt, out, code=1)
    assert '"Beta" is not a tensor that is read; those are q, k, v, g, beta, A_log' in message
    for name in ("A_log", "dt_bias"):
        path = with_tensors(inputs, tmp_path, **{name: heads})
        assert f"{name} counts only with --gate" in run("run", path, out, code=1)
    path = with_tensors(inputs, tmp_path, A_log=heads, dt_bias=heads)
    run("run", path, out, "--gate", "--l2norm")
    assert sorted(load_file(out)) == ["final_state", "o"]


def test_options_that_need_something(inputs, tmp_path):
    path, _ = inputs
    out = tmp_path / "out"
    assert f"--gate needs A_log in {path}" in run("run", path, out, "--gate", code=1)
    bare = with_tensors(inputs, tmp_path, g=None, beta=None, A_log=np.zeros(4, np.float32))
    assert "--gate needs g in" in run("run", bare, out, "--gate", code=1)
    bare = with_tensors(inputs, tmp_path, g=None, beta=None)
    assert "--sigmoid needs beta in" in run("run", bare, out, "--sigmoid", code=1)
    assert "--allow-neg-eigval requires --sigmoid" in run(
        "run", path, out, "--allow-neg-eigval", code=2
    )
    recurrent = ["--checkpoint-every", 64, "--op", "recurrent"]
    assert "--checkpoint-every needs --op chunk" in run("run", path, out, *recurrent, code=1)
    assert run("run", path, out, "--scale", "nan", code=1).startswith("gdn: --scale is nan")
    assert run("run", path, out, "--isa", "x", code=1).startswith('gdn: --isa is "x", expected')
    assert not out.exists()


def test_an_empty_batch_is_checked_like_any_other(inputs, tmp_path):
    out = tmp_path / "out"
    empty = {name: inputs[1][name][:0] for name in ("q", "k", "v", "g", "beta", "initial_state")}
    path = with_tensors(inputs, tmp_path, cu_seqlens=None, **empty)
    run("run", path, out, "--checkpoint-every", 64)
    found = {name: a.shape for name, a in load_file(out).items()}
    state = (0, 4, 32, 48)
    assert found == {"o": (0, 100, 4, 48), "final_state": state, "checkpoints": state}
    path = with_tensors(
        inputs, tmp_path, cu_seqlens=None, **{**empty, "k": empty["k"].astype(np.float16)}
    )
    assert "k has type float16, expected float32" in run("run", path, out, code=1)


def write_header(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_a_type_of_others_is_named_and_not_a_broken_file(inputs, tmp_path):
    raw = inputs[0].read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:end]), raw[end:]
    path, out = tmp_path / "f8", tmp_path / "out"
    header["x"] = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [len(data), len(data) + 2]}
    write_header(path, header, data + b"ab")
    assert '"x" is not a tensor that is read' in run("run", path, out, code=1)
    header["q"]["dtype"] = "F8_E4M3"
    del header["x"]
    write_header(path, header, data)
    assert '"q" has the type F8_E4M3, which gdn does not know' in run("run", path, out, code=1)


def test_what_a_link_names_is_written(inputs, tmp_path):
    path, _ = inputs
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for content in (None, b"old"):
        real, link = folder / f"{content}", tmp_path / f"link_{content}"
        link.symlink_to(Path("elsewhere") / real.name)
        if content is not None:
            real.write_bytes(content)
            real.chmod(0o640)
        run("run", path, link, "--l2norm")
        assert link.is_symlink() and sorted(load_file(real)) == ["final_state", "o"]
        if content is not None:
            assert real.stat().st_mode & 0o777 == 0o640
    assert len(list(folder.iterdir())) == 2, "nothing else is left there"


def test_a_pipe_is_written_as_it_stands(inputs, tmp_path):
    path, _ = inputs
    run("run", path, tmp_path / "file", "--l2norm")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    try:
        run("run", path, pipe, "--l2norm")
        assert pipe.is_fifo()
        assert reader.communicate(timeout=60)[0] == (tmp_path / "file").read_bytes()
    finally:
        reader.kill()
        reader.wait()
    stdout = subprocess.run([COMMAND, "run", path, "/dev/stdout", "--l2norm"], capture_output=True)
    assert stdout.returncode == 0 and stdout.stdout == (tmp_path / "file").read_bytes()
    assert b"final_state" in stdout.stderr


def test_the_input_is_no_output(inputs, tmp_path):
    path, _ = inputs
    before = path.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(path)
    for out in (path, link):
        assert f"{out} is the input" in run("run", path, out, code=1)
    assert path.read_bytes() == before


def test_a_failure_leaves_nothing_behind(inputs, tmp_path):
    path, _ = inputs
    out = tmp_path / "out"
    out.write_bytes(b"old")
    limited = f"ulimit -f 1; '{COMMAND}' run '{path}' '{out}' --l2norm"
    result = subprocess.run(["bash", "-c", f"trap '' XFSZ; {limited}"], capture_output=True)
    assert result.returncode == 1 and b"cannot write" in result.stderr
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.safetensors", "out"]
