"""JSON's escapes made harmless, so that a pattern sees what the text says: with as many bytes, where that is possible.

A line break is `\\n` in JSON, and the n must not pass for the first letter of what follows. The second way of escaping,
JSON within a text (a tool's arguments, code), is seen through as well. Used by `search`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

ESCAPED = b"\x1e"
"""Stands before a quote that is a text's own. One without it ends the text; raw JSON never has this byte."""
_ESCAPE = re.compile(rb'(\\+)(?:u([0-9a-fA-F]{4})|(["/nrtbf]))')
_SAME = {b"n": b"\n", b"r": b"\n", b"t": b"\t", b"b": b" ", b"f": b" "}


class Plain:
    """Bytes without escapes. `text`: what to search; `raw` tells where a place in it is in what was given."""

    __slots__ = ("_at", "_more", "text")

    def __init__(self, data: bytes) -> None:
        self._at: list[int] = []
        self._more: list[int] = []
        self.text = _ESCAPE.sub(self._replaced, data) if b"\\" in data else data
        self._more = list(accumulate(self._more))
        for index in range(1, len(self._at)):
            self._at[index] -= self._more[index - 1]

    def raw(self, at: int) -> int:
        """The place in the given bytes."""
        index = bisect_right(self._at, at)
        return at + self._more[index - 1] if index else at

    def _replaced(self, found: re.Match[bytes]) -> bytes:
        slashes, code, letter = found.groups()
        if code is None and letter in _SAME:
            return b" " * len(slashes) + _SAME[letter]
        if letter == b'"':
            return ESCAPED * len(slashes) + letter if len(slashes) % 2 else found[0]
        made = b"/" if code is None else chr(int(code, 16)).encode("utf-8", "replace")
        self._at.append(found.start() + len(made))  # from here on; not yet less what was left out before
        self._more.append(len(found[0]) - len(made))
        return made
