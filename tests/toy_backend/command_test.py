"""The gdn command over a backend that serves few calls: what `gdn verify` counts and says.

Usage: command_test.py COMMAND
"""

from __future__ import annotations

import json
import subprocess
import sys


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one call of the command."""
    result = subprocess.run([sys.argv[1], *arguments], capture_output=True, text=True)
    return result.returncode, result.stdout, result.stderr


def verify(*arguments: str) -> tuple[int, dict, str]:
    """The same of gdn verify on the toy backend, whose output is JSON."""
    code, out, error = run("verify", "--backend", "toy", *arguments, "--json")
    return code, json.loads(out), error


def main() -> None:
    """Run all checks."""
    # Widths up to 32 are served and right, the others are refused, which is no failure.
    code, found, error = verify("--case", "dims_", "--dtype", "f32")
    assert (code, found["failed"], error) == (0, 0, ""), (code, found, error)
    served = {row["case"]: row["served"] for row in found["results"]}
    assert served["dims_8x8"] and served["dims_16x32"]
    assert not served["dims_64x128"] and not served["dims_256x256"]
    assert found["passed"] == sum(served.values())
    assert found["not_served"] == len(served) - found["passed"]
    refused = next(row for row in found["results"] if row["case"] == "dims_64x128")
    assert not refused["passed"] and "serves multiples of 4 up to 32" in refused["failure"]

    # Nothing ran, so nothing was verified.
    code, found, error = verify("--case", "dims_192x128", "--dtype", "f32")
    assert (code, found["passed"], found["failed"], found["not_served"]) == (2, 0, 0, 1)
    assert "nothing was verified: the backend serves none of these cases" in error
    _, text, _ = run("verify", "--backend", "toy", "--case", "dims_192x128", "--dtype", "f32")
    assert "not served" in text and "FAILED" not in text, text
    assert "0 passed, 0 failed, 1 not served" in text, text

    # An instruction set that the machine lacks is refused by one sentence.
    for command in ("verify", "bench"):
        code, out, error = run(command, "--backend", "toy", "--isa", "fancy")
        assert (code, out) == (1, ""), (code, out)
        assert error == 'gdn: --isa is "fancy", which this machine cannot run.\n', error


if __name__ == "__main__":
    main()
