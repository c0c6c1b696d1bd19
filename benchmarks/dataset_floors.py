"""What no engine for this task can be faster than: reading, parsing and writing the same bytes, and nothing else.

A floor checks nothing and finds nothing; it returns nothing. Each is written as fast as one Python process does it:
1 MiB buffers (with the default ones, going through the lines alone takes 2.5 times as long), no object kept. Parsing
many lines as one array, or with a decoder for lines, was measured too, and is slower than line by line. Run by
`benchmarks.dataset`, each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.dataset_peers import PARTS

_BUFFER = 1 << 20


def read(path: Path) -> None:
    """Reads the file."""
    with path.open("rb", buffering=0) as file:
        while file.read(_BUFFER):
            pass


def parse(load: Callable[[], Callable[[bytes], object]]) -> Callable[[Path, Path], None]:
    """Parses each line with what `load` gives, and drops what comes of it."""

    def run(path: Path, _: Path) -> None:
        parsed = load()
        with path.open("rb", buffering=_BUFFER) as file:
            for line in file:
                parsed(line)

    return run


def _simdjson() -> Callable[[bytes], object]:
    import simdjson

    parsed: Callable[[bytes], object] = simdjson.Parser().parse
    return parsed


def _yyjson() -> Callable[[bytes], object]:
    import yyjson

    parsed: Callable[[bytes], object] = yyjson.Document
    return parsed


def _orjson() -> Callable[[bytes], object]:
    import orjson

    parsed: Callable[[bytes], object] = orjson.loads
    return parsed


def _msgspec() -> Callable[[bytes], object]:
    import msgspec

    message = msgspec.defstruct("message", [("role", str | None), ("content", str | None)], gc=False)
    row: Any = msgspec.defstruct("row", [("messages", list[message] | None)], gc=False)  # type: ignore[valid-type]
    decode: Callable[[bytes], object] = msgspec.json.Decoder(row).decode
    return decode


def split(hashed: Callable[[], Callable[[bytes], int]]) -> Callable[[Path, Path], None]:
    """Copies each line to one of three files, by its hash."""

    def run(path: Path, out: Path) -> None:
        place = hashed()
        with ExitStack() as stack:
            train, validation, test = (
                stack.enter_context((out / f"{part}.jsonl").open("wb", buffering=_BUFFER)).write for part in PARTS
            )
            writes = [validation, test, *[train] * 8]
            for line in stack.enter_context(path.open("rb", buffering=_BUFFER)):
                writes[place(line) % 10](line)

    return run


def _crc32() -> Callable[[bytes], int]:
    import zlib

    return zlib.crc32


def _xxh3() -> Callable[[bytes], int]:
    import xxhash

    return xxhash.xxh3_64_intdigest


def read_columns(path: Path, _: Path) -> None:
    """Reads the one column that is needed of a parquet file, group by group, into Arrow."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            file.read_row_group(group, columns=["messages"])


PARSERS = {
    "parse only: simdjson": parse(_simdjson),
    "parse only: yyjson": parse(_yyjson),
    "parse only: msgspec, typed": parse(_msgspec),
    "parse only: orjson": parse(_orjson),
}
SPLITS = {"copy and split: xxh3": split(_xxh3), "copy and split: crc32": split(_crc32)}
