"""Tests the tests: seeds one bug at a time into a copy of the sources and requires a failure.

    run.py [--build DIR] [--every-isa] [NAME-PART]

The copy is built with the generic instruction set alone, or with all of them: then a bug counts as
caught if the tests of each one that this machine runs fail. Exit status 0 if every bug was caught.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from mutations import MUTATIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPIED = ("CMakeLists.txt", "cases", "cmake", "include", "src", "tests")
# A test that ran, and the code path in its name.
OUTCOME = re.compile(r"^\[ +(OK|FAILED) +\] \S*?(cpu_[a-z0-9]+)", re.M)


def run(command, **options):
    """Runs a command quietly; returns the finished process with its output."""
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def fail(text, output=""):
    """Ends the program: something other than a test is wrong."""
    sys.exit(f"{output[-4000:]}\nmutation: {text}")


class Copy:
    """A copy of the sources and its build."""

    def __init__(self, folder):
        self.source = folder / "source"
        self.build = folder / "build"
        self.update()

    def update(self):
        """Makes the sources those of the tree. A file that differs, such as one that an earlier run
        left with a bug in it, becomes newer than what was built from it; no other file does."""
        wanted = set()
        for name in COPIED:
            item = ROOT / name
            for file in [item] if item.is_file() else item.rglob("*"):
                if not file.is_file():
                    continue
                copy = self.source / file.relative_to(ROOT)
                wanted.add(copy)
                if not copy.exists() or copy.read_bytes() != file.read_bytes():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, copy)
        for copy in self.source.rglob("*"):
            if copy.is_file() and copy not in wanted:
                copy.unlink()

    def configure(self, every_isa):
        """Configures a build without the parts that no mutation needs."""
        command = ["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja"]
        command += ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"]
        command += [f"-DGDN_CPU_GENERIC_ONLY={'OFF' if every_isa else 'ON'}"]
        command += [f"-DGDN_CPU_AMX_EMULATE={'ON' if every_isa else 'OFF'}"]
        command += ["-DGDN_BUILD_TESTS=ON", "-DGDN_BUILD_TOOLS=OFF", "-DGDN_CUDA=OFF"]
        command += ["-DGDN_ASCEND=OFF"]
        done = run(command)
        if done.returncode != 0:
            fail("cmake failed", done.stdout)

    def make(self, mutations):
        """Builds the programs that these mutations name."""
        programs = sorted({pathlib.Path(m.test[0]).name for m in mutations})
        return run(["cmake", "--build", self.build, "--target", *programs])

    def test(self, program, pattern):
        """Runs the tests that match a pattern."""
        command = [self.build / "tests" / program, f"--gtest_filter={pattern}"]
        return run(command, timeout=300)

    def apply(self, mutation):
        """Seeds a bug. Returns the file and its text before."""
        path = self.source / mutation.file
        before = path.read_text()
        found = before.count(mutation.old)
        if found != 1:
            fail(f"{mutation.name}: its text occurs {found} times in {mutation.file}, not once")
        path.write_text(before.replace(mutation.old, mutation.new))
        return path, before


def check(copy, mutation):
    """Returns whether the bug was caught, and in which words to say so."""
    path, before = copy.apply(mutation)
    try:
        built = copy.make([mutation])
        if built.returncode != 0:
            fail(f"{mutation.name}: the mutated source does not compile", built.stdout)
        try:
            done = copy.test(*mutation.test)
        except subprocess.TimeoutExpired:
            return True, "caught (the test hung)"
        if done.returncode == 0:
            return False, "NOT CAUGHT"
        if done.returncode != 1:
            return True, f"caught (the test ended with {done.returncode})"
        outcomes = set(OUTCOME.findall(done.stdout))
        failed = {isa for verdict, isa in outcomes if verdict == "FAILED"}
        escaped = {isa for _, isa in outcomes} - failed
        if escaped:
            return False, f"NOT CAUGHT on {', '.join(sorted(escaped))}"
        return True, "caught"
    finally:
        path.write_text(before)


def check_texts(mutations):
    """Fails unless each mutation's text stands exactly once in its file."""
    for m in mutations:
        found = (ROOT / m.file).read_text().count(m.old)
        if found != 1:
            fail(f"{m.name}: its text occurs {found} times in {m.file}, expected once")
    print(f"the texts of {len(mutations)} mutations stand once each")


def main():
    """Runs all mutations, or those whose name contains the argument."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "mutation")
    parser.add_argument("--every-isa", action="store_true")
    parser.add_argument("--texts", action="store_true", help="only look for what would be changed")
    parser.add_argument("name", nargs="?", default="")
    arguments = parser.parse_args()
    os.environ["GDN_TEST_BACKEND"] = "cpu"
    chosen = [m for m in MUTATIONS if arguments.name in m.name]
    if not chosen:
        fail(f"no mutation is called {arguments.name!r}")
    check_texts(chosen)
    if arguments.texts:
        return

    start = time.monotonic()
    copy = Copy(arguments.build)
    copy.configure(arguments.every_isa)
    built = copy.make(chosen)
    if built.returncode != 0:
        fail("the sources do not compile", built.stdout)
    for test in sorted({m.test for m in chosen}):
        clean = copy.test(*test)
        if clean.returncode != 0:
            fail(f"{test[0]} {test[1]} fails without any mutation", clean.stdout)
        if "[  PASSED  ] 0 tests" in clean.stdout:
            fail(f"{test[0]} {test[1]} matches no test")
    print(f"unmutated: passes ({time.monotonic() - start:.0f} s)", flush=True)

    escaped = 0
    for mutation in chosen:
        begin = time.monotonic()
        caught, verdict = check(copy, mutation)
        escaped += not caught
        print(f"{mutation.name}: {verdict} ({time.monotonic() - begin:.0f} s)", flush=True)
    total = time.monotonic() - start
    print(f"{len(chosen) - escaped} of {len(chosen)} mutations caught, {total:.0f} s")
    sys.exit(escaped > 0)


if __name__ == "__main__":
    main()
