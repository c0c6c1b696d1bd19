"""JSON arrays: the elements and places that slow and obvious code finds, from chunks of any size."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.reading.files import MIB, FileFault, Limits
from shared.dataset.reading.json_array import json_array
from tests.kit.dataset import peak
from tests.kit.dataset.reading import SIZES, pieces, until_fault

TRICKY = st.text(st.sampled_from('ab"\\[]{}, \n\té😀'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=12,
)


def elements(data: bytes, sizes: list[int] | None = None, limits: Limits | None = None) -> list[tuple[bytes, int, int]]:
    """What was found before the end or the fault: bytes, line and offset of each."""
    found: list[tuple[bytes, int, int]] = []
    for batch in json_array(pieces(data, sizes or [len(data) or 1]), limits or Limits(page=min(sizes or [MIB]))):
        assert batch.data
        assert batch.offsets is not None
        found += zip(batch.data, batch.numbers, batch.offsets, strict=True)
    return found


@given(
    values=st.lists(VALUES, max_size=6),
    sizes=SIZES,
    only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    frame=st.sampled_from([(b"", b""), (b"\xef\xbb\xbf", b"\n"), (b"\n \t", b"\r\n ")]),
)
def test_elements_are_those_that_a_json_library_finds(
    values: list[Any], sizes: list[int], only: bool, indent: int | None, frame: tuple[bytes, bytes]
) -> None:
    data = frame[0] + json.dumps(values, ensure_ascii=only, indent=indent).encode() + frame[1]
    found = elements(data, sizes)
    assert [json.loads(raw) for raw, _, _ in found] == values
    for raw, line, offset in found:
        assert data[offset : offset + len(raw)] == raw
        assert line == data[:offset].count(b"\n") + 1


@given(
    values=st.lists(VALUES, max_size=4),
    sizes=SIZES,
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.sampled_from(b'a"\\[]{},:1 \n')), min_size=1),
)
def test_a_file_passes_only_if_a_json_library_passes_it(
    values: list[Any], sizes: list[int], edits: list[tuple[int, int, int]]
) -> None:
    data = bytearray(json.dumps(values, indent=1).encode())
    for place, cut, code in edits:
        at = place % (len(data) + 1)
        data[at : at + cut] = bytes([code])
    try:
        wanted = json.loads(data)
    except ValueError:
        wanted = None
    if not data.strip(b" \n"):
        wanted = []
    try:
        read = [json.loads(raw) for raw, _, _ in elements(bytes(data), sizes)]
    except (FileFault, ValueError):
        read = None
    assert read == (wanted if isinstance(wanted, list) else None)


@pytest.mark.parametrize("run", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_backslashes_before_a_quote_across_chunks(run: int, size: int) -> None:
    text = b"\\" * run + (b'"' if run % 2 else b"")
    data = b'[{"a":"' + text + b'"},"' + text + b'",["]"]]'
    wanted = [b'{"a":"' + text + b'"}', b'"' + text + b'"', b'["]"]']
    assert [raw for raw, _, _ in elements(data, [size])] == wanted


@pytest.mark.parametrize("data", [b"", b"  \n ", b"\xef\xbb\xbf", b"[]", b" [ \n ] \n"])
def test_files_without_elements(data: bytes) -> None:
    assert elements(data) == []


@pytest.mark.parametrize(
    ("data", "good", "line", "offset", "reason"),
    [
        (b'[\n{"a": 1},\n{"a"', 1, 3, 12, "the file ends inside the element that begins here"),
        (b'[\n{"a": 1},\n{"a": "]}', 1, 3, 12, "a quote or bracket is missing"),
        (b'[\n{"a": 1},\n', 1, 3, 12, "the array is not closed: the file was cut off"),
        (b'[\n{"a": 1}\n', 1, 3, 11, "the array is not closed"),
        (b'[\n{"a": 1}\n{"a": 2}]', 1, 3, 11, "a comma is missing before this element"),
        (b'[\n"a" "b"]', 1, 2, 6, "a comma is missing before this element"),
        (b'[{"a": 1},,{}]', 1, 1, 10, "no element stands before this comma"),
        (b'[{"a": 1},\n]', 1, 2, 11, "no element follows the last comma"),
        (b'[{"a": 1}]\n[]', 1, 2, 11, "something follows the end of the array"),
        (b"[1]\nx", 1, 2, 4, "something follows the end of the array"),
        (b'[{"a": 1}}', 1, 1, 9, "'}' does not belong here, between elements"),
        (b"\n hello", 0, 2, 2, "it does not begin with [, as an array does"),
        (b'{"a": 1}\n{"a": 2}\n', 0, 1, 0, "it has one object a line, which is JSON Lines: rename it to .jsonl"),
        (b'{"data": [\n{"a": 1}]}', 0, 1, 0, "it is one object, not an array: make the list of rows in it the whole"),
        ('[{"a": 1}]'.encode("utf-16"), 0, 1, 0, "it is UTF-16: save it as UTF-8"),
    ],
)
def test_what_breaks_the_file_off_is_told_after_what_came_before(
    data: bytes, good: int, line: int, offset: int, reason: str
) -> None:
    batches, fault = until_fault(lambda: json_array([data], Limits()))
    assert sum(len(batch.data) for batch in batches) == good
    assert reason in fault.reason
    assert (fault.rule, fault.line, fault.offset) == ("not_json_array", line, offset)


def test_an_element_that_is_no_json_is_handed_on() -> None:
    data = b'[{"a": nope}, {a: [1}], {"b": 1}, NaN]'
    assert [raw for raw, _, _ in elements(data)] == [b'{"a": nope}', b"{a: [1}]", b'{"b": 1}', b"NaN"]


@given(sizes=SIZES)
def test_of_an_element_over_the_limit_the_beginning_comes(sizes: list[int]) -> None:
    data = b'[{"a": 1}, {"a": "' + b"x" * 500 + b'"}, "' + b"y" * 120 + b'", 3]'
    found = [raw for raw, _, _ in elements(data, sizes, Limits(row=150, page=min(sizes)))]
    assert found == [b'{"a": 1}', b'{"a": "' + b"x" * 144, b'"' + b"y" * 120 + b'"', b"3"]


def test_a_string_without_end_is_refused() -> None:
    data = b'[1,\n"' + b"x" * 3000
    _, fault = until_fault(lambda: json_array(pieces(data, [100]), Limits(row=1000, page=100)))
    assert (fault.rule, fault.line, fault.offset) == ("row_too_large", 2, 4)


READ_ARRAY = """
import sys
from shared.dataset.reading.files import FileFault, Limits
from shared.dataset.reading.json_array import json_array
head, body, times = sys.argv[1].encode(), sys.argv[2].encode(), int(sys.argv[3])
def chunks():
    yield head
    for _ in range(times):
        yield body * (4 * 1024**2 // len(body))
try:
    print(sum(len(batch.data) for batch in json_array(chunks(), Limits())))
except FileFault as fault:
    print(fault.rule)
"""


@pytest.mark.parametrize(
    ("head", "body", "told"),
    [
        ('[{"a": "', "x", "not_json_array"),
        ("[", "[", "not_json_array"),
        ('["', "\\", "row_too_large"),
        ("[0", ',{"a":"some text, twenty times over"}' * 20, None),
    ],
)
def test_arrays_of_any_size_take_the_same_memory(head: str, body: str, told: str | None) -> None:
    printed, mib = peak.run(READ_ARRAY, head, body, 5)
    assert printed == (told or "not_json_array")
    assert mib < 150
