"""Cuts the validation and test rows that nobody uploaded out of the training rows.

Where a row goes depends on its first prompt alone: normalised (Unicode NFKC, case, white space), hashed to a place on a
line, and the line cut in zones: the first tenth, the second tenth, the rest is trained on. So the split is the same
whatever the rows' order, hardly moves when rows are added, and no prompt is on two sides. Called by `prepare`.

In a small set a zone may have caught nothing. `fitted` therefore moves the cuts, by as little as it takes, along the
prompts' places in their order, until each part has a prompt, training included: the prompts nearest to an empty zone
fall into it. Chance leaves no zone empty in a set with hundreds of prompts, so only small ones need to be held.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

type Part = Literal["train", "validation", "test"]

SHARE = 2**64 // 10


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Zones on the line of places: `parts[i]` lies below `ends[i]` and from `ends[i - 1]` on; above is `train`."""

    parts: tuple[Part, ...]
    ends: tuple[int, ...]

    def part(self, place: int) -> Part:
        """Where a row with this place goes."""
        zone = bisect_right(self.ends, place)
        return self.parts[zone] if zone < len(self.parts) else "train"


def place(prompt: str) -> int:
    """The prompt's place, 0 to 2^64 - 1: equal for prompts that differ in case or white space only."""
    if not prompt.isascii():
        prompt = unicodedata.normalize("NFKC", prompt)
    normal = " ".join(prompt.casefold().split())
    return int.from_bytes(hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def fixed(parts: tuple[Part, ...]) -> Cut:
    """A tenth of all prompts for each of `parts`."""
    return Cut(parts=parts, ends=tuple(SHARE * zone for zone in range(1, len(parts) + 1)))


def fitted(parts: tuple[Part, ...], places: Collection[int]) -> Cut | None:
    """The cut for exactly these places, none of its zones empty; None if there are fewer places than zones."""
    order = sorted(set(places))
    if len(order) <= len(parts):
        return None
    ends: list[int] = []
    count = 0
    for zone in range(len(parts)):
        caught = bisect_left(order, SHARE * (zone + 1))
        count = min(max(caught, count + 1), len(order) - (len(parts) - zone))
        ends.append(order[count])
    return Cut(parts=parts, ends=tuple(ends))
