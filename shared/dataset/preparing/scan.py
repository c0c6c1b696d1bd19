"""Checks a dataset, splits what nobody split, and writes the good rows: one pass over each file, in bounded memory.

Where conversations repeat more often than a part may hold, which is known at the end alone, a large set is read again.

A part of it is a file or several, which count as one that was cut: in their order, with one split and one search for
copies; only where a row is, and in what format, is said of its own file.

Called by the function that prepares, by `droptune check` and by the pipeline's step; `parallel` does the same with
several processes, each with a Tally of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from shared.dataset import split
from shared.dataset.judging.checked import Checked
from shared.dataset.judging.checker import Checker, excerpt
from shared.dataset.judging.formats import BY_NAME
from shared.dataset.judging.rules import RULES, Facts, Fault
from shared.dataset.kinds import form_of, kind_of
from shared.dataset.preparing import noted
from shared.dataset.preparing.finish import FILE, Read, finish, judge_file, tell_beginnings
from shared.dataset.preparing.kept import Kept
from shared.dataset.preparing.leaks import uneven
from shared.dataset.preparing.rows import HELD_ROWS as HELD_ROWS
from shared.dataset.preparing.rows import Rows, Sink, emptied, settled
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
from shared.dataset.version import VERSION

# Held-out files come first: their conversations are then known when those of the training file pass.
ORDER: tuple[Part, ...] = ("test", "validation", "train")

type Input = Source | Table
type Inputs = Input | Sequence[Input]
"""The files of a part, in the order in which they are read."""


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
    counts only if the report is not `rejected`; a sink must be one that can be emptied (see `rows.emptied`). `progress`
    is told how many bytes were read, now and then. Raises only what reading or writing raises.
    """
    policy = policy or Policy()
    keep_memory()
    read: dict[Part, Read] = {}
    of = listed(files)
    with ExitStack() as stack:
        for part in ORDER:
            if part in of:
                scan = Scan.of(part, of, read, policy=policy, facts=facts, limits=limits, told=told)
                kept = stack.enter_context(Kept())

                def again(scan: Scan, files: Sequence[Input] = of[part], kept: Kept = kept) -> Tally:
                    for target in scan.targets:
                        if sinks:
                            emptied(sinks[target])
                    return read_files(files, scan, sinks, kept, None)

                tally = read_files(of[part], scan, sinks, kept, progress)
                read[part] = Read(scan, of[part], settled(tally, scan, kept, again), kept)
                finish(read[part])
        tell_beginnings(read, told)
        return summed(read, of, policy, told)


def listed(files: Mapping[Part, Inputs]) -> dict[Part, tuple[Input, ...]]:
    """The files of each part that has some."""
    of = {part: tuple(each) if isinstance(each, Sequence) else (each,) for part, each in files.items()}
    return {part: each for part, each in of.items() if each}


@dataclass(frozen=True, kw_only=True)
class Scan:
    """How a file, or a piece of it, is to be read: everything but its bytes. Can be sent to another process.

    `index`: which of its part's files it is, from 0. `cut`: the zones cut from its part for those without files.
    `known`: sorted positions of the conversations of the parts before. `chosen`: the name of its format, where that is
    known already.
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
        before: Mapping[Part, Read],
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
            known={
                other: np.sort(np.concatenate(each.tally.positions))
                for other, each in before.items()
                if each.tally.positions
            },
        )

    def of_file(self, index: int, name: str) -> Scan:
        """The scan of another file of the part."""
        return replace(self, index=index, file=name)

    @property
    def targets(self) -> tuple[Part, ...]:
        """The parts that the rows of one go to: itself, and what is cut from it."""
        return (self.part, *(self.cut.parts if self.cut else ()))

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
            mapped=self.policy.map,
            ignored=self.policy.ignore,
        )

    @property
    def needed(self) -> frozenset[str]:
        """Columns that are read, whatever their names: what the policy says of keys is about them."""
        return frozenset(self.policy.map.values())

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
                yield from map(checker.records, parquet.parquet(source, self.limits, needed=self.needed))
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
        kept: Kept,
    ) -> Tally:
        """Counts the rows of the file, or of a piece of it, and hands the good ones on."""
        tally = Tally(self.told)
        try:
            for batch in self.guard(tally).guarded(batches):
                good = Good(batch)
                tally.count(batch, good, tell=self.fault, context=self.facts.context, known=self.known)
                if not batch.rows:
                    continue
                good.numbers += np.uint64(self.index << FILE)
                kept.duplicates.add(good.hashes, good.numbers)
                if self.part != "train":
                    tally.positions.append(good.positions)
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


def read_files(
    files: Sequence[Input],
    scan: Scan,
    sinks: Mapping[Part, Sink] | None,
    kept: Kept,
    progress: Callable[[int], None] | None,
) -> Tally:
    """Writes and counts the rows of all files of a part."""
    tally = Tally(scan.told)
    rows = Rows(tally, scan, sinks, kept, hold=True)
    for index, file in enumerate(files):
        own = scan.of_file(index, file.name)
        found = own.run(own.batches(file, progress), rows, kept)
        judge_file(found, own)
        for told in getattr(file, "stale", ()):  # of a hub's table
            found.fault(own.fault("stale_card", told, {"line": 1}))
        tally.join(found, 0)
    rows.end()
    return tally


def summed(read: Mapping[Part, Read], files: Mapping[Part, Sequence[Input]], policy: Policy, told: int) -> Report:
    """The report on a dataset, from what was counted of its files."""
    tallies = {part: each.tally for part, each in read.items()}
    total = Tally(told)
    for part in PARTS:
        if part in tallies:
            total.join(tallies[part], 0)
    train = tallies["train"]
    cut = tuple(part for part in PARTS if part not in tallies)
    _judge(total, train, files, cut, policy)
    errors = {rule: count for rule, count in total.counts.most_common() if RULES[rule].severity == "error"}
    bad_rows = sum(count for rule, count in errors.items() if _of_rows(rule))
    rejected = _rejected(total, errors, bad_rows, policy)
    digest = [VERSION, *((each.rows, each.value) for each in total.digests.values())]
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
        uneven={} if rejected else uneven(train),
        files={part: brief([file.name for file in files[part]]) for part in PARTS if part in files},
        shards={part: _shards(tallies[part], files[part]) for part in PARTS if len(files.get(part, ())) > 1},
        formats={part: tally.format for part, tally in tallies.items() if tally.format},
        turns={turns: rows for turns, rows in enumerate(total.turns.tolist()) if rows},
        tokens={1 << power: rows for power, rows in enumerate(total.tokens.tolist()) if rows},
        longest=total.longest[0],
        duplicates=total.duplicates,
        first_rows=tuple(total.first),
        safety=policy.safety,
        found=dict(total.found.most_common()),
        keys=tuple(key for part in PARTS if part in read for key in noted.unread_keys(read[part].tally.notes, part)),
        digest=hashlib.blake2b(repr(digest).encode(), digest_size=16).hexdigest(),
        version=VERSION,
    )


def _judge(
    total: Tally, train: Tally, files: Mapping[Part, Sequence[Input]], cut: tuple[Part, ...], policy: Policy
) -> None:
    """Judges the dataset as a whole. `cut`: the parts that were cut from the training rows."""
    broken = [rule for rule in total.counts if RULES[rule].severity == "error"]
    # A dataset is judged as a whole once its rows are in order: a bad row is enough to be told.
    if not broken or (policy.on_bad_rows == "drop" and all(RULES[rule].scope == "row" for rule in broken)):
        reason, rule = "", "too_few_rows"
        if train.good < policy.min_rows:
            reason = f"{counted(train.good, 'good row')} to train on; min_rows is {policy.min_rows:,}"
        elif cut and not all(train.splits[part] for part in ("train", *cut)):
            rule = "too_few_prompts"
            reason = f"the rows have too few different conversations to cut {' and '.join(cut)} from them"
        if reason:
            total.fault(Fault(file=files["train"][0].name, part="train", rule=rule, reason=reason, line=1))
        for rule, reason in noted.unmatched(total.notes, policy):
            total.fault(Fault(file=files["train"][0].name, part="train", rule=rule, reason=reason, line=1))
    for part in PARTS:
        if part in total.columns and total.columns[part].only_times:
            file = files.get(part, files["train"])[0].name
            reason = f"the texts of the {part} rows, or the first of them, are all dates or times"
            total.fault(Fault(file=file, part=part, rule="only_times", reason=reason, line=1))


def _shards(tally: Tally, files: Sequence[Input]) -> dict[str, int]:
    """Rows of each file of a part, good and bad. Two files of one name, in different folders, are summed."""
    rows: dict[str, int] = {}
    for index, file in enumerate(files):
        rows[file.name] = rows.get(file.name, 0) + tally.files.get(index, 0)
    return rows


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
