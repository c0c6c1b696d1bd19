"""Finds rows that are there twice, in 16 bytes a row, on disk where that gets too much.

A row is known by a 64-bit hash of what is written of it, and by its number. Two different rows of ten million share a
hash by chance about three times in a million datasets, and what comes of it is a warning too many. Called by `scan`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

ROW = np.dtype([("hash", "<u8"), ("number", "<u8")])
SPILL = 4 * 1024 * 1024
"""Bytes of rows held in memory: 262,144 rows. To sort them, or find copies among them, takes thrice as much again."""
_BUCKETS = 64


class Duplicates:
    """Takes the rows of one file, in the order of their numbers. A context manager: nothing stays on disk."""

    def __init__(self, spill: int = SPILL) -> None:
        self._spill = spill
        self._held: list[np.ndarray] = []
        self._bytes = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Duplicates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Lets all rows go."""
        self._held.clear()
        self._bytes = 0
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def add(self, hashes: np.ndarray, numbers: np.ndarray) -> None:
        """Takes rows: their hashes (uint64) and their 1-based numbers in the file."""
        rows = np.empty(len(hashes), ROW)
        rows["hash"], rows["number"] = hashes, numbers
        self.take(rows)

    def take(self, rows: np.ndarray) -> None:
        """Takes rows as `rows()` gave them."""
        self._held.append(rows)
        self._bytes += rows.nbytes
        if self._bytes > self._spill:
            self._to_disk()

    def rows(self) -> Iterator[np.ndarray]:
        """All rows, in pieces that fit in memory."""
        for pieces in self._buckets():
            yield from pieces

    def find(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers of the rows that were there before, each with that of the first one; in no order, piece by piece."""
        if self._folder:
            self._to_disk()
        elif self._held:
            self._held = [np.concatenate(self._held)]
        for pieces in self._buckets():
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

    def _buckets(self) -> Iterator[Iterator[np.ndarray]]:
        """The rows in pieces; copies of a row are in the same bucket."""
        if self._held:
            yield iter(self._held)
        for bucket in range(_BUCKETS if self._folder else 0):
            if (path := self._path(bucket)).exists():
                yield self._stored(path)

    def _stored(self, path: Path) -> Iterator[np.ndarray]:
        with path.open("rb") as file:
            while len(rows := np.fromfile(file, ROW, max(1, self._spill // ROW.itemsize))):
                yield rows

    def _to_disk(self) -> None:
        """Sorts what is held into files by the beginning of the hash: copies of a row meet in the same one."""
        if not self._held:
            return
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="droptune-rows-")
        rows = np.concatenate(self._held)
        self._held.clear()
        self._bytes = 0
        buckets = rows["hash"] >> np.uint64(58)
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(_BUCKETS + 1))
        for bucket in range(_BUCKETS):
            chosen = order[ends[bucket] : ends[bucket + 1]]
            if len(chosen):
                with self._path(bucket).open("ab") as file:
                    rows[chosen].tofile(file)

    def _path(self, bucket: int) -> Path:
        assert self._folder is not None, "something was written"  # noqa: S101 - for the type checker
        return Path(self._folder.name) / f"{bucket:02}"
