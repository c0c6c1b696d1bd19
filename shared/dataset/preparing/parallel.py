"""Prepares a dataset of files on disk with all cores: byte ranges of JSON Lines, ranges of row groups of Parquet, and
whole files where a part has several.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shared.dataset.judging.checked import Checked
from shared.dataset.judging.rules import Facts
from shared.dataset.kinds import form_of, packing_of
from shared.dataset.preparing.columns import bring_forward
from shared.dataset.preparing.finish import FILE, Read, finish, judge_file, tell_beginnings
from shared.dataset.preparing.interrupts import deaf_to_interrupts
from shared.dataset.preparing.kept import Kept
from shared.dataset.preparing.rows import HELD_BYTES, HELD_ROWS, Rows, Sink, settled
from shared.dataset.preparing.scan import (
    ORDER,
    Input,
    Inputs,
    Scan,
    keep_memory,
    listed,
    read_files,
    summed,
    watched,
)
from shared.dataset.preparing.tally import Tally
from shared.dataset.reading import parquet
from shared.dataset.reading.beginnings import HEAD, written
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
        yield from map(scan.checker().records, parquet.parquet(source, scan.limits, self.groups, needed=scan.needed))


@dataclass(frozen=True)
class _Whole:
    """A whole file, of several."""

    file: LocalFile

    def batches(self, scan: Scan, progress: Callable[[int], None] | None) -> Iterator[Checked]:
        yield from scan.batches(self.file, progress)


type _Piece = _Lines | _Groups | _Whole
type _Job = list[tuple[Scan, _Piece]]
"""What one process reads, in its order. No file is in it twice, and all but the first begin in it."""


def prepare_files(
    *,
    files: Mapping[Part, Inputs],
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
    read: dict[Part, Read] = {}
    of = listed(files)
    with ExitStack() as stack:
        folder = None
        if out:
            out.mkdir(parents=True, exist_ok=True)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".preparing-", dir=out)))
        workers = _Workers(processes - 1, piece, stack)
        for part in ORDER:
            if part in of:
                scan = Scan.of(part, of, read, policy=policy, facts=facts, limits=limits, told=told)
                kept = stack.enter_context(Kept())

                def again(scan: Scan, files: Sequence[Input] = of[part], kept: Kept = kept) -> Tally:
                    return _part(files, scan, workers, folder, kept, None)

                tally = _part(of[part], scan, workers, folder, kept, progress)
                read[part] = Read(scan, of[part], settled(tally, scan, kept, again), kept)
                finish(read[part])
        tell_beginnings(read, told)
        report = summed(read, of, policy, told)
        if out and folder and not report.rejected:
            for part in PARTS:
                (folder / f"{part}.jsonl").touch()
                for each in read.values():
                    if part in each.tally.columns:
                        bring_forward(folder / f"{part}.jsonl", each.tally.columns[part].late)
                (folder / f"{part}.jsonl").replace(out / f"{part}.jsonl")
    return report


class _Workers:
    """Other processes, started when they are first needed. `piece`: bytes of a file that are worth one."""

    def __init__(self, count: int, piece: int, stack: ExitStack) -> None:
        self.count = count
        self.piece = piece
        self._stack = stack
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, job: _Job, place: Path, writes: bool) -> Future[list[Tally]]:
        """Has pieces of files read."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_begin)
            self._stack.callback(self._pool.shutdown, cancel_futures=True)
        with deaf_to_interrupts():
            return self._pool.submit(_work, job, place, writes)

    def stop(self) -> None:
        """Ends them in the middle of what they do: nobody wants it any more."""
        for process in list(self._pool._processes.values() if self._pool else ()):
            process.terminate()


def _part(
    files: Sequence[Input],
    scan: Scan,
    workers: _Workers,
    folder: Path | None,
    kept: Kept,
    progress: Callable[[int], None] | None,
) -> Tally:
    """Reads the files of a part, in pieces where they can be cut into some."""
    jobs = _jobs(files, scan, workers.count + 1, workers.piece) if workers.count > 0 else []
    if len(jobs) > 1:
        tally = _joined(jobs, scan, workers, folder, kept, progress)
        if scan.cut is None or tally.good > HELD_ROWS or tally.bytes > HELD_BYTES:
            return tally
        kept.clear()  # so few good rows that the cuts are fitted to them: all over again, at once
        progress = None  # all of it was told
    with _sinks(folder, scan.targets) as sinks:
        return read_files(files, scan, sinks, kept, progress)


def _jobs(files: Sequence[Input], scan: Scan, most: int, least: int) -> list[_Job]:
    """The files in about equal jobs, one a process; a single one if it is not worth it, or if there is but one way."""
    local = [file for file in files if isinstance(file, LocalFile)]
    if len(local) < len(files):
        return []
    sizes = [file.size * (PACKED if form_of(file.name) == ".parquet" else 1) for file in local]
    total = sum(sizes)
    count = min(most, total // least)
    if count < 2:
        return []
    jobs: list[_Job] = [[] for _ in range(count)]
    at = 0
    for index, (file, size) in enumerate(zip(local, sizes, strict=True)):
        own = scan.of_file(index, file.name)
        first, last = (min(place * count // max(total, 1), count - 1) for place in (at, at + max(size, 1) - 1))
        ends = [-(-total * job // count) - at for job in range(first + 1, last + 1)]
        pieces = _pieces(file, [0, *ends, size], size) if ends else {}
        if len(pieces) > 1 and (chosen := _format(next(iter(pieces.values())), own)):
            for job, piece in pieces.items():
                jobs[first + job].append((replace(own, chosen=chosen), piece))
        else:
            jobs[first].append((own, _Whole(file)))
        at += size
    return [job for job in jobs if job]


def _pieces(file: LocalFile, ends: list[int], size: int) -> dict[int, _Piece]:
    """A file cut where it comes to `ends` of its `size`, each with its number; none where there is but one way."""
    if packing_of(file.name):
        return {}
    form = form_of(file.name)
    if form in (".jsonl", ".json") and _plain_lines(file):
        return {at: _Lines(file, ends[at], ends[at + 1]) for at in range(len(ends) - 1)}
    if form == ".parquet":
        try:
            stored = np.cumsum([each for _, each in parquet.row_groups(file)])
        except FileFault:
            return {}  # it is told by who reads the whole file
        if not len(stored):
            return {}
        cuts = [0, *(np.searchsorted(stored, [stored[-1] * end / size for end in ends[1:]]) + 1).tolist()]
        groups = {at: range(cuts[at], cuts[at + 1]) for at in range(len(ends) - 1)}
        return {at: _Groups(file, each) for at, each in groups.items() if each}
    return {}


def _plain_lines(file: LocalFile) -> bool:
    """Whether it is JSON Lines by its beginning, so that it may be cut at any line's end."""
    try:
        found = written(file.name, file.read_at(0, HEAD))
    except FileFault:
        return False  # it is told by who reads the whole file
    return found.form == ".jsonl" and not found.returns


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
    jobs: list[_Job],
    scan: Scan,
    workers: _Workers,
    folder: Path | None,
    kept: Kept,
    progress: Callable[[int], None] | None,
) -> Tally:
    """Does the first job here and the others in other processes, and puts together what came of them, in order."""
    ahead = 0

    def told(size: int) -> None:
        nonlocal ahead
        ahead += size * (len(jobs) - 1)  # the others are about as large, and about as far
        if progress:
            progress(size * len(jobs))

    files = _Files(scan)
    with tempfile.TemporaryDirectory(prefix=".pieces-", dir=folder) as scratch, ExitStack() as stack:
        others = []
        for at, job in enumerate(jobs[1:], 1):
            place = Path(scratch) / str(at)
            place.mkdir()
            others.append((job, workers.submit(job, place, folder is not None), place))
            stack.callback(_end, others[-1][1])
        stack.push(lambda kind, *_: workers.stop() if kind else None)  # before they are waited for: Ctrl-C ends it all
        with _sinks(folder, scan.targets) as sinks:
            files.add(jobs[0], _read(jobs[0], sinks, kept, told))
        for job, future, place in others:
            found = future.result()
            kept.load(place, files.numbered)
            files.add(job, found)
            if folder:
                for part in scan.targets:
                    _append(place / f"{part}.jsonl", folder / f"{part}.jsonl")
            ahead -= sum(each.read for each in found)
        if progress:
            progress(-ahead)
        return files.ended()


class _Files:
    """What came of the pieces of a part's files, put together in their order."""

    def __init__(self, scan: Scan) -> None:
        self._total = Tally(scan.told)
        self._scan = scan
        self._file = Tally(scan.told)

    def numbered(self, rows: np.ndarray) -> np.ndarray:
        """The rows of the next job as they are numbered in their files: its first piece counts its lines from 1."""
        same: np.ndarray = rows["number"] >> FILE == self._scan.index
        if self._file.broken:  # nothing behind that point is looked at, as if there were one process
            return np.delete(rows, same)
        rows["number"][same] += self._file.lines
        return rows

    def add(self, job: _Job, found: Sequence[Tally]) -> None:
        """Takes what came of the next job."""
        for (scan, _), tally in zip(job, found, strict=True):
            if scan.index != self._scan.index:
                self._end()
                self._scan, self._file = scan, Tally(scan.told)
            if not self._file.broken:
                self._file.join(tally, self._file.lines)

    def ended(self) -> Tally:
        """What came of all of them: these were the last."""
        self._end()
        return self._total

    def _end(self) -> None:
        judge_file(self._file, self._scan)
        self._total.join(self._file, 0)


def _read(
    job: _Job,
    sinks: Mapping[Part, Sink] | None,
    kept: Kept,
    progress: Callable[[int], None],
) -> list[Tally]:
    """Writes and counts the rows of each piece."""
    found = []
    for scan, piece in job:
        tally = Tally(scan.told)
        rows = Rows(tally, scan, sinks, kept, hold=False)
        tally.join(scan.run(piece.batches(scan, progress), rows, kept), 0)
        found.append(tally)
    return found


def _end(future: Future[list[Tally]]) -> None:
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


def _work(job: _Job, place: Path, writes: bool) -> list[Tally]:
    """Does a job in this process, which is not the caller's; what it writes is in the folder `place`."""
    read = 0

    def progress(size: int) -> None:
        nonlocal read
        read += size

    with Kept() as kept, _sinks(place if writes else None, job[0][0].targets) as sinks:
        found = _read(job, sinks, kept, progress)
        kept.save(place)
    found[0].read = read
    return found


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
