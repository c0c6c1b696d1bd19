"""What lies in the zones that a cut makes: how many conversations, and which of them are too large for their part.

Called by `scan`, `kept` and `leaks`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from shared.dataset.preparing.spilled import Spilled
from shared.dataset.split import LINE, Cut, Part


def zones(cut: Cut, positions: np.ndarray) -> np.ndarray:
    """Where rows with these positions (uint64) go, as indices of the cut's parts; one more than there are is `train`.

    What `Cut.part` says of one.
    """
    found = np.zeros(len(positions), np.int64)
    for end in cut.ends:
        if end < LINE:  # else all lie below it
            found += positions >= np.uint64(end)
    if cut.whole:
        found[np.isin(positions, np.array(sorted(cut.whole), np.uint64))] = len(cut.parts)
    return found


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A conversation that would have crowded `part`, which may hold `most` rows of one: it has `rows`, the first of
    them with this number, and is trained on."""

    part: Part
    position: int
    rows: int
    number: int
    most: int


@dataclass(kw_only=True)
class Crowd:
    """What lies in the zones of a cut: how many conversations each part has, and which are too large for theirs."""

    conversations: Counter[Part] = field(default_factory=Counter)
    repeated: list[Repeated] = field(default_factory=list)

    @property
    def whole(self) -> frozenset[int]:
        """Positions of those that are too large."""
        return frozenset(each.position for each in self.repeated)


def crowd(placed: Spilled, cut: Cut, rows: int) -> Crowd:
    """What lies in the zones of `cut`, of which `placed` has the rows, in a file of so many good `rows`.

    A part of which nothing would be left keeps the conversation that repeats least.
    """
    found = Crowd()
    most = cut.holds(rows)
    for pieces in placed.buckets():
        positions, counts, numbers = _counted(pieces)
        zone = zones(cut, positions)
        for at, part in enumerate(cut.parts):
            found.conversations[part] += int((zone == at).sum())
            for index in np.flatnonzero((zone == at) & (counts > most[part])).tolist():
                found.repeated.append(
                    Repeated(
                        part=part,
                        position=int(positions[index]),
                        rows=int(counts[index]),
                        number=int(numbers[index]),
                        most=most[part],
                    )
                )
    for part in cut.parts:
        large = [each for each in found.repeated if each.part == part]
        if large and len(large) == found.conversations[part]:
            least = min(large, key=lambda each: (each.rows, each.position))
            found.repeated.remove(least)
            large.remove(least)
        found.conversations[part] -= len(large)
    found.repeated.sort(key=lambda each: each.number)
    return found


def _counted(pieces: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of rows with their numbers each position, how many rows have it, and the number of the first."""
    positions, counts, numbers = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64)
    for piece in pieces:
        order = np.argsort(piece["number"], kind="stable")
        more, first, times = np.unique(piece["hash"][order], return_index=True, return_counts=True)
        both = np.concatenate((positions, more))
        positions, first_of, back = np.unique(both, return_index=True, return_inverse=True)
        joined = np.zeros(len(positions), np.int64)
        np.add.at(joined, back, np.concatenate((counts, times)))
        # Those that were there before come first, and so does the first row.
        numbers = np.concatenate((numbers, piece["number"][order][first]))[first_of]
        counts = joined
    return positions, counts, numbers


def crowd_held(positions: np.ndarray, numbers: np.ndarray, cut: Cut, made: Cut) -> Crowd:
    """The same of all rows of a small file, for which `made` was fitted to `cut`."""
    found = Crowd()
    most = cut.holds(len(positions))
    each, first, counts = np.unique(positions, return_index=True, return_counts=True)
    zone = zones(made, each)
    for at, part in enumerate(made.parts):
        found.conversations[part] = int((zone == at).sum())
    for index in np.flatnonzero(np.isin(each, np.array(sorted(made.whole), np.uint64))).tolist():
        part, rows = cut.part(int(each[index])), int(counts[index])
        if rows > most.get(part, rows):
            number = int(numbers[first[index]])
            found.repeated.append(
                Repeated(part=part, position=int(each[index]), rows=rows, number=number, most=most[part])
            )
    found.repeated.sort(key=lambda each: each.number)
    return found
