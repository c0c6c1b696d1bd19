"""A batch of rows, as `checker` hands it on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from shared.dataset.judging.keys import Note, Noted
from shared.dataset.judging.rules import Fault


@dataclass(slots=True)
class Checked:
    """A batch of rows.

    `rows`, `hashes` (of what is written), `positions` (of the conversation, see `split`), `turns` and `numbers` are of
    the good ones; `begun` are the positions of shorter conversations that good rows begin with, `begun_by` the indices
    of those rows. `faults` are of the others, of each rule the first in full, and the rest counted in `more`. `notes`:
    what else there is to say of good rows: keys that are not read, and the like. `count`: of all; `lines`: of the file,
    where it has such. `groups`: number of a row group's first row -> the group's index.
    `suspect`: indices of good ones that may be damaged text.
    """

    rows: list[bytes] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    begun_by: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    suspect: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    more: Counter[str] = field(default_factory=Counter)
    notes: dict[Note, Noted] = field(default_factory=dict)
    count: int = 0
    lines: int = 0
    format: str = ""
    groups: dict[int, int] = field(default_factory=dict)
    where: Callable[[int], dict[str, Any]] = lambda _: {}
    """Where a good row is, by its index here, as fields of a Fault."""

    def leave_out(self, bad: Collection[int]) -> None:
        """Takes good rows out, by their index here. All lists that have an item for each good row are cut alike."""
        kept = [at for at in range(len(self.rows)) if at not in bad]
        lists: tuple[list[Any], ...] = (self.rows, self.hashes, self.positions, self.turns, self.numbers)
        for each in lists:
            each[:] = [each[at] for at in kept]
        now = {before: at for at, before in enumerate(kept)}
        left = [(begun, now[by]) for begun, by in zip(self.begun, self.begun_by, strict=True) if by in now]
        self.begun[:], self.begun_by[:] = [begun for begun, _ in left], [by for _, by in left]
        self.suspect[:] = [now[at] for at in self.suspect if at in now]
        where = self.where
        self.where = lambda index: where(kept[index])
