"""Rows that have to come first for the training's reader: moved there, the same in any number of processes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from shared.dataset.judging.calls import Call
from shared.dataset.judging.rules import Facts, ToolMessage
from shared.dataset.preparing import columns
from shared.dataset.preparing.columns import BEGINNING, KEYS, Columns, bring_forward
from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.files import LocalFile
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS
from tests.kit.dataset.conversations import ASSISTANT, CALL, TOOL, USER
from tests.kit.rows import of, row

TOOLS = Facts(tools=True)
NAMED = of(USER, CALL, TOOL | {"tool_call_id": "1", "name": "f"}, ASSISTANT)
TIMES = row("2024-01-01", "2024-01-02")


class Leading(io.BytesIO):
    """A sink that can put rows first."""

    first = b""

    def lead(self, data: bytes, /) -> None:
        self.first += data


def filling(size: int, text: str = "x") -> list[bytes]:
    """Different rows of so many bytes in all, none with tools."""
    return [row(f"{at} {text}", text * 20_000) for at in range(size // 20_000)]


def of_files(folder: Path, lines: list[bytes], processes: int = 1) -> bytes:
    """train.jsonl, with parts of their own for validation and test."""
    folder.mkdir()
    files = {"train": lines, "validation": [row("v")], "test": [row("t")]}
    for part, each in files.items():
        (folder / f"{part}.jsonl").write_bytes(b"".join(line + b"\n" for line in each))
    report = prepare_files(
        files={part: LocalFile(folder / f"{part}.jsonl") for part in PARTS},
        out=folder / "out",
        policy=Policy(min_rows=1),
        facts=TOOLS,
        processes=processes,
        piece=100_000,
    )
    assert not report.rejected
    return (folder / "out" / "train.jsonl").read_bytes()


def test_every_key_that_not_all_rows_have_is_looked_for() -> None:
    optional = [f',"{name}":' for name in ToolMessage.__struct_fields__ if name not in ("role", "content")]
    assert sorted(each.decode() for each in KEYS) == sorted([*optional, '{"id":'])
    assert Call.__struct_fields__[0] == "id"  # the others are always written


def test_rows_that_show_a_key_late_come_first(tmp_path: Path) -> None:
    plain = filling(2 * BEGINNING)
    given = [*plain, NAMED, *plain[:5], of(USER, CALL, TOOL, ASSISTANT)]
    written = of_files(tmp_path / "one", given).splitlines()
    assert b'"name":"f"' in written[0]
    assert sorted(map(len, written)) == sorted(
        len(each) for each in of_files(tmp_path / "two", [NAMED, *given[:-7], *given[-6:]]).splitlines()
    )
    assert [json.loads(each) for each in written[1:4]] == [json.loads(each) for each in plain[:3]]


def test_rows_near_the_beginning_stay_where_they_are(tmp_path: Path) -> None:
    given = [*filling(BEGINNING // 2), NAMED, *filling(BEGINNING)]
    assert b"tool_calls" in of_files(tmp_path / "one", given).splitlines()[BEGINNING // 2 // 20_000]


@pytest.mark.thorough
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_bring_the_same_rows_forward(processes: int, tmp_path: Path) -> None:
    plain = filling(2 * BEGINNING)
    given = [*plain, of(USER, CALL, TOOL, ASSISTANT), *plain, NAMED, *plain, NAMED.replace(b'"f"', b'"g"')]
    assert of_files(tmp_path / "one", given) == of_files(tmp_path / "more", given, processes)


def test_a_sink_that_can_put_rows_first_gets_what_a_file_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BEGINNING", 10_000)
    given = [row(), *[TIMES] * 200, of(USER, CALL, TOOL, ASSISTANT), TIMES, NAMED]
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(each + b"\n" for each in given))
    held = tmp_path / "held.jsonl"
    held.write_bytes(row("held") + b"\n")
    sinks = {part: Leading() for part in PARTS}
    files = {part: LocalFile(path if part == "train" else held) for part in PARTS}
    prepare(files=files, sinks=sinks, policy=Policy(min_rows=1), facts=TOOLS)
    assert sinks["train"].first.count(b"\n") == 2
    assert sinks["train"].first + sinks["train"].getvalue() == of_files(tmp_path / "one", given)


@pytest.mark.parametrize(
    "text", ["2024-01-01", "2024-01-01 10:00", "2024-01-01T10:00:00.5Z", "2024-01-01T10:00:00+02:00"]
)
def test_texts_that_are_all_times_are_refused(text: str) -> None:
    found = Columns()
    found.take([b'{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":null}]}' % text.encode()])
    assert found.only_times
    found.take([row("2024-01-01", "a day")])
    assert not found.only_times


def test_a_text_that_comes_too_late_is_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BEGINNING", 10_000)
    for before, only in ((50, False), (500, True)):
        found = Columns()
        found.take([TIMES] * before)
        more = Columns()
        more.take([row(), TIMES])
        found.join(more)
        assert (found.only_times, found.late) == (only, [])


def test_a_set_of_dates_alone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(row(f"2024-01-{day:02}", "2024-02-01") + b"\n" for day in range(1, 31)))
    report = prepare(files={"train": LocalFile(path)}, sinks=None)
    assert report.by_rule == {"only_times": 3}
    assert "the texts of the train rows, or the first of them, are all dates or times" in report.rejected


def test_pieces_are_joined_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BEGINNING", 10_000)
    whole, pieces = Columns(tools=True), [Columns(tools=True) for _ in range(3)]
    rows = [TIMES] * 300
    rows[0], rows[290], rows[295] = row(), of(USER, CALL, TOOL, ASSISTANT), NAMED
    written = [each.replace(b": ", b":").replace(b", ", b",") for each in rows]
    whole.take(written)
    for at, piece in enumerate(pieces):
        piece.take(written[at * 100 : (at + 1) * 100])
    joined = Columns()
    for piece in pieces:
        joined.join(piece)
    assert joined.late == whole.late
    assert len(whole.late) == 2


def test_a_file_is_written_anew_only_where_rows_move(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"aa\nbb\ncc\ndd\n")
    bring_forward(path, [])
    bring_forward(path, [(3, 3), (9, 3)])
    assert path.read_bytes() == b"bb\ndd\naa\ncc\n"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
