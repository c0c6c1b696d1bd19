"""Cuts the validation and test rows that nobody uploaded out of the training rows.

Where a row goes depends on its first prompt alone: normalised (Unicode NFKC, case, no white space), hashed with the
split's seed to a position on a line, and the line cut in zones: validation, test, and what is trained on. So the split
is the same whatever the rows' order, a row stays where it is when others come, and no prompt is on two sides. Called by
`scan` and `checker`.

In a small set a zone may have caught nothing. `fitted` then moves the cuts, by as little as it takes, along the
prompts' positions in their order, until each part has a prompt, training included: the prompts nearest to an empty zone
fall into it. Chance leaves no zone empty in a set with hundreds of prompts, so only small ones need to be held.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import msgspec
import xxhash

type Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

LINE = 2**64
_ASCII = bytes(range(128))
_SPACE = bytes(code for code in range(128) if chr(code).isspace())
_LOWER = bytes(ord(chr(code).lower()) if code < 128 else code for code in range(256))
_hash = xxhash.xxh3_64_intdigest
_decode = msgspec.json.Decoder(str).decode


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Zones on the line of positions: `parts[i]` lies below `ends[i]` and from `ends[i - 1]` on; above is `train`."""

    parts: tuple[Part, ...]
    ends: tuple[int, ...]

    def part(self, position: int) -> Part:
        """Where a row with this position goes."""
        zone = bisect_right(self.ends, position)
        return self.parts[zone] if zone < len(self.parts) else "train"


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


def position_in_json(prompt: bytes, seed: int = 0) -> int:
    """The position of a prompt that is given as a JSON text."""
    if prompt.isascii() and b"\\" not in prompt:
        return _hash(prompt[1:-1].translate(_LOWER, _SPACE), seed)
    return position(_decode(prompt), seed)


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
    """The cut that gives each of `parts` its percentage of all prompts."""
    ends = [LINE * sum(percents[: zone + 1]) // 100 for zone in range(len(parts))]
    return Cut(parts=parts, ends=tuple(ends))


def fitted(cut: Cut, positions: Collection[int]) -> Cut | None:
    """The cut for exactly these positions, none of its zones empty; None if there are fewer positions than zones.

    Where no zone of `cut` is empty, each position is where `cut` has it.
    """
    order = sorted(set(positions))
    zones = len(cut.parts)
    if len(order) <= zones:
        return None
    ends: list[int] = []
    count = 0
    for zone in range(zones):
        caught = bisect_left(order, cut.ends[zone])
        count = min(max(caught, count + 1), len(order) - (zones - zone))
        ends.append(order[count])
    return Cut(parts=cut.parts, ends=tuple(ends))
