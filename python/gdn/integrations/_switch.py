"""What the switches of hooked libraries share: versions that are known, and a with-block."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator

Release = tuple[int, ...]
Range = tuple[Release, Release]
"""The first and the last release that are served."""


def release_of(version: str, parts: int) -> Release:
    """The first `parts` numbers of a version."""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:parts])


def text_of(release: Release) -> str:
    """A release as people write it."""
    return ".".join(map(str, release))


def check_version(name: str, module: str, *supported: Range) -> None:
    """Refuse a library that is missing or whose release, major and minor, lies in no range."""
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"{name} is not installed")
    version = importlib.import_module(module).__version__
    found = release_of(version, 2)
    if not any(first <= found <= last for first, last in supported):
        ranges = " and ".join(f"{text_of(first)} to {text_of(last)}" for first, last in supported)
        raise ImportError(
            f"{name} {version} is not supported by this libgdn (supported: {ranges}); nothing was "
            "changed"
        )


@contextlib.contextmanager
def switched_on(
    enable: Callable[[], None], disable: Callable[[], None], is_enabled: Callable[[], bool]
) -> Iterator[None]:
    """A context in which a switch is on; leaves it as it found it."""
    before = is_enabled()
    enable()
    try:
        yield
    finally:
        if not before:
            disable()
