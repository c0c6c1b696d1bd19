"""CSV, as rows in their order with where each begins.

Holds no more than a row's limit. A row that can't be read is a Broken in its place; what breaks the file off is a
FileFault, raised after the rows before it were handed out. Read by `preparing/scan.py`.
"""

from __future__ import annotations

import csv as rfc4180
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from shared.dataset.reading.files import (
    BOM,
    EXCERPT,
    MIB,
    UTF16,
    Broken,
    FileFault,
    Limits,
    Records,
    headed,
    size_text,
)

_BATCH_ROWS = 1024
_BATCH_BYTES = 2 * MIB
_LINE_END = re.compile(rb"[\r\n]")
_QUOTED = re.compile(r'"[^"]*"')


def csv(chunks: Iterable[bytes], limits: Limits) -> Iterator[Records]:
    """The rows of a CSV file with a header, as {column: text}, with the lines and offsets at which they begin.

    Quoting as in RFC 4180 and as Python's module reads it; commas, or semicolons or tabs where the header has more of
    these; empty lines are passed over. A file without a byte has no rows. Raises FileFault(not_csv) for a header with
    unnamed or repeated columns and for a quote that nothing closes.
    """
    # One limit for the whole process. Fields are bounded here by what is fed to the reader, so it may be large.
    rfc4180.field_size_limit(2**31 - 1)
    rows = _Rows(chunks, limits)
    names = rows.header()
    if names is None:
        return
    columns = len(names)
    batch: list[dict[str, Any] | Broken] = []
    numbers: list[int] = []
    offsets: list[int] = []
    for row, number, offset in rows:
        if batch and (offset - offsets[0] > _BATCH_BYTES or len(batch) >= _BATCH_ROWS):
            yield Records(rows=batch, numbers=numbers, offsets=offsets)
            batch, numbers, offsets = [], [], []
        if isinstance(row, Broken):
            batch.append(row)
        elif len(row) == columns:
            batch.append({name: cell or None for name, cell in zip(names, row, strict=True)})  # empty: not there
        else:
            reason = f"it has {len(row)} column{'s'[: len(row) != 1]}, the header has {columns}"
            batch.append(Broken(rule="wrong_columns", reason=reason, excerpt=rows.excerpt(row)))
        numbers.append(number)
        offsets.append(offset)
    if batch:
        yield Records(rows=batch, numbers=numbers, offsets=offsets)
    if rows.fault is not None:
        raise rows.fault


class _TooLong(Exception):
    """The row at hand is over the limit, and what was read of it is thrown away."""


class _Rows:
    """Rows with the line and offset of each. Python's reader gets lines in blocks, so that little is done per line."""

    def __init__(self, chunks: Iterable[bytes], limits: Limits) -> None:
        self.fault: FileFault | None = None  # what ended the rows
        self._limit = limits.row
        self._chunks = headed(chunks)
        self._delimiter = ","
        self._unfed = b""  # bytes that the reader has not got yet, where they begin, and on which line
        self._offset = 0
        self._line = 1
        self._lines: list[bytes] = []  # the block that the reader is in, its first line's number, its lines' ends
        self._block_line = 1
        self._ends: list[int] = []
        self._row_line = 1  # where the row at hand begins
        self._row_offset = 0
        self._opened = 1  # the line of the last quote that opened and did not close on that line
        self._not_utf8 = False  # somewhere so far
        self._rows = self._read()

    def __iter__(self) -> Iterator[tuple[list[str] | Broken, int, int]]:
        return self._rows

    def header(self) -> list[str] | None:
        """The columns' names; None for a file with nothing in it. Raises FileFault(not_csv)."""
        self._begin()
        row, line, offset = next(self._rows, (None, 1, 0))
        if row is None:
            if self.fault is not None:
                raise self.fault
            return None
        if isinstance(row, Broken):
            raise FileFault("not_csv", f"the header can't be read: {row.reason}", line, offset)
        names = [name.strip() for name in row]
        seen: set[str] = set()
        for at, name in enumerate(names):
            if not name and (at or len(names) == 1):  # pandas writes its index first, and without a name
                raise FileFault("not_csv", f"column {at + 1} of the header has no name", line, offset)
            if name in seen:
                raise FileFault("not_csv", f"two columns of the header are named {name[:100]!r}", line, offset)
            seen.add(name)
        return names

    def excerpt(self, row: list[str]) -> str:
        """How a row begins, near enough."""
        text = self._delimiter.join(cell[:EXCERPT] for cell in row[:EXCERPT])[:EXCERPT]
        return text.encode(errors="replace").decode()

    def _begin(self) -> None:
        """Reads the header's first line, for what separates columns."""
        for chunk in self._chunks:
            self._unfed += chunk
            if _LINE_END.search(self._unfed.lstrip(b"\r\n")) or len(self._unfed) > self._limit:
                break
        if self._unfed.startswith(UTF16):
            raise FileFault("not_csv", "it is UTF-16: save it as UTF-8")
        if self._unfed.startswith(BOM):
            self._unfed, self._offset = self._unfed[len(BOM) :], len(BOM)
            self._row_offset = self._offset
        line = _LINE_END.split(self._unfed.lstrip(b"\r\n"), 1)[0].decode(errors="replace")
        bare = _QUOTED.sub("", line)
        self._delimiter = max(",;\t", key=bare.count)  # a comma where they are equal

    def _read(self) -> Iterator[tuple[list[str] | Broken, int, int]]:
        while self.fault is None:
            reader = rfc4180.reader(itertools.chain.from_iterable(self._blocks()), delimiter=self._delimiter)
            first = self._row_line = self._line
            self._row_offset = self._offset
            try:
                for row in reader:
                    if self.fault is not None:
                        return  # of a row that was cut off, the reader gives what there was
                    line, offset = self._row_line, self._row_offset
                    self._row_line = first + reader.line_num
                    self._row_offset = self._ends[self._row_line - self._block_line - 1]
                    if not row:
                        continue
                    if self._row_offset - offset > self._limit:
                        yield self._too_large(offset, self.excerpt(row)), line, offset
                    elif self._not_utf8 and (bad := self._undecoded(row)):
                        yield bad, line, offset
                    else:
                        yield row, line, offset
                return
            except _TooLong:
                in_quotes = self._line > self._row_line
            except rfc4180.Error as error:  # none that is known, with the limits that are set
                self.fault = FileFault("not_csv", str(error), self._row_line, self._row_offset)
                return
            line, offset = self._row_line, self._row_offset
            if self._skip(in_quotes):
                self._row_offset = self._offset
                yield self._too_large(offset), line, offset

    def _blocks(self) -> Iterator[Iterable[str]]:
        """Whole lines, decoded, as the reader asks for them."""
        while True:
            inside = self._line > self._row_line
            if inside:
                self._note_quotes()
                if self._offset - self._row_offset > self._limit:
                    raise _TooLong
            data, self._unfed = self._unfed, b""
            while not (cut := max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1):
                chunk = next(self._chunks, None)
                if chunk is None:
                    cut = len(data)
                    break
                data += chunk
                if len(data) > self._limit and b"\n" not in chunk:
                    self._unfed = data
                    raise _TooLong
            if not cut:
                if inside:
                    self.fault = self._unclosed()
                return
            block, self._unfed = data[:cut], data[cut:]
            self._lines = block.splitlines(keepends=True)  # of bytes: at \n, \r\n and \r, as the csv module has it
            self._ends = list(itertools.accumulate(map(len, self._lines), initial=self._offset))[1:]
            self._block_line, self._line = self._line, self._line + len(self._lines)
            self._offset += len(block)
            try:
                block.decode()
            except UnicodeDecodeError:
                self._not_utf8 = True
                yield [line.decode(errors="surrogateescape") for line in self._lines]
            else:
                yield map(bytes.decode, self._lines)

    def _note_quotes(self) -> None:
        """For the lines read of an unfinished row: each ends in quotes, so the last quote on one of them opened."""
        for at in range(max(0, self._row_line - self._block_line), len(self._lines)):
            if b'"' in self._lines[at].replace(b'""', b""):
                self._opened = self._block_line + at

    def _skip(self, in_quotes: bool) -> bool:
        """Passes over the rest of a row that is too large. False, and a fault, if its quote is open to the end."""
        closed = -1  # where the last quote closed
        while data := self._unfed or next(self._chunks, b""):
            self._unfed = b""
            at = 0
            while at < len(data):
                line_end = -1 if in_quotes else data.find(b"\n", at)
                quote = data.find(b'"', at, line_end if line_end >= 0 else len(data))
                end = (line_end if quote < 0 else quote) + 1 or len(data)
                self._line += data.count(b"\n", at, end)
                self._offset += end - at
                at = end
                if quote >= 0:
                    in_quotes = not in_quotes
                    if not in_quotes:
                        closed = self._offset
                    elif self._offset != closed + 1:  # a doubled quote closes nothing
                        self._opened = self._line
                elif line_end >= 0:
                    self._unfed = data[end:]
                    return True
        if in_quotes:
            self.fault = self._unclosed()
        return not in_quotes

    def _unclosed(self) -> FileFault:
        line = max(self._opened, self._row_line)
        return FileFault("not_csv", "the quote that opens on this line is never closed", line, self._row_offset)

    def _too_large(self, offset: int, excerpt: str = "") -> Broken:
        reason = f"the row has {size_text(self._row_offset - offset)}: a quote may be missing at its end"
        return Broken(rule="row_too_large", reason=reason, excerpt=excerpt)

    def _undecoded(self, row: list[str]) -> Broken | None:
        for at, cell in enumerate(row, 1):
            try:
                cell.encode()
            except UnicodeEncodeError as error:
                byte = ord(cell[error.start]) - 0xDC00
                reason = f"byte 0x{byte:02x} in column {at} is not UTF-8"
                return Broken(rule="not_utf8", reason=reason, excerpt=self.excerpt(row))
        return None
