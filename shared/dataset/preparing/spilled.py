"""Remembers a few bytes of each row, on disk where that gets too much; what has the same hash is found together.

Called by `duplicates` and `kept`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

SPILL = 4 * 1024 * 1024
"""Bytes held in memory: of 262,144 rows of 16 bytes. To sort them, or find copies among them, takes thrice as much."""
_BUCKETS = 64


class Spilled:
    """Takes records of a `kind` that has a `hash` (uint64). A context manager: nothing stays on disk."""

    def __init__(self, kind: np.dtype, spill: int = SPILL) -> None:
        self.kind = kind
        self._spill = spill
        self._held: list[np.ndarray] = []
        self._bytes = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Lets all records go."""
        self._held.clear()
        self._bytes = 0
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def add(self, *columns: np.ndarray) -> None:
        """Takes records, as a column for each of their fields, all of one length."""
        records = np.empty(len(columns[0]), self.kind)
        for name, column in zip(self.kind.names or (), columns, strict=True):
            records[name] = column
        self.take(records)

    def take(self, records: np.ndarray) -> None:
        """Takes records as `rows()` gave them."""
        if not len(records):
            return
        self._held.append(records)
        self._bytes += records.nbytes
        if self._bytes > self._spill:
            self._to_disk()

    def rows(self) -> Iterator[np.ndarray]:
        """All records, in pieces that fit in memory; those with the same hash in the order in which they came."""
        for pieces in self.buckets():
            yield from pieces

    def buckets(self) -> Iterator[Iterator[np.ndarray]]:
        """The records in pieces; those with the same hash are in the same bucket."""
        if self._folder:
            self._to_disk()
        elif self._held:
            yield self._in_memory()
        for bucket in range(_BUCKETS if self._folder else 0):
            if (path := self._path(bucket)).exists():
                yield self._stored(path)

    def beside(self, other: Spilled) -> Iterator[tuple[Iterator[np.ndarray], Iterator[np.ndarray]]]:
        """The buckets of both in which both have records; what has the same hash in both is in the same pair."""
        if not (self._folder or other._folder):
            if self._held and other._held:
                yield self._in_memory(), other._in_memory()
            return
        for each in (self, other):
            each._to_disk()
        for bucket in range(_BUCKETS):
            paths = [each._path(bucket) for each in (self, other) if each._folder]
            if len(paths) == 2 and all(path.exists() for path in paths):
                yield self._stored(paths[0]), other._stored(paths[1])

    def _in_memory(self) -> Iterator[np.ndarray]:
        self._held = [np.concatenate(self._held)]
        return iter(self._held)

    def _stored(self, path: Path) -> Iterator[np.ndarray]:
        with path.open("rb") as file:
            while len(records := np.fromfile(file, self.kind, max(1, self._spill // self.kind.itemsize))):
                yield records

    def _to_disk(self) -> None:
        """Sorts what is held into files by the end of the hash: positions (see `split`) may begin alike."""
        if not self._held:
            return
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="droptune-rows-")
        records = np.concatenate(self._held)
        self._held.clear()
        self._bytes = 0
        buckets = records["hash"] & np.uint64(_BUCKETS - 1)
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(_BUCKETS + 1))
        for bucket in range(_BUCKETS):
            chosen = order[ends[bucket] : ends[bucket + 1]]
            if len(chosen):
                with self._path(bucket).open("ab") as file:
                    records[chosen].tofile(file)

    def _path(self, bucket: int) -> Path:
        assert self._folder is not None, "something was written"  # noqa: S101 - for the type checker
        return Path(self._folder.name) / f"{bucket:02}"
