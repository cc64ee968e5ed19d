"""Tests of CUDA tensors: skipped by name where there is no GPU or no CUDA backend."""

from pathlib import Path

import pytest
import torch

import gdn

FOLDER = Path(__file__).parent


def missing() -> str | None:
    """What keeps these tests from running."""
    if "cuda" not in [backend["name"] for backend in gdn.info()["backends"]]:
        return "libgdn was built without the CUDA backend"
    return None if torch.cuda.is_available() else "no GPU"


def pytest_collection_modifyitems(items):
    why = missing()
    if why is not None:
        for item in items:
            if FOLDER in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def no_error_is_left_behind():
    """Work of a test that failed on the device shows in that test, not in a later one."""
    yield
    torch.cuda.synchronize()
