"""How fast datasets are checked and split: this project's engine, six ways with other libraries, and the floors.

`make bench-dataset` (SIZE_MB=, ROUNDS=, ARGS=). One file of about 1 GB that `dataset_maker` makes with a seed, read by
everybody, as .jsonl and as .parquet. Each contender runs in a process of its own that has read the file once and done a
small file of the kind before the clock starts, so that imports and the page cache count for nobody; rounds are
interleaved, so that whatever else the machine does hits all alike; the best round counts. Exit code 1 only if something
crashed: the targets are told, not enforced.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import dataset_floors as floors
from benchmarks import dataset_maker as maker
from benchmarks.dataset_peers import PEERS, Found

REPO = Path(__file__).parents[1]
CACHE = REPO / ".droptune" / "bench"
OURS = {f"ours, {n} process{'es' if n > 1 else ''}": n for n in (1, 2)}
OURS_1, OURS_2 = OURS
READ = "read only"
COLUMNS = "read the column: pyarrow"
SMALL = 10_000_000
_WARM = 1_000_000
_MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Who runs on which file of the maker, and how; `size` is that file's, as JSON Lines."""

    name: str
    kind: str
    run: Callable[[Path, Path], Found | None]


@dataclass(kw_only=True)
class Result:
    """What came of a contender: of each round the seconds, CPU seconds and largest process in MB; what it found."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    found: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def best(self) -> float:
        """Seconds of the best round."""
        return min(self.seconds)


def ours(processes: int) -> Callable[[Path, Path], Found]:
    """The engine as the pipeline's step runs it: all rules, three files, the report."""

    def run(path: Path, out: Path) -> Found:
        from shared.dataset.preparing.parallel import prepare_files
        from shared.dataset.reading.files import LocalFile
        from shared.dataset.spec.choices import Policy

        # The small file that is done before the clock starts holds a bad row of each kind: many for its size.
        policy = Policy(on_bad_rows="drop", max_bad_percent=100)
        report = prepare_files(files={"train": LocalFile(path)}, out=out, policy=policy, processes=processes)
        if report.rejected:
            raise RuntimeError(f"rejected: {report.rejected}")
        return Found(
            rows=report.rows,
            bad=Counter(report.by_rule),
            duplicates=report.warnings.get("duplicate_row", 0),
            splits=Counter(report.splits),
        )

    return run


def contenders(form: str) -> list[Contender]:
    """All of them for files of a form: jsonl or parquet."""
    mine = [Contender(name=name, kind=form, run=ours(processes)) for name, processes in OURS.items()]
    if form == "parquet":
        peers = [Contender(name=name, kind="parquet", run=peer.parquet) for name, peer in PEERS.items()]
        basis = [Contender(name=COLUMNS, kind="parquet", run=floors.read_columns)]
    else:
        peers = [Contender(name=name, kind="clean", run=peer.jsonl) for name, peer in PEERS.items()]
        basis = [Contender(name=READ, kind="jsonl", run=lambda path, _: floors.read(path))]
        basis += [Contender(name=name, kind="clean", run=run) for name, run in floors.PARSERS.items()]
    # For parquet too the lines are what is written in the end.
    basis += [Contender(name=name, kind="clean", run=run) for name, run in floors.SPLITS.items()]
    return [*mine, *peers, *basis]


# One contender, in a process of its own -------------------------------------------------------------------------------


def run_one(form: str, name: str, path: Path, warm: Path, scratch: Path) -> dict[str, Any]:
    """Runs a contender in this process. Returns seconds, CPU seconds, MB of the largest process, what was found."""
    contender = next(one for one in contenders(form) if one.name == name)
    floors.read(path)
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        contender.run(warm, Path(out))
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        cpu, begun = _cpu(), time.perf_counter()
        found = contender.run(path, Path(out))
        seconds, cpu = time.perf_counter() - begun, _cpu() - cpu
    return {"seconds": seconds, "cpu": cpu, "rss": _largest(), "found": found.as_dict() if found else None}


def _cpu() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _largest() -> float:
    """The peak of this process or of any that it started and waited for, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    status = Path("/proc/self/status")
    if status.exists():  # where rusage counts the memory of who started this process, too
        own = int(re.findall(r"^VmHWM:\s*(\d+)", status.read_text(), re.MULTILINE)[0]) * 1024
    else:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(own, started) / _MB


def _start(arguments: Sequence[str]) -> str:
    """This module in a fresh process. Returns its standard output. Raises CalledProcessError with what it wrote."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dataset", *arguments],
        cwd=REPO,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _run(form: str, name: str, path: Path, warm: Path, scratch: Path, result: Result) -> None:
    """Runs a contender in a fresh process and adds the figures to its result."""
    try:
        told = json.loads(_start(["--one", form, name, str(path), str(warm), "--cache", str(scratch)]))
    except subprocess.CalledProcessError as error:
        result.error = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1][:200]
        return
    result.seconds.append(told["seconds"])
    result.cpu.append(told["cpu"])
    result.rss.append(told["rss"])
    result.found = told["found"]


def files(cache: Path, size: int, seed: int) -> maker.Made:
    """The maker's files, made in a process of its own: this one stays small, since children inherit its peak."""
    _start(["--make", str(size), "--seed", str(seed), "--cache", str(cache)])
    return maker.make(cache, size=size, seed=seed)


# Measuring ------------------------------------------------------------------------------------------------------------


def measure(form: str, options: argparse.Namespace, scratch: Path) -> tuple[maker.Made, dict[str, Result]]:
    """All contenders of a form, round by round."""
    made = files(options.cache, options.size_mb * _MB, options.seed)
    warm = files(options.cache, _WARM, options.seed)
    chosen = [one for one in contenders(form) if not options.only or any(part in one.name for part in options.only)]
    results = {one.name: Result() for one in chosen}
    for number in range(1, options.rounds + 1):
        for one in chosen:
            result = results[one.name]
            if result.error:
                continue
            _run(form, one.name, made.path(one.kind), warm.path(one.kind), scratch, result)
            told = result.error or f"{result.seconds[-1]:.2f} s"
            print(f"{form}, round {number} of {options.rounds}: {one.name}: {told}", file=sys.stderr, flush=True)
    return made, results


def table(form: str, made: maker.Made, results: Mapping[str, Result]) -> Iterator[str]:
    """The table's lines."""
    kinds = {one.name: one.kind for one in contenders(form)}
    mine = results.get(OURS_1)
    yield f"{'':28}{'s':>8}{'CPU s':>8}{'MB/s':>8}{'of ours':>9}{'RSS MB':>8}  checks"
    for name, result in results.items():
        if result.error:
            yield f"{name:28}  failed: {result.error}"
            continue
        speed = made.contents(kinds[name]).size / result.best / _MB
        share = f"{mine.best / result.best:.2f}" if mine and mine.seconds else "-"
        figures = f"{result.best:>8.2f}{min(result.cpu):>8.2f}{speed:>8.0f}{share:>9}{max(result.rss):>8.0f}"
        yield f"{name:28}{figures}  {checks(form, made, kinds[name], result)}"


def checks(form: str, made: maker.Made, kind: str, result: Result) -> str:
    """Which of the planted rules a contender found as often as they were planted, and which not."""
    if result.found is None:
        return "nothing: a floor"
    planted = made.contents("parquet" if form == "parquet" else "jsonl").bad
    given = made.contents(kind).bad
    found = result.found["bad"]
    missed = [rule for rule in planted if found.get(rule, 0) != given.get(rule, -1)]
    copy = "" if kind == form else "a cleaned copy, "
    again = "" if result.found["duplicates"] == made.contents(kind).duplicates else ", duplicates differ"
    extra = "".join(f", {count} {rule}" for rule, count in found.items() if rule not in given)
    told = f"; not: {', '.join(missed)}" if missed else ""
    return f"{copy}{len(planted) - len(missed)} of {len(planted)} rules, duplicates{again}{extra}{told}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A line of the outcome: what it says, the figure, what it should be, whether it is."""

    text: str
    figure: float
    wanted: str
    holds: bool

    def __str__(self) -> str:
        return f"{'yes' if self.holds else 'NO':4}{self.text}: {self.figure:.2f} (wanted: {self.wanted})"


def at_least(text: str, figure: float, bound: float) -> Target:
    """A figure that should not be below the bound."""
    return Target(text=text, figure=figure, wanted=f"at least {bound:g}", holds=figure >= bound)


def at_most(text: str, figure: float, bound: float) -> Target:
    """A figure that should not be above the bound."""
    return Target(text=text, figure=figure, wanted=f"at most {bound:g}", holds=figure <= bound)


def targets(form: str, results: Mapping[str, Result]) -> Iterator[Target]:
    """What follows from the table, as far as who is compared was measured."""
    there = {name: result for name, result in results.items() if result.seconds and not result.error}
    best = {name: result.best for name, result in there.items()}
    cpu = {name: min(result.cpu) for name, result in there.items()}
    one, two = best.get(OURS_1), best.get(OURS_2)
    parsers = [name for name in (floors.PARSERS if form == "jsonl" else (COLUMNS,)) if name in best]
    if one and parsers:
        parser = min(parsers, key=lambda name: best[name])
        for split in filter(best.__contains__, floors.SPLITS):
            used = (cpu[parser] + cpu[split]) / cpu[OURS_1]
            text = (
                f"{form}: speed of one process, to that of [{parser}] and then [{split}] (by CPU seconds: {used:.2f})"
            )
            yield at_least(text, (best[parser] + best[split]) / one, 0.5)
    streams = [name for name in PEERS if name.startswith("datasets") and name in best]
    if one and streams:
        stream = min(streams, key=lambda name: best[name])
        text = f"{form}: speed of one process, to that of [{stream}] (by CPU seconds: {cpu[stream] / cpu[OURS_1]:.2f})"
        yield at_least(text, best[stream] / one, 1.5)
    if one and two:
        yield at_least(f"{form}: speed of two processes, to that of one", one / two, 1.7)
    if two and (others := [name for name in PEERS if name in best]):
        fastest = min(others, key=lambda name: best[name])
        yield at_least(
            f"{form}: speed of two processes, to that of the fastest peer, [{fastest}]", best[fastest] / two, 1
        )


# Memory ---------------------------------------------------------------------------------------------------------------


def memory(
    form: str, options: argparse.Namespace, scratch: Path, results: Mapping[str, Result]
) -> Iterator[tuple[str, float, Target | None]]:
    """Peak MB of a process at 10 MB and at the whole size, for ours."""
    small = files(options.cache, SMALL, options.seed)
    warm = files(options.cache, _WARM, options.seed)
    for name in OURS:
        if name not in results or results[name].error:
            continue
        result = Result()
        _run(form, name, small.path(form), warm.path(form), scratch, result)
        if result.error:
            continue
        at_all = max(results[name].rss)
        yield f"{form}: {name}, 10 MB", result.rss[0], None
        text = f"{form}: {name}, MB of the largest process at {options.size_mb} MB"
        yield f"{form}: {name}, {options.size_mb} MB", at_all, at_most(text, at_all, 120)
        text = f"{form}: {name}, MB more at {options.size_mb} MB than at 10 MB"
        yield text, at_all - result.rss[0], at_most(text, at_all - result.rss[0], 16)


def duplicates(options: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, float, Target | None]]:
    """What finding duplicates takes a row, and where it stops growing: files of millions of different rows."""
    from shared.dataset.preparing.duplicates import ROW

    counts = (options.tiny_rows // 60, options.tiny_rows // 6, options.tiny_rows)
    taken: dict[int, float] = {}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        warm = maker.make_tiny_rows(Path(folder, "warm.jsonl"), 1000)
        for count in counts:
            path = maker.make_tiny_rows(Path(folder, "tiny.jsonl"), count)
            result = Result()
            _run("jsonl", OURS_1, path, warm, scratch, result)
            if result.error:
                raise RuntimeError(f"{count} tiny rows: {result.error}")
            taken[count] = result.rss[0]
            yield f"{count:,} rows of 90 bytes, {result.seconds[0]:.1f} s", taken[count], None
            path.unlink()
    # Too few bytes to be seen in a process before they are spilled: the size of what is kept.
    yield "", 0, at_most("bytes kept a row for finding duplicates", ROW.itemsize, 16)
    few, *_, many = counts
    text = f"MB of the process with {many:,} rows, above that with {few:,}"
    yield "", 0, at_most(text, taken[many] - taken[few], 64)


# The command ----------------------------------------------------------------------------------------------------------


def profile(options: argparse.Namespace, scratch: Path) -> None:
    """Prints where the time goes in ours, one process, for each form."""
    from pyinstrument import Profiler

    for form in options.forms:
        path = files(options.cache, options.size_mb * _MB, options.seed).path(form)
        run = ours(1)
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            run(files(options.cache, _WARM, options.seed).path(form), Path(out))
        with tempfile.TemporaryDirectory(dir=scratch) as out, Profiler(interval=0.001) as profiler:
            run(path, Path(out))
        print(profiler.output_text(show_all=True, unicode=False, color=False))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench-dataset", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size-mb", type=int, default=1000, help="size of the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the best of them counts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the file's content (default: %(default)s)")
    parser.add_argument("--forms", nargs="+", choices=("jsonl", "parquet"), default=["jsonl", "parquet"])
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="contenders whose names hold one of these"
    )
    parser.add_argument(
        "--tiny-rows", type=int, help="rows of the memory test (default: 6 million from 1 GB on, else 0)"
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="where files are made and written (default: .droptune)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--profile", action="store_true", help="only show where the time goes in ours")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tiny_rows is None:
        options.tiny_rows = 6_000_000 if options.size_mb >= 1000 else 0
    options.cache = options.cache.absolute()
    return options


def main() -> int:
    """Prints the tables and the targets. Returns the exit code."""
    options = parsed()
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.make:
        maker.make(options.cache, size=options.make, seed=options.seed)
        return 0
    if options.one:
        form, name, path, warm = options.one
        print(json.dumps(run_one(form, name, Path(path), Path(warm), options.cache)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.cache, prefix="out-") as scratch:
        if options.profile:
            profile(options, Path(scratch))
            return 0
        return report(options, Path(scratch))


def report(options: argparse.Namespace, scratch: Path) -> int:
    """Measures everything that was asked for and prints it. Returns the exit code."""
    crashed = False
    reached: list[Target] = []
    told: dict[str, Any] = {"benchmark": "dataset", "cores": os.cpu_count(), "memory": {}}
    lines: list[str] = []
    for form in options.forms:
        made, results = measure(form, options, scratch)
        contents = made.contents(form)
        lines += [
            "",
            f"{form}: {contents.rows:,} rows, {contents.size / _MB:,.0f} MB as JSON Lines "
            f"({made.path(form).stat().st_size / _MB:,.0f} MB stored), {sum(contents.bad.values())} bad rows, "
            f"{contents.duplicates} repeated; {os.cpu_count()} cores; best of {options.rounds}",
            *table(form, made, results),
        ]
        reached += targets(form, results)
        for text, figure, target in memory(form, options, scratch, results):
            told["memory"][text] = figure
            reached += [target] if target else []
        crashed = crashed or any(result.error for result in results.values())
        told[form] = {
            name: {"seconds": result.seconds, "cpu": result.cpu, "rss_mb": result.rss, "found": result.found}
            | ({"error": result.error} if result.error else {})
            for name, result in results.items()
        }
    if options.tiny_rows:
        for text, figure, target in duplicates(options, scratch):
            told["memory"] |= {} if target else {text: figure}
            reached += [target] if target else []
    lines += [
        "",
        "MB of the largest process",
        *(f"{text}: {figure:.0f}" for text, figure in told["memory"].items()),
        "",
        *map(str, reached),
    ]
    told["targets"] = [vars(target) for target in reached]
    print("\n".join(lines[1:]))
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return int(crashed)


if __name__ == "__main__":
    sys.exit(main())
