"""Files made to take a reader long or to fill its memory: what a MB takes does not grow with the file."""

from __future__ import annotations

import gzip
import io
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import hostile_readers
from benchmarks.hostile_inputs import FAMILIES
from shared.dataset.reading.csv import csv
from shared.dataset.reading.files import MIB, Elements, FileFault, Limits, decompressed, paged
from shared.dataset.reading.json_array import json_array
from shared.dataset.reading.json_lines import json_lines
from tests.kit.dataset import peak

QUICK = (
    "csv: one cell of doubled quotes",
    "csv: one bare cell of doubled quotes",
    "csv: one row of quoted cells",
    "json: one text of quotes",
    "json: one number",
    "jsonl.gz: members of nothing, zeros between",
)
"""Families that took a time with the square of their size."""
SLOW = ("parquet: dictionaries that repeat nothing",)
"""One more, of which only a large file did."""
LONG = "DROPTUNE_LONG" in os.environ
"""All families take about an hour."""


def chunks(data: bytes, size: int = MIB // 2) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def read(kind: str, data: bytes, limits: Limits, size: int = MIB // 2) -> None:
    readers: dict[str, Any] = {
        ".csv": lambda: csv(chunks(data, size), limits),
        ".json": lambda: json_array(chunks(data, size), limits),
        ".jsonl.gz": lambda: decompressed(chunks(data, size), limits, len(data)),
    }
    try:
        for _ in readers[kind]():
            pass
    except FileFault:
        pass


@pytest.mark.parametrize("name", QUICK)
def test_what_was_quadratic_is_linear(name: str) -> None:
    """At a small limit, so that a small file is far over it, or in small pieces: each took more than this."""
    out = io.BytesIO()
    FAMILIES[name].make(out, 1_000_000 if name.startswith(("csv", "json:")) else 500_000)
    limits = Limits(row=MIB // 4, page=MIB // 16) if name.startswith("csv") else Limits(page=1024)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    read(FAMILIES[name].kind, out.getvalue(), limits, MIB // 2 if "gz" in name else limits.page)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < 0.25


@pytest.mark.thorough
@pytest.mark.parametrize("name", hostile_readers.NAMES if LONG else QUICK + SLOW)
def test_a_mb_takes_as_much_in_a_large_file_as_in_a_small_one(name: str) -> None:
    took = hostile_readers.measure(name, hostile_readers.SIZES)
    told = [(each.size, round(each.a_mb * 1000, 1), each.mib, each.said) for each in took]
    assert hostile_readers.growth(took) <= hostile_readers.LIMIT, told
    assert max(each.mib for each in took) <= hostile_readers.allowed(name), told
    assert all(each.cpu < hostile_readers.PATIENCE for each in took), told


def test_pages_have_one_size_whatever_comes() -> None:
    data = bytes(range(256)) * 40
    for size in (1, 7, 999, 1000, 1001, 5000, len(data)):
        found = list(paged(chunks(data, size), 1000))
        assert b"".join(found) == data
        assert [len(each) for each in found] == [1000] * 10 + [240]


def test_what_came_before_a_fault_is_handed_out_before_it_is_raised() -> None:
    def broken() -> Iterator[bytes]:
        yield b"abc"
        raise FileFault("not_gzip", "it is damaged")

    pages = paged(broken(), 1000)
    assert next(pages) == b"abc"
    with pytest.raises(FileFault):
        next(pages)


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_json_lines_come_whole_from_pages_of_any_size(size: int) -> None:
    data = b'\xef\xbb\xbf{"a": 1}\n\n \t\r\n{"b": 2}\r\n' + b"x" * 50 + b'\n{"c": 3}'
    found = list(json_lines(chunks(data, size), Limits(row=20, page=size)))
    rows = [row for batch in found for row in batch.data]
    assert rows == [b'{"a": 1}', b'{"b": 2}\r', b"x" * 21, b'{"c": 3}']
    assert [number for batch in found for number in batch.numbers] == [1, 4, 5, 6]
    assert [data[at:][:2] for batch in found for at in batch.offsets or []][1:] == [b'{"', b"xx", b'{"']
    assert all(isinstance(batch, Elements) for batch in found)


def test_rows_behind_one_that_is_too_large_are_read_whatever_ends_a_line() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        data = end.join([b"prompt,completion", b"a,b", b"x" * 500 + b",c", b'd,"' + b'""' + end + b'e"', b"f,g", b""])
        for size in (3, 50, 700):
            found = [
                (row if isinstance(row, dict) else row.rule, line)
                for batch in csv(chunks(data, size), Limits(row=100, page=size))
                for row, line in zip(batch.rows, batch.numbers, strict=True)
            ]
            assert found == [
                ({"prompt": "a", "completion": "b"}, 2),
                ("row_too_large", 3),
                ({"prompt": "d", "completion": '"' + end.decode() + "e"}, 4),
                ({"prompt": "f", "completion": "g"}, 6),
            ]


MANY = """
import gzip, sys
from shared.dataset.judging.checker import Checker
from shared.dataset.judging.rules import Facts
from shared.dataset.reading.files import Limits, decompressed, paged
row = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\\n'
data = gzip.compress(row, mtime=0) * 10_000
checker = Checker(file="a", part="train", facts=Facts(), limits=Limits(), seed=0)
blocks = list(checker.lines(paged(decompressed([data], Limits(), len(data)), Limits().page)))
print(sum(len(block.rows) for block in blocks), len(blocks))
"""


def test_members_of_a_row_are_judged_many_at_a_time() -> None:
    """By count, not by time: as many blocks as there are pages, and not as there are members."""
    printed, mib = peak.run(MANY)
    assert printed == "10000 2"
    assert mib < 200


def test_a_zero_behind_each_member_is_passed_over() -> None:
    data = (gzip.compress(b"a\n", mtime=0) + b"\0\0") * 1000 + bytes(1000)
    assert b"".join(decompressed([data], Limits(), len(data))) == b"a\n" * 1000
