"""What is packed as a whole, unpacked as it is read: gzip and Zstandard, within the same limits.

Text is unpacked on its way. Parquet is read from all places of a file, so it is laid down unpacked for as long as it
is read, in a scratch file of bounded size. Used by `preparing/scan.py`.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from shared.dataset.kinds import packing_of
from shared.dataset.reading.beginnings import GZIP, ZSTD, foreign, peeked
from shared.dataset.reading.files import (
    MIB,
    PAGE,
    RATIO_FROM,
    FileFault,
    Limits,
    Source,
    bounded,
    decompressed,
)

SCRATCH = 1024 * MIB
"""Bytes that a packed Parquet file may unpack to: it is compressed within, so that packing it gains next to nothing."""
_AT_ONCE = 64 * 1024  # of unpacked bytes: what is lost of them where a file breaks off


def unpacked(source: Source, limits: Limits) -> Iterator[bytes]:
    """The content of a file, unpacked if its name says that it is packed, in chunks of at most 4 MiB.

    Raises FileFault: not_gzip or not_zstd where it is not that, damaged, cut off or followed by something else, and
    too_large_decompressed and too_compressed, early, where it unpacks to more than `limits` allow.
    """
    packing = packing_of(source.name)
    if not packing:
        return source.chunks()
    head, chunks = peeked(source.chunks())
    rule, magic = ("not_gzip", GZIP) if packing == ".gz" else ("not_zstd", ZSTD)
    if head and not head.startswith(magic):
        plain = source.name[: -len(packing)]
        if head.startswith((b"{", b"[")):
            raise FileFault(rule, f"it looks like text that was never compressed: rename it to {plain}")
        if what := foreign(plain, head):
            raise FileFault(rule, what)
    return (decompressed if packing == ".gz" else zstandard)(chunks, limits, source.size)


def zstandard(chunks: Iterable[bytes], limits: Limits, size: int) -> Iterator[bytes]:
    """The content of a Zstandard file (of one or several frames) in small chunks; `size` is the file's.

    What unpacking takes is bounded by the library: a window of 128 MiB. Raises FileFault like `files.decompressed`,
    with the rule not_zstd, and what the chunks raise.
    """
    import pyarrow as pa

    feed = _Feed(chunks)
    written = 0
    with pa.CompressedInputStream(pa.PythonFile(feed, mode="r"), "zstd") as stream:
        while True:
            try:
                out = stream.read(_AT_ONCE)
            except (OSError, pa.ArrowException) as error:
                if feed.failure is not None:
                    raise feed.failure from None
                raise FileFault("not_zstd", _why(str(error), feed.read_bytes, size), offset=written) from None
            if not out:
                return
            written += len(out)
            if written > RATIO_FROM:
                bounded(written, feed.read_bytes, limits)
            yield out


def _why(error: str, read: int, size: int) -> str:
    """What is wrong with the file, by the library's words."""
    if "Truncated" in error:
        return f"it ends in the middle, after {read:,} bytes: it was cut off"
    if "too much memory" in error:
        return "it takes more than 128 MiB of memory to unpack: compress it without --long and --ultra"
    if "Unknown frame" in error:
        return f"it does not begin as a zstd file does, or something else follows the data before byte {read:,}"
    return f"it is damaged near byte {read:,} of {size:,} ({error.rpartition(': ')[2]})"


class _Feed(io.RawIOBase):
    """Chunks as the file object that pyarrow reads from. It keeps what they raised, which pyarrow may say otherwise."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.failure: BaseException | None = None
        self.read_bytes = 0
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, at most `size`."""
        try:
            while not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return b""
                self._rest = memoryview(chunk)
        except BaseException as error:
            self.failure = error
            raise
        part = self._rest if size is None or size < 0 else self._rest[:size]
        self._rest = self._rest[len(part) :]
        self.read_bytes += len(part)
        return bytes(part)


@contextmanager
def laid_down(source: Source, limits: Limits) -> Iterator[Source]:
    """The source itself; of one that is packed as a whole, its content in a scratch file, which goes with the block.

    Raises FileFault like `unpacked`.
    """
    if not packing_of(source.name):
        yield source
        return
    with tempfile.TemporaryFile(prefix="droptune-") as file:
        written = 0
        try:
            for chunk in unpacked(source, replace(limits, decompressed=min(limits.decompressed, SCRATCH))):
                file.write(chunk)
                written += len(chunk)
        except FileFault as fault:
            if fault.rule == "too_large_decompressed":
                more = "; Parquet is compressed within: upload it unpacked, or write it with compression='zstd'"
                raise FileFault(fault.rule, fault.reason + more, fault.line, fault.offset) from None
            raise
        file.flush()
        yield _Scratch(name=source.name[: -len(packing_of(source.name))], size=written, descriptor=file.fileno())


@dataclass(frozen=True, kw_only=True)
class _Scratch:
    """A Source that was laid down."""

    name: str
    size: int
    descriptor: int

    def chunks(self) -> Iterator[bytes]:
        """The content from its beginning."""
        at = 0
        while chunk := self.read_at(at, PAGE):
            yield chunk
            at += len(chunk)

    def read_at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on; fewer only where it ends."""
        parts = []
        while size > 0 and (part := os.pread(self.descriptor, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)
