"""Checks which folder includes which: api -> core, reference, cpu, cuda, ascend -> core.

A backend is no more than a folder: the list of backends is made by CMake, so the api names none.

Usage: arrows.py ROOT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# Folder of src/ -> folders that its files may include. "gdn" is the public header.
SOURCE = {
    "api": {"api", "core", "gdn", "dlpack"},
    "core": {"core", "dlpack"},
    "reference": {"reference", "core"},
    "cpu": {"cpu", "core"},
    "cuda": {"cuda", "core"},
    "ascend": {"ascend", "core"},
}
# Everything outside src/ sees the public header and the test cases, never a folder of src/.
OUTSIDE = ("tools", "cases", "tests", "python", "bench", "examples")
# Programs about a part that the public header does not reach, and the folder of src/ they may see.
UNIT_PROGRAMS = {
    "tests/pool_test.cc": "cpu",
    "tests/toy_backend/toy/backend.cc": "core",
    "tests/toy_backend/toy/backend.h": "core",
    "tests/ascend/device_test.cc": "ascend",
    "tests/ascend/exact.h": "ascend",
    "tests/ascend/expected_calls.h": "ascend",
    "tests/ascend/faults_test.cc": "ascend",
    "tests/ascend/findings_test.cc": "ascend",
    "tests/ascend/halves_test.cc": "ascend",
    "tests/ascend/inverse_test.cc": "ascend",
    "tests/ascend/primitives_test.cc": "ascend",
    "tests/ascend/problems.h": "ascend",
    "tests/ascend/swap_slots.h": "ascend",
    "tests/gpu/plan_test.cu": "cuda",
    "tests/gpu/segments_test.cc": "cuda",
    "bench/pool_wake.cc": "cpu",
    "tools/peak.cc": "cpu",
}
SUFFIXES = {".h", ".hpp", ".c", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def files(folder: Path) -> list[Path]:
    """C and C++ sources below a folder."""
    return sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)


def check_source(root: Path) -> list[str]:
    """Every include of src/ that names another folder is an allowed arrow."""
    problems = []
    for folder, allowed in SOURCE.items():
        for path in files(root / "src" / folder):
            for name in INCLUDE.findall(path.read_text()):
                target, _, rest = name.partition("/")
                place = f"{path.relative_to(root)} includes {name}"
                if target in (".", ".."):
                    problems.append(f"{place}: expected a path from src/")
                elif target in SOURCE.keys() | {"gdn", "dlpack"} and rest and target not in allowed:
                    problems.append(f"{place}: {folder} may include {', '.join(sorted(allowed))}")
    return problems


def check_outside(root: Path) -> list[str]:
    """Nothing outside src/ includes a file of src/."""
    problems = []
    for folder in OUTSIDE:
        for path in files(root / folder):
            for name in INCLUDE.findall(path.read_text()):
                parts = name.split("/")
                if UNIT_PROGRAMS.get(str(path.relative_to(root))) == parts[0]:
                    continue
                inside = parts[0] in SOURCE and (root / "src" / name).exists()
                if inside or "src" in parts[:-1] or ".." in parts:
                    problems.append(f"{path.relative_to(root)} includes {name}: not public")
    return problems


def check_public(root: Path) -> list[str]:
    """A public header includes public headers, DLPack and the standard library."""
    problems = []
    for path in files(root / "include"):
        for name in INCLUDE.findall(path.read_text()):
            if "/" in name and name.split("/")[0] not in {"gdn", "dlpack"}:
                problems.append(f"{path.relative_to(root)} includes {name}")
    return problems


def main(root: str) -> int:
    """Print the wrong arrows; 1 if there are any."""
    top = Path(root)
    unknown = [
        f"src/{p.name} is not in the table of arrows"
        for p in sorted((top / "src").iterdir())
        if p.is_dir() and p.name not in SOURCE
    ]
    problems = unknown + check_source(top) + check_outside(top) + check_public(top)
    count = sum(len(files(top / "src" / folder)) for folder in SOURCE)
    if count < 50:
        problems.append(f"only {count} sources were found below {top / 'src'}")
    print("\n".join(problems) or f"the arrows between folders hold in {count} sources")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
