"""Checks a dataset, splits what nobody split, and writes the clean rows: one pass over each file, in bounded memory.

Called by prepare_dataset with the blobs' chunks and with a writer for each part.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from shared.dataset import split
from shared.dataset.report import Report
from shared.dataset.rules import Fault, Row, check
from shared.dataset.split import Cut, Part

PARTS: tuple[Part, ...] = ("train", "validation", "test")
HELD_ROWS = 10_000
HELD_BYTES = 16 * 1024 * 1024
FIRST_ROWS = 3
_FIRST_LENGTH = 500


class Sink(Protocol):
    """Takes bytes: a file, a blob writer."""

    def write(self, data: bytes, /) -> object:
        """Takes `data`, whole."""


def prepare(
    *,
    train: Iterable[bytes],
    validation: Iterable[bytes] | None = None,
    test: Iterable[bytes] | None = None,
    sinks: Mapping[Part, Sink],
    faults_told: int = 1000,
) -> Report:
    """Streams the good rows of the given files to `sinks` as JSON Lines, and reports on all rows.

    A file that is None is cut from train: 10 % of its prompts each (see `split`). There must be a sink for each part.
    What was written counts only if the report names no bad row. Raises only what reading or writing raises.
    """
    work = _Work(sinks, faults_told)
    others: dict[Part, Iterable[bytes] | None] = {"test": test, "validation": validation}
    for part, chunks in others.items():
        if chunks is not None:
            for row in work.good(chunks, part):
                work.write(part, row)
    missing = tuple(part for part, chunks in others.items() if chunks is None)
    if missing:
        _cut(work, train, missing)
    else:
        for row in work.good(train, "train"):
            work.write("train", row)
    return work.report(missing)


def _cut(work: _Work, train: Iterable[bytes], missing: tuple[Part, ...]) -> None:
    """Splits `train`. A small set is held back, to fit the cuts to it; whether it is small no row order can change."""
    held: list[tuple[int, Row]] = []
    size = 0
    cut: Cut | None = None
    for row in work.good(train, "train"):
        place = split.place(row.prompt)
        if cut:
            work.write(cut.part(place), row)
            continue
        held.append((place, row))
        size += len(row.data)
        if len(held) > HELD_ROWS or size > HELD_BYTES:
            cut = split.fixed(missing)
            work.write_all(cut, held)
    if cut is None:
        fitted = split.fitted(missing, [place for place, _ in held])
        work.write_all(fitted or Cut(parts=(), ends=()), held)
    if not work.by_rule and not all(work.splits[part] for part in ("train", *missing)):
        parts = " and ".join(missing)
        reason = f"the rows have too few different first prompts to cut {parts} from them without repeating one"
        work.fault(Fault(part="train", line=1, offset=0, rule="too_few_prompts", reason=reason, excerpt=""))


class _Work:
    """Where rows go, and what is counted on the way."""

    def __init__(self, sinks: Mapping[Part, Sink], faults_told: int) -> None:
        self.splits: Counter[str] = Counter(dict.fromkeys(PARTS, 0))
        self.by_rule: Counter[str] = Counter()
        self._sinks = sinks
        self._faults_told = faults_told
        self._faults: list[Fault] = []
        self._rows = 0
        self._first: list[str] = []
        self._digests = {part: hashlib.blake2b(digest_size=16) for part in PARTS}

    def good(self, chunks: Iterable[bytes], part: Part) -> Iterable[Row]:
        """The good rows of a file; the others are counted."""
        for found in check(chunks, part=part):
            if isinstance(found, Row):
                self._rows += 1
                yield found
            else:
                self._rows += found.rule != "empty_file"
                self.fault(found)

    def fault(self, fault: Fault) -> None:
        """Counts a fault, and keeps it if it is one of the first."""
        self.by_rule[fault.rule] += 1
        if len(self._faults) < self._faults_told:
            self._faults.append(fault)

    def write(self, part: Part, row: Row) -> None:
        """Writes a row to its part."""
        line = row.data + b"\n"
        self._sinks[part].write(line)
        self._digests[part].update(line)
        self.splits[part] += 1
        if part == "train" and len(self._first) < FIRST_ROWS:
            self._first.append(row.data[: 4 * _FIRST_LENGTH].decode(errors="ignore")[:_FIRST_LENGTH])

    def write_all(self, cut: Cut, held: list[tuple[int, Row]]) -> None:
        """Writes rows that were held back, and lets them go."""
        for place, row in held:
            self.write(cut.part(place), row)
        held.clear()

    def report(self, missing: tuple[Part, ...]) -> Report:
        """What became of it all."""
        digest = hashlib.blake2b(b"".join(each.digest() for each in self._digests.values()), digest_size=16)
        return Report(
            rows=self._rows,
            bad_rows=self.by_rule.total(),
            by_rule=dict(self.by_rule.most_common()),
            faults=tuple(self._faults),
            splits=dict(self.splits),
            cut=missing,
            first_rows=tuple(self._first),
            digest=digest.hexdigest(),
        )
