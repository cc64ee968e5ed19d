"""Checks that adding an operation touches few files: its name occurs in at most 12 of them.

Counted is the code of the library, its headers, the Python package and the command, without what is
the operation itself (kernels and the reference), without the adapters to other projects, which call
operations as any program does, and without comments. The names come from the list in
src/core/operations.h.

Usage: operation_places.py ROOT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LIMIT = 12
FOLDERS = ("cmake", "include", "python", "src", "tools")
# An operation's own code, and callers.
LEFT_OUT = (
    "src/ascend/device",
    "src/ascend/kernels",
    "src/ascend/operations",
    "src/reference",
    "src/cpu/kernels",
    "src/cpu/amx",
    "src/cuda/device",
    "src/cuda/sm80",
    "src/cuda/sm90",
    "python/gdn/integrations",
)
SUFFIXES = {".c", ".cc", ".cmake", ".cu", ".cuh", ".h", ".hpp", ".py", ".pyi", ".txt"}
COMMENT = {
    ".py": re.compile(r'"""(?:.|\n)*?"""|#.*'),
    ".pyi": re.compile(r'"""(?:.|\n)*?"""|#.*'),
    ".cmake": re.compile(r"#.*"),
    ".txt": re.compile(r"#.*"),
}
C_COMMENT = re.compile(r"/\*(?:.|\n)*?\*/|//.*")
ROW = re.compile(r"^ +OP\(([a-z0-9_]+), ", re.M)


def operations(root: Path) -> list[str]:
    """Names in the list of operations."""
    return ROW.findall((root / "src/core/operations.h").read_text())


def product_files(root: Path) -> dict[str, str]:
    """Texts of the files that count, by path."""
    texts = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix in SUFFIXES and not name.startswith(tuple(f"{f}/" for f in LEFT_OUT)):
                comment = COMMENT.get(path.suffix, C_COMMENT)
                texts[name] = comment.sub("", path.read_text())
    return texts


def main(root: str) -> int:
    """Print the operations with too many places; 1 if there are any."""
    top = Path(root)
    names = operations(top)
    texts = product_files(top)
    problems = []
    most = 0
    for name in names:
        # As a word, or as part of gdn_NAME, gdn_NAME_args and gdn_NAME_workspace_size; a path into
        # a folder of its name is part of the kernel that lies there.
        word = re.compile(rf"\b(gdn_)?{name}(_args|_workspace_size)?\b(?!/)")
        places = [path for path, text in texts.items() if word.search(text)]
        most = max(most, len(places))
        if len(places) > LIMIT:
            problems.append(f"{name} is named in {len(places)} files: {', '.join(places)}")
    if len(names) < 13 or most < 3:
        problems.append(f"only {len(names)} operations in at most {most} files were found")
    print("\n".join(problems) or f"an operation of {len(names)} is named in at most {most} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
