"""Files that are packed as a whole: the same rows as unpacked, and bounds on what they unpack to."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.preparing.scan import prepare
from shared.dataset.reading import unpacking
from shared.dataset.reading.files import MIB, FileFault, Limits
from shared.dataset.reading.unpacking import laid_down, unpacked, zstandard
from tests.kit.dataset import peak
from tests.kit.dataset.fuzz import Bytes
from tests.kit.dataset.reading import pieces

ROWS = [{"prompt": f"Where is shelf {at}?", "completion": f"Behind shelf {at + 1}."} for at in range(12)]


def zst(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zst}


def _table() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


FILES = {
    ".jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    ".json": b'[{"prompt": "a", "completion": "b"}]',
    ".csv": b"prompt,completion\n" + b"a,b\n" * 12,
    ".tsv": b"prompt\tcompletion\n" + b"a\tb\n" * 12,
    ".parquet": _table(),
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("form", FILES)
def test_what_is_packed_is_what_it_would_be_unpacked(form: str, packing: str) -> None:
    plain, packed = (
        prepare(files={"train": Bytes(f"train{ending}", data, (3, 50, 999))}, sinks=None)
        for ending, data in ((form, FILES[form]), (form + packing, PACK[packing](FILES[form])))
    )
    assert (plain.digest, plain.rows, plain.by_rule) == (packed.digest, packed.rows, packed.by_rule)
    assert plain.rows in (1, 12)


@given(
    frames=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4),
)
def test_frames_are_read_one_after_the_other_in_whatever_chunks(frames: list[bytes], sizes: list[int]) -> None:
    data = b"".join(zst(frame) + struct.pack("<II", 0x184D2A50, 3) + b"abc" for frame in frames)  # one to pass over
    assert b"".join(zstandard(pieces(data, sizes), Limits(), len(data))) == b"".join(frames)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-5], "it ends in the middle, after "),
        (lambda data: data[:3], "it ends in the middle, after "),
        (lambda data: data + b"tail", "it does not begin as a zstd file does, or something else follows the data"),
        (lambda data: b"tail", "it does not begin as a zstd file does, or something else follows the data"),
        (lambda data: data[:6] + b"\xff" * 6 + data[12:], "it is damaged near byte "),
        (lambda data: struct.pack("<IBB", 0xFD2FB528, 0, 0xA0) + data[6:], "it takes more than 128 MiB of memory"),
    ],
)
def test_what_is_no_zstd(change: Callable[[bytes], bytes], reason: str) -> None:
    data = change(zst(random.Random(1).randbytes(2000) * 3))
    with pytest.raises(FileFault) as told:
        list(zstandard([data], Limits(), len(data)))
    assert told.value.rule == "not_zstd"
    assert told.value.reason.startswith(reason), told.value.reason


def test_an_empty_file_has_no_content() -> None:
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        assert list(unpacked(Bytes(name, b""), Limits())) == []
    assert list(unpacked(Bytes("a.csv.zst", zst(b"")), Limits())) == []


def test_what_unpacks_to_too_much_is_refused_where_that_shows() -> None:
    data = zst(bytes(40 * MIB))
    with pytest.raises(FileFault, match=r"its first .* KiB unpack to .* MiB, more than 200 times as much") as told:
        list(zstandard([data], Limits(), len(data)))
    assert told.value.rule == "too_compressed"
    with pytest.raises(FileFault, match="it unpacks to more than 20 MiB") as told:
        list(zstandard([data], Limits(decompressed=20 * MIB, ratio=100_000), len(data)))
    assert told.value.rule == "too_large_decompressed"


def test_what_the_source_raises_comes_through_as_it_is() -> None:
    def gone() -> object:
        yield zst(bytes(1000))[:10]
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        list(zstandard(gone(), Limits(), 10))  # type: ignore[arg-type]


def test_a_scratch_file_is_bounded_and_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with laid_down(Bytes("a.parquet.zst", zst(b"0123456789")), Limits()) as source:
        assert (source.name, source.size) == ("a.parquet", 10)
        assert (source.read_at(3, 4), source.read_at(8, 9)) == (b"3456", b"89")
        assert b"".join(source.chunks()) == b"0123456789"
    monkeypatch.setattr(unpacking, "SCRATCH", 20 * MIB)
    data = zst(random.Random(1).randbytes(1000) * 25_000)
    large = Bytes("a.parquet.zst", data)
    with pytest.raises(FileFault, match="upload it unpacked"), laid_down(large, Limits(ratio=10**6)):
        pass
    assert list(tmp_path.iterdir()) == []


BOMB = """
import sys, time
import pyarrow as pa
from shared.dataset.reading.files import FileFault, Limits
from shared.dataset.reading.unpacking import zstandard
frame = pa.Codec("zstd").compress(bytes(64 * 1024 ** 2), asbytes=True)
data = frame * 160
began = time.process_time()
for ratio in (200, 10**9):
    try:
        for _ in zstandard([data], Limits(ratio=ratio, decompressed=512 * 1024**2), len(data)):
            pass
    except FileFault as fault:
        print(fault.rule)
assert time.process_time() - began < 20
"""


def test_a_bomb_of_ten_gigabytes_is_refused_in_little_time_and_memory() -> None:
    printed, mib = peak.run(BOMB)
    assert printed.split() == ["too_compressed", "too_large_decompressed"]
    assert mib < 300
