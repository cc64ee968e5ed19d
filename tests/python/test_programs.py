"""Programs of the repository: what they say to a wrong argument, and to --help."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo():
    """The demo as a module."""
    before = dict(os.environ)
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["demo"]
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere"], "--model nowhere: there is no config.json"),
        (["--text", "nowhere"], "--text nowhere: No such file or directory"),
        (["--tokens", "100000000"], "--tokens asks for 100000000 tokens, the text has "),
        (["--lengths", "100000000"], "--lengths asks for 100000000 tokens, the text has "),
        (["--device", "tpu"], "--device tpu: expected cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], "--device cuda:99: torch finds "),
    ],
)
def test_demo_says_what_is_missing(demo, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        demo.load(demo.arguments())
    text = str(caught.value.code)
    assert text.startswith(f"demo.py: {message}") and "\n" not in text


def test_demo_loads_its_model(demo, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    model, _, ids = demo.load(demo.arguments())
    assert ids.shape[1] >= 8192 and next(model.parameters()).dtype is torch.float32


@pytest.mark.parametrize("program", ["run.py", "plot.py", "gpu/plot_gpu.py"])
def test_help_does_nothing_else(program, tmp_path):
    path = ROOT / "bench" / program
    result = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert result.returncode == 0 and result.stdout.startswith("usage: ")
    assert list(tmp_path.iterdir()) == []
