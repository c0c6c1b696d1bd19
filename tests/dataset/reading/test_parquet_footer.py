"""Footers of parquet files: read as pyarrow reads them, and refused in a sentence where they are made to do harm."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from shared.dataset.reading.files import MIB, FileFault, Limits, LocalFile
from shared.dataset.reading.parquet import parquet
from shared.dataset.reading.parquet_footer import Group, read_footer, read_page
from tests.kit.dataset import peak

TABLE = pa.table(
    {
        "messages": [[{"role": "user", "content": f"Hi {at}"}] for at in range(12)],
        "prompt": ["é", None] * 6,
        "number": range(12),
    }
)


def written(table: pa.Table = TABLE, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def footer(data: bytes) -> bytes:
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def refooted(data: bytes, other: bytes) -> bytes:
    """The file, with another footer."""
    return data[: -8 - len(footer(data))] + other + len(other).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_it_says_what_pyarrow_reads_in_it(compression: str, dictionary: bool) -> None:
    data = written(row_group_size=5, compression=compression, use_dictionary=dictionary)
    groups = read_footer(footer(data), len(data))
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    assert len(groups) == metadata.num_row_groups == 3
    for at, group in enumerate(groups):
        theirs = metadata.row_group(at)
        assert (group.rows, len(group.columns)) == (theirs.num_rows, theirs.num_columns)
        for leaf, column in enumerate(group.columns):
            their = theirs.column(leaf)
            start = min(their.dictionary_page_offset or len(data), their.data_page_offset)
            codec = {"lz4": "lz4_raw", "none": "uncompressed"}.get(compression, compression)
            assert (column.values, column.start, column.codec) == (their.num_values, start, codec)
            assert (column.unpacked, column.stored) == (their.total_uncompressed_size, their.total_compressed_size)
            assert read_page(data[column.start :]).stored < column.stored


def test_many_row_groups_are_read_fast() -> None:
    data = written(pa.table({name: range(1000) for name in "abcd"}), row_group_size=1)
    before = time.process_time()
    assert len(read_footer(footer(data), len(data))) == 1000
    assert time.process_time() - before < 1


@given(st.binary(max_size=200))
def test_anything_else_is_refused_in_words(data: bytes) -> None:
    with contextlib.suppress(FileFault):
        assert all(isinstance(each, Group) for each in read_footer(data, 1000))
    with contextlib.suppress(ValueError):
        page = read_page(data)
        assert min(page.unpacked, page.stored) >= 0


@pytest.mark.thorough
def test_no_footer_ends_the_process(tmp_path: Path) -> None:
    """Each byte changed, in a process of its own; pyarrow's own metadata of columns would end it in many cases."""
    file = tmp_path / "train.parquet"
    file.write_bytes(written(row_group_size=6, compression="none"))
    printed, mib = peak.run(EVERY_BYTE, file)
    read, refused = map(int, printed.split())
    assert read > 100
    assert refused > 1000
    assert mib < 400


EVERY_BYTE = """
import sys
from pathlib import Path
from shared.dataset.reading.parquet import parquet
from shared.dataset.reading.files import FileFault, Limits
from tests.kit.dataset.fuzz import Bytes
data = Path(sys.argv[1]).read_bytes()
begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
read = refused = 0
for at in range(begin, len(data) - 8):
    for value in {data[at] ^ 1, data[at] ^ 16, 0xFF} - {data[at]}:
        try:
            list(parquet(Bytes("a.parquet", data[:at] + bytes([value]) + data[at + 1 :]), Limits()))
            read += 1
        except FileFault:
            refused += 1
print(read, refused)
"""


# Thrift's compact protocol, as far as a footer needs it: fields as (number, type, bytes).


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def whole(number: int) -> bytes:
    return varint(number << 1 ^ number >> 63)


def struct(*fields: tuple[int, int, bytes]) -> bytes:
    return b"".join(bytes([kind]) + whole(number) + value for number, kind, value in fields) + b"\0"


def listed(kind: int, *values: bytes) -> bytes:
    return bytes([0xF0 | kind]) + varint(len(values)) + b"".join(values)


def chunk(**other: int) -> bytes:
    said = {"type": 6, "codec": 0, "values": 1, "unpacked": 40, "stored": 40, "start": 4} | other
    numbers = {"type": (1, 5), "codec": (4, 5), "values": (5, 6), "unpacked": (6, 6), "stored": (7, 6), "start": (9, 6)}
    meta = struct(
        *((*numbers[name], whole(said[name])) for name in numbers),
        (2, 9, listed(5, whole(0))),
        (3, 9, listed(8, varint(6) + b"prompt")),
        *([(11, 6, whole(said["dictionary"]))] if "dictionary" in said else []),
    )
    return struct((2, 6, whole(0)), (3, 12, meta))


def whole_footer(*chunks: bytes, rows: int = 1, more: tuple[tuple[int, int, bytes], ...] = ()) -> bytes:
    root = struct((4, 8, varint(6) + b"schema"), (5, 5, whole(1)))
    leaf = struct((1, 5, whole(6)), (3, 5, whole(0)), (4, 8, varint(6) + b"prompt"))
    groups = [struct((1, 9, listed(12, each)), (2, 6, whole(40)), (3, 6, whole(rows))) for each in chunks]
    fields = ((1, 5, whole(1)), (2, 9, listed(12, root, leaf)), (3, 6, whole(rows)), (4, 9, listed(12, *groups)))
    return struct(*fields, *more)


def test_the_footers_made_here_are_footers() -> None:
    data = written(pa.table({"prompt": ["a"]}), compression="none", use_dictionary=False)
    made = refooted(data, whole_footer(chunk()))
    assert pq.ParquetFile(pa.BufferReader(made)).metadata.num_rows == 1
    assert [group.rows for group in read_footer(footer(made), len(made))] == [1]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (whole_footer(chunk(), rows=-1), "a size or a count is -1"),
        (whole_footer(chunk(values=-5)), "a size or a count is -5"),
        (whole_footer(chunk(unpacked=-(2**63))), "a size or a count is -9223372036854775808"),
        (whole_footer(chunk(start=-1)), "a size or a count is -1"),
        (whole_footer(chunk(dictionary=-1)), "a size or a count is -1"),
        (whole_footer(chunk(stored=2**62)), "puts a column of row group 0 outside of the file"),
        (whole_footer(chunk(start=2**62)), "puts a column of row group 0 outside of the file"),
        (whole_footer(*[chunk(stored=500)] * 30), "puts a column of row group .* outside of the file"),
        (whole_footer(chunk(values=2)), "a column of row group 0 has 2 values for 1 rows"),
        (whole_footer(chunk(), chunk(values=0), rows=0), "a column of row group 0 has 1 values for 0 rows"),
        (whole_footer(chunk(codec=2**40)), "in a field of 32 bits"),
        (whole_footer(chunk(), rows=7), "a column of row group 0 has 1 values for 7 rows"),
        (whole_footer(chunk(), more=((8, 12, struct()),)), "it is encrypted"),
        (whole_footer(chunk(), more=((4, 9, listed(12)),)), "it has field 4 twice"),
        (
            whole_footer(chunk(), more=((20, 12, b"\x1c" * 3000 + b"\0" * 3001),)),
            "more than 32 structs and lists are in one another",
        ),
        (
            whole_footer(chunk(), more=((20, 9, b"\x19" * 3000 + b"\0"),)),
            "more than 32 structs and lists are in one another",
        ),
        (whole_footer(chunk(), more=((20, 9, b"\xfc" + varint(2**40)),)), "it is cut off"),
        (whole_footer(chunk(), more=((20, 8, varint(2**40)),)), "it is cut off"),
        (whole_footer(chunk(), more=((20, 6, b"\xff" * 30),)), "it is cut off"),
        (whole_footer(chunk(), more=((20, 11, b"\0"),)), "it has a value of type 11"),
        (whole_footer(chunk(), more=((70_000, 6, b"\0"),)), "it has a field 70000"),
        (whole_footer(struct((2, 6, whole(0)))), "field 3 is missing"),
        (whole_footer(struct((8, 12, struct()), (2, 6, whole(0)))), "it is encrypted"),
        (struct((4, 9, listed(5, whole(1)))), "a list of values of a wrong type"),
        (struct((2, 9, listed(12)), (4, 9, listed(12, struct((1, 9, listed(12)), (3, 6, whole(2**60)))))), "."),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, made: bytes, reason: str) -> None:
    file = tmp_path / "train.parquet"
    file.write_bytes(refooted(written(pa.table({"prompt": ["a"]}), compression="none", use_dictionary=False), made))
    with pytest.raises(FileFault, match=reason) as told:
        list(parquet(LocalFile(file), Limits()))
    assert told.value.rule == "not_parquet"


def test_footers_that_would_fill_the_memory_are_refused_in_little_of_it(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    data = written(pa.table({"prompt": ["a"]}))
    group = struct((1, 9, listed(12, *[chunk(stored=0)] * 500_000)), (2, 6, whole(40)), (3, 6, whole(1)))
    file.write_bytes(refooted(data, struct((4, 9, listed(12, group)))))
    printed, mib = peak.run(REFUSED, file)
    assert "it would take more than 256 MiB" in printed
    assert mib < 400


REFUSED = """
import sys
from pathlib import Path
from shared.dataset.reading.parquet import row_groups
from shared.dataset.reading.files import FileFault, LocalFile
try:
    row_groups(LocalFile(Path(sys.argv[1])))
except FileFault as fault:
    print(fault)
"""


def test_a_footer_of_a_usual_size_is_not_refused() -> None:
    made = whole_footer(*[chunk(stored=0)] * 20_000)
    assert len(read_footer(made, MIB)) == 20_000
