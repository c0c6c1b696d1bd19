"""What is counted of a file: rows, faults, tokens, turns, and a digest of what was written to each part.

Every count can be joined: a file is read in pieces, by one process or by several, each with a Tally of its own, and
their sum is the same as if the file had been read at once. Filled by `scan`, joined by `scan` and `parallel`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from shared.dataset.judging.checked import Checked
from shared.dataset.judging.damaged import damage
from shared.dataset.judging.keys import Note, Noted, collect
from shared.dataset.judging.rules import RULES, Fault
from shared.dataset.preparing.columns import Columns
from shared.dataset.preparing.zones import Crowd
from shared.dataset.safety.search import beginning, masked_text
from shared.dataset.split import LINE, PARTS, Cut, Part

FIRST_ROWS = 3
BYTES_A_TOKEN = 4
"""Of a written row, by estimate: English has a little more of them, other languages less."""
_FIRST_LENGTH = 500
_RANGES = 48  # of tokens, by powers of two
_FACTOR = 0x9E3779B97F4A7C15  # its powers modulo 2^64 come again after 2^62 only


class Good:
    """The good rows of a batch, with what is reckoned with."""

    def __init__(self, batch: Checked) -> None:
        self.rows = batch.rows
        self.hashes = np.array(batch.hashes, np.uint64)
        self.positions = np.array(batch.positions, np.uint64)
        self.numbers = np.array(batch.numbers, np.uint64)
        self.begun = np.array(batch.begun, np.uint64)
        self.begun_by = np.array(batch.begun_by, np.int64)
        self.sizes = np.fromiter(map(len, batch.rows), np.int64, len(batch.rows))
        self.bytes = int(self.sizes.sum())


@dataclass(frozen=True, kw_only=True)
class Digest:
    """A polynomial over the hashes of rows, modulo 2^64: it tells another order, and can be joined."""

    rows: int = 0
    value: int = 0

    def joined(self, other: Digest) -> Digest:
        """The digest of these rows and then those."""
        value = self.value + pow(_FACTOR, self.rows, LINE) * other.value
        return Digest(rows=self.rows + other.rows, value=value % LINE)

    @classmethod
    def of(cls, hashes: np.ndarray) -> Digest:
        """The digest of rows with these hashes (uint64)."""
        weights = np.multiply.accumulate(np.full(len(hashes), _FACTOR, np.uint64))
        return cls(rows=len(hashes), value=int((hashes * weights).sum()))


class Tally:
    """What is counted of a file, or of a piece of it; the pieces of a file are joined in their order."""

    def __init__(self, told: int) -> None:
        self.told = told
        self.rows = self.lines = self.good = self.bytes = self.duplicates = self.read = 0
        self.counts: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.warned: list[Fault] = []
        self.whole: dict[str, Fault] = {}  # the first of each rule that is not a row's, however many rows are bad
        self.format = ""
        self.notes: dict[Note, Noted] = {}
        self.splits: Counter[str] = Counter()
        self.digests: dict[str, Digest] = {part: Digest() for part in PARTS}
        self.adjusted = self.broken = False
        self.cut: Cut | None = None  # as it was made in the end; None of a piece, and where nothing is cut
        self.crowd = Crowd()
        self.turns: np.ndarray = np.zeros(0, np.int64)
        self.tokens: np.ndarray = np.zeros(_RANGES, np.int64)
        self.longest: tuple[int, Fault | None] = (0, None)
        self.first: list[str] = []
        self.positions: list[np.ndarray] = []  # of a file that is held out
        self.groups: dict[int, int] = {}
        self.columns: dict[Part, Columns] = {}
        self.files: dict[int, int] = {}  # rows of each file of the part, by its index
        self.found: Counter[str] = Counter()  # secrets and persons' data, by kind

    def fault(self, fault: Fault) -> None:
        """Counts a fault, and keeps it if it is one of the first."""
        self.counts[fault.rule] += 1
        kept = self.faults if fault.severity == "error" else self.warned
        if len(kept) < self.told:
            kept.append(replace(fault, reason=masked_text(fault.reason)))
        if fault.severity == "error" and RULES[fault.rule].scope != "row" and fault.rule not in self.whole:
            fault = replace(fault, reason=masked_text(fault.reason))
            self.whole.setdefault(fault.rule, fault)

    def count(
        self,
        batch: Checked,
        good: Good,
        *,
        tell: Callable[..., Fault],
        context: int | None,
        known: Mapping[Part, np.ndarray],
    ) -> None:
        """Counts a batch of rows. `tell` makes a fault of a good row; `context`, `known`: see Facts and Scan."""
        self.rows += batch.count
        self.lines += batch.lines
        self.format = self.format or batch.format
        self.groups |= batch.groups
        collect(self.notes, batch.notes)
        for fault in batch.faults:
            self.fault(fault)
        self.counts.update(batch.more)
        if not batch.rows:
            return
        self.good += len(batch.rows)
        self.bytes += good.bytes
        tokens = good.sizes // BYTES_A_TOKEN
        self.tokens += np.bincount(np.frexp(tokens)[1], minlength=_RANGES)
        self._add_turns(np.bincount(batch.turns))
        most = int(tokens.argmax())
        if tokens[most] > self.longest[0]:
            self.longest = (int(tokens[most]), tell("long_rows", "", batch.where(most), batch.rows[most]))
        warned: list[tuple[int, str, str]] = []
        if context and tokens[most] > context:
            for at in np.flatnonzero(tokens > context).tolist():
                reason = f"about {tokens[at]:,} tokens, and the base model's context holds {context:,}"
                warned.append((at, "over_context", reason))
        for other, positions in known.items():
            near = np.minimum(np.searchsorted(positions, good.positions), len(positions) - 1)
            reason = f"its conversation is in the {other} data too"
            both = np.flatnonzero(positions[near] == good.positions).tolist()
            warned += [(at, "prompt_in_both", reason) for at in both]
        warned += [(at, "damaged_text", reason) for at in batch.suspect if (reason := damage(batch.rows[at]))]
        for at, rule, reason in sorted(warned):  # in the order of the rows, whatever the batches
            self.fault(tell(rule, reason, batch.where(at), batch.rows[at]))

    def wrote(self, part: Part, rows: list[bytes], hashes: np.ndarray) -> None:
        """Counts rows that were written to a part."""
        self.splits[part] += len(rows)
        self.digests[part] = self.digests[part].joined(Digest.of(hashes))
        if part == "train":
            for row in rows[: FIRST_ROWS - len(self.first)]:
                self.first.append(beginning(row, _FIRST_LENGTH))

    def join(self, other: Tally, lines: int) -> None:
        """Adds what was counted of another piece; `lines`: how many the file has before that, if it counts from 1."""
        self.counts += other.counts
        for kept, more in ((self.faults, other.faults), (self.warned, other.warned)):
            kept += [replace(each, line=each.line + lines) for each in more[: max(0, self.told - len(kept))]]
        for rule, each in other.whole.items():
            self.whole.setdefault(rule, replace(each, line=each.line + lines))
        size, longest = other.longest
        if longest and size > self.longest[0]:
            self.longest = (size, replace(longest, line=longest.line + lines))
        collect(self.notes, other.notes, lines)
        self.rows += other.rows
        self.lines += other.lines
        self.good += other.good
        self.bytes += other.bytes
        self.duplicates += other.duplicates
        self.format = self.format or other.format
        self.splits += other.splits
        self.digests = {part: self.digests[part].joined(other.digests[part]) for part in PARTS}
        self.adjusted |= other.adjusted
        self.broken |= other.broken
        self._add_turns(other.turns)
        self.tokens = self.tokens + other.tokens
        self.first = (self.first + other.first)[:FIRST_ROWS]
        self.positions += other.positions
        self.groups |= other.groups
        for part, columns in other.columns.items():
            self.columns.setdefault(part, Columns()).join(columns)
        for index, rows in other.files.items():
            self.files[index] = self.files.get(index, 0) + rows
        self.found += other.found

    def _add_turns(self, turns: np.ndarray) -> None:
        if len(turns) > len(self.turns):
            self.turns, turns = turns.copy(), self.turns
        self.turns[: len(turns)] += turns
