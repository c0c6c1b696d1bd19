"""Inputs gone wrong: the engine's verdicts against the oracle's. A sample; all of them: make test-long."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from shared.dataset.preparing import parallel
from shared.dataset.reading.files import LocalFile
from shared.dataset.spec.choices import Policy
from tests.kit.dataset import fuzz, oracle
from tests.kit.rows import row

SAMPLE = {"parquet": 60, "json": 80}
EVERY = 120
FOUND = {
    "parquet": (10254, 13570, 47553, 72124),  # pyarrow ended the process; values beyond a dictionary, beyond the rows
    "json": (376, 1660, 2568, 8512, 15447, 52000),
    "csv": (2095, 43337, 48244),
    "jsonl-messages": (71958,),
    "jsonl-prompt-response": (1693,),
    "jsonl-sharegpt": (11022, 30307, 41643),
    "jsonl-tools": (289, 482, 934, 2292),
}


@pytest.mark.parametrize("series", fuzz.SERIES)
def test_every_bad_row_is_told_and_no_good_one(series: str) -> None:
    found = {}
    rows = 0
    for at in range(SAMPLE.get(series, EVERY)):
        wrong, counts = fuzz.run(series, at)
        rows += counts["bad"] + (counts["good"] > 0)
        if wrong:
            found[at] = wrong
    assert not found, f"python -m tests.kit.dataset.fuzz --only {series} --at {next(iter(found))}"
    assert rows > 10  # the inputs are neither all good nor all beyond reading


@pytest.mark.parametrize("series", FOUND)
def test_what_was_found_once_does_not_come_back(series: str) -> None:
    assert [fuzz.run(series, at)[0] for at in FOUND[series]] == [[]] * len(FOUND[series])


def test_an_input_that_ends_its_process_is_a_failure_and_the_others_go_on() -> None:
    jobs = [("json", at, at + 2) for at in (2, 4, 6)]
    done = list(fuzz.worked(jobs, 1, _dies_at_4))
    assert [failed for failed, _, _ in done] == [[], [(4, ["its process ended, with -9"])], []]
    assert [counts["inputs"] for _, counts, _ in done] == [2, 2, 2]


def _dies_at_4(job: fuzz.Job) -> fuzz.Done:
    if 4 in range(*job[1:]):
        os.kill(os.getpid(), signal.SIGKILL)
    return [], Counter(inputs=job[2] - job[1]), 0


@pytest.mark.parametrize("series", ["jsonl-messages", "jsonl-alpaca", "json", "csv"])
def test_the_pieces_in_which_a_file_comes_make_no_difference(series: str) -> None:
    for at in range(12):
        given = fuzz.made(series, at)
        whole = fuzz.engine(fuzz.Bytes(given.name, given.data), fuzz.LIMITS)
        for pieces in ((1,), (2, 3), (5, 1, 64)):
            assert fuzz.engine(fuzz.Bytes(given.name, given.data, pieces), fuzz.LIMITS) == whole, at


@pytest.mark.thorough
@pytest.mark.parametrize("series", ["jsonl-messages", "jsonl-sharegpt", "parquet"])
def test_several_processes_say_what_one_says(series: str, tmp_path: Path) -> None:
    held = tmp_path / "held.jsonl"
    held.write_bytes(row("Not in the other file"))
    for at in range(2):
        given = fuzz.joined(series, range(at * 200, at * 200 + 200))
        path = tmp_path / given.name
        path.write_bytes(given.data)
        found = []
        for processes in (1, 2, 4):
            out = tmp_path / f"{at}-{processes}"
            report = parallel.prepare_files(
                files={"train": LocalFile(path), "validation": LocalFile(held), "test": LocalFile(held)},
                out=out,
                policy=Policy(on_bad_rows="drop", max_bad_percent=100, min_rows=1),
                limits=fuzz.LIMITS,
                processes=processes,
                piece=4096,  # so that small files are divided
            )
            found.append((report, {each.name: each.read_bytes() for each in out.iterdir()}))
        assert found[0][0].rows > 100
        assert found[0] == found[1] == found[2]


def test_the_fuzzer_notices_an_engine_that_errs() -> None:
    given = fuzz.made("jsonl-messages", 3)
    right = fuzz.engine(fuzz.Bytes(given.name, given.data), fuzz.LIMITS)
    assert given.expected is not None
    assert not fuzz.differences(given.expected, right)
    line = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}).encode()
    other = oracle.lines(given.data.rstrip() + b"\n" + line)
    assert "was not told" in " ".join(fuzz.differences(other, right))


def test_mutations_are_known_by_their_seed() -> None:
    for series, make in fuzz.SERIES.items():
        assert make(Random(f"{series} 5")) == fuzz.made(series, 5)
