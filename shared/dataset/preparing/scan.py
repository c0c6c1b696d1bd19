"""Checks a dataset, splits what nobody split, and writes the good rows: one pass over each file, in bounded memory.

A part of it is a file or several, which count as one that was cut: in their order, with one split and one search for
copies; only where a row is, and in what format, is said of its own file.

Called by the function that prepares, by `droptune check` and by the pipeline's step; `parallel` does the same with
several processes, each with a Tally of its own.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from shared.dataset import split
from shared.dataset.judging.checker import Checked, Checker, excerpt
from shared.dataset.judging.formats import BY_NAME
from shared.dataset.judging.rules import RULES, Facts, Fault
from shared.dataset.kinds import form_of, kind_of
from shared.dataset.preparing.columns import Columns, Leads
from shared.dataset.preparing.duplicates import Duplicates
from shared.dataset.preparing.tally import Good, Tally
from shared.dataset.reading import parquet
from shared.dataset.reading.beginnings import peeked, plain_ends, written
from shared.dataset.reading.csv import csv
from shared.dataset.reading.files import Elements, FileFault, Limits, Source, Table, paged
from shared.dataset.reading.json_array import json_array
from shared.dataset.reading.unpacking import laid_down, unpacked
from shared.dataset.report import Report, brief, counted
from shared.dataset.safety.guard import Guard
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Cut, Part

# Held-out files come first: their prompts are then known when those of the training file pass.
ORDER: tuple[Part, ...] = ("test", "validation", "train")
HELD_ROWS = 10_000
HELD_BYTES = 16 * 1024 * 1024
MANY_DUPLICATES = 0.1
LONG = 100

type Input = Source | Table
type Inputs = Input | Sequence[Input]
"""The files of a part, in the order in which they are read."""
FILE = 40
"""A row's number among all of its part: its number in the file, and above so many bits which file that is."""


class Sink(Protocol):
    """Takes bytes: a file, a blob writer. One that can put rows first (Leads) is told which have to be."""

    def write(self, data: bytes, /) -> object:
        """Takes `data`, whole."""


def prepare(
    *,
    files: Mapping[Part, Inputs],
    sinks: Mapping[Part, Sink] | None,
    policy: Policy | None = None,
    facts: Facts | None = None,
    limits: Limits | None = None,
    told: int = 1000,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Streams the good rows of the given files to `sinks` as JSON Lines (None: only checks), and reports on all rows.

    There must be a file for train, or several; a part without one is cut from them (see `split`). What was written
    counts only if the report is not `rejected`. `progress` is told how many bytes were read, now and then. Raises only
    what reading or writing raises.
    """
    policy = policy or Policy()
    keep_memory()
    tallies: dict[Part, Tally] = {}
    of = listed(files)
    for part in ORDER:
        if part in of:
            scan = Scan.of(part, of, tallies, policy=policy, facts=facts, limits=limits, told=told)
            with Duplicates() as duplicates:
                tallies[part] = tally = read_files(of[part], scan, sinks, duplicates, progress)
                finish(tally, scan, duplicates, of[part])
    return summed(tallies, of, policy, told)


def listed(files: Mapping[Part, Inputs]) -> dict[Part, tuple[Input, ...]]:
    """The files of each part that has some."""
    of = {part: tuple(each) if isinstance(each, Sequence) else (each,) for part, each in files.items()}
    return {part: each for part, each in of.items() if each}


@dataclass(frozen=True, kw_only=True)
class Scan:
    """How a file, or a piece of it, is to be read: everything but its bytes. Can be sent to another process.

    `index`: which of its part's files it is, from 0. `cut`: the zones cut from its part for those without files.
    `known`: sorted positions of the prompts of the parts before. `chosen`: the name of its format, where that is known
    already.
    """

    part: Part
    file: str
    index: int = 0
    policy: Policy
    facts: Facts
    limits: Limits
    told: int
    cut: Cut | None
    known: Mapping[Part, np.ndarray]
    chosen: str | None = None

    @classmethod
    def of(
        cls,
        part: Part,
        files: Mapping[Part, Inputs],
        before: Mapping[Part, Tally],
        *,
        policy: Policy,
        facts: Facts | None,
        limits: Limits | None,
        told: int,
    ) -> Scan:
        """The scan of the first of a part's files, when the parts `before` it have been read."""
        percents: dict[Part, int] = {"validation": policy.validation_percent, "test": policy.test_percent}
        missing = tuple(each for each in percents if each not in files)
        return cls(
            part=part,
            file=listed(files)[part][0].name,
            policy=policy,
            facts=facts or Facts(),
            limits=limits or Limits(),
            told=told,
            cut=split.fixed(missing, tuple(percents[each] for each in missing))
            if part == "train" and missing
            else None,
            known={other: np.sort(np.concatenate(tally.prompts)) for other, tally in before.items() if tally.prompts},
        )

    def of_file(self, index: int, name: str) -> Scan:
        """The scan of another file of the part."""
        return replace(self, index=index, file=name)

    def checker(self) -> Checker:
        """A checker for its rows."""
        return Checker(
            file=self.file,
            part=self.part,
            facts=self.facts,
            limits=self.limits,
            seed=self.policy.seed,
            chosen=BY_NAME[self.chosen] if self.chosen else None,
            told=self.told,
        )

    def batches(self, file: Input, progress: Callable[[int], None] | None = None) -> Iterator[Checked]:
        """The rows of a whole file, checked. Raises FileFault, and what the source raises."""
        checker = self.checker()
        if not isinstance(file, Source):
            for batch in file.records(self.limits):
                yield checker.elements(batch) if isinstance(batch, Elements) else checker.records(batch)
            return
        file = watched(file, progress)
        if form_of(file.name) == ".parquet":
            with laid_down(file, self.limits) as source:
                yield from map(checker.records, parquet.parquet(source, self.limits))
            return
        head, chunks = peeked(unpacked(file, self.limits))
        found = written(file.name, head)
        if found.returns:
            chunks = plain_ends(chunks)
        match found.form:
            case ".csv":
                tabs = (kind_of(file.name) or "").startswith(".tsv")
                yield from map(checker.records, csv(chunks, self.limits, tabs=tabs))
            case ".json":
                yield from map(checker.elements, json_array(chunks, self.limits))
            case _:
                yield from checker.lines(paged(chunks, self.limits.page))

    def run(
        self,
        batches: Iterator[Checked],
        rows: Rows,
        duplicates: Duplicates,
    ) -> Tally:
        """Counts the rows of the file, or of a piece of it, and hands the good ones on."""
        tally = Tally(self.told)
        try:
            for batch in map(self.guard(tally).look, batches):
                good = Good(batch)
                tally.count(batch, good, tell=self.fault, context=self.facts.context, known=self.known)
                if not batch.rows:
                    continue
                duplicates.add(good.hashes, np.array(batch.numbers, np.uint64) + np.uint64(self.index << FILE))
                if self.part != "train":
                    tally.prompts.append(good.positions)
                rows.take(good)
        except FileFault as fault:
            tally.broken = True
            line = max(fault.line, tally.lines + 1)  # who unpacks a file knows nothing of its lines
            tally.fault(self.fault(fault.rule, fault.reason, {"line": line, "offset": fault.offset}))
        tally.groups = {first + (self.index << FILE): group for first, group in tally.groups.items()}
        tally.files = {self.index: tally.rows}
        return tally

    def guard(self, tally: Tally) -> Guard:
        """Looks for secrets and persons' data in its rows, and counts them."""
        return Guard(mode=self.policy.safety, file=self.file, part=self.part, told=self.told, found=tally.found)

    def fault(self, rule: str, reason: str, where: Mapping[str, Any], row: bytes = b"") -> Fault:
        """A fault of a good row."""
        return Fault(file=self.file, part=self.part, rule=rule, reason=reason, excerpt=excerpt(row), **where)


class Rows:
    """Where the good rows of a part go: to it, or to the zones of its cut; written, and counted in `tally`.

    `hold`: those of a small part are held back until its end, to fit the cut to them.
    """

    def __init__(self, tally: Tally, scan: Scan, sinks: Mapping[Part, Sink] | None, *, hold: bool) -> None:
        self._part = scan.part
        self._tools = scan.facts.tools
        self._cut = scan.cut
        self._zones = scan.cut or Cut(parts=(), ends=())
        self._tally = tally
        self._sinks = sinks
        self._holding = hold and scan.cut is not None
        self._held: list[Good] = []
        self._count = self._bytes = 0

    def take(self, good: Good) -> None:
        """Takes the good rows of a batch."""
        if self._cut is None:
            self._write(self._part, good.rows, good.hashes)
        elif not self._holding:
            self._to_zones(good)
        else:
            self._held.append(good)
            self._count, self._bytes = self._count + len(good.rows), self._bytes + good.bytes
            if self._count > HELD_ROWS or self._bytes > HELD_BYTES:
                self._holding = False
                self._let_go()

    def end(self) -> None:
        """Writes what was held back: that was all."""
        if self._holding and self._cut:
            cut, positions = self._cut, {position for good in self._held for position in good.positions.tolist()}
            fitted = split.fitted(cut, positions)
            self._tally.adjusted = fitted is not None and any(fitted.part(at) != cut.part(at) for at in positions)
            self._zones = fitted or Cut(parts=(), ends=())
            self._let_go()

    def _let_go(self) -> None:
        for each in self._held:
            self._to_zones(each)
        self._held.clear()

    def _to_zones(self, good: Good) -> None:
        """Writes each row to the zone that it is in."""
        zones = np.searchsorted(np.array(self._zones.ends, np.uint64), good.positions, side="right")
        parts = (*self._zones.parts, "train")
        rows: list[list[bytes]] = [[] for _ in parts]
        for row, zone in zip(good.rows, zones.tolist(), strict=True):
            rows[zone].append(row)
        for zone, part in enumerate(parts):
            self._write(part, rows[zone], good.hashes[zones == zone])

    def _write(self, part: Part, rows: list[bytes], hashes: np.ndarray) -> None:
        """Writes rows to a part."""
        if rows:
            self._tally.wrote(part, rows, hashes)
            late = self._tally.columns.setdefault(part, Columns(tools=self._tools)).take(rows)
            if self._sinks is None:
                return
            sink = self._sinks[part]
            if late and isinstance(sink, Leads):
                for at in late:
                    sink.lead(rows[at] + b"\n")
                rows = [row for at, row in enumerate(rows) if at not in late]
            if rows:
                sink.write(b"\n".join(rows) + b"\n")


def read_files(
    files: Sequence[Input],
    scan: Scan,
    sinks: Mapping[Part, Sink] | None,
    duplicates: Duplicates,
    progress: Callable[[int], None] | None,
) -> Tally:
    """Writes and counts the rows of all files of a part."""
    tally = Tally(scan.told)
    rows = Rows(tally, scan, sinks, hold=True)
    for index, file in enumerate(files):
        own = scan.of_file(index, file.name)
        found = own.run(own.batches(file, progress), rows, duplicates)
        judge_file(found, own)
        tally.join(found, 0)
    rows.end()
    return tally


def judge_file(tally: Tally, scan: Scan) -> None:
    """Judges one file, once all of it was read."""
    if not tally.rows and not tally.counts:
        tally.fault(scan.fault("empty_file", "the file has no rows", {"line": 1, "offset": 0}))


def finish(tally: Tally, scan: Scan, duplicates: Duplicates, files: Sequence[Input]) -> None:
    """Judges the files of a part together, once all of them were read. `scan`: of the first."""
    if scan.part != "train" and not tally.good and not tally.counts["empty_file"]:
        what = f"{scan.part} file is" if len(files) == 1 else f"{len(files)} {scan.part} files is"
        reason = f"not one row of the {what} good"
        tally.fault(scan.fault("no_test_rows", reason, {"line": 1, "offset": 0}))

    def at(number: int) -> tuple[Scan, dict[str, Any]]:
        index = number >> FILE
        return scan.of_file(index, files[index].name), _place(groups, number)

    found: list[tuple[int, int]] = []
    groups = sorted(tally.groups.items())
    for numbers, firsts in duplicates.find():
        tally.duplicates += len(numbers)
        first = np.argsort(numbers)[: scan.told]
        found = sorted([*found, *zip(numbers[first].tolist(), firsts[first].tolist(), strict=True)])[: scan.told]
    if tally.duplicates:
        tally.counts["duplicate_row"] += tally.duplicates
        for number, before in found[: max(0, scan.told - len(tally.warned))]:
            other, where = at(before)
            reason = f"the same row as {other.fault('duplicate_row', '', where).place}"
            own, where = at(number)
            tally.warned.append(own.fault("duplicate_row", reason, where))
    if tally.duplicates > MANY_DUPLICATES * tally.good:
        reason = f"{tally.duplicates:,} of {tally.good:,} good rows are copies of others"
        tally.fault(scan.fault("too_many_duplicates", reason, {"line": 1}))
    size, longest = tally.longest
    half = int(np.searchsorted(np.cumsum(tally.tokens), tally.good / 2))  # half of the rows have below 2^half tokens
    if longest and size > LONG << half:
        tally.fault(
            replace(longest, reason=f"about {size:,} tokens, where half of the rows have less than {1 << half:,}")
        )


def _place(groups: Sequence[tuple[int, int]], number: int) -> dict[str, Any]:
    """Where the row with this number is. `groups`: number of each row group's first row, and the group's index."""
    at = bisect_right(groups, number, key=itemgetter(0))
    line = number & (1 << FILE) - 1
    if not at or groups[at - 1][0] >> FILE != number >> FILE:
        return {"line": line}
    first, group = groups[at - 1]
    return {"line": line, "row_group": group, "row": number - first + 1}


def summed(tallies: Mapping[Part, Tally], files: Mapping[Part, Sequence[Input]], policy: Policy, told: int) -> Report:
    """The report on a dataset, from what was counted of its files."""
    total = Tally(told)
    for part in PARTS:
        if part in tallies:
            total.join(tallies[part], 0)
    train = tallies["train"]
    cut = tuple(part for part in PARTS if part not in tallies)
    broken = [rule for rule in total.counts if RULES[rule].severity == "error"]
    # A dataset is judged as a whole once its rows are in order: a bad row is enough to be told.
    if not broken or (policy.on_bad_rows == "drop" and all(RULES[rule].scope == "row" for rule in broken)):
        reason, rule = "", "too_few_rows"
        if train.good < policy.min_rows:
            reason = f"{counted(train.good, 'good row')} to train on; min_rows is {policy.min_rows:,}"
        elif cut and not all(train.splits[part] for part in ("train", *cut)):
            rule = "too_few_prompts"
            reason = f"the rows have too few different first prompts to cut {' and '.join(cut)} from them"
        if reason:
            total.fault(Fault(file=files["train"][0].name, part="train", rule=rule, reason=reason, line=1))
    for part in PARTS:
        if part in total.columns and total.columns[part].only_times:
            file = files.get(part, files["train"])[0].name
            reason = f"the texts of the {part} rows, or the first of them, are all dates or times"
            total.fault(Fault(file=file, part=part, rule="only_times", reason=reason, line=1))
    errors = {rule: count for rule, count in total.counts.most_common() if RULES[rule].severity == "error"}
    bad_rows = sum(count for rule, count in errors.items() if _of_rows(rule))
    rejected = _rejected(total, errors, bad_rows, policy)
    digest = [(each.rows, each.value) for each in total.digests.values()]
    return Report(
        rejected=rejected,
        rows=total.rows,
        bad_rows=bad_rows,
        by_rule=errors,
        faults=(*total.faults, *(each for each in total.whole.values() if each not in total.faults)),
        warnings={rule: count for rule, count in total.counts.most_common() if rule not in errors},
        warned=tuple(total.warned),
        dropped=0 if rejected else bad_rows,
        rows_of={part: tallies[part].rows for part in PARTS if part in tallies},
        splits={part: total.splits[part] for part in PARTS},
        cut=cut,
        adjusted=total.adjusted,
        files={part: brief([file.name for file in files[part]]) for part in PARTS if part in files},
        shards={
            part: {file.name: tallies[part].files.get(index, 0) for index, file in enumerate(files[part])}
            for part in PARTS
            if len(files.get(part, ())) > 1
        },
        formats={part: tally.format for part, tally in tallies.items() if tally.format},
        turns={turns: rows for turns, rows in enumerate(total.turns.tolist()) if rows},
        tokens={1 << power: rows for power, rows in enumerate(total.tokens.tolist()) if rows},
        longest=total.longest[0],
        duplicates=total.duplicates,
        first_rows=tuple(total.first),
        safety=policy.safety,
        found=dict(total.found.most_common()),
        digest=hashlib.blake2b(repr(digest).encode(), digest_size=16).hexdigest(),
    )


def _rejected(total: Tally, errors: Mapping[str, int], bad_rows: int, policy: Policy) -> str:
    """Why a dataset with these errors is not to be trained on; empty if it may be."""
    if not errors:
        return ""
    whole = list(total.whole.values())
    if whole and not bad_rows:
        return "; ".join(f"{fault.place}: {fault.reason}. {fault.cure}" for fault in whole[:3])
    percent = 100 * bad_rows / max(total.rows, 1)
    # Rows may be dropped where nothing but rows is bad, and all of them were read.
    drops = policy.on_bad_rows == "drop" and not whole and not total.broken
    if drops and percent <= policy.max_bad_percent:
        return ""
    of_rows = [rule for rule in errors if _of_rows(rule)]
    rules = ", ".join(f"{errors[rule]:,} {rule}" for rule in of_rows)
    over = ""
    if drops:
        over = f"; {percent:.3g} % is more than max_bad_percent ({policy.max_bad_percent:g} %)"
    first = "".join(
        f"; {'first: ' if each.rule in of_rows else ''}{each.place}: {each.reason}. {each.cure}"
        for each in (whole or total.faults)[:1]
    )
    are = "is" if bad_rows == 1 else "are"
    return f"{bad_rows:,} of {counted(total.rows, 'row')} {are} bad ({rules}){over}{first}"


def _of_rows(rule: str) -> bool:
    """Whether each fault of the rule is a bad row; formats are mixed by rows, though it is the file that is judged."""
    return RULES[rule].scope == "row" or rule == "mixed_formats"


def watched(source: Source, progress: Callable[[int], None] | None) -> Source:
    """The source, telling `progress` of what is read of it."""
    return _Watched(source, progress) if progress else source


class _Watched:
    """A source that tells of what is read of it."""

    def __init__(self, source: Source, progress: Callable[[int], None]) -> None:
        self.name = source.name
        self.size = source.size
        self._source = source
        self._progress = progress

    def chunks(self) -> Iterator[bytes]:
        """The source's chunks."""
        for chunk in self._source.chunks():
            yield chunk
            self._progress(len(chunk))

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes there."""
        data = self._source.read_at(offset, size)
        self._progress(len(data))
        return data


@cache
def keep_memory() -> None:
    """Has the C library keep memory that is used again at once: a block's rows come and go a thousand times.

    glibc gives the top of its heap back to the system whenever it is free, and the pages are new again each time; after
    the first large piece of memory was returned it keeps twice that, for the life of the process. Elsewhere this does
    nothing.
    """
    bytes(16 * 1024 * 1024)
