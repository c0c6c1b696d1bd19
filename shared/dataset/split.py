"""Cuts the validation and test rows that nobody uploaded out of the training rows.

Where a row goes depends on its conversation alone, and of that on the prompts: all texts up to the last answer that are
no answer, the system's, the user's and the tools'. Each is normalised (Unicode NFKC, case, no white space) and hashed,
the first with the split's seed and each other one with the hash so far, to a position on a line; and the line is cut in
zones: validation, test, and what is trained on. So the split is the same whatever the rows' order, a row stays where it
is when others come, and no conversation is on two sides. Earlier answers don't count: a model that has learned to
answer the same prompts is not tried by them, whatever was answered on the way. Called by `scan` and `checker`.

A conversation that repeats in more rows than its part may hold would be most of that part: it is trained on (`whole`).
In a small set a zone may have caught nothing. `fitted` then moves the cuts, by as little as it takes, along the
conversations' positions in their order, until each part has one, training included: those nearest to an empty zone fall
into it. Chance leaves no zone empty in a set with hundreds of conversations, so only small ones need to be held.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import xxhash

type Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

LINE = 2**64
_ASCII = bytes(range(128))
_SPACE = bytes(code for code in range(128) if chr(code).isspace())
_SPACE_AND_QUOTE = _SPACE + b'"'
_BACKSLASH = ord("\\")  # looked for as a number, which is much faster than as bytes
_LOWER = bytes(ord(chr(code).lower()) if code < 128 else code for code in range(256))
_hash = xxhash.xxh3_64_intdigest
_decode = msgspec.json.Decoder(str).decode


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Zones on the line of positions: `parts[i]` lies below `ends[i]` and from `ends[i - 1]` on; above is `train`.

    `percents`: what was asked for each of the parts. `whole`: positions that are `train` wherever they lie.
    """

    parts: tuple[Part, ...] = ()
    ends: tuple[int, ...] = ()
    percents: tuple[int, ...] = ()
    whole: frozenset[int] = frozenset()

    def part(self, position: int) -> Part:
        """Where a row with this position goes."""
        zone = len(self.parts) if position in self.whole else bisect_right(self.ends, position)
        return self.parts[zone] if zone < len(self.parts) else "train"

    def holds(self, rows: int) -> dict[Part, int]:
        """How many rows of a set of so many each part may hold of one conversation: as many as it should have."""
        return {part: max(1, rows * percent // 100) for part, percent in zip(self.parts, self.percents, strict=True)}


type Prompts = tuple[tuple[int, bool], ...]
"""Which of a good row's messages are its prompts, up to the last answer; and whether an answer follows, but not the
last one: the row up to there is a conversation, too."""


def prompts_of(roles: tuple[str, ...]) -> Prompts:
    """The prompts of a good row with these roles."""
    last = max((at for at, role in enumerate(roles) if role == "assistant"), default=len(roles))
    prompts = [at for at in range(last) if roles[at] != "assistant"] or [0]
    return tuple((at, at != prompts[-1] and roles[at + 1] == "assistant") for at in prompts)


class Places:
    """Finds where conversations are on the line. Remembers the last system text: most files have one for all rows."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._system: str | bytes = b""
        self._system_at = seed

    def of_json(self, messages: Sequence[Any], prompts: Prompts, begun: list[int]) -> int:
        """The position of good messages, whose contents are JSON texts. `begun` gets those of its beginnings: shorter
        conversations, of which another row may be one."""
        at = self._seed
        for index, begins in prompts:
            message = messages[index]
            data = bytes(message.content)
            if not index and message.role == "system":
                at = self._system_at if data == self._system else self._first(data, position(_decode(data), at))
            elif data.isascii() and _BACKSLASH not in data:  # so that its only quotes are those around it
                at = _hash(data.translate(_LOWER, _SPACE_AND_QUOTE), at)
            else:
                text = _decode(data)
                at = _hash(text.encode().translate(_LOWER, _SPACE), at) if text.isascii() else position(text, at)
            if begins:
                begun.append(at)
        return at

    def of(self, messages: Sequence[Any], prompts: Prompts, begun: list[int]) -> int:
        """The same, of contents that are texts, or None."""
        at = self._seed
        for index, begins in prompts:
            message = messages[index]
            text = message.content or ""
            if not index and message.role == "system":
                at = self._system_at if text == self._system else self._first(text, position(text, at))
            elif text.isascii():  # as `position` has it, without a call
                at = _hash(text.encode().translate(_LOWER, _SPACE), at)
            else:
                at = position(text, at)
            if begins:
                begun.append(at)
        return at

    def _first(self, system: str | bytes, at: int) -> int:
        self._system, self._system_at = system, at
        return at


def position(prompt: str, seed: int = 0) -> int:
    """The prompt's position, 0 to 2^64 - 1: equal for prompts that differ in case or white space only.

    Nearly all text is made of ASCII and of a few characters that normalising leaves alone; there it is done on bytes,
    ten times faster, with the same outcome.
    """
    if prompt.isascii():
        return _hash(prompt.encode().translate(_LOWER, _SPACE), seed)
    data = prompt.encode("utf-8", "surrogatepass")
    others = data.translate(None, _ASCII).decode("utf-8", "surrogatepass")
    if not _PLAIN.issuperset(others) and not all(map(_plain, set(others))):
        normal = unicodedata.normalize("NFKC", prompt).casefold()
        data = unicodedata.normalize("NFKC", normal).encode("utf-8", "surrogatepass")
        data = "".join(data.decode("utf-8", "surrogatepass").split()).encode("utf-8", "surrogatepass")
        return _hash(data, seed)
    return _hash(data.translate(_LOWER, _SPACE), seed)


_PLAIN: set[str] = set()
_PLAIN_MOST = 10_000


def _plain(character: str) -> bool:
    """Whether normalising leaves the character alone, whatever stands beside it."""
    if (
        character.isspace()
        or unicodedata.combining(character)
        or unicodedata.category(character) in ("Mc", "Me", "Mn", "Cs", "Cn")
        or unicodedata.normalize("NFKC", character) != character
        or character.casefold() != character
        or 0x1100 <= ord(character) < 0x1200  # Hangul letters join to syllables
    ):
        return False
    if len(_PLAIN) < _PLAIN_MOST:
        _PLAIN.add(character)
    return True


def fixed(parts: tuple[Part, ...], percents: tuple[int, ...]) -> Cut:
    """The cut that gives each of `parts` its percentage of all conversations."""
    ends = [LINE * sum(percents[: zone + 1]) // 100 for zone in range(len(parts))]
    return Cut(parts=parts, ends=tuple(ends), percents=percents)


def fitted(cut: Cut, rows: Mapping[int, int]) -> Cut | None:
    """The cut for exactly these positions, of each of which there are so many rows; none of its zones is empty.

    None if there are fewer positions than zones. Where no zone of `cut` is empty once what repeats too often is left
    out, each other position is where `cut` has it.
    """
    zones = len(cut.parts)
    if len(rows) <= zones:
        return None
    holds = cut.holds(sum(rows.values()))
    whole = frozenset(at for at, count in rows.items() if count > holds.get(cut.part(at), count))
    left = {cut.part(at) for at in rows.keys() - whole}
    if left.issuperset(cut.parts) and (whole or "train" in left):
        return replace(cut, whole=whole)
    # What is moved into a part must not crowd it either; but so many are always taken as there are parts.
    most = max(min(holds.values()), sorted(rows.values())[zones - 1])
    order = sorted(at for at, count in rows.items() if count <= most)
    whole = frozenset(rows.keys() - set(order))
    spare = 0 if whole else 1  # left for training
    ends: list[int] = []
    count = 0
    for zone in range(zones):
        caught = bisect_left(order, cut.ends[zone])
        count = min(max(caught, count + 1), len(order) - (zones - 1 - zone) - spare)
        ends.append(order[count] if count < len(order) else LINE)
    return replace(cut, ends=tuple(ends), whole=whole)
