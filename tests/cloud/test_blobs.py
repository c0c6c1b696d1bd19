"""Blobs over the real SDK, proxy and Azurite."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.cloud.clients import CHUNK
from shared.dataset.reading.files import Limits
from shared.dataset.reading.parquet import parquet
from shared.errors import Conflict, NotFound, Permanent

BOX = "state"


def test_a_blob_is_read_back_with_the_etag_it_was_written_with(azure: Cloud, unique: str) -> None:
    etag = azure.blobs.write(BOX, unique, b"one")
    assert '"' not in etag
    assert azure.blobs.read(BOX, unique) == (b"one", etag)
    assert azure.blobs.read(BOX, unique, if_match=f'"{etag}"')[0] == b"one"
    info = azure.blobs.head(BOX, unique)
    assert info is not None
    assert (info.name, info.etag, info.size) == (unique, etag, 3)
    assert info.last_modified.tzinfo is UTC


def test_an_empty_blob(azure: Cloud, unique: str) -> None:
    etag = azure.blobs.write(BOX, unique, b"")
    assert azure.blobs.read(BOX, unique) == (b"", etag)
    assert list(azure.blobs.stream(BOX, unique)) == []


def test_compare_and_swap(azure: Cloud, unique: str) -> None:
    first = azure.blobs.write(BOX, unique, b"1", if_none_match=True)
    second = azure.blobs.write(BOX, unique, b"2", if_match=first)
    with pytest.raises(Conflict):
        azure.blobs.write(BOX, unique, b"3", if_match=first)
    with pytest.raises(Conflict):
        azure.blobs.write(BOX, unique, b"3", if_none_match=True)
    with pytest.raises(Conflict):
        azure.blobs.read(BOX, unique, if_match=first)
    with pytest.raises(Conflict):
        azure.blobs.delete(BOX, unique, if_match=first)
    assert azure.blobs.read(BOX, unique) == (b"2", second)
    azure.blobs.delete(BOX, unique, if_match=second)
    azure.blobs.delete(BOX, unique)
    assert azure.blobs.head(BOX, unique) is None


def test_what_is_missing_and_where(azure: Cloud, unique: str) -> None:
    with pytest.raises(NotFound, match=f"state/{unique}"):
        azure.blobs.read(BOX, unique)
    with pytest.raises(NotFound):
        next(azure.blobs.stream(BOX, unique))
    with pytest.raises(Permanent, match="ContainerNotFound"):
        azure.blobs.read("nowhere", unique)
    with pytest.raises(Permanent, match="nowhere"):
        azure.blobs.write("nowhere", unique, b"")
    with pytest.raises(Permanent, match="ContainerNotFound"):
        azure.blobs.head("nowhere", unique)
    with pytest.raises(Permanent, match="nowhere"):
        list(azure.blobs.list("nowhere"))


def test_a_big_blob_comes_and_goes_in_chunks(azure: Cloud, unique: str) -> None:
    size = CHUNK * 2 + 1234

    def parts() -> Iterator[bytes]:
        for start in range(0, size, 100_000):
            yield bytes([start // 100_000 % 251]) * min(100_000, size - start)

    etag = azure.blobs.upload(BOX, unique, parts())
    chunks = list(azure.blobs.stream(BOX, unique, if_match=etag))
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 1234]
    assert b"".join(chunks) == b"".join(parts())


def test_a_blob_that_changes_while_it_is_streamed_is_a_conflict(azure: Cloud, unique: str) -> None:
    azure.blobs.upload(BOX, unique, [bytes(CHUNK * 2)])
    chunks = azure.blobs.stream(BOX, unique)
    next(chunks)
    azure.blobs.write(BOX, unique, bytes(CHUNK * 2))
    with pytest.raises(Conflict):
        list(chunks)


def test_a_source_is_one_version_of_a_blob(azure: Cloud, unique: str) -> None:
    data = bytes(range(256)) * 40_000
    etag = azure.blobs.upload(BOX, f"{unique}/train.parquet", [data])
    source = azure.blobs.source(BOX, f"{unique}/train.parquet", etag, len(data))
    assert (source.name, source.size) == ("train.parquet", len(data))
    chunks = list(source.chunks())
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) == CHUNK
    assert source.read_at(1000, 300) == data[1000:1300]
    assert source.read_at(7, CHUNK * 2) == data[7 : 7 + CHUNK * 2]
    assert source.read_at(len(data) - 8, 100) == data[-8:]
    assert source.read_at(len(data), 8) == b""
    azure.blobs.write(BOX, f"{unique}/train.parquet", data)
    with pytest.raises(Conflict):
        source.read_at(0, 10)
    with pytest.raises(Conflict):
        next(source.chunks())
    azure.blobs.delete(BOX, f"{unique}/train.parquet")
    with pytest.raises((Conflict, NotFound), match=f"{unique}/train.parquet"):
        source.read_at(0, 10)


def test_an_empty_source(azure: Cloud, unique: str) -> None:
    source = azure.blobs.source(BOX, unique, azure.blobs.write(BOX, unique, b""), 0)
    assert list(source.chunks()) == []
    assert source.read_at(0, 10) == b""


def test_parquet_is_read_from_a_blob_here_and_there(azure: Cloud, unique: str) -> None:
    table = pa.table({"prompt": [f"{n} " * 500 for n in range(2000)], "completion": ["yes"] * 2000})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=300, compression=None, use_dictionary=False)
    etag = azure.blobs.write(BOX, unique, file.getvalue())
    source = azure.blobs.source(BOX, unique, etag, len(file.getvalue()))
    rows = [row for batch in parquet(source, Limits()) for row in batch.rows]
    assert rows == table.to_pylist()
    batches = parquet(source, Limits())
    next(batches)
    azure.blobs.write(BOX, unique, file.getvalue())
    with pytest.raises(Conflict):
        list(batches)


def test_a_writer_that_fails_leaves_nothing(azure: Cloud, unique: str) -> None:

    def parts() -> Iterator[bytes]:
        yield bytes(CHUNK + 1)
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        azure.blobs.upload(BOX, unique, parts())
    assert azure.blobs.head(BOX, unique) is None
    with azure.blobs.writer(BOX, unique) as writer:
        assert writer.write(b"abc") == 3
    assert azure.blobs.read(BOX, unique) == (b"abc", writer.etag)
    assert azure.blobs.upload(BOX, unique, []) == azure.blobs.read(BOX, unique)[1]
    assert azure.blobs.read(BOX, unique)[0] == b""


def test_listing_by_prefix(azure: Cloud, unique: str) -> None:
    etags = {f"{unique}/ä {n}.json": azure.blobs.write(BOX, f"{unique}/ä {n}.json", b"x") for n in range(3)}
    azure.blobs.write(BOX, f"{unique}2", b"x")
    assert {blob.name: blob.etag for blob in azure.blobs.list(BOX, f"{unique}/")} == etags
    assert list(azure.blobs.list(BOX, f"{unique}/none")) == []


def test_the_time_is_known_where_a_connection_breaks_at_first(azure: Cloud, cloud: Stack) -> None:
    fresh = Cloud(azure.settings)
    fresh.clients.transport.sleep = lambda _: None
    cloud.control("POST", "/_local/faults", {"service": "blob", "method": "GET", "path": f"/{BOX}$", "reset": True})
    assert abs(fresh.blobs.now() - azure.blobs.now()) < timedelta(seconds=5)
    assert cloud.control("GET", "/_local/faults")[0]["taken"] == 1
    fresh.close()


def test_time_is_the_storage_services(azure: Cloud, cloud: Stack) -> None:
    before = datetime.fromisoformat(cloud.control("GET", "/_local/clock")["now"])
    first = azure.blobs.now()
    assert abs(first - before) < timedelta(seconds=5)
    assert first <= azure.blobs.now() < first + timedelta(seconds=5)


def test_a_writer_that_starts_over_makes_a_blob_of_what_came_then(azure: Cloud, unique: str) -> None:
    name = f"again-{unique}"
    with azure.blobs.writer("prepared", name) as writer:
        writer.write(b"x" * (2 * CHUNK + 1))
        writer.lead(b"a")
        writer.restart()
        writer.write(b"y" * (CHUNK + 1))
    assert azure.blobs.read("prepared", name)[0] == b"y" * (CHUNK + 1)
    assert writer.size == CHUNK + 1


def test_a_writer_puts_first_what_has_to_lead(azure: Cloud, unique: str) -> None:
    name = f"led-{unique}"
    with azure.blobs.writer("prepared", name) as writer:
        writer.write(b"x" * (CHUNK + 1))
        writer.lead(b"a")
        writer.write(b"y")
        writer.lead(b"b")
    data, etag = azure.blobs.read("prepared", name)
    assert data == b"ab" + b"x" * (CHUNK + 1) + b"y"
    assert (writer.size, writer.etag) == (len(data), etag)
