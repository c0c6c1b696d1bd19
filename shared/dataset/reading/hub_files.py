"""Files of the Hugging Face Hub, read by the same readers, within the same limits, as files that were uploaded.

How large a file is, the hub's listing says, and what comes is counted: more than that is not read. A file's kind is
told by its name, as anywhere; kinds that Droptune has no reader for are refused. Used by `hub`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared.dataset.kinds import form_of, packing_of
from shared.dataset.reading.beginnings import peeked, plain_ends, written
from shared.dataset.reading.csv import csv
from shared.dataset.reading.files import MIB, PAGE, Elements, FileFault, Limits, Records, size_text
from shared.dataset.reading.json_array import json_array
from shared.dataset.reading.json_lines import json_lines
from shared.dataset.reading.parquet import parquet, row_groups
from shared.dataset.reading.unpacking import laid_down, unpacked
from shared.errors import Permanent, Transient

type Batch = Elements | Records

_BLOCK = 2 * MIB  # of a parquet file, in one request
_BLOCKS = 16  # kept in memory: columns lie apart


class HubFile:
    """A file of a dataset at one commit: a Source, to be closed. `address` is what its file system knows it by."""

    def __init__(self, files: Any, address: str, name: str) -> None:
        self.name = name
        self.block = _BLOCK
        self.size = int(files.info(address)["size"])
        self._files = files
        self._address = address
        self._opened: Any = None

    def chunks(self) -> Iterator[bytes]:
        """The file from its beginning. Raises Permanent where more comes than the hub lists, Transient where less."""
        read = 0
        with self._files.open(self._address, "rb", block_size=0) as stream:
            while chunk := stream.read(PAGE):
                read += len(chunk)
                if read > self.size:
                    raise Permanent(f"{self.name}: the hub sends more than the {size_text(self.size)} that it lists")
                yield chunk
        if read < self.size:
            raise Transient(f"{self.name}: the hub sent {read:,} of {self.size:,} bytes", timedelta(minutes=1))

    def read_at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on; fewer only where the file ends."""
        if self._opened is None:
            options = {"block_size": self.block, "cache_type": "blockcache", "cache_options": {"maxblocks": _BLOCKS}}
            self._opened = self._files.open(self._address, "rb", **options)
        self._opened.seek(offset)
        data: bytes = self._opened.read(size)
        return data

    def close(self) -> None:
        """Lets go of what was read."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def readable(name: str) -> bool:
    """Whether there is a reader for files of this name."""
    return form_of(name) is not None


def counted_rows(file: HubFile) -> int:
    """Rows of a parquet file, from its footer. Raises FileFault."""
    file.block = MIB // 4  # nothing else of it is read
    return sum(rows for rows, _ in row_groups(file))


def batches(
    files: Iterable[HubFile], limits: Limits, look: Callable[[str, Batch], None] = lambda *_: None
) -> Iterator[Batch]:
    """The rows of a split's files, numbered from 1. Raises FileFault, which names the file, and what the hub raises.

    What they unpack to is bounded for all of them together. `look` is given each batch with its file's name, while its
    numbers are those of that file.
    """
    number = 1
    left = limits.decompressed
    for file in files:
        with closing(file):
            reading = _Reading(file, replace(limits, decompressed=left))
            try:
                for batch in reading.batches():
                    look(file.name, batch)
                    rows = len(batch.data if isinstance(batch, Elements) else batch.rows)
                    yield replace(batch, numbers=list(range(number, number + rows)), offsets=None)
                    number += rows
            except FileFault as fault:
                where = f", line {fault.line}" if fault.line > 1 and form_of(file.name) != ".parquet" else ""
                raise FileFault(fault.rule, f"{file.name}{where}: {fault.reason}", line=number) from fault
            left -= reading.unpacked


def first(found: Iterator[Batch], count: int) -> Iterator[Batch]:
    """The first rows; what comes after them is not read."""
    while count > 0 and (batch := next(found, None)) is not None:
        numbers = batch.numbers[:count]
        count -= len(numbers)
        if isinstance(batch, Elements):
            yield replace(batch, data=batch.data[: len(numbers)], numbers=list(numbers))
        else:
            yield replace(batch, rows=batch.rows[: len(numbers)], numbers=numbers)


class _Reading:
    """A file on its way through the reader of its kind. `unpacked`: bytes beyond those that are stored."""

    def __init__(self, file: HubFile, limits: Limits) -> None:
        self.unpacked = 0
        self._file = file
        self._limits = limits

    def batches(self) -> Iterator[Batch]:
        """Its rows."""
        name = self._file.name
        form = form_of(name)
        if form == ".parquet":
            with laid_down(self._file, self._limits) as source:
                self.unpacked += source.size if packing_of(name) else 0
                for records in parquet(source, self._limits, all_columns=True):
                    self.unpacked += records.unpacked
                    yield records
        elif form:
            chunks = unpacked(self._file, self._limits)
            head, chunks = peeked(self._counted(chunks) if packing_of(name) else chunks)
            found = written(name, head)
            yield from _TEXTS[found.form](plain_ends(chunks) if found.returns else chunks, self._limits)

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.unpacked += len(chunk)
            yield chunk


_TEXTS: dict[str, Callable[[Iterable[bytes], Limits], Iterator[Batch]]] = {
    ".jsonl": json_lines,
    ".json": json_array,
    ".csv": csv,
}
