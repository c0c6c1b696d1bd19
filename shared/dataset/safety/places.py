"""Where in a block of rows something may be that is looked for: a few passes over the block's bytes, and no row by row.

What `search` would find begins or lies at these places, and nearly all rows have none. A telephone, card or account
number has seven digits within a few bytes; a key is a long run of bytes without a space, and has digits or capitals; a
password has a digit beside a letter, and before it a word that says what it is; an e-mail address has an @. A place
too many costs a look, no more. Called by `search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

type Spans = list[tuple[int, int]]

LONG = 16
"""Bytes without a space that the shortest key has."""
SHORT = 8
"""Bytes of the shortest password that is looked for."""
_SOLID = 32  # of the shortest key that is known by what is in it, and not by its beginning
_CLOSE = 17  # from the first to the last of seven digits
_DIGITS = 7
_AROUND_NUMBER = 72
_NAME = 80  # bytes before a value within which its name stands
_LOCAL, _DOMAIN = 140, 160  # of an address, before and behind the @
_KEY = 240  # bytes of a key before and behind an escape in it
_AHEAD = 40  # bytes before a value within which a sign says that it is named
_FIRST = 320  # bytes of a run in which names are looked for


@dataclass(frozen=True, slots=True)
class Places:
    """Places of a block. `begins`: where a key may begin; `solid`: runs that may have one inside. `named`: spans in
    which, and right behind which, a value may be that is named before; `numbers`, `addresses`: spans in which they may
    be, `escaped` such in which a key may be written with escapes; each kind of spans is sorted, and they are apart from
    each other. `ats`: each @."""

    begins: list[int]
    solid: Spans
    named: Spans
    numbers: Spans
    addresses: Spans
    ats: list[int]
    escaped: Spans


class Beginnings:
    """A table of how keys begin, by their first two and three bytes."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self.two = np.zeros(1 << 16, bool)
        self.two[[word[0] << 8 | word[1] for word in words]] = True
        self.three = np.unique([word[0] << 16 | word[1] << 8 | word[2] for word in words if len(word) > 2])
        self.short = np.unique([word[0] << 8 | word[1] for word in words if len(word) == 2])


def places(block: bytes, beginnings: Beginnings) -> Places:
    """The places of a block."""
    data = np.frombuffer(block, np.uint8)
    digits = np.flatnonzero((data - np.uint8(ord("0"))) < 10)
    ats = np.flatnonzero(data == ord("@")) if b"@" in block else digits[:0]
    if len(ats):
        before = data[np.maximum(ats - 1, 0)]
        ats = ats[(before > ord(" ")) & (before != ord('"')) & ~_escape(data, ats - 1)]  # no decorator, no mention
    slashes = np.flatnonzero(data[:-1] == ord("\\"))
    after = data[slashes + 1]
    if (after == ord("u")).any():  # an @ as JSON may write it, in a text that is JSON itself
        ats = np.sort(np.concatenate((ats, _all(block, b"u0040"))))
    escaped = slashes[_PARTS[after]]  # of \\/ and \\u002B, as some write what is in a key
    escaped = escaped[_PARTS_BEFORE[data[np.maximum(escaped - 1, 0)]]]
    mails = ats
    if b"%" in block:  # and %40, as an address has it
        signs = np.flatnonzero(data[:-2] == ord("%"))
        signs = signs[(data[signs + 1] == ord("4")) & (data[signs + 2] == ord("0"))]
        mails = np.sort(np.concatenate((ats, signs)))
    starts, ends = _runs(data, digits)
    short = _beside(data, digits)
    # A name stands before a value, or in the run: host=x;key=y.
    near = _signed(data, np.concatenate((starts, short)), np.concatenate((np.minimum(ends, starts + _FIRST), short)))
    solid = ends - starts >= _SOLID
    dense = np.flatnonzero(digits[_DIGITS - 1 :] - digits[: 1 - _DIGITS] <= _CLOSE)
    first, last = digits[dense], digits[dense + _DIGITS - 1]
    return Places(
        begins=_begins(data, starts, ends, beginnings),
        solid=list(zip(starts[solid].tolist(), ends[solid].tolist(), strict=True)),
        named=_spans(near[0] - _NAME, near[1] + 1, len(block)),
        numbers=_spans(first - _AROUND_NUMBER, last + _AROUND_NUMBER, len(block)),
        addresses=_spans(mails - _LOCAL, mails + _DOMAIN, len(block)),
        ats=ats.tolist(),
        escaped=_spans(escaped - _KEY, escaped + _KEY, len(block)),
    )


def _runs(data: np.ndarray, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the long runs of bytes from + to ~ but the backslash that have a digit, or four capitals."""
    both = (data - np.uint8(ord("+"))) < 84
    both &= data != ord("\\")
    for step in (1, 2, 4, 8):
        both = both[:-step] & both[step:]
    at = np.flatnonzero(both)
    if not len(at):
        return at, at
    cuts = np.flatnonzero(np.diff(at) > 1)
    starts, ends = at[np.append(0, cuts + 1)], at[np.append(cuts, -1)] + LONG
    held = np.searchsorted(digits, ends) > np.searchsorted(digits, starts)
    if not held.all():  # a key without digits has its capitals everywhere
        capitals = np.flatnonzero((data - np.uint8(ord("A"))) < 26)
        held |= np.searchsorted(capitals, ends) - np.searchsorted(capitals, starts) >= 4
    return starts[held], ends[held]


def _begins(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, beginnings: Beginnings) -> list[int]:
    """Where in the runs a word begins as a key does."""
    sizes = ends - starts - SHORT  # none begins so late
    total = np.cumsum(sizes)
    if not len(total):
        return []
    at = np.arange(total[-1]) + np.repeat(starts - total + sizes, sizes)
    two = (data[at].astype(np.int64) << 8) | data[at + 1]
    at, two = at[beginnings.two[two]], two[beginnings.two[two]]
    found = np.isin(two, beginnings.short) | np.isin(
        (two << 8) | data[np.minimum(at + 2, len(data) - 1)], beginnings.three
    )
    at = at[found]
    before = data[np.maximum(at - 1, 0)]
    free = ~_alphanumeric(before) | (at == 0) | _escape(data, at - 1)
    begins: list[int] = at[free].tolist()
    return begins


def _escape(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether there is the letter of a line break or the like: behind a backslash."""
    letter = data[np.maximum(at, 0)]
    found: np.ndarray = (data[np.maximum(at - 1, 0)] == ord("\\")) & np.isin(letter, _ESCAPES)
    return found


_ESCAPES = np.frombuffer(b"nrtbf", np.uint8)


def _beside(data: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Digits beside a letter or a mark, in a run that is long enough for a password."""
    last = len(data) - 1
    beside = _BESIDE[data[np.maximum(digits - 1, 0)]] | _BESIDE[data[np.minimum(digits + 1, last)]]
    found: np.ndarray = digits[beside]
    if not len(found):
        return found
    around = data[np.clip(found[:, None] + np.arange(1 - SHORT, SHORT), 0, last)]
    run = (around > ord(" ")) & (around != ord('"')) & (around != ord("\\")) & (around < 0x7F)
    for step in (1, 2, 4):
        run = run[:, :-step] & run[:, step:]
    named: np.ndarray = found[run.any(axis=1)]
    return named


def _signed(data: np.ndarray, at: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the runs that have a sign for a name shortly before, or in them: = : ( > is to --."""
    if not len(at):
        return at, ends
    before = data[np.maximum(at[:, None] + np.arange(-_AHEAD, 0), 0)]
    sign = _SIGNS[before].any(axis=1)
    pairs = (before[:, :-1].astype(np.uint16) << 8) | before[:, 1:]
    word = _OPTIONS[pairs]
    word[:, :-1] |= _IS[pairs[:, :-1]] & (before[:, 2:] == ord(" "))
    found = sign | word.any(axis=1) | (ends - at > 2 * LONG)
    return at[found], ends[found]


_BESIDE = np.zeros(256, bool)
_BESIDE[[code for code in range(128) if chr(code).isalpha() or chr(code) in "!@#$%^&*?~_|"]] = True
_SIGNS = np.zeros(256, bool)
_SIGNS[[ord(each) for each in "=:(>"]] = True

_PARTS = np.zeros(256, bool)
_PARTS[[ord("/"), ord("u")]] = True
_PARTS_BEFORE = np.zeros(256, bool)
_PARTS_BEFORE[[code for code in range(128) if chr(code).isalnum() or chr(code) in "+/\\"]] = True
# The ends of is, was, to, Bearer, BY, ist, est, lautet, es, é, è; also as JSON escapes them.
_IS = np.zeros(1 << 16, bool)
# An option of a command; a full-width colon, 是, 为, は; and any letter that JSON escapes.
_OPTIONS = np.zeros(1 << 16, bool)
for _pair in (b"is", b"as", b"to", b"er", b"BY", b"by", b"st", b"et", b"es", b"\xc3\xa9", b"\xc3\xa8", b"e9", b"e8"):
    _IS[_pair[0] << 8 | _pair[1]] = True
for _pair in (b"--", b"-p", b"-u", b"\\u", b"\xbc\x9a", b"\x98\xaf", b"\xb8\xba", b"\x81\xaf"):
    _OPTIONS[_pair[0] << 8 | _pair[1]] = True


def _letter(codes: np.ndarray) -> np.ndarray:
    letters: np.ndarray = ((codes | np.uint8(0x20)) - np.uint8(ord("a"))) < 26
    return letters


def _alphanumeric(codes: np.ndarray) -> np.ndarray:
    found: np.ndarray = _letter(codes) | ((codes - np.uint8(ord("0"))) < 10)
    return found


def _all(block: bytes, word: bytes) -> np.ndarray:
    found = []
    at = block.find(word)
    while at >= 0:
        found.append(at)
        at = block.find(word, at + 1)
    return np.array(found, np.int64)


def _spans(starts: np.ndarray, ends: np.ndarray, size: int) -> Spans:
    """The spans, joined where they overlap, within a block of so many bytes."""
    if not len(starts):
        return []
    order = np.argsort(starts, kind="stable")
    starts, ends = np.maximum(starts[order], 0), np.minimum(np.maximum.accumulate(ends[order]), size)
    apart = np.flatnonzero(starts[1:] > ends[:-1])
    return list(zip(starts[np.append(0, apart + 1)].tolist(), ends[np.append(apart, -1)].tolist(), strict=True))
