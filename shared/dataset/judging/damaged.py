"""Text that was damaged on its way, before it came here: by its marks in UTF-8. Called by `checker` and `tally`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LOST = re.compile(rb"\xef\xbf\xbd")
_CODE = re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")  # U+0085 is a line's end, to some
_TWICE = re.compile(rb"\xc3(?:[\x82\x83]\xc2[\x80-\xbf]|\xa2\xe2\x82\xac)")


_FEW = 32


def suspect(row: bytes, texts: Sequence[str]) -> bool:
    """Whether a row in UTF-8 may have a mark of damage in its texts.

    A byte or a character is found ten times faster than a pattern, as long as there are few of it.
    """
    at = first = row.find(b"\xc2")
    for _ in range(_FEW):
        if at < 0:
            break
        if row[at + 1] < 0xA0 and _CODE.match(row, at):
            return True
        at = row.find(b"\xc2", at + 1)
    if (at >= 0 and _CODE.search(row, at)) or (b"\xef" in row and _LOST.search(row)):
        return True
    for text in texts:
        if not text.isascii() and (
            ("\u00e2" in text and "\u20ac" in text and "\u00e2\u20ac" in text)
            or (first >= 0 and ("\u00c2" in text or "\u00c3" in text))
        ):
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
