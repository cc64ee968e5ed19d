"""Runs every benchmark program of this folder, one after the other, then draws the plots."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = ("prefill_vs_peers.py", "decode_vs_peers.py", "layer_vs_copy.py", "plot.py")


def main() -> None:
    """Run all; stop at the first failure."""
    argparse.ArgumentParser(
        description=__doc__, epilog=f"In this order: {', '.join(PROGRAMS)}."
    ).parse_args()
    for program in PROGRAMS:
        print(f"== bench/{program}", flush=True)
        subprocess.run([sys.executable, str(HERE / program)], check=True, cwd=HERE.parent)


if __name__ == "__main__":
    main()
