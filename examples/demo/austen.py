"""The training text: Jane Austen's six novels, as Debian's package r-cran-janeaustenr ships them.

The novels (1811 to 1818) are in the public domain; the package around them is MIT-licensed
(see models/demo/NOTICE). Debian stores them as R objects: each record of the file Rdata.rdb is a
four-byte big-endian length and a zlib stream, and each stream is one character vector in R's
XDR serialization. Reading that takes the few lines below and no R.
"""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from pathlib import Path

PACKAGE = "r-cran-janeaustenr"
RDB = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"

# Characters at the end of Persuasion that training never sees.
HELD_OUT = 60_000

_STRSXP = 16
_CHARSXP = 9


def fetch(folder: Path) -> Path:
    """Downloads and unpacks the Debian package below `folder`; returns the path of its Rdata.rdb.

    Needs apt-get and dpkg, but no root: the package is unpacked, not installed.
    """
    installed = Path("/") / RDB
    if installed.exists():
        return installed
    target = folder / RDB
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
        deb = next(folder.glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg", "-x", str(deb), str(folder)], check=True)
    return target


def _records(data: bytes) -> list[bytes]:
    """The decompressed records of a .rdb file, in order."""
    records, pos = [], 0
    while pos < len(data):
        (size,) = struct.unpack_from(">I", data, pos)
        stream = zlib.decompressobj()
        record = stream.decompress(data[pos + 4 :])
        if len(record) != size:
            raise ValueError(f"record at byte {pos}: {len(record)} bytes found, {size} expected")
        records.append(record)
        pos = len(data) - len(stream.unused_data)
    return records


def _character_vector(record: bytes) -> list[str]:
    """Parses one serialized R character vector (format X, version 2 or 3)."""
    if record[:2] != b"X\n":
        raise ValueError("not an XDR serialization")
    (version,) = struct.unpack_from(">I", record, 2)
    pos = 14
    if version == 3:  # version 3 names the native encoding
        (length,) = struct.unpack_from(">I", record, pos)
        pos += 4 + length
    flags, count = struct.unpack_from(">II", record, pos)
    if flags & 0xFF != _STRSXP:
        raise ValueError(f"R type {flags & 0xFF} found, a character vector (16) expected")
    pos += 8
    lines = []
    for _ in range(count):
        flags, length = struct.unpack_from(">Ii", record, pos)
        if flags & 0xFF != _CHARSXP:
            raise ValueError(f"R type {flags & 0xFF} found, a string (9) expected")
        pos += 8
        lines.append(record[pos : pos + max(length, 0)].decode("utf-8"))
        pos += max(length, 0)
    return lines


def _clean(lines: list[str]) -> str:
    """Joins hard-wrapped lines into paragraphs, one blank line between two of them."""
    text = "\n".join(line.rstrip() for line in lines)
    paragraphs = (" ".join(p.split()) for p in re.split(r"\n\s*\n", text))
    body = "\n\n".join(p for p in paragraphs if p)
    return body.replace("_", "").replace("\u00a3", "L")


def novels(rdb: Path) -> dict[str, str]:
    """Returns {title in capitals: cleaned text} for the six novels."""
    result = {}
    for record in _records(rdb.read_bytes()):
        lines = _character_vector(record)
        result[lines[0].strip().upper()] = _clean(lines)
    return result


def split(texts: dict[str, str]) -> tuple[str, str]:
    """Returns (training text, held-out text).

    The held-out text is the end of Persuasion, cut at a paragraph, without the word Finis.
    """
    persuasion = texts["PERSUASION"].removesuffix("Finis").rstrip()
    cut = persuasion.rindex("\n\n", 0, len(persuasion) - HELD_OUT)
    train = [text for title, text in texts.items() if title != "PERSUASION"]
    train.append(persuasion[:cut])
    return "\n\n\n".join(train) + "\n", persuasion[cut:].strip() + "\n"
