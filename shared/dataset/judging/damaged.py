"""Text that was damaged on its way, before it came here: by its marks in UTF-8. Called by `checker` and `tally`."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LOST = re.compile(rb"\xef\xbf\xbd")
_CODE = re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")  # U+0085 is a line's end, to some
_TWICE = re.compile(rb"\xc3(?:[\x82\x83]\xc2[\x80-\xbf]|\xa2\xe2\x82\xac)")


_BEGIN = ((b"\xef", _LOST), (b"\xc2", _CODE), (b"\xc3", _TWICE))
_FEW = 64


def suspect(block: bytes) -> bool:
    """Whether a block of bytes has a mark of damage anywhere."""
    return any(_has(block, first, pattern) for first, pattern in _BEGIN)


def _has(block: bytes, first: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Whether the pattern is there, which begins with that byte. A byte is found ten times faster than a pattern, as
    long as there are few of it."""
    at = block.find(first)
    for _ in range(_FEW):
        if at < 0 or pattern.match(block, at):
            return at >= 0
        at = block.find(first, at + 1)
    return at >= 0 and pattern.search(block, at) is not None


def damaged(rows: list[bytes]) -> Iterator[tuple[int, str]]:
    """The rows that show damage, by their index, with what shows it."""
    for at, row in enumerate(rows):
        if row.isascii():
            continue
        if found := _CODE.search(row):
            yield at, f"it has U+{ord(found[0].decode()):04X}, a code that no text has: it was read in a wrong encoding"
        elif found := _TWICE.search(row):
            shown = row[found.start() :][:8].decode(errors="ignore")[:3]
            yield at, f"it has {shown!r}, which is UTF-8 that was read as Windows-1252"
        elif _LOST.search(row):
            yield at, "it has U+FFFD, which stands where a character was lost"
