"""The files a dataset may come in: which kinds there are, where their bytes come from, how much of them is too much.

A Source is a file, wherever it lies: on disk (LocalFile), in blob storage (Blobs.source). What can't be read on ends in
a FileFault, what is only one bad row in a Broken in its place. Decompression is bounded here, so that a file made to
fill memory or disk ends in a sentence. Used by `preparing/scan.py` and the other readers.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

MIB = 1024 * 1024
CHUNK = 4 * MIB  # the most that a source hands out at once
PAGE = MIB // 2  # of a file on disk: what is worked on next is then still in the processor's cache
RATIO_FROM = 16 * MIB  # decompressed bytes from which on the ratio is looked at: small files may be very regular
_PIECE = 4 * 1024  # compressed bytes handed to zlib at once: at first, and at most
_PIECE_MOST = 256 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_NOT_ZERO = re.compile(rb"[^\0]")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a file may ask of us. `row` and `decompressed` in bytes; `ratio` is decompressed to stored bytes.

    `page`: bytes that a reader of text takes at once.
    """

    row: int = 8 * MIB
    decompressed: int = 20 * 1024 * MIB
    ratio: int = 200
    page: int = PAGE


@runtime_checkable
class Source(Protocol):
    """A file to read, wherever it lies. Reading again begins anew; sources can be pickled where their store can."""

    @property
    def name(self) -> str:
        """The file's name; its ending tells the kind."""

    @property
    def size(self) -> int:
        """Bytes as stored."""

    def chunks(self) -> Iterator[bytes]:
        """The file from its beginning, at most 4 MiB at a time."""

    def read_at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on; fewer only where the file ends."""


@dataclass(frozen=True)
class LocalFile:
    """A file on disk. It is open only while it is read; `size` is what it was when this object was made."""

    path: Path
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.path.stat().st_size)

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return self.path.name

    def chunks(self) -> Iterator[bytes]:
        """The file from its beginning, at most 4 MiB at a time."""
        with self.path.open("rb", buffering=0) as file:
            while chunk := file.read(PAGE):
                yield chunk

    def read_at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on; fewer only where the file ends."""
        with self.path.open("rb", buffering=0) as file:
            parts = []
            while size > 0 and (part := os.pread(file.fileno(), size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class FileFault(Exception):
    """The file can't be read, or not beyond this point: the rule's id, what is wrong, and where.

    `line` is 1-based; `offset` counts the bytes before it, as unpacked. Rows that were read before it stand.
    """

    def __init__(self, rule: str, reason: str, line: int = 1, offset: int = 0) -> None:
        super().__init__(rule, reason, line, offset)
        self.rule = rule
        self.reason = reason
        self.line = line
        self.offset = offset

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Stands in the place of a row that could not even be read: the rule's id, what is wrong, how the row begins.

    `excerpt` is as it was read; before it is shown it is masked and cut (see `safety/search.py`).
    """

    rule: str
    reason: str
    excerpt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """A batch of rows, as the objects that JSON would give.

    `numbers` are 1-based: the line on which each row begins (csv), or the row in the file (parquet, hub). `offsets` are
    the rows' first bytes, where there is such a thing (csv). `row_group` is 0-based and of all the rows (parquet);
    `first_of_group` is the number of that group's first row. `unpacked`: bytes that were unpacked for it (parquet).
    """

    rows: list[dict[str, Any] | Broken]
    numbers: Sequence[int]
    offsets: Sequence[int] | None = None
    row_group: int | None = None
    first_of_group: int = 1
    unpacked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """A batch of raw JSON values: bytes, the 1-based line on which each begins, and its offset.

    Of a hub: the row's number, and no offset.
    """

    data: list[bytes]
    numbers: list[int]
    offsets: list[int] | None


def decompressed(chunks: Iterable[bytes], limits: Limits, size: int) -> Iterator[bytes]:
    """The content of a gzip file (of one or several members) in chunks of at most 4 MiB; `size` is the file's.

    Raises FileFault: not_gzip where it is not gzip, damaged, cut off or followed by something else, and
    too_large_decompressed or too_compressed, early, where it unpacks to more than `limits` allow.
    """
    read = 0  # compressed bytes that were used
    written = 0
    inflater: Any = None  # None between two members
    for chunk in chunks:
        view = memoryview(chunk)
        at = 0
        piece = _PIECE
        while at < len(view):
            if inflater is None:
                if read + at:
                    at = _behind_padding(view, at)
                if at == len(view):
                    break
                _begins(bytes(view[at : at + 2]), read + at, written)
                # Small pieces first: zlib copies what lies behind the member's end, and members may be tiny.
                inflater, piece = zlib.decompressobj(wbits=31), _PIECE
            part: Any = view[at : at + piece]
            at += len(part)
            piece = min(4 * piece, _PIECE_MOST)
            while True:
                try:
                    out = inflater.decompress(part, CHUNK)
                except zlib.error as error:
                    where = f"it is damaged near byte {read + at:,} of {size:,} ({_detail(error)})"
                    raise FileFault("not_gzip", where, offset=written) from None
                part = inflater.unconsumed_tail
                written += len(out)
                if written > RATIO_FROM:
                    bounded(written, read + at - len(part), limits)
                if out:
                    yield out
                if inflater.eof:
                    at -= len(inflater.unused_data)
                    inflater = None
                    break
                if not part and len(out) < CHUNK:
                    break
        read += len(view)
    if inflater is not None:
        raise FileFault("not_gzip", f"it ends in the middle, after {read:,} bytes: it was cut off", offset=written)


def _behind_padding(view: memoryview, at: int) -> int:
    """Where the zeros from `at` on end: some tools pad archives with them."""
    found = _NOT_ZERO.search(view, at)  # not by a copy of the rest: there may be a zero behind each of many members
    return found.start() if found else len(view)


def _begins(magic: bytes, at: int, written: int) -> None:
    """Refuses what does not begin as a member does. Half of the magic is enough: zlib checks the rest."""
    if _GZIP_MAGIC.startswith(magic):
        return
    if at:
        raise FileFault("not_gzip", f"something that is not gzip follows the data at byte {at:,}", offset=written)
    hint = ": it looks like text that was never compressed" if magic[:1] in b"{[\xef" else ""
    raise FileFault("not_gzip", f"it does not begin as a gzip file does{hint}")


def bounded(written: int, read: int, limits: Limits) -> None:
    """Raises FileFault where what was written is more than `limits` allow for the compressed bytes that were read."""
    if written > limits.decompressed:
        raise FileFault(
            "too_large_decompressed",
            f"it unpacks to more than {size_text(limits.decompressed)}",
            offset=limits.decompressed,
        )
    if written > limits.ratio * max(read, 1):
        reason = f"its first {size_text(read)} unpack to {size_text(written)}, more than {limits.ratio} times as much"
        raise FileFault("too_compressed", reason, offset=written)


def _detail(error: zlib.error) -> str:
    """zlib's own words: `invalid block type` of `Error -3 while decompressing data: invalid block type`."""
    return str(error).rpartition(": ")[2]


def size_text(count: int) -> str:
    """A count of bytes for people: 1.5 MiB."""
    for unit, size in (("GiB", 1024 * MIB), ("MiB", MIB), ("KiB", 1024)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


EXCERPT = 160
"""Characters of a row that are shown."""
BEGINNING = 4 * EXCERPT + 2048
"""Bytes or characters of it that are handed on for that: a value that begins in what is shown ends there."""
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Table(Protocol):
    """Rows without a file of ours to read, as objects or as JSON: what a hub gives."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def size(self) -> int:
        """Stored bytes that are read, about."""

    def records(self, limits: Limits) -> Iterator[Records | Elements]:
        """The rows in their order. Raises FileFault."""


def paged(chunks: Iterable[bytes], page: int) -> Iterator[bytes]:
    """The same bytes in chunks of `page` bytes, the last of which may be smaller.

    Every reader of text goes through this: what a chunk costs, and what is held of it, is then not up to who made the
    file (a gzip file of a million members comes in a million chunks) or to where it lies. Bytes that came before an
    error are handed out before it is raised.
    """
    page = max(page, len(BOM))  # the first shows a byte order mark
    held: list[bytes] = []
    size = 0
    rest = iter(chunks)
    while True:
        try:
            chunk = next(rest, None)
        except FileFault:
            if held:
                yield b"".join(held)
            raise
        if chunk is None:
            break
        start = 0
        while size + len(chunk) - start >= page:
            end = start + page - size
            part = chunk if not start and end == len(chunk) else chunk[start:end]
            yield b"".join([*held, part]) if held else part
            held, size, start = [], 0, end
        if start < len(chunk):
            held.append(chunk[start:] if start else chunk)
            size += len(chunk) - start
    if held:
        yield b"".join(held)
