"""CSV: the rows and places that the csv module finds, from chunks of any size."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.reading.csv import csv as csv_rows
from shared.dataset.reading.files import MIB, Broken, FileFault, Limits
from tests.kit.dataset import peak
from tests.kit.dataset.reading import SIZES, pieces, until_fault


def read_csv(data: bytes, sizes: list[int] | None = None, limits: Limits | None = None) -> list[tuple[Any, int, int]]:
    """The rows before the end: each with its line and offset."""
    found: list[tuple[Any, int, int]] = []
    for batch in csv_rows(pieces(data, sizes or [len(data) or 1]), limits or Limits(page=min(sizes or [MIB]))):
        assert batch.rows
        assert batch.offsets is not None
        found += zip(batch.rows, batch.numbers, batch.offsets, strict=True)
    return found


CELLS = st.text(st.sampled_from('ab",\r\n é;😀'), max_size=8)


@given(
    rows=st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=6)),
    sizes=SIZES,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.sampled_from(["", "\ufeff"]),
    edit=st.none() | st.tuples(st.integers(0, 10**6), st.sampled_from('a",\r\n')),
)
def test_rows_are_those_that_the_csv_module_finds(
    rows: list[list[str]], sizes: list[int], end: str, quoting: Any, mark: str, edit: tuple[int, str] | None
) -> None:
    names = ["prompt", "b", "c", "d"][: len(rows[0]) if rows else 1]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([names, *rows])
    head, body = text.getvalue().split(end, 1)
    if edit is not None:  # a stray quote, comma or line end
        at = edit[0] % (len(body) + 1)
        body = body[:at] + edit[1] + body[at:]
    data = (mark + head + end + body).encode()
    wanted: list[list[str]] = []
    ended = False
    try:
        wanted += (row for row in csv.reader(io.StringIO(body, newline=""), strict=True) if any(row))
    except csv.Error:
        ended = True
    found: list[tuple[Any, int, int]] = []
    try:
        for batch in csv_rows(pieces(data, sizes), Limits(page=min(sizes))):
            found += zip(batch.rows, batch.numbers, batch.offsets or [], strict=True)
    except FileFault as fault:
        assert fault.reason.startswith(("the quote that opens", "text follows a quote that closes"))  # noqa: PT017
        assert ended
    else:
        assert not ended
    assert len(found) == len(wanted)
    for (row, line, offset), cells in zip(found, wanted, strict=True):
        assert line == len((data[:offset] + b"x").splitlines())
        if len(cells) >= len(names) and not any(cells[len(names) :]):
            assert row == {name: cell or None for name, cell in zip(names, cells, strict=False)}
        else:
            assert row.rule == "wrong_columns"


def test_where_rows_begin() -> None:
    data = b'\xef\xbb\xbfinput,output\r\n\r\n"a\nb",c\r\nd,\r\n'
    assert read_csv(data) == [
        ({"input": "a\nb", "output": "c"}, 3, 19),
        ({"input": "d", "output": None}, 5, 28),
    ]


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_what_separates_columns_is_told_by_the_header(between: str) -> None:
    data = between.join(["prompt", '"a,b;c"', "x"]) + "\n" + between.join(["1", "2", "3"]) + "\n"
    assert read_csv(data.encode()) == [({"prompt": "1", "a,b;c": "2", "x": "3"}, 2, len(data) - 6)]


def test_the_index_that_pandas_writes_is_no_fault() -> None:
    assert read_csv(b",prompt , completion\n0,a,b\n") == [({"": "0", "prompt": "a", "completion": "b"}, 2, 21)]


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b",,\n", b"prompt,completion", b"prompt,completion\n,\n\n"])
def test_files_without_rows(data: bytes) -> None:
    assert read_csv(data) == []


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"\nprompt,prompt \na,b\n", 2, "two columns of the header are named 'prompt'"),
        (b'prompt,"x\na,b\n', 1, "the quote that opens on this line is never closed"),
        (b"prompt,x\xe9\na,b\n", 1, "the header can't be read: byte 0xe9 in column 2 is not UTF-8"),
        ("prompt,x\n".encode("utf-16"), 1, "it is UTF-16: save it as UTF-8"),
    ],
)
def test_headers_that_name_no_columns(data: bytes, line: int, reason: str) -> None:
    batches, fault = until_fault(lambda: csv_rows([data], Limits()))
    assert batches == []
    assert (fault.rule, fault.line, fault.reason) == ("not_csv", line, reason)


def test_a_header_of_very_many_columns() -> None:
    data = ",".join(f"c{at}" for at in range(100_000)).encode()
    assert read_csv(data + b"\n") == []
    _, fault = until_fault(lambda: csv_rows([data + b",c7\n"], Limits()))
    assert fault.reason == "two columns of the header are named 'c7'"


def test_rows_that_are_broken_stand_between_good_ones() -> None:
    data = b"prompt,completion\na,b\nc\nd,e,f\ng,caf\xe9\nh,caf\xc3\xa9\n"
    assert [(row, line) for row, line, _ in read_csv(data)] == [
        ({"prompt": "a", "completion": "b"}, 2),
        (Broken(rule="wrong_columns", reason="it has 1 column, the header has 2", excerpt="c"), 3),
        (Broken(rule="wrong_columns", reason="it has 3 columns, the header has 2", excerpt="d,e,f"), 4),
        (Broken(rule="not_utf8", reason="byte 0xe9 in column 2 is not UTF-8", excerpt="g,caf?"), 5),
        ({"prompt": "h", "completion": "café"}, 6),
    ]


@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_a_row_over_the_limit_is_passed_over(sizes: list[int]) -> None:
    long = b"x" * 300
    lines = b'y "" z,\n' * 40
    data = b"prompt,completion\na,b\n" + long + b",c\nd,e\n" + b'"' + lines + b'",f\ng,"h\ni"\n'
    found = read_csv(data, sizes, Limits(row=200, page=min(sizes)))
    assert [(row if isinstance(row, dict) else row.rule, line) for row, line, _ in found] == [
        ({"prompt": "a", "completion": "b"}, 2),
        ("row_too_large", 3),
        ({"prompt": "d", "completion": "e"}, 4),
        ("row_too_large", 5),
        ({"prompt": "g", "completion": "h\ni"}, 46),
    ]
    assert all(data[:offset].count(b"\n") + 1 == line for _, line, offset in found)


@pytest.mark.parametrize("rows_after", [0, 3, 1000])
def test_a_quote_that_is_never_closed_is_told_with_its_line(rows_after: int) -> None:
    data = b'prompt,completion\na,"b\nc"\nd,"e\nf","g\n' + b'h,""i""\n' * rows_after
    batches, fault = until_fault(lambda: csv_rows(pieces(data, [50]), Limits(row=200, page=50)))
    assert [row for batch in batches for row in batch.rows] == [{"prompt": "a", "completion": "b\nc"}]
    assert (fault.rule, fault.line, fault.offset) == ("not_csv", 5, 26)


READ_CSV = """
import sys
from shared.dataset.reading.files import FileFault, Limits
from shared.dataset.reading.csv import csv as csv_rows
body, times = sys.argv[1].encode().replace(b"|", b"\\n"), int(sys.argv[2])
def chunks():
    yield b'prompt,completion\\na,b\\nc,"d'
    for _ in range(times):
        yield body * (4 * 1024**2 // len(body))
try:
    for batch in csv_rows(chunks(), Limits()):
        pass
except FileFault as fault:
    print(fault.rule, fault.line)
"""


@pytest.mark.parametrize("body", ["x", "text,text|", "some text in a row,and more of it|"])
def test_an_open_quote_over_a_large_file_takes_little_memory(body: str) -> None:
    printed, mib = peak.run(READ_CSV, body, 40)
    assert printed == "not_csv 3"
    assert mib < 200


def test_a_batch_is_handed_on_before_much_is_held() -> None:
    batches = list(csv_rows([b"prompt\n" + b"x\n" * 5000, b"x" * MIB + b"\n"] * 9, Limits()))
    assert max(len(batch.rows) for batch in batches) <= 1024
    assert sum(len(batch.rows) for batch in batches) == 9 * 5001 + 8
    sizes = [sum(len(row["prompt"]) for row in batch.rows if isinstance(row, dict)) for batch in batches]
    assert max(sizes) < 4 * MIB


def test_what_was_found_does_not_depend_on_a_file(tmp_path: Path) -> None:
    """Readers keep nothing between files, and two can be read in turns."""
    one = csv_rows([b"a\n1\n2\n"], Limits())
    two = csv_rows([b"b\n" + b"x" * 200_000 + b"\n"], Limits())
    assert next(one).rows == [{"a": "1"}, {"a": "2"}]
    assert next(two).rows == [{"b": "x" * 200_000}]
