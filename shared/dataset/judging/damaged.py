"""Text that was damaged on its way, before it came here: by its marks in UTF-8. Called by `checker` and `tally`."""

from __future__ import annotations

import re

_LOST = re.compile(rb"\xef\xbf\xbd")
_CODE = re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")  # U+0085 is a line's end, to some
_TWICE = re.compile(rb"\xc3(?:[\x82\x83]\xc2[\x80-\xbf]|\xa2\xe2\x82\xac)")
# Each mark from its rarest byte on, which is searched for.
_MARKS = (
    (b"\xc2", re.compile(rb"\xc2(?:[\x80-\x84\x86-\x9f]|(?<=\xc3[\x82\x83]\xc2))")),
    (b"\xac", re.compile(rb"\xac(?<=\xc3\xa2\xe2\x82\xac)")),
    (b"\xef", _LOST),
)
_FEW = 32


def suspect(row: bytes) -> bool:
    """Whether a row in UTF-8, as it is written, has a mark of damage.

    A byte is found ten times faster than a pattern, as long as there are few of it.
    """
    for byte, mark in _MARKS:
        at, left = row.find(byte), _FEW
        while at >= 0 and left and not mark.match(row, at):
            at, left = row.find(byte, at + 1), left - 1
        if at >= 0 and mark.search(row, at):
            return True
    return False


def damage(row: bytes) -> str:
    """What shows that a row is damaged; nothing where none does."""
    if found := _CODE.search(row):
        return f"it has U+{ord(found[0].decode()):04X}, a code that no text has: it was read in a wrong encoding"
    if found := _TWICE.search(row):
        shown = row[found.start() :][:8].decode(errors="ignore")[:3]
        return f"it has {shown!r}, which is UTF-8 that was read as Windows-1252"
    return "it has U+FFFD, which stands where a character was lost" if _LOST.search(row) else ""
