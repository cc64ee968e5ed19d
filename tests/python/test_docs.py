"""The programs that pages show to users run as they stand."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gdn

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md", "docs/start/python.md", "docs/start/engine.md", "docs/start/c.md",
    "docs/integrations.md",
)  # fmt: skip


def programs(language):
    """(page, text) of the fenced blocks in a language."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        found += [(page, b) for b in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]
    return found


@pytest.mark.parametrize("page", sorted({page for page, _ in programs("python")}))
def test_python(page, tmp_path):
    text = "".join(block for of, block in programs("python") if of == page)
    subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path, timeout=300)


@pytest.mark.parametrize("language, compiler", [("c", "cc"), ("cpp", "c++")])
def test_compiled(language, compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    folder = gdn.get_library_dir()
    standard = {"c": "-std=c11", "cpp": "-std=c++20"}[language]
    for page, text in programs(language):
        source = tmp_path / f"example.{language}"
        source.write_text(text)
        program = tmp_path / "example"
        subprocess.run(
            [compiler, standard, "-Wall", f"-I{gdn.get_include()}", str(source), f"-L{folder}",
             "-lgdn", f"-Wl,-rpath,{folder}", "-o", str(program)],
            check=True,
        )  # fmt: skip
        result = subprocess.run([program], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, (page, result.stdout)
        if page == "docs/start/c.md" and language == "c":
            assert "o begins with 0.125" in result.stdout
