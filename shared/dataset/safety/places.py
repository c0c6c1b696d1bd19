"""Where in a block of rows something may be that is looked for: a few passes over the block's bytes, and no row by row.

What `search` would find lies within these places, and nearly all rows have none. A telephone, card or account number
has seven digits within a few bytes; a key is a long run of bytes without a space, and has digits or capitals; a
password has a digit beside a letter, and a word before it that says what it is; an e-mail address has an @. A place
too many costs a look, no more. Called by `search`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

type Spans = list[tuple[int, int]]

LONG = 16
"""Bytes without a space that the shortest key has."""
SHORT = 8
"""Bytes of the shortest password that is looked for."""
_CLOSE = 17  # from the first to the last of seven digits
_DIGITS = 7
_BEFORE, _BEHIND = 96, 112  # of a run: the words that say what it is, and the rest of what it begins
_AROUND_NUMBER = 72
_LOCAL, _DOMAIN = 140, 160  # of an address, before and behind the @
_AHEAD = 40  # bytes before a short password within which a sign says that something is named


@dataclass(frozen=True, slots=True)
class Places:
    """Spans of a block, sorted and apart from each other: in which secrets, numbers and addresses may be."""

    secrets: Spans
    numbers: Spans
    addresses: Spans


def places(block: bytes) -> Places:
    """The places of a block."""
    data = np.frombuffer(block, np.uint8)
    digits = np.flatnonzero((data - np.uint8(ord("0"))) < 10)
    ats = np.flatnonzero(data == ord("@")) if b"@" in block else digits[:0]
    if b"u0040" in block:  # an @ as JSON may write it, in a text that is JSON itself
        ats = np.sort(np.concatenate((ats, _all(block, b"u0040"))))
    starts, ends = _runs(data, digits)
    named = _named(data, digits)
    starts, ends = np.concatenate((starts, named, ats)), np.concatenate((ends, named + 1, ats + 1))
    dense = np.flatnonzero(digits[_DIGITS - 1 :] - digits[: 1 - _DIGITS] <= _CLOSE)
    first, last = digits[dense], digits[dense + _DIGITS - 1]
    return Places(
        secrets=_spans(starts - _BEFORE, ends + _BEHIND, len(block)),
        numbers=_spans(first - _AROUND_NUMBER, last + _AROUND_NUMBER, len(block)),
        addresses=_spans(ats - _LOCAL, ats + _DOMAIN, len(block)),
    )


def _runs(data: np.ndarray, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the long runs of bytes from + to z that have a digit, or at least four capitals."""
    both = (data - np.uint8(ord("+"))) < 80
    for step in (1, 2, 4, 8):
        both = both[:-step] & both[step:]
    at = np.flatnonzero(both)
    if not len(at):
        return at, at
    cuts = np.flatnonzero(np.diff(at) > 1)
    starts, ends = at[np.append(0, cuts + 1)], at[np.append(cuts, -1)] + LONG
    held = np.searchsorted(digits, ends) > np.searchsorted(digits, starts)
    bare = np.flatnonzero(~held)
    # Of a run without digits its first bytes tell: a key has its capitals everywhere.
    begin = data[np.minimum(starts[bare][:, None] + np.arange(3 * LONG), len(data) - 1)]
    inside = np.arange(3 * LONG) < (ends - starts)[bare][:, None]
    held[bare] = (((begin - np.uint8(ord("A"))) < 26) & inside).sum(axis=1) >= 4
    return starts[held], ends[held]


def _named(data: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Digits of what may be a password: beside a letter, in a short run, and a sign (: = is) shortly before."""
    last = len(data) - 1
    beside = _letter(data[np.maximum(digits - 1, 0)]) | _letter(data[np.minimum(digits + 1, last)])
    found: np.ndarray = digits[beside]
    if not len(found):
        return found
    around = data[np.clip(found[:, None] + np.arange(1 - SHORT, SHORT), 0, last)]
    run = (around > ord(" ")) & (around != ord('"')) & (around < 0x7F)
    for step in (1, 2, 4):
        run = run[:, :-step] & run[:, step:]
    found = found[run.any(axis=1)]
    before = data[np.maximum(found[:, None] + np.arange(-_AHEAD, 0), 0)]
    sign = (before == ord(":")) | (before == ord("=")) | (before == ord("(")) | (before == ord(">"))
    word = (before[:, :-2] == ord("i")) & (before[:, 1:-1] == ord("s")) & (before[:, 2:] == ord(" "))
    word |= (before[:, :-2] == ord("t")) & (before[:, 1:-1] == ord("o")) & (before[:, 2:] == ord(" "))
    word |= (before[:, :-2] == ord("-")) & (before[:, 1:-1] == ord("-"))  # an option of a command
    near = sign.any(axis=1) | word.any(axis=1)
    named: np.ndarray = found[near]
    return named


def _letter(codes: np.ndarray) -> np.ndarray:
    letters: np.ndarray = ((codes | np.uint8(0x20)) - np.uint8(ord("a"))) < 26
    return letters


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
