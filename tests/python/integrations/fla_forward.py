"""A pytest plugin that runs flash-linear-attention's own tests with libgdn in FLA's place.

    PYTHONPATH=tests/python/integrations pytest -p fla_forward FLA/tests/ops/test_gdn.py

FLA/ is a checkout of its sources; the package itself is installed. There is no backward pass, so
gradients are switched off, backward() does nothing, and gradients that are then absent on both
sides are not compared. Outputs and states are, by FLA's own tolerances.
"""

import functools

import torch


def _unless_absent(check):
    @functools.wraps(check)
    def run(name, expected, found, *args, **kwargs):
        if expected is not None or found is not None:
            check(name, expected, found, *args, **kwargs)

    return run


def pytest_configure(config):
    """Before the test module takes FLA's names."""
    import fla.utils

    import gdn.integrations.fla as hook

    hook.enable()
    if not torch.cuda.is_available():
        fla.utils.device = "cpu"
    fla.utils.assert_close = _unless_absent(fla.utils.assert_close)
    torch.set_grad_enabled(False)
    torch.Tensor.backward = lambda *args, **kwargs: None


def pytest_terminal_summary(terminalreporter):
    """What shows that libgdn ran."""
    import gdn.integrations.fla as hook

    terminalreporter.write_line(f"calls of libgdn: {dict(hook.calls)}")
