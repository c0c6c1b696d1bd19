"""What is remembered of a file's rows until all of the dataset is read, on disk where that gets too much.

Filled by `scan`, read by `scan` and `leaks`; `parallel` hands it over from process to process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from shared.dataset.preparing.duplicates import ROW, Duplicates
from shared.dataset.preparing.spilled import Spilled
from shared.dataset.preparing.zones import zones
from shared.dataset.split import Cut, Part

if TYPE_CHECKING:
    from shared.dataset.preparing.tally import Good

BEGUN = np.dtype([("hash", "<u8"), ("by", "<u8"), ("number", "<u8")])
_AT_ONCE = 1 << 16  # records that are read from a file


class Kept:
    """Of one file. A context manager: nothing stays on disk.

    `duplicates`: all good rows. `placed`: position and number of those that are not trained on, as far as is known yet.
    `begun`: of rows that may be trained on, and begin with a shorter conversation that another row may be: its
    position, the row's own, and the row's number.
    """

    def __init__(self) -> None:
        self.duplicates = Duplicates()
        self.placed = Spilled(ROW)
        self.begun = Spilled(BEGUN)
        self._stack = ExitStack()

    def __enter__(self) -> Kept:
        for each in self._all.values():
            self._stack.enter_context(each)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def clear(self) -> None:
        """Forgets all: the file is read again."""
        for each in self._all.values():
            each.clear()

    def note(self, good: Good, zone: np.ndarray, part: Part, cut: Cut | None, known: Mapping[Part, np.ndarray]) -> None:
        """Remembers what it has to of rows of the file for `part`, from which `cut` is cut, each in its `zone`.
        `known`: see Scan."""
        if part != "train":
            self.placed.add(good.positions, good.numbers)
            return
        if cut:
            held_out = np.flatnonzero(zone < len(cut.parts))
            self.placed.add(good.positions[held_out], good.numbers[held_out])
        if len(good.begun):
            # Where no row can be that is not trained on, nobody asks for it.
            wanted = zones(cut, good.begun) < len(cut.parts) if cut else np.zeros(len(good.begun), bool)
            for positions in known.values():
                wanted |= np.isin(good.begun, positions)
            if wanted.any():
                by = good.begun_by[wanted]
                self.begun.add(good.begun[wanted], good.positions[by], good.numbers[by])

    def save(self, folder: Path) -> None:
        """Writes all to files in a folder."""
        for name, each in self._all.items():
            with (folder / name).open("wb") as file:
                for rows in each.rows():
                    rows.tofile(file)

    def load(self, folder: Path, numbered: Callable[[np.ndarray], np.ndarray]) -> None:
        """Takes what was saved, with the numbers that `numbered` gives the rows."""
        for name, each in self._all.items():
            for rows in _saved(folder / name, each.kind):
                each.take(numbered(rows))

    @property
    def _all(self) -> dict[str, Spilled]:
        return {"duplicates": self.duplicates, "placed": self.placed, "begun": self.begun}


def _saved(path: Path, kind: np.dtype) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while len(rows := np.fromfile(file, kind, _AT_ONCE)):
            yield rows
