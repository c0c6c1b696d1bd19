"""Prepares a dataset of files on disk with all cores: byte ranges of JSON Lines, ranges of row groups of Parquet.

The outcome is the same for any number of processes: pieces are joined in their order. Called by the pipeline's step,
`droptune check` and the benchmark.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from shared.dataset.judging.checker import Checked
from shared.dataset.judging.rules import Facts
from shared.dataset.kinds import kind_of
from shared.dataset.preparing.duplicates import ROW, Duplicates
from shared.dataset.preparing.interrupts import deaf_to_interrupts
from shared.dataset.preparing.scan import (
    HELD_BYTES,
    HELD_ROWS,
    ORDER,
    Input,
    Scan,
    Sink,
    finish,
    keep_memory,
    summed,
    watched,
)
from shared.dataset.preparing.tally import Tally
from shared.dataset.reading import parquet
from shared.dataset.reading.files import CHUNK, PAGE, FileFault, Limits, LocalFile
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part

PIECE = 64 * 1024 * 1024
"""Bytes of a file that are worth another process."""
PACKED = 4
"""A byte of Parquet counts for so many: it unpacks to several, and costs more."""


@dataclass(frozen=True)
class _Lines:
    """The lines of a file that begin at `start` or behind it, and before `end`."""

    file: LocalFile
    start: int
    end: int

    def batches(self, scan: Scan, progress: Callable[[int], None] | None) -> Iterator[Checked]:
        at = self.start
        if at:  # a line that begins right at `start` is ours, so look from the byte before
            at -= 1
            while True:
                chunk = self.file.read_at(at, CHUNK)
                newline = chunk.find(b"\n")
                if newline >= 0 or not chunk:
                    break
                at += len(chunk)
            at += newline + 1
            if not chunk or at >= self.end:
                return
        yield from scan.checker().lines(self._chunks(at, progress), offset=at)

    def _chunks(self, at: int, progress: Callable[[int], None] | None) -> Iterator[bytes]:
        while chunk := self.file.read_at(at, PAGE):
            at += len(chunk)
            if at >= self.end:  # to the end of the line that the last byte of the range is in
                newline = chunk.find(b"\n", max(0, len(chunk) - (at - self.end) - 1))
                if newline >= 0:
                    chunk = chunk[: newline + 1]
                    at = -1
            yield chunk
            if progress:
                progress(len(chunk))
            if at < 0:
                return


@dataclass(frozen=True)
class _Groups:
    """Some row groups of a file."""

    file: LocalFile
    groups: range

    def batches(self, scan: Scan, progress: Callable[[int], None] | None) -> Iterator[Checked]:
        source = watched(self.file, progress)
        yield from map(scan.checker().records, parquet.parquet(source, scan.limits, self.groups))


type _Piece = _Lines | _Groups


def prepare_files(
    *,
    files: Mapping[Part, Input],
    out: Path | None,
    policy: Policy | None = None,
    facts: Facts | None = None,
    limits: Limits | None = None,
    told: int = 1000,
    processes: int = 1,
    piece: int = PIECE,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Prepares files as `scan.prepare` does. `out`: a folder, which gets train.jsonl, validation.jsonl and test.jsonl
    if the dataset is not rejected, and nothing else, also in a crash; None: the files are only checked. `piece`: how
    many bytes of a file are worth another process.

    Raises only what reading or writing raises.
    """
    policy = policy or Policy()
    keep_memory()
    tallies: dict[Part, Tally] = {}
    with ExitStack() as stack:
        folder = None
        if out:
            out.mkdir(parents=True, exist_ok=True)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".preparing-", dir=out)))
        workers = _Workers(processes - 1, piece, stack)
        for part in ORDER:
            if part in files:
                scan = Scan.of(part, files, tallies, policy=policy, facts=facts, limits=limits, told=told)
                duplicates = stack.enter_context(Duplicates())
                tallies[part] = _file(files[part], scan, workers, folder, duplicates, progress)
                finish(tallies[part], scan, duplicates)
        report = summed(tallies, files, policy, told)
        if out and folder and not report.rejected:
            for part in PARTS:
                (folder / f"{part}.jsonl").touch()
                (folder / f"{part}.jsonl").replace(out / f"{part}.jsonl")
    return report


class _Workers:
    """Other processes, started when they are first needed. `piece`: bytes of a file that are worth one."""

    def __init__(self, count: int, piece: int, stack: ExitStack) -> None:
        self.count = count
        self.piece = piece
        self._stack = stack
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, piece: _Piece, scan: Scan, place: Path, writes: bool) -> Future[Tally]:
        """Has a piece of a file read."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_begin)
            self._stack.callback(self._pool.shutdown, cancel_futures=True)
        with deaf_to_interrupts():
            return self._pool.submit(_work, piece, scan, place, writes)

    def stop(self) -> None:
        """Ends them in the middle of what they do: nobody wants it any more."""
        for process in list(self._pool._processes.values() if self._pool else ()):
            process.terminate()


def _file(
    file: Input,
    scan: Scan,
    workers: _Workers,
    folder: Path | None,
    duplicates: Duplicates,
    progress: Callable[[int], None] | None,
) -> Tally:
    """Reads one file, in pieces where it can be cut into some."""
    pieces = _pieces(file, workers.count + 1, workers.piece) if workers.count > 0 else []
    if len(pieces) > 1 and (chosen := _format(pieces[0], scan)):
        scan = replace(scan, chosen=chosen)
        tally = _joined(pieces, scan, workers, folder, duplicates, progress)
        if scan.cut is None or tally.good > HELD_ROWS or tally.bytes > HELD_BYTES:
            return tally
        duplicates.clear()  # so few good rows that the cuts are fitted to them: all over again, at once
        progress = None  # all of it was told
    with _sinks(folder, _targets(scan)) as sinks:
        return scan.run(scan.batches(file, progress), sinks, duplicates)


def _pieces(file: Input, most: int, least: int) -> list[_Piece]:
    """A file in about equal pieces, one a process; a single one if it is not worth it, or if there is but one way."""
    if not isinstance(file, LocalFile):
        return []
    kind = kind_of(file.name)
    count = min(most, file.size * (PACKED if kind == ".parquet" else 1) // least)
    if count < 2:
        return []
    if kind == ".jsonl":
        ends = [file.size * at // count for at in range(count + 1)]
        return [_Lines(file, start, end) for start, end in pairwise(ends)]
    if kind == ".parquet":
        try:
            stored = np.cumsum([size for _, size in parquet.row_groups(file)])
        except FileFault:
            return []  # it is told by who reads the whole file
        if not len(stored):
            return []
        ends = np.unique(np.searchsorted(stored, [stored[-1] * at / count for at in range(1, count + 1)]) + 1).tolist()
        return [_Groups(file, range(start, end)) for start, end in pairwise([0, *ends])]
    return []


def _format(first: _Piece, scan: Scan) -> str:
    """The format of a file: all its pieces must know, and only its beginning tells."""
    rows = 0
    try:
        for batch in first.batches(scan, None):
            rows += batch.count
            if batch.format or rows > HELD_ROWS:
                return batch.format
    except FileFault:
        pass  # it is told by who reads the whole file
    return ""


def _joined(
    pieces: list[_Piece],
    scan: Scan,
    workers: _Workers,
    folder: Path | None,
    duplicates: Duplicates,
    progress: Callable[[int], None] | None,
) -> Tally:
    """Reads the first piece here and the others in other processes, and puts together what came of them, in order."""
    ahead = 0

    def told(size: int) -> None:
        nonlocal ahead
        ahead += size * (len(pieces) - 1)  # the others are about as large, and about as far
        if progress:
            progress(size * len(pieces))

    with tempfile.TemporaryDirectory(prefix=".pieces-", dir=folder) as scratch, ExitStack() as stack:
        others = []
        for at, piece in enumerate(pieces[1:], 1):
            place = Path(scratch) / str(at)
            place.mkdir()
            others.append((workers.submit(piece, scan, place, folder is not None), place))
            stack.callback(_end, others[-1][0])
        stack.push(lambda kind, *_: workers.stop() if kind else None)  # before they are waited for: Ctrl-C ends it all
        with _sinks(folder, _targets(scan)) as sinks:
            tally = scan.run(pieces[0].batches(scan, told), sinks, duplicates, hold=False)
        for future, place in others:
            if tally.broken:  # nothing behind that point is looked at, as if there were one process
                break
            more = future.result()
            for rows in _saved(place / _ROWS):
                rows["number"] += tally.lines
                duplicates.take(rows)
            tally.join(more, tally.lines)
            if folder:
                for part in _targets(scan):
                    _append(place / f"{part}.jsonl", folder / f"{part}.jsonl")
            ahead -= more.read
        if progress:
            progress(-ahead)
        return tally


def _end(future: Future[Tally]) -> None:
    """Cancels it, or sees it end: where it writes to is about to go."""
    if not future.cancel():
        wait([future])


def _begin() -> None:
    """Prepares a process that works for another: Ctrl-C, which all of them get, ends it at once and without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_follow, name="follow", daemon=True).start()
    keep_memory()


def _follow() -> None:
    """Ends this process when the one that it works for has ended: nothing else would, if that was killed."""
    if caller := multiprocessing.parent_process():
        caller.join()
        os._exit(1)


def _work(piece: _Piece, scan: Scan, place: Path, writes: bool) -> Tally:
    """Reads a piece in this process, which is not the caller's; what it writes is in the folder `place`."""
    read = 0

    def progress(size: int) -> None:
        nonlocal read
        read += size

    with Duplicates() as duplicates, _sinks(place if writes else None, _targets(scan)) as sinks:
        tally = scan.run(piece.batches(scan, progress), sinks, duplicates, hold=False)
        with (place / _ROWS).open("wb") as file:
            for rows in duplicates.rows():
                rows.tofile(file)
    tally.read = read
    return tally


_ROWS = "rows"
_ROWS_AT_ONCE = 1 << 16


def _saved(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while len(rows := np.fromfile(file, ROW, _ROWS_AT_ONCE)):
            yield rows


def _targets(scan: Scan) -> tuple[Part, ...]:
    """The parts that a file's rows go to: its own, and what is cut from it."""
    return (scan.part, *(scan.cut.parts if scan.cut else ()))


@contextmanager
def _sinks(folder: Path | None, parts: tuple[Part, ...]) -> Iterator[Mapping[Part, Sink] | None]:
    """A file for each of the parts, written anew."""
    if folder is None:
        yield None
        return
    with ExitStack() as stack:
        yield {part: stack.enter_context((folder / f"{part}.jsonl").open("wb", buffering=0)) for part in parts}


def _append(source: Path, target: Path) -> None:
    """Moves a file's content behind another's."""
    with source.open("rb", buffering=0) as read, target.open("r+b", buffering=0) as written:
        written.seek(0, os.SEEK_END)
        try:
            while os.copy_file_range(read.fileno(), written.fileno(), 1 << 30):
                pass
        except (AttributeError, OSError):  # not on this system, not between these folders
            shutil.copyfileobj(read, written, 1 << 20)
    source.unlink()
