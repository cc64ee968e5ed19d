"""Threads, backends and instruction sets."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from gdn import _C, _checks

version: str = _C.version()


def _thread_count(name: str, n: Any) -> int:
    count = _checks.integer(name, n, "an integer")
    if not 0 <= count <= _C.MAX_THREADS:
        raise ValueError(f"{name}: expected 0 (the default) to {_C.MAX_THREADS}, found {count}.")
    return count


def set_num_threads(num_threads: int) -> None:
    """Set the number of threads of CPU calls, for the whole process.

    Args:
        num_threads: 1 to 1024; 0 restores the default (the environment variable GDN_NUM_THREADS,
            else the processors that the process may use, and no more than
            ``torch.set_num_threads`` allows where threads come from torch's OpenMP runtime). No
            result depends on it.

    Raises:
        TypeError, ValueError: not an integer, or out of range.
    """
    _C.set_process_threads(_thread_count("num_threads", num_threads))


def get_num_threads() -> int:
    """Return the number of threads that a CPU call of this thread uses at most."""
    return _C.max_threads()


def info() -> dict[str, Any]:
    """Describe the library and what a CPU call of this thread would run on.

    Returns:
        A dictionary with ``version``; ``backends``, a list in which each has ``name`` and ``isas``,
        its instruction sets, slowest first, with ``name`` and ``supported``; and the choice:
        ``backend``, ``isa``, ``reason`` (a sentence), ``threads`` and ``threads_from``: "openmp",
        the OpenMP runtime that torch brings into the process, or "pool", the library's own.
    """
    return _C.describe()


@contextlib.contextmanager
def use(
    backend: str | None = None,
    isa: str | None = None,
    *,
    threads: int | None = None,
    threads_from: str | None = None,
    no_split: bool | None = None,
) -> Iterator[None]:
    """Force how calls of this thread run, inside a ``with`` block.

    For eager code: put it around a function of torch.compile, not inside one.

    Args:
        backend: name of a backend (see ``info()``), for example "reference" or "cpu".
        isa: name of one of its instruction sets.
        threads: number of threads of CPU calls; 0 for the default.
        threads_from: where they come from, "pool" or "openmp" (see ``info()``), or "" for the
            default: the environment variable GDN_THREADS_FROM, else openmp if the process has one.
        no_split: never split one sequence for parallelism, so that a prefill cut at multiples of
            64 tokens and resumed from its float32 state is bitwise the same on "cpu" and "cuda".
            What is None stays as it was. Blocks nest.

    Raises:
        ValueError: no such backend or instruction set, or this machine cannot run it; no such
            threads, or the process has none.
        TypeError: an argument of another type; no_split is True or False.
    """
    before = _C.get_settings()
    now = list(before)
    for name, value in (("backend", backend), ("isa", isa), ("threads_from", threads_from)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name}: expected a string or None, got {type(value).__name__}.")
    if backend is not None:
        now[0], now[1] = backend, ""
    if isa is not None:
        now[1] = isa
    if threads_from is not None:
        now[2] = threads_from
    if threads is not None:
        now[3] = _thread_count("threads", threads)
    if no_split is not None:
        now[4] = _checks.switch("no_split", no_split)
    _C.set_settings(*now)
    try:
        yield
    finally:
        _C.set_settings(*before)


def get_include() -> str:
    """Return the folder of the C headers that came with the package (gdn/, dlpack/)."""
    return str(pathlib.Path(__file__).parent / "include")


def get_library_dir() -> str:
    """Return the folder of the shared library that the package uses, for C programs.

    They link with ``-L<folder> -lgdn -Wl,-rpath,<folder>``. ``libgdn.so`` there is a linker script
    (a wheel holds no symbolic links); a program that loads the library itself opens
    ``libgdn.so.0``.
    """
    return str(pathlib.Path(__file__).parent / "lib")
