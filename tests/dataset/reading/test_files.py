"""Kinds of files, local files and gzip: what is unpacked is bounded, what is wrong is told."""

from __future__ import annotations

import gzip
import pickle
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.kinds import kind_of
from shared.dataset.reading.files import CHUNK, MIB, PAGE, FileFault, Limits, LocalFile, decompressed, size_text
from tests.kit.dataset import peak
from tests.kit.dataset.reading import pieces


def unpacked(data: bytes, limits: Limits | None = None) -> bytes:
    return b"".join(decompressed([data], limits or Limits(), len(data)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", ".jsonl"),
        ("A.JSONL.GZ", ".jsonl.gz"),
        ("x.y/train-0001.Parquet", ".parquet"),
        ("a.json", ".json"),
        ("a.csv", ".csv"),
        ("a.json.gz", ".json.gz"),
        ("a.NDJSON.zst", ".ndjson.zst"),
        ("a.tsv", ".tsv"),
        ("train.jsonl.txt", ".jsonl.txt"),
        ("a.parquet.txt", None),
        ("a.gz", None),
        ("jsonl", None),
        ("a.txt", None),
        ("", None),
    ],
)
def test_the_kind_is_told_by_the_ending(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def test_a_local_file_is_read_in_one_go_or_here_and_there(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(PAGE * 2 + 5)
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    file = pickle.loads(pickle.dumps(LocalFile(path)))
    assert (file.name, file.size, file.path) == ("a.parquet", len(data), path)
    assert [len(chunk) for chunk in file.chunks()] == [PAGE, PAGE, 5]
    assert b"".join(file.chunks()) == data
    assert file.read_at(10, 20) == data[10:30]
    assert file.read_at(3, CHUNK * 2) == data[3 : 3 + CHUNK * 2]
    assert file.read_at(len(data) - 3, 20) == data[-3:]
    assert file.read_at(len(data) + 3, 20) == b""


def test_a_fault_survives_the_way_between_processes() -> None:
    fault = pickle.loads(pickle.dumps(FileFault("not_csv", "no header", line=3, offset=17)))
    assert (fault.rule, fault.reason, fault.line, fault.offset, str(fault)) == (
        "not_csv",
        "no header",
        3,
        17,
        "no header",
    )


@given(
    members=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    padding=st.integers(0, 40),
)
def test_members_are_read_one_after_the_other_in_whatever_chunks(
    members: list[bytes], sizes: list[int], padding: int
) -> None:
    data = b"".join(map(gzip.compress, members)) + bytes(padding)
    assert b"".join(decompressed(pieces(data, sizes), Limits(), len(data))) == b"".join(members)


def test_chunks_that_come_out_are_bounded() -> None:
    content = random.Random(1).randbytes(100_000) * 150
    sizes = [len(chunk) for chunk in decompressed([gzip.compress(content, 1)], Limits(), 1)]
    assert sum(sizes) == len(content)
    assert max(sizes) <= CHUNK


@given(cut=st.integers(1, 200), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_a_file_that_was_cut_off_is_told(cut: int, sizes: list[int]) -> None:
    data = gzip.compress(random.Random(1).randbytes(300))[:-cut]
    with pytest.raises(FileFault, match="cut off") as told:
        list(decompressed(pieces(data, sizes), Limits(), len(data)))
    assert told.value.rule == "not_gzip"


def test_a_damaged_file_is_told_after_what_came_before_it() -> None:
    good = gzip.compress(b"first\n")
    damaged = bytearray(gzip.compress(random.Random(1).randbytes(1000)))
    damaged[-6] ^= 1  # of the checksum
    came = decompressed([good + damaged], Limits(), len(good + damaged))
    assert next(came) == b"first\n"
    with pytest.raises(FileFault, match=r"damaged near byte 1,\d+ of 1,\d+ \(incorrect data check\)") as told:
        list(came)
    assert told.value.rule == "not_gzip"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"messages": []}\n', "it does not begin as a gzip file does: it looks like text that was never compressed"),
        (b"PK\x03\x04", "it does not begin as a gzip file does"),
        (gzip.compress(b"a", mtime=0) + b"tail", "something that is not gzip follows the data at byte 21"),
        (gzip.compress(b"a", mtime=0) + bytes(9) + b"tail", "something that is not gzip follows the data at byte 30"),
    ],
)
def test_what_is_not_gzip(data: bytes, reason: str) -> None:
    with pytest.raises(FileFault) as told:
        unpacked(data)
    assert (told.value.rule, told.value.reason) == ("not_gzip", reason)


def test_an_empty_file_unpacks_to_nothing() -> None:
    assert unpacked(b"") == b""
    assert unpacked(gzip.compress(b"")) == b""


def test_a_small_file_may_be_as_regular_as_it_likes() -> None:
    assert len(unpacked(gzip.compress(bytes(15 * MIB)))) == 15 * MIB


def test_what_unpacks_to_too_much_is_refused_where_that_shows() -> None:
    with pytest.raises(FileFault, match=r"its first .* KiB unpack to .* MiB, more than 200 times as much") as told:
        unpacked(gzip.compress(bytes(40 * MIB)))
    assert told.value.rule == "too_compressed"
    with pytest.raises(FileFault, match="it unpacks to more than 20 MiB") as told:
        unpacked(gzip.compress(bytes(40 * MIB)), Limits(decompressed=20 * MIB, ratio=10_000))
    assert told.value.rule == "too_large_decompressed"
    assert len(unpacked(gzip.compress(bytes(40 * MIB)), Limits(ratio=2000))) == 40 * MIB


def test_a_bomb_of_ten_gigabytes_is_refused_in_little_time_and_memory(tmp_path: Path) -> None:
    # One deflated block of zeros, repeated: what compressing ten gigabytes gives, without compressing them.
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(bytes(CHUNK)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    path = tmp_path / "bomb.jsonl.gz"
    with path.open("wb") as file:
        file.write(head)
        for _ in range(160):
            file.write(block)
    code = """
import sys, time
from pathlib import Path
from shared.dataset.reading.files import FileFault, Limits, LocalFile, decompressed
file = LocalFile(Path(sys.argv[1]))
began = time.process_time()
for ratio in (200, 10**9):
    try:
        for chunk in decompressed(file.chunks(), Limits(ratio=ratio, decompressed=512 * 1024**2), file.size):
            pass
    except FileFault as fault:
        print(fault.rule)
assert time.process_time() - began < 20
"""
    printed, mib = peak.run(code, path)
    assert printed.split() == ["too_compressed", "too_large_decompressed"]
    assert mib < 100


def test_many_tiny_members_take_no_longer_than_one_large_one() -> None:
    data = gzip.compress(b"") * 100_000
    assert unpacked(data) == b""


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (8 * MIB, "8 MiB")]
)
def test_sizes_are_told_in_units(size: int, text: str) -> None:
    assert size_text(size) == text
