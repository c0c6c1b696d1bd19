"""Looks at a whole block of rows as an array of bytes: they tell which rows need a closer look than a decoder's.

A few passes over all bytes of a block cost less than a look at each of its rows. Called by `checker`, for each block.
An index may be negative: it wraps around to the block's end, where the last byte is a line break.

What must hold so that a row may pass without the exact judgement of `rules`: its line is an object of its own, which
neither goes on in the next line nor shares the line with another (`objects`, and as many rows as lines; else each line
is decoded alone). It fits a decoder (see `shapes`): no key is unknown and none is missing, so none comes twice if there
are exactly as many as the decoder has (`keys`); a key that this might not count, for white space before its colon or a
backslash at its end, makes the line `doubtful`. Texts are where texts are expected (`others`). No text is blank: each
starts with a visible character. None has escapes but the usual ones, for it is written as it was read, and none has
control characters. (Of an `unusual` row, or with other `others`, the contents are looked at one by one, for control
characters if it is one of `controls`.) And `checker` sees to it that the line is UTF-8 and not too large, and that the
roles are in order. A look that errs may only ask too often.
"""

from __future__ import annotations

import re

import numpy as np

_LF, _RETURN, QUOTE, _COLON, _BACKSLASH, _SPACE, _DELETE = (np.uint8(ord(each)) for each in '\n\r":\\ \x7f')
_OPEN, _CLOSE = np.uint8(ord("{")), np.uint8(ord("}"))
_ZERO, _B, _F, _U = (np.uint8(ord(each)) for each in "0bfu")
_SEVEN, _FE = np.uint8(ord("7")), np.uint8(0xFE)
# After a backslash: what is not the usual way to write a text (\u and \/), or writes a control character.
_UNUSUAL = np.zeros(256, bool)
_UNUSUAL[[ord(each) for each in "u/bf"]] = True
UNUSUAL_ESCAPE = re.compile(rb"\\[u/bf]")
# The first byte of a text that is certainly not blank: visible ASCII, but the quote that ends it and a backslash.
VISIBLE = np.zeros(256, bool)
VISIBLE[0x21:0x7F] = True
VISIBLE[[QUOTE, _BACKSLASH]] = False


class Look:
    """What a block of lines, each with its end, shows as bytes, for each line by its index.

    `objects`: each line begins and ends with a brace, so that no value goes on from one line to the next (JSON has no
    object right behind another). `ends`: where the line break is. `keys`: how many keys the line's objects have, or
    more; fewer than they have only if the line is `doubtful`. `others`: how many of their values are no texts, if
    `keys` is exact. `unusual`: lines with a text that may be blank, or is written in an unusual way; `controls`: those
    of them that may have control characters.
    """

    def __init__(self, block: bytes) -> None:
        data = np.frombuffer(block, np.uint8)
        marks = _marks(data, _LF, _COLON, _BACKSLASH)  # going over all bytes costs most
        codes = data[marks]
        ends, colons, escapes = marks[codes == _LF], marks[codes == _COLON], marks[codes == _BACKSLASH]
        before = data[colons - 1]  # of a colon at 0: the line break at the block's end, white space
        spaced = colons[before <= _SPACE]
        # Wraps around only where the block begins with a colon, or white space and a colon: that is no JSON anyway.
        spaced = spaced[(data[spaced - 2] == QUOTE) | (data[spaced - 2] <= _SPACE)]  # not one within a text
        # A key's colon stands behind a quote that is not escaped. (A text that begins with a colon looks like one.)
        colons = colons[before == QUOTE]
        escaped = data[colons - 2] == _BACKSLASH  # a quote at 0 has the line break at the block's end before it
        # Behind two backslashes it may be a key's, behind one it is within a text. (A backslash at 0: as above.)
        twice = colons[escaped & (data[colons - 3] == _BACKSLASH)]
        colons = colons[~escaped]
        lines = np.searchsorted(ends, colons)
        values = colons + 1  # neither a colon nor a space is the block's last byte
        values += data[values] == _SPACE
        texts = data[values] == QUOTE
        escapes = escapes[_UNUSUAL[data[escapes + 1]]]  # a backslash is not the last byte either
        starts = data[np.minimum(values + 1, len(data) - 1)]  # where the last byte is a value's, it is no text
        first, last = data[np.append(-1, ends)[:-1] + 1], data[ends - 1]
        # An empty line's last byte is the line break before it, the first line's the one at the block's end.
        last = np.where(last == _RETURN, data[np.maximum(ends - 2, 0)], last)
        self.objects = bool((first == _OPEN).all() and (last == _CLOSE).all())
        self.ends: list[int] = ends.tolist()
        self.keys: list[int] = np.bincount(lines, minlength=len(ends)).tolist()
        self.others: list[int] = np.bincount(lines[~texts], minlength=len(ends)).tolist()
        self.doubtful = _lines(ends, np.concatenate((spaced, twice)))
        self.controls = _lines(ends, _controls(block, data, escapes))
        self.unusual = _lines(ends, np.concatenate((escapes, values[texts & ~VISIBLE[starts]]))) | self.controls


def _marks(data: np.ndarray, *codes: np.uint8) -> np.ndarray:
    """Where one of these bytes is. They are few: eight bytes are looked at together first."""
    padded = np.empty(-len(data) % 8 + len(data), bool)
    padded[len(data) :] = False
    marked = padded[: len(data)]
    np.equal(data, codes[0], out=marked)
    for code in codes[1:]:
        marked |= data == code
    words = padded.view(np.uint64)
    some = np.flatnonzero(words != 0)
    at = np.flatnonzero(words[some].view(bool))
    marks: np.ndarray = (some[at >> 3] << 3) + (at & 7)
    return marks


def _controls(block: bytes, data: np.ndarray, escapes: np.ndarray) -> np.ndarray:
    """Where in the block may be a control character, by its unusual escapes; raw ones, but U+007F, are no JSON."""
    code = data[escapes + 1]
    far = np.minimum(escapes + 4, len(data) - 1)  # a \u that the block's end cuts short is no JSON
    low = (data[far - 2] == _ZERO) & (data[far - 1] == _ZERO) & ((data[far] & _FE == _ZERO) | (data[far] == _SEVEN))
    found = escapes[(code == _B) | (code == _F) | ((code == _U) & low)]
    return np.concatenate((found, np.flatnonzero(data == _DELETE))) if b"\x7f" in block else found


def _lines(ends: np.ndarray, marks: np.ndarray) -> frozenset[int]:
    """The indices of the lines that the marked bytes are in."""
    return frozenset(np.searchsorted(ends, marks).tolist()) if len(marks) else frozenset()


def larger(ends: list[int], size: int) -> frozenset[int]:
    """The indices of the lines that have more than `size` bytes."""
    return frozenset(np.flatnonzero(np.diff(ends, prepend=-1) - 1 > size).tolist())


def unusual_rows(rows: list[bytes]) -> frozenset[int]:
    """Which of the written rows may have control characters."""
    block = b"\n".join((*rows, b""))
    data = np.frombuffer(block, np.uint8)
    escapes = _marks(data, _BACKSLASH)
    marks = _controls(block, data, escapes[_UNUSUAL[data[escapes + 1]]])
    return _lines(np.flatnonzero(data == _LF), marks) if len(marks) else frozenset()
