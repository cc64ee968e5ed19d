"""Threads, backends and instruction sets, and the interpreter lock."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from support import relative_error, tensors, values

import gdn


def test_info():
    info = gdn.info()
    names = [backend["name"] for backend in info["backends"]]
    assert info["version"] == gdn.__version__
    assert "reference" in names and info["backend"] in names
    assert info["reason"].endswith(".") and info["threads"] >= 1
    chosen = next(b for b in info["backends"] if b["name"] == info["backend"])
    assert {"name": info["isa"], "supported": True} in chosen["isas"]


def test_every_code_path_by_name():
    inputs = tensors("bf16", tokens=130, dk=64, dv=64)
    with gdn.use(backend="reference"):
        assert gdn.info()["backend"] == "reference"
        expected, state = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True)
    ran = 0
    for backend in gdn.info()["backends"]:
        for isa in backend["isas"]:
            if not isa["supported"] or backend["name"] in ("ascend", "cuda"):
                continue
            with gdn.use(backend=backend["name"], isa=isa["name"]):
                info = gdn.info()
                assert (info["backend"], info["isa"]) == (backend["name"], isa["name"])
                o, s = gdn.chunk_gated_delta_rule(*inputs, output_final_state=True)
            assert relative_error(o, values(expected)) < 6e-3
            assert relative_error(s, values(state)) < 6e-3
            ran += 1
    assert ran >= 1


def test_use_refuses_and_restores():
    before = gdn.info()
    for wrong in (dict(backend="tpu"), dict(isa="mmx"), dict(threads=-1), dict(threads=1025)):
        with pytest.raises(ValueError, match=next(iter(wrong))), gdn.use(**wrong):
            pass
    for wrong in (
        dict(backend=1), dict(isa=2), dict(threads="2"), dict(threads=True), dict(threads=2.0),
        dict(no_split=1),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=next(iter(wrong))), gdn.use(**wrong):
            pass
    assert gdn.info() == before
    with pytest.raises(KeyError), gdn.use(backend="reference", threads=1):
        raise KeyError
    assert gdn.info() == before


def test_use_nests_and_belongs_to_its_thread():
    seen = []
    with gdn.use(threads=3):
        with gdn.use(backend="reference"):
            assert gdn.get_num_threads() == 3
            other = threading.Thread(target=lambda: seen.append(gdn.info()))
            other.start()
            other.join()
            assert gdn.info()["backend"] == "reference"
        assert gdn.info()["backend"] == seen[0]["backend"]
        assert gdn.get_num_threads() == 3
    assert seen[0]["threads"] == gdn.get_num_threads()


def test_set_num_threads():
    default = gdn.get_num_threads()
    try:
        gdn.set_num_threads(3)
        assert gdn.get_num_threads() == 3
        seen = []
        other = threading.Thread(target=lambda: seen.append(gdn.get_num_threads()))
        other.start()
        other.join()
        assert seen == [3], "holds for the whole process"
    finally:
        gdn.set_num_threads(0)
    assert gdn.get_num_threads() == default
    for wrong, error in (
        (-1, ValueError),
        (1025, ValueError),
        (2**40, ValueError),
        (1.5, TypeError),
        ("2", TypeError),
    ):
        with pytest.raises(error, match="num_threads"):
            gdn.set_num_threads(wrong)
    try:
        gdn.set_num_threads(1024)
        assert gdn.get_num_threads() == 1024
    finally:
        gdn.set_num_threads(0)


def test_environment():
    program = "import gdn; i = gdn.info(); print(i['backend'], i['isa'], i['threads'])"
    backend = gdn.info()["backend"]
    for environment, expected in (
        ({"GDN_BACKEND": "reference"}, {0: "reference", 1: "f64"}),
        ({"GDN_NUM_THREADS": "5"}, {0: backend, 2: "5"}),
    ):
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        found = result.stdout.split()
        assert {i: found[i] for i in expected} == expected, result.stderr


def test_where_threads_come_from():
    """Torch has an OpenMP runtime; without torch there is none; both give the same bits."""
    program = (
        "import sys; sys.modules['torch'] = None; import gdn; print(gdn.info()['threads_from'])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found == "pool"
    inputs = tensors("bf16", batch=2, tokens=130, hk=2, hv=4, dk=64, dv=64)
    results = {}
    for source in ("", "openmp", "pool"):
        with gdn.use(threads=3, threads_from=source, backend="cpu"):
            assert gdn.info()["threads_from"] == (source or "openmp")
            results[source] = gdn.chunk_gated_delta_rule(*inputs)[0]
    assert torch.equal(results["pool"], results["openmp"])
    assert torch.equal(results["pool"], results[""])
    wrong = pytest.raises(ValueError, match='threads_from is "host", expected pool or openmp')
    with wrong, gdn.use(threads_from="host"):
        pass
    with pytest.raises(TypeError, match="threads_from"), gdn.use(threads_from=1):
        pass


def test_threads_follow_torch_unless_they_are_set():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with gdn.use(threads_from="openmp", backend="cpu"):
            assert gdn.get_num_threads() == 1
            with gdn.use(threads=2):
                assert gdn.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_cuda_backend_can_be_named():
    """Naming it asks for no GPU; arrays on the CPU are refused then."""
    if "cuda" not in [backend["name"] for backend in gdn.info()["backends"]]:
        pytest.skip("built without the CUDA backend")
    with gdn.use(backend="cuda"):
        assert gdn.info()["backend"] == "cuda"
        with pytest.raises(ValueError, match="cannot read tensors on"):
            gdn.l2norm(torch.ones(2, 8, device="cpu"))


def test_lock_is_released_while_kernels_run():
    """A Python thread makes progress during one long call."""
    inputs = tensors("f32", batch=1, tokens=16384, hk=2, hv=2, dk=128, dv=128)
    stamps, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            stamps.append(time.perf_counter())
            time.sleep(0.0005)

    ticker = threading.Thread(target=tick)
    with gdn.use(backend="reference", threads=1):
        ticker.start()
        try:
            time.sleep(0.05)
            begin = time.perf_counter()
            gdn.chunk_gated_delta_rule(*inputs)
            end = time.perf_counter()
        finally:
            stop.set()
            ticker.join()
    during = [s for s in stamps if begin < s < end]
    assert end - begin > 0.05, "the call is long enough to tell"
    gaps = [b - a for a, b in zip([begin, *during], [*during, end], strict=True)]
    assert max(gaps) < 0.5 * (end - begin), "no gap as long as the call"


def test_calls_from_several_threads():
    problems = [tensors("bf16", tokens=100 + 17 * i, seed=i) for i in range(4)]
    expected = [gdn.chunk_gated_delta_rule(*x, output_final_state=True) for x in problems]
    failures = []

    def work(i):
        for _ in range(10):
            o, state = gdn.chunk_gated_delta_rule(*problems[i], output_final_state=True)
            if not (torch.equal(o, expected[i][0]) and torch.equal(state, expected[i][1])):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
