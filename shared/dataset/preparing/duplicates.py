"""Finds rows that are there twice, in 16 bytes a row, on disk where that gets too much.

A row is known by a 64-bit hash of what is written of it, and by its number. Two different rows of ten million share a
hash by chance about three times in a million datasets, and what comes of it is a warning too many. Called by `scan`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shared.dataset.preparing.spilled import SPILL, Spilled

__all__ = ["ROW", "SPILL", "Duplicates"]

ROW = np.dtype([("hash", "<u8"), ("number", "<u8")])


class Duplicates(Spilled):
    """Takes the rows of one file, by their hashes and 1-based numbers, in the order of these."""

    def __init__(self, spill: int = SPILL) -> None:
        super().__init__(ROW, spill)

    def find(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers of the rows that were there before, each with that of the first one; in no order, piece by piece."""
        for pieces in self.buckets():
            known = np.empty(0, ROW)  # the first of each hash in the pieces before: all rows may be the same one
            for piece in pieces:
                rows = np.concatenate((known, piece)) if len(known) else piece
                order = np.argsort(rows["hash"], kind="stable")  # rows come in the order of their numbers
                hashes = rows["hash"][order]
                same = hashes[1:] == hashes[:-1]
                again = np.flatnonzero(same) + 1
                firsts = np.flatnonzero(np.concatenate(([True], ~same)))
                if len(again):
                    first = firsts[np.searchsorted(firsts, again, side="right") - 1]
                    yield rows["number"][order[again]], rows["number"][order[first]]
                known = rows[order[firsts]]
