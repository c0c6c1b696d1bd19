"""Files prepared by several processes: what one process makes of them, and nothing left behind when it goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from shared.dataset.judging.rules import Facts
from shared.dataset.preparing.parallel import _Lines, prepare_files
from shared.dataset.preparing.scan import HELD_ROWS, Input, Scan, prepare
from shared.dataset.reading.files import Limits, LocalFile, Records
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part
from tests.kit.dataset.conversations import BAD_ROWS, GOOD, exact
from tests.kit.paths import ROOT
from tests.kit.rows import messages, row, rows
from tests.kit.waiting import eventually

DROP = Policy(min_rows=1, on_bad_rows="drop", max_bad_percent=100)
PIECE = 10_000


def file(folder: Path, data: bytes | list[bytes], name: str = "train.jsonl") -> LocalFile:
    path = folder / name
    path.write_bytes(b"".join(data) if isinstance(data, list) else data)
    return LocalFile(path)


def prepared(out: Path, files: dict[Part, Input], **options: Any) -> tuple[Report, dict[str, bytes]]:
    """The report, and the files that are in the folder then."""
    report = prepare_files(files=files, out=out, **{"policy": DROP, "piece": PIECE, **options})
    return report, {path.name: path.read_bytes() for path in out.iterdir()}


def held_out(folder: Path) -> dict[Part, Input]:
    """Files for the other parts, so that nothing is cut from the training file."""
    return {
        "validation": file(folder, rows(1, 7), "validation.jsonl"),
        "test": file(folder, [row("held out") + b"\n"], "test.jsonl"),
    }


# One process


def test_the_folder_gets_a_file_for_each_part_and_nothing_else(tmp_path: Path) -> None:
    report, out = prepared(tmp_path / "new" / "out", {"train": file(tmp_path, rows(40))})
    assert set(out) == {"train.jsonl", "validation.jsonl", "test.jsonl"}
    assert {part: out[f"{part}.jsonl"].count(b"\n") for part in PARTS} == report.splits
    assert sum(report.splits.values()) == 40


def test_only_checking_writes_nothing_and_says_the_same(tmp_path: Path) -> None:
    train = file(tmp_path, [*rows(40), b"{\n"])
    before = set(tmp_path.iterdir())
    report = prepare_files(files={"train": train}, out=None, policy=DROP)
    assert set(tmp_path.iterdir()) == before
    assert (
        report
        == prepared(tmp_path / "out", {"train": train})[0]
        == prepare(files={"train": train}, sinks=None, policy=DROP)
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_rejected_dataset_leaves_nothing(processes: int, tmp_path: Path) -> None:
    train = file(tmp_path, [*rows(400), b"{\n"])
    report, out = prepared(
        tmp_path / "out", {"train": train, **held_out(tmp_path)}, policy=Policy(), processes=processes
    )
    assert report.rejected
    assert out == {}


class Gone:
    """A Table that breaks off."""

    name = "some/set"
    size = 1000

    def records(self, limits: Limits) -> Iterator[Records]:
        for first in range(0, 2 * HELD_ROWS, 1000):  # more than is held back, so that something was written
            numbers = range(first, first + 1000)
            yield Records(rows=[{"messages": messages(str(number))} for number in numbers], numbers=numbers)
        raise OSError("the hub is gone")


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the hub is gone"):
        prepared(tmp_path, {"train": Gone()})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    others = held_out(tmp_path)
    train = file(tmp_path, rows(400))
    train.path.unlink()
    for processes in (1, 2):
        with pytest.raises(FileNotFoundError):
            prepared(tmp_path / "out", {"train": train, **others}, processes=processes)
        assert list((tmp_path / "out").iterdir()) == []


# Prepares the file of argv[1] with another process, tells that one's id, and does not end.
ENDLESS = """
import multiprocessing, sys, threading
from pathlib import Path
from shared.dataset.reading.files import LocalFile
from shared.dataset.preparing.parallel import prepare_files

def stay(size):
    print(*(each.pid for each in multiprocessing.active_children()), flush=True)
    threading.Event().wait()

prepare_files(files={"train": LocalFile(Path(sys.argv[1]))}, out=None, processes=2, piece=1000, progress=stay)
"""


def test_nobody_works_on_for_a_process_that_was_killed(tmp_path: Path) -> None:
    train = file(tmp_path, rows(400))
    folder = ROOT
    command = [sys.executable, "-c", ENDLESS, str(train.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout
        try:
            (worker,) = map(int, process.stdout.readline().split())
        finally:
            process.kill()
    eventually(lambda: not Path(f"/proc/{worker}").exists())


def test_what_stood_there_is_replaced(tmp_path: Path) -> None:
    prepared(tmp_path / "out", {"train": file(tmp_path, rows(100))})
    report, out = prepared(tmp_path / "out", {"train": file(tmp_path, rows(20))})
    assert sum(data.count(b"\n") for data in out.values()) == sum(report.splits.values()) == 20


# Pieces of a file of lines


def test_every_line_is_in_one_piece_wherever_the_file_is_cut(tmp_path: Path) -> None:
    lines = [b"\xef\xbb\xbf" + row("a"), b"", row("b" * 50), b"{", b"", b"\r", row("c")]
    for data in (b"\n".join(lines), b"\n".join(lines) + b"\n", b"\n\n" + b"\r\n".join(lines[1:])):
        path = file(tmp_path, data)
        files: dict[Part, Input] = {"train": path}
        scan = Scan.of("train", files, {}, policy=DROP, facts=None, limits=None, told=10)

        def read(*ends: int, path: LocalFile = path, scan: Scan = scan) -> tuple[list[bytes], list[Any], int, int]:
            batches = [
                batch
                for start, end in zip((0, *ends), (*ends, path.size), strict=True)
                for batch in _Lines(path, start, end).batches(scan, None)
            ]
            return (
                [data for batch in batches for data in batch.rows],
                [(fault.rule, fault.offset) for batch in batches for fault in batch.faults],
                sum(batch.count for batch in batches),
                sum(batch.lines for batch in batches),
            )

        whole = read()
        assert whole[2] in (3, 4)
        for cut in range(1, path.size):
            assert read(cut) == whole, cut
        for cut in range(1, path.size - 9, 5):
            assert read(cut, cut + 1, cut + 8) == whole, cut


def everything() -> list[bytes]:
    """Lines of every kind, good, bad, long, blank, twice, with more rows than are held back."""
    bad = [data for rule, data in BAD_ROWS if rule != "not_utf8"]
    lines = [row(f"{number}", "x") for number in range(HELD_ROWS + 1000)]
    for at, each in enumerate([*bad, *GOOD, b"", b"\r", b"\xff", row("x" * 30_000), *rows(9), *rows(9)]):
        lines.insert(1 + (at * 977) % len(lines), each.strip(b"\n"))
    lines[200:210] = [row("x" * 2000)] * 10
    lines[-5:-5] = lines[100:150]
    return lines


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> LocalFile:
    return file(tmp_path_factory.mktemp("large"), b"\xef\xbb\xbf" + b"\n".join(everything()))


@pytest.fixture(scope="module")
def alone(large: LocalFile, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[str, bytes]]:
    options: dict[str, Any] = {"told": 100, "facts": Facts(context=300), "limits": Limits(row=25_000)}
    files = {"train": large, **held_out(tmp_path_factory.mktemp("others"))}
    return prepared(tmp_path_factory.mktemp("out"), files, **options)


@pytest.mark.parametrize("processes", [2, 3])
def test_a_file_in_pieces_is_prepared_as_a_whole(
    processes: int, large: LocalFile, alone: tuple[Report, dict[str, bytes]], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"told": 100, "facts": Facts(context=300), "limits": Limits(row=25_000)}
    files = {"train": large, **held_out(tmp_path)}
    report, out = prepared(tmp_path / "out", files, processes=processes, **options)
    assert report == alone[0]
    assert out == alone[1]
    assert len(report.faults) >= 100
    assert set(report.warnings) >= {"duplicate_row", "over_context", "prompt_in_both"}
    assert list(report.by_rule) == list(alone[0].by_rule)


def test_what_is_cut_from_a_file_in_pieces(large: LocalFile, tmp_path: Path) -> None:
    one, two = (
        prepared(tmp_path / str(processes), {"train": large}, processes=processes, limits=Limits(row=25_000))
        for processes in (1, 2)
    )
    assert one == two
    assert "mixed_formats" in one[0].by_rule
    assert one[1] == {}
    clean = file(tmp_path, [row(f"{number}", "x") + b"\n" for number in range(HELD_ROWS + 1000)])
    one, two = (prepared(tmp_path / f"clean{processes}", {"train": clean}, processes=processes) for processes in (1, 2))
    assert one == two
    assert set(one[1]) == {f"{part}.jsonl" for part in PARTS}
    assert not one[0].rejected


def test_so_few_rows_that_the_cuts_are_fitted_are_read_at_once(tmp_path: Path) -> None:
    train = file(tmp_path, rows(200))
    read: list[int] = []
    two = prepared(tmp_path / "2", {"train": train}, processes=2, progress=read.append)
    assert two == prepared(tmp_path / "1", {"train": train})
    assert not two[0].rejected
    assert sum(read) == train.size


@pytest.mark.parametrize("processes", [1, 2])
def test_progress_adds_up_to_the_sizes(processes: int, tmp_path: Path) -> None:
    files: dict[Part, Input] = {"train": file(tmp_path, rows(500)), **held_out(tmp_path)}
    read: list[int] = []
    prepared(tmp_path / "out", files, processes=processes, progress=read.append)
    assert sum(read) == sum(each.size for each in files.values())


def test_the_format_is_that_of_the_files_beginning_in_all_pieces(tmp_path: Path) -> None:
    asked = [b'{"question": "%d?", "answer": "b"}\n' % number for number in range(400)]
    nothing = [b'{"text": "a"}\n'] * 10
    train = file(tmp_path, [*nothing, *asked, *rows(400)])
    report, _ = prepared(tmp_path / "out", {"train": train, **held_out(tmp_path)}, processes=2)
    assert report.by_rule == {"mixed_formats": 400, "no_messages": 10}
    assert report.formats["train"] == "question_answer"
    assert [fault.line for fault in report.faults if fault.rule == "mixed_formats"] == list(range(411, 811))
    assert "line 411: the row is in the format messages, the rows before it are in question_answer" in report.rejected


def test_a_file_too_small_for_pieces_is_read_by_one(tmp_path: Path) -> None:
    train = file(tmp_path, rows(40))
    assert train.size < 2 * PIECE
    assert prepared(tmp_path / "2", {"train": train}, processes=4) == prepared(tmp_path / "1", {"train": train})


# Row groups


def table(path: Path, count: int, group: int) -> LocalFile:
    values: list[Any] = [
        messages(f"prompt {number % (count - 3)}", str(number % (count - 3))) for number in range(count)
    ]
    values[count // 2] = []
    values[-5] = messages("x", " ")
    pq.write_table(pa.table({"messages": pa.array(values)}), path, row_group_size=group, compression="none")
    return LocalFile(path)


def test_row_groups_in_several_processes(tmp_path: Path) -> None:
    train = table(tmp_path / "train.parquet", 1000, 150)
    files: dict[Part, Input] = {"train": train, **held_out(tmp_path)}
    one, two = (
        prepared(tmp_path / str(processes), files, processes=processes, piece=train.size // 3) for processes in (1, 3)
    )
    assert one == two
    report, out = one
    assert [(fault.rule, fault.line, fault.row_group, fault.row) for fault in report.faults] == [
        ("empty_messages", 501, 3, 51),
        ("blank_content", 996, 6, 96),
    ]
    assert [(fault.line, fault.row_group, fault.row) for fault in report.warned if fault.rule == "duplicate_row"] == [
        (998, 6, 98),
        (999, 6, 99),
        (1000, 6, 100),
    ]
    assert out["train.jsonl"].splitlines()[0] == exact(row("prompt 0", "0"))


@pytest.mark.parametrize("broken", [0, 2, 6])
def test_a_broken_row_group_ends_the_file_in_pieces_too(broken: int, tmp_path: Path) -> None:
    train = table(tmp_path / "train.parquet", 1000, 150)
    column = pq.ParquetFile(train.path).metadata.row_group(broken).column(1)
    data = bytearray(train.path.read_bytes())
    start = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
    data[start : start + 40] = bytes(40)
    files: dict[Part, Input] = {"train": file(tmp_path, bytes(data), "broken.parquet"), **held_out(tmp_path)}
    one, two = (
        prepared(tmp_path / str(processes), files, processes=processes, piece=train.size // 3) for processes in (1, 2)
    )
    assert one == two
    assert one[1] == {}
    assert one[0].by_rule["not_parquet"] == 1
    assert "not_parquet" in [fault.rule for fault in one[0].faults]


def test_a_table_without_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    with pq.ParquetWriter(path, pa.schema({"messages": pa.string()})):
        pass
    report, out = prepared(tmp_path / "out", {"train": LocalFile(path)}, processes=2, piece=10)
    assert report.by_rule == {"empty_file": 1}
    assert out == {}


def test_files_of_other_kinds_are_read_by_one_process(tmp_path: Path) -> None:
    data = json.dumps([json.loads(each) for each in rows(300)]).encode()
    train = file(tmp_path, data, "train.json")
    two = prepared(tmp_path / "2", {"train": train, **held_out(tmp_path)}, processes=2)
    jsonl = prepared(tmp_path / "1", {"train": file(tmp_path, rows(300)), **held_out(tmp_path)})
    assert two[1] == jsonl[1]
    assert two[0].digest == jsonl[0].digest
    assert replace(two[0], files={}, faults=(), warned=()) == replace(jsonl[0], files={}, faults=(), warned=())
