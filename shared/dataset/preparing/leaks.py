"""What the reader of a split must know: rows that are the beginning of others, and sizes that nobody asked for.

Looked at when all of the dataset is read. Called by `scan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from shared.dataset.preparing.kept import Kept
from shared.dataset.preparing.tally import Tally
from shared.dataset.preparing.zones import zones
from shared.dataset.split import Cut, Part

POINTS = 2
"""How many points a part may have more or less than was asked for, before it is told."""
_CHANCE = 3  # standard deviations that chance may explain


def begun_in_train(held: Kept, train: Kept, cut: Cut | None, part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of rows of `part` that are the beginning of a row that is trained on, each with the first such row's.

    `held`: of the file that the part's rows are in; `train`: of the training file, from which `cut` is cut in the end.
    In no order, piece by piece.
    """
    for placed, begun in held.placed.beside(train.begun):
        hashes, firsts = np.empty(0, np.uint64), np.empty(0, np.uint64)
        for piece in begun:
            rows = piece if cut is None else piece[zones(cut, piece["by"]) == len(cut.parts)]
            hashes = np.concatenate((hashes, rows["hash"]))
            firsts = np.concatenate((firsts, rows["number"]))
            order = np.lexsort((firsts, hashes))
            hashes, firsts = hashes[order], firsts[order]
            first = np.concatenate(([True], hashes[1:] != hashes[:-1])) if len(hashes) else np.empty(0, bool)
            hashes, firsts = hashes[first], firsts[first]
        if not len(hashes):
            continue
        for piece in placed:
            rows = piece
            if held is train and cut is not None:
                at = cut.parts.index(part) if part in cut.parts else -1
                rows = piece[zones(cut, piece["hash"]) == at]
            near = np.minimum(np.searchsorted(hashes, rows["hash"]), len(hashes) - 1)
            both = hashes[near] == rows["hash"]
            yield rows["number"][both], firsts[near[both]]


def uneven(train: Tally) -> dict[str, str]:
    """Of each part that was cut, and has not about the rows that it should have: how many these are, and why."""
    found: dict[str, str] = {}
    if train.cut is None or not train.good:
        return found
    for part, asked in zip(train.cut.parts, train.cut.percents, strict=True):
        rows = train.splits[part]
        has = 100 * rows / train.good
        if abs(has - asked) > POINTS:
            found[part] = f"{asked} % are asked for: {_why(train, part, rows, has, asked)}"
    return found


def _why(train: Tally, part: Part, rows: int, has: float, asked: int) -> str:
    conversations = train.crowd.conversations[part]
    moved = sum(each.rows for each in train.crowd.repeated)
    if train.adjusted:
        repeat = f", and its rows repeat {conversations:,} conversation{'s' * (conversations > 1)}"
        return f"the cuts were moved so that no part is empty{repeat if conversations < rows else ''}"
    if has < asked and moved:
        return f"{moved:,} rows repeat a few conversations, and are trained on"
    if has > asked and conversations < rows:
        return f"its rows repeat {conversations:,} conversations, and none is split"
    if abs(has - asked) > _CHANCE * 100 * sqrt(asked / 100 * (1 - asked / 100) / train.good):
        return "conversations in other parts repeat, and none is split"
    return "by chance, as the rows are few"
