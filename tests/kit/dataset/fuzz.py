"""The fuzzer: `python -m tests.kit.dataset.fuzz [--inputs 100000] [--processes 2] [--only NAME]`.

A sample runs as a test. Each series (a chat format in JSON Lines, or a kind of file) is a row of inputs numbered from
0; an input follows from its series and number alone, so that a failure is known by these two (`--only jsonl-alpaca --at
4711` runs it again and shows it). The engine's verdicts are held against the oracle's. What was done is noted in
.droptune/fuzz, and an interrupted run goes on from there.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import json
import os
import resource
import signal
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random
from types import FrameType
from typing import Any

from shared.dataset.judging.rules import Facts
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.files import Limits
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import Part
from tests.kit.dataset import mutations, oracle
from tests.kit.paths import ROOT

STATE = ROOT / ".droptune" / "fuzz"
SECONDS = 20  # for one input, which takes milliseconds
MEMORY = 700  # MB of a process that has fuzzed, pyarrow and all
ROW = 64 * 1024  # so that too large rows are cheap to make

PARTS: tuple[Part, ...] = ("train", "validation", "test")
LIMITS = Limits(row=ROW)

# Faults of the set or the file, which are no row's.
OF_THE_SET = {"empty_file", "too_few_rows", "too_few_prompts", "no_test_rows", "too_many_duplicates", "refused_key"}
OF_THE_SET |= {"map_unmatched", "ignore_unmatched"}


@dataclass(frozen=True)
class Bytes:
    """A Source in memory, handed out in pieces of these sizes, over and over."""

    name: str
    data: bytes
    pieces: tuple[int, ...] = (1 << 20,)

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        at = turn = 0
        while at < len(self.data):
            size = self.pieces[turn % len(self.pieces)]
            yield self.data[at : at + size]
            at, turn = at + size, turn + 1

    def read_at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


class Memory:
    """A Sink in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)

    @property
    def turns(self) -> list[oracle.Turns]:
        rows = (json.loads(line) for line in bytes(self.data).splitlines())
        return [tuple((each["role"], each["content"]) for each in row["messages"]) for row in rows]


@dataclass(frozen=True)
class Outcome:
    """What the engine said: number and rule of each bad row, what is wrong with the file, and the good rows."""

    faults: tuple[tuple[int, str], ...]
    file_faults: tuple[str, ...]
    turns: Counter[oracle.Turns]
    format: str | None
    digest: str
    notes: Counter[oracle.Note]


def engine(source: Bytes, limits: Limits, *, tools: bool = False) -> Outcome:
    """The file through `prepare`, with a policy that lets every good row through."""
    sinks = {part: Memory() for part in PARTS}
    report = prepare(
        files={"train": source},
        sinks=sinks,
        policy=Policy(on_bad_rows="drop", max_bad_percent=100, min_rows=1),
        facts=Facts(tools=tools),
        limits=limits,
        told=1 << 30,
    )
    rows = [each for each in report.faults if each.rule not in OF_THE_SET]
    return Outcome(
        faults=tuple((each.line, each.rule) for each in rows),
        file_faults=tuple(each.rule for each in report.faults if each.rule in OF_THE_SET),
        turns=Counter(turns for sink in sinks.values() for turns in sink.turns),
        format=report.formats.get("train"),
        digest=report.digest,
        notes=_notes(report),
    )


def _notes(report: Report) -> Counter[oracle.Note]:
    """What is told of good rows, and of how many."""
    found = Counter[oracle.Note]()
    for each in report.keys:
        found[each.verdict, each.place, each.key] += each.rows
    for rule in ("assistant_first", "blank_system"):
        found[rule, "rule", ""] += report.warnings.get(rule, 0)
    return +found


def differences(expected: oracle.File, got: Outcome) -> list[str]:
    """What the engine says otherwise than the oracle, in words; nothing if they agree."""
    wrong: list[str] = []
    if expected.opaque and [rule for _, rule in got.faults] in (["not_json_lines"], ["not_json_array"]):
        return wrong
    broken = expected.broken_at
    told: dict[int, set[str]] = {}
    for number, rule in got.faults:
        told.setdefault(number, set()).add(rule)
    open_ = {each.number for each in expected.verdicts if each.unsure}
    bad: dict[int, frozenset[str]] = {}
    for each in expected.bad:
        bad[each.number] = bad.get(each.number, frozenset()) | each.rules
    for number, rules in bad.items():
        if number not in told:
            wrong.append(f"row {number} is bad ({', '.join(sorted(rules))}), and was not told")
        elif not told[number] & rules and number not in open_:
            wrong.append(f"row {number} is told as {sorted(told[number])}, but breaks {sorted(rules)}")
    beyond = broken if broken is not None else 1 << 62
    wrong += [
        f"row {number} is good, but told as {sorted(rules)}"
        for number, rules in told.items()
        if number not in bad and number not in open_ and number < beyond
    ]
    if broken is not None and not any(number >= broken for number in told) and not got.file_faults:
        wrong.append(f"the file can't be read from {broken} on, and nothing was told")
    good = Counter(each.turns for each in expected.good)
    notes = Counter(note for each in expected.good for note in each.notes)
    if notes != got.notes and broken is None and not open_:
        wrong.append(f"told of keys: {dict(got.notes)}, but they are {dict(notes)}")
    if lost := good - got.turns:
        wrong.append(f"good rows were lost: {list(lost.items())[:3]}")
    more = got.turns - good
    if more and broken is None and more.total() > len(open_):
        wrong.append(f"rows came out that are not there: {list(more.items())[:3]}")
    return wrong


@dataclass(frozen=True)
class Input:
    """One input: the file's name and bytes, and what the oracle reads in it (None: only that it must not crash)."""

    name: str
    data: bytes
    expected: oracle.File | None
    pieces: tuple[int, ...]
    tools: bool = False


def _rows(random: Random, form: str) -> list[mutations.Row]:
    real = real_rows(form)
    if real and random.random() < 0.4:
        at = random.randrange(len(real))
        return real[at : at + random.randint(1, 4)]
    count = random.choice((1, 2, 3, 6, 20))
    rows = [mutations.row(random, form) for _ in range(count)]
    if random.random() < 0.05:
        rows.insert(random.randint(0, count), mutations.row(random, random.choice(mutations.FORMATS)))
    return rows


_REAL: dict[str, list[mutations.Row]] = {}


def real_rows(form: str) -> list[mutations.Row]:
    """Rows of that format out of the real files that are there, the short ones."""
    if not _REAL:
        from tests.kit.dataset.real import rows

        for each in rows():
            found = oracle.shows(each)
            if found and len(json.dumps(each)) < 3000:
                _REAL.setdefault(found, []).append(each)
        _REAL.setdefault("", [])
    return _REAL.get(form, [])


def _pieces(random: Random, size: int) -> tuple[int, ...]:
    small = ((1,), (7, 64, 3)) if size < 500 else ((50, 1, 300),)
    return random.choice(((1 << 20,), *small, (random.randint(1, 200), random.randint(1, 2000))))


def _jsonl(form: str) -> Callable[[Random], Input]:
    def make(random: Random) -> Input:
        data = mutations.text(random, _rows(random, form), faults=random.choice((0, 1, 2, 4, 8)))
        return Input("data.jsonl", data, oracle.lines(data, limit=ROW), _pieces(random, len(data)))

    return make


def _keys(random: Random) -> list[mutations.Row]:
    """Rows of one format, most of them with the same keys: formats less usual, and keys that are not read."""
    form = random.choice((*mutations.FORMATS, *mutations.MORE_FORMATS))
    rows = [mutations.fuller(random, form) for _ in range(random.choice((1, 2, 3, 6)))]
    return [each for one in rows for each in [one] * random.choice((1, 1, 2, 5))]


def _jsonl_keys(random: Random) -> Input:
    data = mutations.text(random, _keys(random), faults=random.choice((0, 0, 1, 2)))
    return Input("data.jsonl", data, oracle.lines(data, limit=ROW), _pieces(random, len(data)))


def _csv_keys(random: Random) -> Input:
    rows = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in each.items()} for each in _keys(random)]
    data = mutations.csv_file(random, rows, faults=random.choice((0, 1)))
    return Input("data.csv", data, oracle.table_of_text(data, limit=ROW), _pieces(random, len(data)))


def _tools(random: Random) -> Input:
    """Conversations with tools, for a model that takes them."""
    rows = [mutations.with_tools(random, each) for each in _rows(random, random.choice(("messages", "sharegpt")))]
    data = mutations.text(random, rows, faults=random.choice((0, 1, 2, 4)))
    expected = oracle.lines(data, tools=True, limit=ROW)
    return Input("data.jsonl", data, expected, _pieces(random, len(data)), tools=True)


def _any(random: Random) -> list[mutations.Row]:
    return _rows(random, random.choice(mutations.FORMATS))


def _json(random: Random) -> Input:
    data = mutations.text(random, _any(random), array=True, faults=random.choice((0, 1, 2, 4)))
    return Input("data.json", data, oracle.array(data, limit=ROW), _pieces(random, len(data)))


def _flat(random: Random) -> list[mutations.Row]:
    rows = _rows(random, random.choice(mutations.FORMATS))
    return [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]


def _csv(random: Random) -> Input:
    data = mutations.csv_file(random, _flat(random), faults=random.choice((0, 1, 2, 4)))
    return Input("data.csv", data, oracle.table_of_text(data, limit=ROW), _pieces(random, len(data)))


def _unpacked(data: bytes) -> bytes | None:
    """What is in the gzip file; None if it can't be read, or if not every reader would."""
    try:
        plain = gzip.decompress(data)
        other, rest = b"", data
        while rest:
            member = zlib.decompressobj(wbits=31)  # stricter than gzip: reserved bits of the header
            other += member.decompress(rest)
            rest = member.unused_data.lstrip(b"\0")
    except (OSError, EOFError, zlib.error, ValueError):
        return None
    return plain if plain == other else None


def _gzip(random: Random) -> Input:
    data = mutations.gzipped(random, mutations.text(random, _any(random), faults=random.choice((0, 1))))
    whole = random.random() < 0.3
    if not whole:
        data = mutations.damage(random, data)
    plain = _unpacked(data)
    if plain is None:
        return Input("data.jsonl.gz", data, None, _pieces(random, len(data)))
    return Input("data.jsonl.gz", data, oracle.lines(plain, limit=ROW), _pieces(random, len(data)))


def _tsv(random: Random) -> Input:
    data = mutations.csv_file(random, _flat(random), faults=random.choice((0, 1, 2, 4)))
    if random.random() < 0.7:
        data = data.replace(b",", b"\t")
    expected = oracle.table_of_text(data, tabs=True, limit=ROW)
    return Input("data.tsv", data, expected, _pieces(random, len(data)))


def _inflated(data: bytes) -> bytes | None:
    """What is in the zstd file; None if it can't be read."""
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            return bytes(stream.read())
    except OSError:
        return None


def _zstd(random: Random) -> Input:
    data = mutations.frames(random, mutations.text(random, _any(random), faults=random.choice((0, 1))))
    if random.random() < 0.7:
        data = mutations.damage(random, data)
    plain = _inflated(data)
    expected = None if plain is None else oracle.lines(plain, limit=ROW)
    return Input("data.jsonl.zst", data, expected, _pieces(random, len(data)))


def _parquet(random: Random) -> Input:
    rows = _any(random)
    data = mutations.parquet(random, rows, faults=random.choice((0, 1, 2)))
    if random.random() < 0.4:
        return Input("data.parquet", mutations.damage(random, data), None, (1 << 20,))
    return Input("data.parquet", data, oracle.table(data), (1 << 20,))


SERIES: Mapping[str, Callable[[Random], Input]] = {
    **{f"jsonl-{form.replace('_', '-')}": _jsonl(form) for form in mutations.FORMATS},
    "jsonl-tools": _tools,
    "jsonl-keys": _jsonl_keys,
    "csv-keys": _csv_keys,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "gzip": _gzip,
    "zstd": _zstd,
    "parquet": _parquet,
}


def joined(series: str, numbers: range) -> Input:
    """Many inputs as one file, so that it is worth dividing: of JSON Lines; of parquet one with many row groups."""
    if series == "parquet":
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        random = Random(f"{series} {numbers}")
        rows = [{"prompt": f"Say {at}", "response": random.choice(mutations.TEXTS)} for at in numbers]
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=37)
        return Input("data.parquet", out.getvalue(), oracle.table(out.getvalue()), (1 << 20,))
    data = b"\n".join(made(series, at).data.strip(b"\n") for at in numbers)
    return Input("data.jsonl", data, oracle.lines(data, limit=ROW), (1 << 20,))


def refused(got: Outcome) -> bool:
    """Whether the file as a whole was found unreadable."""
    return bool(
        {"not_gzip", "not_zstd", "not_parquet", "too_compressed", "too_large_decompressed"} & {r for _, r in got.faults}
    )


def _of_damaged(given: Input, got: Outcome) -> list[str]:
    """A damaged container is refused, or is read as the oracle reads it, where it can."""
    if refused(got):
        return []
    if given.name.endswith(".zst"):
        return ["it can't be unpacked, and was not refused"]
    if given.name.endswith(".gz"):
        try:
            gzip.decompress(given.data)
        except (OSError, EOFError, zlib.error) as error:
            return [] if not given.data.strip(b"\0") else [f"it can't be unpacked ({error}), and was not refused"]
        return []
    try:
        return differences(oracle.table(given.data), got)
    except (OSError, ValueError, RuntimeError, NotImplementedError):  # in a column, perhaps, that is of no interest
        return []


class TooSlow(Exception):
    """An input took longer than SECONDS."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"no end after {SECONDS} s")


def made(series: str, at: int) -> Input:
    """The input of that number."""
    return SERIES[series](Random(f"{series} {at}"))


def run(series: str, at: int) -> tuple[list[str], Counter[str]]:
    """One input through both. Returns what is wrong, and counts for the statistics."""
    given = made(series, at)
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        got = engine(Bytes(given.name, given.data, given.pieces), LIMITS, tools=given.tools)
    except Exception as error:  # any is a defect
        return [f"{type(error).__name__}: {error}"], Counter()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    counts = Counter(inputs=1, refused=bool(got.faults or got.file_faults))
    if given.expected is None:
        return _of_damaged(given, got), counts
    counts.update(rows=len(given.expected.verdicts), bad=len(given.expected.bad), good=len(given.expected.good))
    counts.update(f"rule {rule}" for _, rule in got.faults)
    return differences(given.expected, got), counts


type Job = tuple[str, int, int]
"""A series, its first input and the one behind its last."""

type Done = tuple[list[tuple[int, list[str]]], Counter[str], int]
"""The inputs that failed and why, counts, and megabytes that were needed."""


def _work(job: Job) -> Done:
    series, start, stop = job
    faulthandler.dump_traceback_later(SECONDS * 6 + (stop - start) // 10, exit=True)
    failed, total = [], Counter[str]()
    for at in range(start, stop):
        wrong, counts = run(series, at)
        total.update(counts)
        if wrong:
            failed.append((at, wrong))
    faulthandler.cancel_dump_traceback_later()
    return failed, total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def worked(jobs: Sequence[Job], processes: int, work: Callable[[Job], Done] = _work) -> Iterator[Done]:
    """The jobs' results, in their order. An input that ends its process is a failure, and the others go on."""
    at = 0
    while at < len(jobs):
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(work, job) for job in jobs[at:]]
            try:
                for future in futures:
                    yield future.result()
                    at += 1
            except BrokenProcessPool:
                pass
        if at < len(jobs):  # this one, or another that was under way: then the next pool breaks too
            yield _apart(jobs[at], work)
            at += 1


def _apart(job: Job, work: Callable[[Job], Done]) -> Done:
    """Each input of a job in a process of its own."""
    series, start, stop = job
    failed, total, memory = [], Counter[str](), 0
    context = get_context("spawn")
    for at in range(start, stop):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=_send, args=(there, work, (series, at, at + 1)))
        child.start()
        there.close()
        try:
            wrong, counts, used = here.recv()
        except EOFError:
            child.join()
            wrong, counts, used = [(at, [f"its process ended, with {child.exitcode}"])], Counter(inputs=1), 0
        child.join()
        here.close()
        failed += wrong
        total.update(counts)
        memory = max(memory, used)
    return failed, total, memory


def _send(there: Connection, work: Callable[[Job], Done], job: Job) -> None:
    there.send(work(job))


def _noted(series: str, *, anew: bool) -> dict[str, Any]:
    """How far an earlier run came."""
    path = STATE / f"{series}.json"
    found: dict[str, Any] = {"next": 0, "failed": [], "counts": {}}
    return found if anew or not path.exists() else {**found, **json.loads(path.read_text())}


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each series")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=SERIES, action="append")
    parser.add_argument("--at", type=int, help="this input alone, shown")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    given = parser.parse_args()
    if given.at is not None:
        for series in given.only or SERIES:
            each = made(series, given.at)
            _tell(f"{series} {given.at}: {each.name}\n{each.data!r}\nexpected: {each.expected}")
            _tell(f"wrong: {run(series, given.at)[0]}")
        return 0
    STATE.mkdir(parents=True, exist_ok=True)
    bad = 0
    for series in given.only or SERIES:
        state = _noted(series, anew=given.anew)
        counts = Counter[str](state["counts"])
        step, began = 500, time.monotonic()
        jobs = [(series, at, min(at + step, given.inputs)) for at in range(state["next"], given.inputs, step)]
        memory = 0
        for (failed, total, used), (_, _, stop) in zip(worked(jobs, given.processes), jobs, strict=True):
            counts.update(total)
            memory = max(memory, used)
            state = {"next": stop, "failed": state["failed"] + failed, "counts": dict(counts)}
            scratch = STATE / f"{series}.part"
            scratch.write_text(json.dumps(state))
            scratch.replace(STATE / f"{series}.json")
            for at, wrong in failed[:5]:
                _tell(f"  {series} {at}: {'; '.join(wrong)[:400]}")
        bad += len(state["failed"]) + (memory > MEMORY)
        rules = {k[5:]: v for k, v in sorted(counts.items()) if k.startswith("rule ")}
        _tell(
            f"{series}: {counts['inputs']:,} inputs, {counts['rows']:,} rows ({counts['bad']:,} bad, "
            f"{counts['good']:,} good), {counts['refused']:,} refused, {len(state['failed'])} differences, "
            f"at most {memory} MB, {time.monotonic() - began:.0f} s\n  {rules}",
        )
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
