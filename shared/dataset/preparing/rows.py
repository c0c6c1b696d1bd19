"""Where the good rows of a part go: to it, or to the zones that are cut from it. Called by `scan` and `parallel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shared.dataset import split
from shared.dataset.preparing.columns import Columns, Leads
from shared.dataset.preparing.kept import Kept
from shared.dataset.preparing.tally import Good, Tally
from shared.dataset.preparing.zones import crowd, crowd_held, zones
from shared.dataset.split import Cut, Part

if TYPE_CHECKING:
    from shared.dataset.preparing.scan import Scan

HELD_ROWS = 10_000
HELD_BYTES = 16 * 1024 * 1024
_NOTHING = Cut(parts=(), ends=())


class Sink(Protocol):
    """Takes bytes: a file, a blob writer. One that can put rows first (Leads) is told which have to be."""

    def write(self, data: bytes, /) -> object:
        """Takes `data`, whole."""


def emptied(sink: Any) -> None:
    """Has a sink forget what it took, since it comes again: a blob writer in one step, a file in two."""
    if hasattr(sink, "restart"):
        sink.restart()
    else:
        sink.seek(0)
        sink.truncate()


class Rows:
    """Takes the good rows of a part: they are written, counted in `tally`, and remembered in `kept`, what must be.

    `hold`: those of a small part are held back until its end, to fit the cut to them.
    """

    def __init__(self, tally: Tally, scan: Scan, sinks: Mapping[Part, Sink] | None, kept: Kept, *, hold: bool) -> None:
        self._scan = scan
        self._cut = scan.cut
        self._tally = tally
        self._sinks = sinks
        self._kept = kept
        self._holding = hold and scan.cut is not None
        self._held: list[Good] = []
        self._count = self._bytes = 0

    def take(self, good: Good) -> None:
        """Takes the good rows of a batch."""
        if not self._holding:
            self._let_go(good)
            return
        self._held.append(good)
        self._count, self._bytes = self._count + len(good.rows), self._bytes + good.bytes
        if self._count > HELD_ROWS or self._bytes > HELD_BYTES:
            self._holding = False
            self._let_go(*self._held)
            self._held.clear()

    def end(self) -> None:
        """Writes what was held back: that was all."""
        if self._holding and self._cut:
            self._cut = self._tally.cut = self._fitted(self._cut)
            self._let_go(*self._held)
            self._held.clear()

    def _fitted(self, cut: Cut) -> Cut:
        """The cut for what is held; the tally gets what is to be told of it."""
        positions = np.concatenate([good.positions for good in self._held] or [np.empty(0, np.uint64)])
        each, counts = np.unique(positions, return_counts=True)
        made = split.fitted(cut, dict(zip(each.tolist(), counts.tolist(), strict=True)))
        if made is None:
            return _NOTHING
        numbers = np.concatenate([good.numbers for good in self._held])
        self._tally.crowd = crowd_held(positions, numbers, cut, made)
        unmoved = replace(cut, whole=made.whole)
        self._tally.adjusted = bool((zones(unmoved, each) != zones(made, each)).any())
        return made

    def _let_go(self, *goods: Good) -> None:
        """Writes each row to the zone that it is in."""
        for good in goods:
            found = zones(self._cut or _NOTHING, good.positions)
            self._kept.note(good, found, self._scan.part, self._cut, self._scan.known)
            if self._cut is None:
                self._write(self._scan.part, good.rows, good.hashes)
                continue
            parts = (*self._cut.parts, "train")
            rows: list[list[bytes]] = [[] for _ in parts]
            for row, zone in zip(good.rows, found.tolist(), strict=True):
                rows[zone].append(row)
            for zone, part in enumerate(parts):
                self._write(part, rows[zone], good.hashes[found == zone])

    def _write(self, part: Part, rows: list[bytes], hashes: np.ndarray) -> None:
        """Writes rows to a part."""
        if rows:
            self._tally.wrote(part, rows, hashes)
            late = self._tally.columns.setdefault(part, Columns(tools=self._scan.facts.tools)).take(rows)
            if self._sinks is None:
                return
            sink = self._sinks[part]
            if late and isinstance(sink, Leads):
                for at in late:
                    sink.lead(rows[at] + b"\n")
                rows = [row for at, row in enumerate(rows) if at not in late]
            if rows:
                sink.write(b"\n".join((*rows, b"")))  # a sum would copy all of it once more


def settled(tally: Tally, scan: Scan, kept: Kept, again: Callable[[Scan], Tally]) -> Tally:
    """What became of a part, also where one that was cut from it is crowded by a conversation that repeats too often.

    Only the end of a large part tells that, when its rows are written. It is then read and written once more, by
    `again`, with what is known now: that is seldom, and so the rows stay in their order, and none is held back.
    """
    if scan.cut is None or tally.cut is not None:
        return tally
    found = crowd(kept.placed, scan.cut, tally.good)
    cut = replace(scan.cut, whole=found.whole)
    if cut.whole:
        kept.clear()
        tally = again(replace(scan, cut=cut))
    tally.cut, tally.crowd = cut, found
    return tally
