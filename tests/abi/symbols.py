"""What the built library exports, and that instruction-set units define no weak symbol.

Usage: symbols.py LIBRARY HEADER OBJECT...
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# A weak symbol compiled for one instruction set may be picked by the linker for the whole program.
# This one holds no code: a pointer to the personality routine of exception handling.
HARMLESS = {"DW.ref.__gxx_personality_v0"}


def defined(*arguments: str) -> list[tuple[str, str]]:
    """The (type, name) pairs that nm prints for defined symbols."""
    out = subprocess.run(
        ["nm", "--defined-only", "--format=posix", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = [line.split() for line in out.splitlines()]
    return [
        (words[1], words[0]) for words in lines if len(words) >= 2 and not words[0].endswith(":")
    ]


def check_exports(library: str, header: str) -> list[str]:
    """The library exports the functions of the header, and nothing else."""
    declared = set(re.findall(r"GDN_API [\w ]+[ *](gdn_\w+)\(", Path(header).read_text()))
    exported = {name.split("@")[0]: kind for kind, name in defined("-D", library)}
    problems = [f"{library} does not export {name}" for name in sorted(declared - set(exported))]
    for name, kind in sorted(exported.items()):
        if name not in declared:
            problems.append(f"{library} exports {name}, which gdn.h does not declare")
        elif kind != "T":
            problems.append(f"{library} exports {name} as {kind}, expected T")
    if len(declared) < 20:
        problems.append(f"only {len(declared)} functions were found in {header}")
    return problems


def check_units(objects: list[str]) -> list[str]:
    """No object of an instruction set defines a weak or unique symbol."""
    problems = []
    for path in objects:
        symbols = defined(path)
        if not symbols:
            problems.append(f"{path} defines no symbol at all")
        for kind, name in symbols:
            if kind in "WwVvu" and name not in HARMLESS:
                problems.append(f"{path} defines the weak symbol {name}")
    return problems


def main(library: str, header: str, *objects: str) -> int:
    """Print the problems; 1 if there are any."""
    problems = check_exports(library, header) + check_units(list(objects))
    print("\n".join(problems) or f"exports are right; {len(objects)} units have no weak symbol")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
