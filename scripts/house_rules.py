"""Rules that no other linter checks: ASCII, names, documented symbols, references in docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = {
    ".h", ".hpp", ".c", ".cc", ".cu", ".cuh", ".py", ".pyi", ".md", ".txt", ".cmake", ".toml",
    ".json", ".sh", ".yaml", ".yml",
}  # fmt: skip
BINARY_FOLDERS = ("models/",)


def tracked_files() -> list[str]:
    """Paths under version control that exist, relative to the root."""
    out = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [p for p in out.split("\0") if p and (ROOT / p).exists()]


def check_ascii(paths: list[str]) -> list[str]:
    """Sources and docs are plain ASCII without tabs at line ends or trailing blanks."""
    problems = []
    for path in paths:
        named = Path(path)
        is_text = named.suffix in TEXT or named.name in {"Makefile", "CMakeLists.txt", "run"}
        if not is_text or path.startswith(BINARY_FOLDERS):
            continue
        for number, line in enumerate((ROOT / path).read_bytes().split(b"\n"), 1):
            if any(byte > 126 for byte in line):
                problems.append(f"{path}:{number}: a character that is not ASCII")
            elif line != line.rstrip():
                problems.append(f"{path}:{number}: blanks at the end of the line")
    return problems


def check_names(paths: list[str]) -> list[str]:
    """No folder or file called _old: history lives in git."""
    return [f"{p}: a name that ends in _old" for p in paths if re.search(r"_old(/|\.|$)", p)]


def check_documented(header: str) -> list[str]:
    """Every function, struct and enum of the public C header has a Doxygen comment before it."""
    problems = []
    lines = (ROOT / header).read_text().split("\n")
    for number, line in enumerate(lines):
        public = re.match(r"(GDN_API|typedef (struct|enum)) .*?(\w+)", line)
        if public and not lines[number - 1].rstrip().endswith("*/"):
            problems.append(f"{header}:{number + 1}: no documentation before this symbol")
    return problems


def check_references(paths: list[str]) -> list[str]:
    """Links of the docs lead to files, and files that the docs name exist.

    The lab's text may name files of its day; placeholders hold NAME; fenced code may name any file.
    """
    problems = []
    for path in paths:
        if not path.endswith(".md"):
            continue
        text = (ROOT / path).read_text()
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in link and not (ROOT / path).parent.joinpath(link).exists():
                problems.append(f"{path}: the link {link} leads nowhere")
        if "lab/" in path:
            continue
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for name in re.findall(r"(?<![\w*.])[\w./-]*\w\.(?:h|hpp|cc|cu|cuh|py|md|json|sh)\b", text):
            name = re.sub(r"^(\.\./)+", "", name)
            known = any(p == name or p.endswith("/" + name) for p in paths)
            if not known and "NAME" not in name:
                problems.append(f"{path}: there is no file {name}")
    return problems


def main() -> int:
    """Print the problems; 1 if there are any."""
    paths = tracked_files()
    problems = check_ascii(paths) + check_names(paths) + check_references(paths)
    problems += check_documented("include/gdn/gdn.h")
    print("\n".join(problems) if problems else f"{len(paths)} files, no problem")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
