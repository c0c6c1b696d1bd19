"""A part in several files counts as one that was cut: one split, one search for copies, and each row has its place."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.preparing.scan import HELD_ROWS, Inputs, prepare
from shared.dataset.reading.files import LocalFile
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part
from tests.kit.dataset.fuzz import Bytes
from tests.kit.rows import messages, row, rows

DROP = Policy(min_rows=1, on_bad_rows="drop", max_bad_percent=100)


def shards(pieces: Sequence[Sequence[bytes]]) -> list[Bytes]:
    return [Bytes(f"train-{at}.jsonl", b"".join(lines)) for at, lines in enumerate(pieces)]


def run(files: dict[Part, Inputs], **options: Any) -> tuple[Report, dict[Part, bytes]]:
    sinks = {part: BytesIO() for part in PARTS}
    report = prepare(files=files, sinks=sinks, **{"policy": DROP, **options})
    return report, {part: sink.getvalue() for part, sink in sinks.items()}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.sets(st.integers(0, 9)), st.booleans())
def test_what_is_written_and_counted_does_not_depend_on_where_it_is_cut(
    sizes: list[int], bad: set[int], again: bool
) -> None:
    lines = [b"{}\n" if at in bad else row(f"Question {at}") + b"\n" for at in range(sum(sizes))]
    lines[-1] = lines[0] if again else lines[-1]
    at, pieces = 0, []
    for size in sizes:
        pieces.append(lines[at : at + size])
        at += size
    one, written = run({"train": Bytes("train.jsonl", b"".join(lines))})
    several, same = run({"train": shards(pieces)})
    assert same == written
    for name in ("rejected", "rows", "bad_rows", "by_rule", "warnings", "splits", "duplicates", "digest", "adjusted"):
        if name != "rejected" or not one.rejected:  # a reason names the file
            assert getattr(several, name) == getattr(one, name), name
    assert several.shards == {"train": {f"train-{at}.jsonl": size for at, size in enumerate(sizes)}}
    told = "train-0.jsonl, train-1.jsonl" if len(sizes) == 2 else f"{len(sizes)} files: train-0.jsonl ..."
    assert several.files == {"train": told}
    places = [(f"train-{at}.jsonl", line) for at, size in enumerate(sizes) for line in range(1, size + 1)]
    assert [(each.file, each.line) for each in several.faults] == [places[each.line - 1] for each in one.faults]


def test_a_copy_is_found_in_another_file_and_both_places_are_told() -> None:
    report, _ = run({"train": shards([rows(3), [row("new") + b"\n", *rows(2)]])})
    told = [(each.file, each.line, each.reason) for each in report.warned if each.rule == "duplicate_row"]
    assert told == [
        ("train-1.jsonl", 2, "the same row as train-0.jsonl, line 1"),
        ("train-1.jsonl", 3, "the same row as train-0.jsonl, line 2"),
    ]


def test_each_file_may_have_a_format_of_its_own_and_a_bad_one_is_named() -> None:
    csv = b"prompt,completion\n" + b"".join(b"Question %d,Answer\n" % at for at in range(5))
    files = [Bytes("a.jsonl", b"".join(rows(3))), Bytes("b.csv", csv), Bytes("c.jsonl", b"")]
    report, _ = run({"train": files})
    assert (report.rows, report.by_rule) == (8, {"empty_file": 1})
    assert report.rejected.startswith("c.jsonl: the file has no rows")


def test_of_held_out_files_none_may_be_without_rows_and_one_good_row_is_enough() -> None:
    held = [Bytes("test-0.jsonl", b"{}\n"), Bytes("test-1.jsonl", row("held out") + b"\n")]
    report, written = run({"train": Bytes("train.jsonl", b"".join(rows(20))), "test": held})
    assert not report.rejected
    assert written["test"].count(b"\n") == 1
    report, _ = run({"train": Bytes("train.jsonl", b"".join(rows(20))), "test": [held[0], held[0]]})
    assert "not one row of the 2 test files is good" in [each.reason for each in report.faults]


@pytest.mark.thorough
@pytest.mark.parametrize("broken", [False, True])
def test_any_number_of_processes_makes_the_same_of_them(tmp_path: Path, broken: bool) -> None:
    lines = [b"{}\n" if at % 997 == 5 else row(f"Question {at % 9000}") + b"\n" for at in range(HELD_ROWS + 2000)]
    (tmp_path / "0.jsonl").write_bytes(b"".join(lines[:6000]))
    (tmp_path / "1.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[6000:6500]))[: -9 if broken else None])
    table = pa.Table.from_pylist([{"messages": messages(f"Question {at}")} for at in range(8000, 9500)])
    pq.write_table(table, tmp_path / "2.parquet", row_group_size=100)
    (tmp_path / "3.jsonl").write_bytes(b"".join(lines[6500:]))
    (tmp_path / "4.jsonl").write_bytes(lines[0])
    files = [LocalFile(path) for path in sorted(tmp_path.iterdir())]
    found = []
    for processes in (1, 2, 3):
        out = tmp_path / f"out{processes}"
        report = prepare_files(files={"train": files}, out=out, policy=DROP, processes=processes, piece=20_000)
        found.append((report, {path.name: path.read_bytes() for path in out.iterdir()}))
    assert found[0] == found[1] == found[2]
    report, written = found[0]
    assert bool(report.rejected) == broken
    assert bool(written) != broken
    assert report.duplicates > 2000
    assert ("3.jsonl", "the same row as 2.parquet, row group 0, row 1") in {
        (each.file, each.reason) for each in report.warned
    }
