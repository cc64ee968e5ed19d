"""Checks that an idea has one word: finds spellings that another word has replaced.

Usage: words.py ROOT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# The word -> other spellings of it, as regular expressions without regard to case.
WORDS = {
    "allow_neg_eigval": r"(?<!allow[_-])neg[_-]eig|negative_eig|neg_eigen",
    "num_accepted_tokens": r"(?<!num_)accepted_tokens|num_accepted(?!_tokens)",
    "fused_gdn_gating": r"(?<!fused)(?<!fused_)gdn_?gating",
    "causal_conv1d_fwd": r"causal_?conv1d_?fn",
    "chunk": r"\b(fwd|prefill|fused)_test|(--op[ =,\"]+|Operation::)(fwd|prefill|fused)\b",
    "recurrent": r"\b(kDecode\b|decode_(test|scenario|refusals))|(--op[ =,\"]+|Operation::)decode\b"
    r"|\"decode\"|--case decode\b|(semantics|hard), decode\b",
    "src/core": r"\bsrc/problem\b",
    "cases": r"\btests/cases\b",
}
# Files in which another spelling is meant: the name that users of another library expect, or a
# use (decode, one token for each sequence) and not the operation that serves it.
ALIASES = {
    "causal_conv1d_fwd": {
        "bench/gpu/vllm_sources.py",
        "bench/gpu/vllm_vs_triton.py",
        "docs/api/python.md",
        "docs/conventions.md",
        "docs/integrations.md",
        "docs/start/engine.md",
        "python/gdn/_layer.py",
        "python/gdn/integrations/_vllm_cuda.py",
        "python/gdn/integrations/_vllm_cuda_switch.py",
        "tests/python/gpu/test_gpu_vllm.py",
        "tests/python/integrations/test_vllm_cuda.py",
        "tests/python/integrations/test_vllm_cuda_switch.py",
        "tests/python/test_conv_forms.py",
        "tests/python/test_layer.py",
        "tests/python/test_package.py",
    },
    "recurrent": {
        "bench/decode_vs_peers.py",
        "bench/gpu/prefill_vs_peer.py",
        "bench/gpu/vllm_vs_triton.py",
        "bench/plot.py",
        "python/gdn/integrations/_sglang_kernel.py",
        "python/gdn/integrations/sglang.py",
        "tests/python/gpu/test_gpu_vllm.py",
        "tests/python/integrations/test_sglang.py",
    },
}
FOLDERS = (
    "bench", "cases", "cmake", "docs", "examples", "include", "python", "scripts", "src", "tests",
    "tools",
)  # fmt: skip
TOP = (
    "CHANGELOG.md",
    "CMakeLists.txt",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "pyproject.toml",
)
# What was measured and tried stands as it was written then.
HISTORY = re.compile(r"docs/(lab|figures)/")
SUFFIXES = {
    ".h", ".hpp", ".c", ".cc", ".cu", ".cuh", ".py", ".pyi", ".md", ".txt", ".cmake", ".sh",
    ".json",
}  # fmt: skip


def sources(root: Path) -> list[Path]:
    """Files that people write, but for this one."""
    found = [root / name for name in TOP]
    for folder in FOLDERS:
        found += [p for p in (root / folder).rglob("*") if p.suffix in SUFFIXES and p.is_file()]
    return sorted(p for p in found if p != Path(__file__).resolve())


def check(path: str, text: str) -> list[str]:
    """Other spellings in one file."""
    problems = []
    for word, others in WORDS.items():
        if path in ALIASES.get(word, ()):
            continue
        for found in re.finditer(others, text, re.IGNORECASE):
            line = text.count("\n", 0, found.start()) + 1
            problems.append(f"{path}:{line}: {found[0]!r}, expected the word {word}")
    return problems


def main(root: str) -> int:
    """Print the second spellings; 1 if there are any."""
    top = Path(root).resolve()
    problems, count = [], 0
    for file in sources(top):
        path = file.relative_to(top).as_posix()
        if not HISTORY.match(path):
            problems += check(path, file.read_text(errors="replace"))
            count += 1
    if count < 200:
        problems.append(f"only {count} files were found below {top}")
    print("\n".join(problems) or f"one word an idea in {count} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
