"""Parquet: the rows that were written, however they were written, in memory that the file can't raise."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from shared.dataset.judging.formats import FORMATS
from shared.dataset.judging.keys import known
from shared.dataset.reading import parquet as parquet_reader
from shared.dataset.reading import parquet_pages
from shared.dataset.reading.files import MIB, Broken, FileFault, Limits, LocalFile, Records
from shared.dataset.reading.parquet import parquet, pieces, row_groups
from shared.dataset.reading.parquet_footer import Column
from shared.dataset.reading.parquet_pages import Pages
from tests.kit.dataset import peak

CHAT = [
    [{"role": "user", "content": "é?"}, {"role": "assistant", "content": "yes"}],
    None,
    [],
    [None, {"role": None, "content": ""}],
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.parquet"


def records(path: Path, limits: Limits | None = None, groups: range | None = None) -> list[Records]:
    return list(parquet(LocalFile(path), limits or Limits(), groups))


def rows(path: Path, limits: Limits | None = None) -> list[dict[str, Any] | Broken]:
    return [row for batch in records(path, limits) for row in batch.rows]


def fault(path: Path, limits: Limits | None = None) -> FileFault:
    with pytest.raises(FileFault) as told:
        records(path, limits)
    return told.value


def test_conversations_come_back_as_they_went_in(file: Path) -> None:
    table = pa.table({"messages": CHAT, "prompt": ["é?", None, "", "x"]})
    pq.write_table(table, file)
    assert rows(file) == table.to_pylist()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.large_string(), ["a", None, "é" * 300]),
        (pa.string_view(), ["a", None, "é" * 300]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"]),
        (pa.int64(), [1, None, -(2**60)]),
        (pa.float64(), [0.5, None, 1e300]),
        (pa.bool_(), [True, None, False]),
        (pa.large_list(pa.string()), [["a"], None, []]),
        (pa.list_(pa.list_(pa.int32())), [[[1], None], None, []]),
        (pa.list_(pa.string(), 2), [["a", "b"], None, [None, "c"]]),
        (pa.struct([("from", pa.string()), ("weight", pa.float32())]), [{"from": "gpt", "weight": 1.0}, None]),
        (pa.null(), [None, None]),
    ],
)
def test_values_are_what_json_would_give(file: Path, kind: pa.DataType, values: list[Any]) -> None:
    pq.write_table(pa.table({"input": pa.array(values, kind)}), file)
    assert rows(file) == [{"input": value} for value in values]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (pa.timestamp("ns"), 1_700_000_000_123_456_789, "2023-11-14 22:13:20.123456789"),
        (pa.timestamp("us", "UTC"), 3 * 10**17, "11476-08-15 05:20:00.000000Z"),
        (pa.date32(), datetime.date(2024, 2, 29), "2024-02-29"),
        (pa.decimal128(5, 2), decimal.Decimal("1.50"), "1.50"),
        (pa.binary(), b"text \xff", "text \\xff"),
        (pa.list_(pa.binary()), [b"text"], ["text"]),
        (pa.list_(pa.date32()), [datetime.date(2024, 2, 29)], ["2024-02-29"]),
        (pa.map_(pa.string(), pa.string()), [("role", "user")], {"role": "user"}),
        (pa.struct([("at", pa.time64("us")), ("x", pa.int8())]), {"at": datetime.time(1, 2), "x": 1}, None),
    ],
)
def test_what_json_has_no_type_for_becomes_text(file: Path, kind: pa.DataType, value: Any, told: Any) -> None:
    pq.write_table(pa.table({"input": pa.array([value, None], kind)}), file)
    assert rows(file) == [{"input": told or {"at": "01:02:00", "x": 1}}, {"input": None}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    chats=st.lists(
        st.none()
        | st.lists(
            st.none()
            | st.fixed_dictionaries({"role": st.none() | st.sampled_from(["user", "system"]), "content": st.text()})
        ),
        min_size=1,
    ),
    group=st.integers(1, 20),
    dictionary=st.booleans(),
    version=st.sampled_from(["1.0", "2.0"]),
    compression=st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]),
)
def test_whatever_was_written_is_read(
    file: Path, chats: list[Any], group: int, dictionary: bool, version: str, compression: str
) -> None:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    table = pa.table({"messages": pa.array(chats, kind)})
    options = {"row_group_size": group, "use_dictionary": dictionary, "data_page_version": version}
    pq.write_table(table, file, compression=compression, data_page_size=64, **options)
    assert rows(file) == table.to_pylist()
    assert rows(file, Limits(row=10_000)) == table.to_pylist()


def test_arguments_of_a_call_have_no_keys_of_other_rows(file: Path) -> None:
    asked: list[dict[str, Any]] = [{"day": 0}, {"city": "x", "near": {"to": None, "by": 1}}, {}]
    column = [[{"role": "assistant", "tool_calls": [{"name": "f", "arguments": each}]}] for each in asked]
    pq.write_table(pa.table({"messages": column}), file)
    found = [row["messages"][0]["tool_calls"][0]["arguments"] for row in rows(file) if isinstance(row, dict)]
    assert found == [{"day": 0}, {"city": "x", "near": {"by": 1}}, {}]


def test_where_rows_are_is_told(file: Path) -> None:
    pq.write_table(pa.table({"prompt": [str(n) for n in range(1, 11)]}), file, row_group_size=4)
    seen = [
        (row["prompt"], str(number), batch.row_group, batch.first_of_group)
        for batch in records(file)
        for row, number in zip(batch.rows, batch.numbers, strict=True)
        if isinstance(row, dict)
    ]
    assert [(told, number) for told, number, _, _ in seen] == [(str(n), str(n)) for n in range(1, 11)]
    assert [(group, first) for _, _, group, first in seen] == [(0, 1)] * 4 + [(1, 5)] * 4 + [(2, 9)] * 2


def test_row_groups_can_be_read_apart(file: Path) -> None:
    pq.write_table(pa.table({"prompt": [str(n) for n in range(1, 11)]}), file, row_group_size=4)
    assert [count for count, _ in row_groups(LocalFile(file))] == [4, 4, 2]
    apart = [records(file, groups=range(at, at + 1)) for at in range(3)]
    assert [batch for part in apart for batch in part] == records(file)
    assert records(file, groups=range(1, 3)) == records(file)[1:]


def test_columns_with_which_nothing_is_lost_are_not_read(file: Path) -> None:
    pq.write_table(pa.table({"id": [1], "Question": ["q"], "answer": ["a"], "source": ["s"], "mood": ["m"]}), file)
    assert rows(file) == [{"Question": "q", "answer": "a", "mood": "m"}]
    (batch,) = parquet(LocalFile(file), Limits(), needed={"source"})
    assert batch.rows == [{"Question": "q", "answer": "a", "source": "s", "mood": "m"}]


def test_no_column_that_some_format_reads_is_passed_over() -> None:
    assert not [key for each in FORMATS for key in each.reads if known("row", key)[0]]


def test_without_any_of_them_the_first_columns_show_what_the_file_is(file: Path) -> None:
    pq.write_table(pa.table({f"c{n}": [n] for n in range(30)}), file)
    assert rows(file) == [{f"c{n}": n for n in range(10)}]


def test_no_rows_and_no_columns(file: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), file)
    assert rows(file) == []
    pq.write_table(pa.table({}), file)
    assert rows(file) == []


def test_a_text_that_is_not_utf8_breaks_its_row_alone(file: Path) -> None:
    texts = [b"good", b"b\xffd", None, b"good"]
    table = pa.table({"prompt": pa.array(texts, pa.binary()), "completion": ["a"] * 4})
    pq.write_table(table.set_column(0, "prompt", table["prompt"].combine_chunks().view(pa.string())), file)
    told = records(file)
    read = [row for batch in told for row in batch.rows]
    assert [isinstance(row, Broken) for row in read] == [False, True, False, False]
    assert read[1] == Broken(rule="not_utf8", reason="byte 2 of a text is not UTF-8", excerpt="b\ufffdd")
    assert [number for batch in told for number in batch.numbers] == [1, 2, 3, 4]


def test_a_row_over_the_limit_breaks_alone(file: Path) -> None:
    messages = [[{"role": "user", "content": "x" * size}] for size in (10, 3000, 20, 900)]
    pq.write_table(pa.table({"messages": messages}), file)
    read = rows(file, Limits(row=1000))
    assert [row if isinstance(row, dict) else row.rule for row in read] == [
        {"messages": messages[0]},
        "row_too_large",
        {"messages": messages[2]},
        {"messages": messages[3]},
    ]
    assert isinstance(read[1], Broken)
    assert read[1].reason.startswith("the row has 2.9")
    assert read[1].excerpt.startswith("x" * 160)


def test_two_columns_of_one_name(file: Path) -> None:
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], ["prompt", "prompt"]), file)
    assert fault(file).reason == "two of its columns are named 'prompt'"
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], ["x" * 10_000] * 2), file)
    assert len(fault(file).reason) < 200


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "it has 0 bytes, too few for a parquet file"),
        (lambda data: data[: len(data) // 2], "it does not end as a parquet file does, at byte .*: it was cut off"),
        (lambda data: b'{"a": 1}\n' * 9, "it does not begin as a parquet file does"),
        (lambda data: data[:-4] + b"PARE", "it is encrypted"),
        (lambda data: data[:-8] + struct.pack("<I", 10**9) + b"PAR1", "its footer says that it has 953.7 MiB"),
        (lambda data: data[:-40] + b"\xff" * 32 + data[-8:], "its footer can't be read: .+"),
    ],
)
def test_what_is_not_parquet(file: Path, damage: Callable[[bytes], bytes], reason: str) -> None:
    pq.write_table(pa.table({"prompt": ["a" * 1000]}), file)
    file.write_bytes(damage(file.read_bytes()))
    told = fault(file)
    assert told.rule == "not_parquet"
    with pytest.raises(FileFault, match=reason):
        raise told
    with pytest.raises(FileFault):
        row_groups(LocalFile(file))


def test_values_that_are_not_in_their_dictionary() -> None:
    for place in (1, -1):
        column = pa.DictionaryArray.from_arrays(pa.array([0, place], pa.int32()), pa.array(["a"]), safe=False)
        with pytest.raises(pa.ArrowInvalid, match="not in the column's dictionary"):
            list(pieces(pa.record_batch([column], ["prompt"]), Limits()))


@pytest.mark.parametrize("seed", range(80))
def test_damage_anywhere_is_told_or_does_no_harm(file: Path, seed: int) -> None:
    chance = random.Random(seed)
    table = pa.table({"messages": CHAT * 20, "prompt": [chance.choice(["a", "long " * 30]) for _ in range(80)]})
    pq.write_table(table, file, row_group_size=30, compression=chance.choice(["none", "snappy", "zstd"]))
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 3, 30])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    file.write_bytes(data)
    with contextlib.suppress(FileFault):
        assert len(rows(file)) < 1000


@dataclass(frozen=True)
class Gone:
    """A source that fails in the middle."""

    data: bytes
    name: str = "a.parquet"

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Any:
        raise NotImplementedError

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < self.size // 2:
            raise ConnectionError("the line is dead")
        return self.data[offset : offset + size]


def test_what_the_source_raises_is_not_the_files_fault(file: Path) -> None:
    pq.write_table(pa.table({"prompt": [random.Random(1).randbytes(1000).hex()] * 10}), file, use_dictionary=False)
    data = file.read_bytes()
    with pytest.raises(ConnectionError, match="the line is dead"):
        list(parquet(Gone(data=data), Limits()))


def repeated(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


def test_a_text_that_is_repeated_a_little_is_fine(file: Path) -> None:
    texts = [random.Random(n).randbytes(1000).hex() for n in range(5000)]
    table = pa.table({"system": repeated("Be helpful. " * 500, 5000), "prompt": texts})
    pq.write_table(table, file, store_schema=False)
    read = rows(file)
    assert [row["prompt"] for row in read if isinstance(row, dict)] == texts
    assert all(isinstance(row, dict) and row["system"] == "Be helpful. " * 500 for row in read)


@pytest.mark.parametrize("compression", ["none", "snappy", "lz4"])
def test_long_texts_are_fine_whatever_they_make_of_a_dictionary(file: Path, compression: str) -> None:
    text = random.Random(1).randbytes(MIB // 2).hex()
    texts = [text[at : at + MIB // 4] for at in range(300)]
    pq.write_table(pa.table({"prompt": texts}), file, compression=compression)
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).has_dictionary_page
    assert [row["prompt"] for row in rows(file) if isinstance(row, dict)] == texts


def test_a_dictionary_that_is_larger_than_a_row_may_be_makes_no_row_too_large() -> None:
    """Each slice of such a column brings all of it along; more than its rows it must not cost either."""
    words = [f"{at:06x}" for at in range(20_000)]
    column = pa.DictionaryArray.from_arrays(pa.array(range(20_000), pa.int32()), pa.array(words))
    batch = pa.record_batch([column], ["prompt"])
    found = [list(pieces(batch.slice(at, 1000), Limits(row=50_000))) for at in range(0, 20_000, 1000)]
    assert [row for parts in found for part in parts for row in part] == [{"prompt": word} for word in words]
    assert [len(parts) for parts in found] == [1] * 20, "no halving"


BOMBS: dict[str, tuple[Callable[[], pa.Table], dict[str, Any], str]] = {
    "one text, a million times": (lambda: pa.table({"prompt": repeated("x" * MIB, 10**6)}), {}, "too_compressed"),
    "one text in a million messages": (
        lambda: pa.table(
            {
                "messages": pa.ListArray.from_arrays(
                    pa.array(range(0, 10**6 + 1, 2), pa.int32()),
                    pa.StructArray.from_arrays(
                        [repeated("user", 10**6), repeated("x" * MIB, 10**6)], ["role", "content"]
                    ),
                )
            }
        ),
        {},
        "too_compressed",
    ),
    "one row of a million texts": (
        lambda: pa.table({"messages": pa.ListArray.from_arrays([0, 10**6], repeated("x" * MIB, 10**6))}),
        {},
        "row_too_large",
    ),
    "pages that compress too well": (
        lambda: pa.table({"prompt": ["x" * (MIB + n) for n in range(64)]}),
        {"compression": "zstd", "use_dictionary": False},
        "too_compressed",
    ),
    "ten million rows of nothing": (
        lambda: pa.table({"prompt": pa.nulls(10**7, pa.string())}),
        {"row_group_size": 10**7},
        "too_compressed",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_in_little_memory(file: Path, bomb: str) -> None:
    table, options, rule = BOMBS[bomb]
    pq.write_table(table(), file, store_schema=False, **options)
    assert file.stat().st_size < MIB
    printed, mib = peak.run(READ, file)
    assert printed.split()[0] == rule
    assert mib < 300


READ = """
import sys
from pathlib import Path
from shared.dataset.reading.parquet import parquet
from shared.dataset.reading.files import FileFault, Limits, LocalFile
count = 0
try:
    for batch in parquet(LocalFile(Path(sys.argv[1])), Limits()):
        count += len(batch.rows)
except FileFault as fault:
    print(fault.rule, fault.reason)
print(count)
"""


def test_pages_that_would_fill_the_memory_are_refused_before_they_are_unpacked(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow unpacks a page whole, and writers may put any number of rows into one."""
    texts = [random.Random(n).randbytes(500).hex() + "x" * 9000 for n in range(600)]
    options: dict[str, Any] = {"use_dictionary": False, "compression": "zstd", "data_page_size": 1 << 30}
    pq.write_table(pa.table({"prompt": texts, "completion": texts}), file, **options)
    assert len(rows(file)) == 600
    monkeypatch.setattr(parquet_pages, "HELD", 8 * MIB)
    told = fault(file)
    assert told.rule == "row_too_large"
    assert told.reason.startswith("the pages of row group 0 that are needed at once take 12.")
    pq.write_table(
        pa.table({"prompt": texts, "completion": texts}),
        file,
        **options | {"data_page_size": MIB, "write_batch_size": 20},
    )
    assert len(rows(file)) == 600


def test_rows_of_many_nulls_are_made_a_few_at_a_time(file: Path) -> None:
    """Nulls cost next to nothing to store, and each becomes an object's key."""
    kind = pa.struct([(f"f{at}", pa.string()) for at in range(1500)])
    noise = [random.Random(n).randbytes(100).hex() for n in range(3000)]
    pq.write_table(pa.table({"messages": pa.array([None] * 2999 + [{"f0": "a"}], kind), "prompt": noise}), file)
    printed, mib = peak.run(READ, file)
    assert printed == "3000"
    assert mib < 300


def test_more_values_in_lists_than_fit_in_memory_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"messages": [["a"] * 50] * 10}), file)
    assert len(rows(file)) == 10
    monkeypatch.setattr(parquet_reader, "_LISTED", 499)
    assert fault(file).reason.startswith("row group 0 has 500 values in lists, more than 499")


def test_a_page_with_more_values_than_the_footer_says_is_refused() -> None:
    page = bytes([0x15, 0, 0x15, 20, 0x15, 20, 0x2C, 0x15, 40, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0])
    column = Column(codec="uncompressed", values=10, unpacked=50, stored=50, start=4)
    for cut in range(1, len(page)):  # a header may be cut by where a read ends
        pages = Pages(0, [(column, "prompt")])
        pages.passed(4, page[:cut])
        with pytest.raises(FileFault, match="prompt has more values in row group 0 than the 10 that the footer says"):
            pages.passed(4 + cut, page[cut:] + bytes(10))


def test_long_values_of_a_fixed_length_are_decoded_a_few_at_a_time(file: Path) -> None:
    values = pa.array([b"x" * MIB] * 300, pa.binary(MIB))
    pq.write_table(pa.table({"prompt": values}), file, store_schema=False)
    assert file.stat().st_size < 2 * MIB
    printed, mib = peak.run(READ, file)
    assert printed.split()[0] == "too_compressed"
    assert mib < 300


def test_what_the_whole_file_unpacks_to_is_bounded_too(file: Path) -> None:
    table = pa.table({"prompt": [random.Random(n).randbytes(1000).hex() for n in range(100)]})
    pq.write_table(table, file, row_group_size=10)
    told = fault(file, Limits(decompressed=150_000))
    assert (told.rule, told.reason) == ("too_large_decompressed", "it unpacks to more than 146.5 KiB")
    assert len(rows(file, Limits(decompressed=250_000))) == 100


def test_a_row_group_of_any_size_is_read_in_the_same_memory(file: Path) -> None:
    text = random.Random(1).randbytes(MIB // 2).hex()
    peaks = []
    for count in (10_000, 60_000):
        starts = [at * 7919 % (MIB - 4000) for at in range(count)]
        messages = [[{"role": "user", "content": text[at : at + 4000]}] for at in starts]
        pq.write_table(pa.table({"messages": messages}), file, use_dictionary=False, compression=None)
        assert pq.ParquetFile(file).num_row_groups == 1
        printed, mib = peak.run(READ, file)
        assert int(printed) == count
        peaks.append(mib)
    assert peaks[1] < peaks[0] + 40
    assert peaks[1] < 220
