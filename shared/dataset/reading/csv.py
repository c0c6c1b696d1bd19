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

import numpy as np

from shared.dataset.reading.beginnings import COLUMN_NAMES
from shared.dataset.reading.files import (
    BEGINNING,
    BOM,
    EXCERPT,
    MIB,
    UTF16,
    Broken,
    FileFault,
    Limits,
    Records,
    paged,
    size_text,
)
from shared.dataset.safety.search import in_short, names_secret

_BATCH_ROWS = 1024
_BATCH_BYTES = 2 * MIB
_LINE_END = re.compile(rb"[\r\n]")
_QUOTED = re.compile(r'"[^"]*"')
_SEP = re.compile(r'"?sep=([,;\t|])"?$', re.IGNORECASE)
_SAID = re.compile(r"[.?!]$|\n|(?:\S+\s+){5}|.{100}")  # what is said, and no column's name
_LOOKED_AT = 256 * 1024  # bytes of a row that is passed over: the arrays about them stay in the processor's cache


def csv(chunks: Iterable[bytes], limits: Limits, *, tabs: bool = False) -> Iterator[Records]:
    """The rows of a CSV file with a header, as {column: text}, with the lines and offsets at which they begin.

    Quoting as in RFC 4180 and as Python's module reads it; commas, or semicolons, tabs or bars where the first line has
    more of these, or what a first line `sep=;` says; `tabs`: tabs where it has any. Empty lines, and rows of empty
    cells, are passed over, and so are empty cells that no column is named for: Excel leaves both. A file without a byte
    has no rows. Raises FileFault(not_csv) for a header with repeated columns, or one that is a row, and for a quote
    that nothing closes or that text follows.
    """
    # One limit for the whole process. Fields are bounded here by what is fed to the reader, so it may be large.
    rfc4180.field_size_limit(2**31 - 1)
    rows = _Rows(chunks, limits, tabs=tabs)
    names = rows.header()
    if names is None:
        return
    columns = len(names)
    unnamed = [at for at, name in enumerate(names) if not name and at]  # pandas writes its index first, without a name
    batch: list[dict[str, Any] | Broken] = []
    numbers: list[int] = []
    offsets: list[int] = []
    for row, number, offset in rows:
        if batch and (offset - offsets[0] > _BATCH_BYTES or len(batch) >= _BATCH_ROWS):
            yield Records(rows=batch, numbers=numbers, offsets=offsets)
            batch, numbers, offsets = [], [], []
        if isinstance(row, Broken):
            batch.append(row)
        elif len(row) == columns and not unnamed:
            found = {name: cell or None for name, cell in zip(names, row, strict=True)}  # empty: not there
            if not any(row):
                continue
            batch.append(found)
        elif not any(row):
            continue
        else:
            batch.append(_row(names, unnamed, row, rows))
        numbers.append(number)
        offsets.append(offset)
    if batch:
        yield Records(rows=batch, numbers=numbers, offsets=offsets)
    if rows.fault is not None:
        raise rows.fault


def _row(names: list[str], unnamed: list[int], row: list[str], rows: _Rows) -> dict[str, Any] | Broken:
    """A row that has more or fewer cells than the header has names: empty cells without a name are none."""
    columns = len(names)
    if len(row) < columns or any(row[columns:]):
        reason = f"it has {len(row)} column{'s'[: len(row) != 1]}, the header has {columns}"
        return Broken(rule="wrong_columns", reason=reason, excerpt=rows.excerpt(row))
    if at := next((at for at in unnamed if row[at]), 0):
        reason = f"column {at + 1} has no name in the header, and a text in this row"
        return Broken(rule="wrong_columns", reason=reason, excerpt=rows.excerpt(row))
    return {name: cell or None for at, (name, cell) in enumerate(zip(names, row, strict=False)) if name or not at}


class _TooLong(Exception):
    """The row at hand is over the limit, and what was read of it is thrown away."""


class _Rows:
    """Rows with the line and offset of each. Python's reader gets lines in blocks, so that little is done per line."""

    def __init__(self, chunks: Iterable[bytes], limits: Limits, *, tabs: bool) -> None:
        self.fault: FileFault | None = None  # what ended the rows
        self._limit = limits.row
        self._chunks = paged(chunks, limits.page)
        self._delimiter = ","
        self._tabs = tabs
        self._unfed = b""  # bytes that the reader has not got yet, where they begin, and on which line
        self._offset = 0
        self._line = 1
        self._lines: list[bytes] = []  # the block that the reader is in, its first line's number, its lines' ends
        self._block_line = 1
        self._quoted = False  # there is a quote in it
        self._ends: list[int] = []
        self._row_line = 1  # where the row at hand begins
        self._row_offset = 0
        self._opened = 1  # the line of the last quote that opened and did not close on that line
        self._not_utf8 = False  # somewhere so far
        self._secret: list[int] = []  # columns that are named so
        self._columns = 0
        self._rows = self._read()

    def __iter__(self) -> Iterator[tuple[list[str] | Broken, int, int]]:
        return self._rows

    def header(self) -> list[str] | None:
        """The columns' names; None for a file with nothing in it. Raises FileFault(not_csv)."""
        self._begin()
        names: list[str] = []
        while not any(names):  # Excel leaves rows of empty cells before a table, too
            row, line, offset = next(self._rows, (None, 1, 0))
            if row is None:
                if self.fault is not None:
                    raise self.fault
                return None
            if isinstance(row, Broken):
                raise FileFault("not_csv", f"the header can't be read: {row.reason}", line, offset)
            names = [name.strip() for name in row]
        seen: set[str] = set()
        for name in names:
            if name and name in seen:
                raise FileFault("not_csv", f"two columns of the header are named {in_short(name)}", line, offset)
            seen.add(name)
        if COLUMN_NAMES.isdisjoint(name.lower() for name in names) and any(map(_SAID.search, names)):
            reason = "there is no header: the first line, which is taken for it, is a row. Put the names of the columns"
            raise FileFault("not_csv", f"{reason} before it, like prompt{self._delimiter}completion", line, offset)
        self._columns = len(names)
        self._secret = [at for at, name in enumerate(names) if names_secret(name)]
        return names

    def excerpt(self, row: list[str]) -> str:
        """How a row begins, near enough. What stands in a column for a secret, or would if no cell were missing or too
        many, is not shown."""
        if self._secret:
            off = min(abs(len(row) - self._columns), EXCERPT)
            hidden = {place for at in self._secret for place in range(at - off, at + off + 1)}
            row = ["[secret]" if at in hidden and cell else cell for at, cell in enumerate(row[:EXCERPT])]
        text = self._delimiter.join(cell[:BEGINNING] for cell in row[:EXCERPT])[:BEGINNING]
        return text.encode(errors="replace").decode()

    def _begin(self) -> None:
        """Reads the header's first line, for what separates columns."""
        data = next(self._chunks, b"")
        if data.startswith(UTF16):
            raise FileFault("not_csv", "it is UTF-16: save it as UTF-8")
        if data.startswith(BOM):
            data, self._offset = data[len(BOM) :], len(BOM)
        after = b""  # empty lines are not held, however many there are
        while data and not (text := data.lstrip(b"\r\n")):
            self._line += _line_ends(data, after)
            self._offset += len(data)
            after, data = data[-1:], next(self._chunks, b"")
        if data:
            empty = data[: len(data) - len(text)]
            self._line += _line_ends(empty, after)
            self._offset += len(empty)
            parts, size = [text], len(text)
            while not _LINE_END.search(parts[-1]) and size <= self._limit and (more := next(self._chunks, b"")):
                parts.append(more)
                size += len(more)
            self._unfed = b"".join(parts)
        found = _LINE_END.search(self._unfed)
        line = self._unfed[: found.start() if found else None].decode(errors="replace")
        if told := _SEP.match(line):  # Excel's word for what separates columns
            self._delimiter = told[1]
            end = _LINE_END.search(self._unfed)
            cut = end.end() + self._unfed[end.start() :].startswith(b"\r\n") if end else len(self._unfed)
            self._unfed, self._offset, self._line = self._unfed[cut:], self._offset + cut, self._line + 1
            return
        bare = _QUOTED.sub("", line)
        if self._tabs and "\t" in bare:
            self._delimiter = "\t"
        else:
            self._delimiter = max(",;\t|", key=bare.count)  # a comma where they are equal

    def _read(self) -> Iterator[tuple[list[str] | Broken, int, int]]:
        while self.fault is None:
            blocks = itertools.chain.from_iterable(self._blocks())
            reader = rfc4180.reader(blocks, delimiter=self._delimiter, strict=True)
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
            except rfc4180.Error as error:
                if self.fault is None:
                    reason = str(error)
                    if "expected after" in reason:
                        reason = (
                            "text follows a quote that closes a cell: put quotes around the whole cell, and write those"
                            ' in it twice ("")'
                        )
                    self.fault = FileFault("not_csv", reason, self._row_line, self._row_offset)
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
            data, cut = self._lines_ahead()
            if not cut:
                if inside:
                    self.fault = self._unclosed()
                return
            block, self._unfed = data[:cut], data[cut:]
            self._quoted = b'"' in block
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

    def _lines_ahead(self) -> tuple[bytes, int]:
        """What comes next, and where in it the last whole line ends: 0 at the end of the file.

        Raises _TooLong where there is no line's end within a row's limit. Each byte is looked at and copied once.
        """
        data, self._unfed = self._unfed, b""
        parts, size = [data], len(data)
        cut = _last_end(data)
        while not cut:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b"".join(parts), size
            cut = _last_end(chunk)
            if cut:
                cut += size
            elif parts[-1].endswith(b"\r"):  # only now it is sure that no \n follows
                cut = size
            parts.append(chunk)
            size += len(chunk)
            if not cut and size > self._limit:
                self._unfed = b"".join(parts)
                raise _TooLong
        return b"".join(parts), cut

    def _note_quotes(self) -> None:
        """For the lines read of an unfinished row: each ends in quotes, so the last quote on one of them opened."""
        if not self._quoted:
            return
        for at in range(max(0, self._row_line - self._block_line), len(self._lines)):
            if b'"' in self._lines[at].replace(b'""', b""):
                self._opened = self._block_line + at

    def _skip(self, in_quotes: bool) -> bool:
        """Passes over the rest of a row that is too large. False, and a fault, if its quote is open to the end.

        A block at a time, since there may be as many quotes as bytes: no step is taken for each of them.
        """
        closed = -2  # offset of the last quote that closed
        after = b""
        while data := self._unfed or next(self._chunks, b""):
            self._unfed = b""
            for start in range(0, len(data), _LOOKED_AT):
                block = data[start : start + _LOOKED_AT]
                quotes, end = _quotes(block, in_quotes)
                opens = quotes[int(in_quotes) :: 2]
                before = np.concatenate(([closed - self._offset], quotes))[int(in_quotes) : len(quotes) : 2]
                opens = opens[opens != before + 1]  # a doubled quote closes nothing
                if len(opens):
                    self._opened = self._line + _line_ends(block[: int(opens[-1])], after)
                closes = quotes[1 - int(in_quotes) :: 2]
                if len(closes):
                    closed = self._offset + int(closes[-1])
                in_quotes ^= bool(len(quotes) & 1)
                ended = end < len(block) or block[end - 1 :] in (b"\n", b"\r")
                self._line += _line_ends(block[:end], after)
                self._offset += end
                after = block[end - 1 : end]
                if ended and not in_quotes:
                    self._unfed = data[start + end :]
                    self._end_line(after)
                    return True
        if in_quotes:
            self.fault = self._unclosed()
        return not in_quotes

    def _end_line(self, end: bytes) -> None:
        """Passes over the second half of a line's end."""
        if end == b"\r":
            self._unfed = self._unfed or next(self._chunks, b"")
            if self._unfed.startswith(b"\n"):
                self._unfed = self._unfed[1:]
                self._offset += 1

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


def _last_end(data: bytes) -> int:
    """Where the last whole line ends; a \\r at the very end may be half of an end."""
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1


def _line_ends(data: bytes, after: bytes) -> int:
    """How many lines end in the data, which come after that byte: at \\n, \\r\\n and \\r, as the csv module has it."""
    half = after == b"\r" and data.startswith(b"\n")
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n") - half


def _quotes(block: bytes, in_quotes: bool) -> tuple[np.ndarray, int]:
    """Where quotes are in the block up to the end of the row, or of the block, and where that is."""
    data = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    ends = np.flatnonzero((data == ord("\n")) | (data == ord("\r")))
    outside = ends[(np.searchsorted(quotes, ends) + in_quotes) & 1 == 0]
    if not len(outside):
        return quotes, len(block)
    return quotes[: np.searchsorted(quotes, outside[0])], int(outside[0]) + 1
