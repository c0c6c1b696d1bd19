"""Files that hold rows in other ways than one a line: a JSON array and CSV. Parquet has `columns`.

Each reader takes a file as it comes, yields batches in the file's order with where each row begins, and holds no more
than a row's limit. A row that can't be read is a Broken in its place; what breaks the file off is a FileFault, raised
after the rows before it were handed out. What the rows say is judged by who reads them: `prepare`.
"""

from __future__ import annotations

import csv as rfc4180
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from shared.dataset.files import MIB, Broken, Elements, FileFault, Limits, Records, size_text
from shared.dataset.rules import EXCERPT

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Table(Protocol):
    """Rows that come as objects without a file of ours to read: what a hub gives."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def size(self) -> int:
        """Bytes, an estimate."""

    def records(self, limits: Limits) -> Iterator[Records]:
        """The rows in their order. Raises FileFault."""


def _headed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, of which the first chunk is long enough to show a byte order mark."""
    head = b""
    rest = iter(chunks)
    for chunk in rest:
        head += chunk
        if len(head) >= len(_BOM):
            break
    if head:
        yield head
    yield from rest


# JSON arrays

_SPACE = b" \t\n\r"
# What can stand between elements that are objects or arrays. A string, a number or a word may be cut off at the end.
_TOKEN = re.compile(rb'[ \t\n\r]+|,|"(?:[^"\\]++|\\.?+)*+"?|[^ \t\n\r,"]+', re.DOTALL)
_STRUCTURE = bytes(code in b'"\\[]{}' for code in range(256))
_QUOTE, _SLASH = b'"\\'
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1
_BLOCK = 256 * 1024  # looked at in one go: the arrays about it stay in the processor's cache


def json_array(chunks: Iterable[bytes], limits: Limits) -> Iterator[Elements]:
    """The elements of a file that is one JSON array, as raw bytes: whether they are JSON is not looked at.

    Of an element over `limits.row` the first `limits.row` + 1 bytes come. A file of nothing but white space, and an
    empty array, have no elements. Raises FileFault(not_json_array) where it is no array, not closed, or has elements
    without exactly one comma between them, and FileFault(row_too_large) for an endless string or number.
    """
    splitter = _Splitter(limits)
    fault = None
    try:
        for chunk in _headed(chunks):
            for start in range(0, len(chunk), _BLOCK):
                splitter.feed(chunk[start : start + _BLOCK])
            if splitter.found.data:
                yield splitter.take()
        splitter.finish()
    except FileFault as error:
        fault = error
    if splitter.found.data:
        yield splitter.take()
    if fault is not None:
        raise fault


class _Splitter:
    """Finds elements by depth: brackets are told from text by counting quotes, a chunk at a time in numpy."""

    def __init__(self, limits: Limits) -> None:
        self.found = Elements(data=[], numbers=[], offsets=[])
        self._limit = limits.row
        self._state = "before"  # then: first, value, comma (a comma or the end is due), done
        self._line = 1  # at `_counted` of this chunk
        self._counted = 0
        self._offset = 0  # of this chunk
        self._depth = 0
        self._in_string = 0
        self._backslashes = 0  # at the end of the chunk before
        self._inside = False  # an element that is an object or an array
        self._held = bytearray()  # of it
        self._from = (1, 0)  # line and offset at which it begins
        self._gap = b""  # what was left over between elements
        self._gap_from = (1, 0)

    def take(self) -> Elements:
        """What was found since this was last asked for."""
        taken, self.found = self.found, Elements(data=[], numbers=[], offsets=[])
        return taken

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes and adds to `found`."""
        self._counted = start = 0
        if self._state == "before":
            start = self._first_bytes(chunk)
        for at, depth, code in self._events(chunk):
            if self._inside:  # it ends here: what is deeper is no event
                self._element(chunk, start, at + 1)
                self._inside = False
                self._state = "comma"
                start = at + 1
                continue
            self._between(chunk, start, at, final=True)
            start = at + 1
            here = self._here(chunk, at)
            if self._state == "done":
                raise FileFault("not_json_array", "something follows the end of the array", *here)
            if depth == 2 and code in b"[{":
                self._value_due(here)
                self._inside, self._from, start = True, here, at
            elif depth == 1 and code == ord("[") and self._state == "before":
                self._state = "first"
            elif code == ord("]"):
                if self._state == "value":
                    raise FileFault("not_json_array", "no element follows the last comma", *here)
                self._state = "done"
            else:
                raise FileFault("not_json_array", f"{chr(code)!r} does not belong here, between elements", *here)
        if self._inside:
            room = self._limit + 1 - len(self._held)
            self._held += chunk[start : start + max(0, room)]
        else:
            self._between(chunk, start, len(chunk), final=False)
        self._here(chunk, len(chunk))
        self._offset += len(chunk)

    def finish(self) -> None:
        """Takes the end of the file."""
        if self._inside:
            reason = (
                "the file ends inside the element that begins here: it was cut off, or a quote or bracket is missing"
            )
            raise FileFault("not_json_array", reason, *self._from)
        self._counted = 0
        self._between(b"", 0, 0, final=True)
        if self._state not in ("before", "done"):
            reason = "the array is not closed: the file was cut off"
            raise FileFault("not_json_array", reason, self._line, self._offset)

    def _first_bytes(self, chunk: bytes) -> int:
        """Where to begin in the chunk, once it is sure that an array begins there."""
        start = 3 if not self._offset and chunk.startswith(_BOM) else 0
        text = chunk[start:].lstrip(_SPACE)
        if not text or text[0] == ord("["):
            return start
        here = self._here(chunk, len(chunk) - len(text))
        if not self._offset and chunk.startswith(_UTF16):
            raise FileFault("not_json_array", "it is UTF-16: save it as UTF-8")
        if text[0] != ord("{"):
            raise FileFault("not_json_array", "it does not begin with [, as an array does", *here)
        line, _, rest = text.partition(b"\n")
        if line.rstrip(_SPACE).endswith(b"}") and rest.strip(_SPACE):
            raise FileFault(
                "not_json_array", "it has one object a line, which is JSON Lines: rename it to .jsonl", *here
            )
        reason = "it is one object, not an array: make the list of rows in it the whole file, [{...}, {...}]"
        raise FileFault("not_json_array", reason, *here)

    def _events(self, chunk: bytes) -> Iterator[tuple[int, int, int]]:
        """Position, depth behind it and byte of each bracket that begins or ends the array or one of its elements."""
        at = np.flatnonzero(np.frombuffer(chunk.translate(_STRUCTURE), np.bool_))
        code = np.frombuffer(chunk, np.uint8)[at]
        slash = code == _SLASH
        carried, self._backslashes = self._backslashes, self._trailing(chunk)
        if carried or slash.any():
            keep = ~slash
            keep[self._escaped(at, code, slash, carried)] = False
            at, code = at[keep], code[keep]
        quote = code == _QUOTE
        in_string = (np.cumsum(quote) + self._in_string) & 1
        if len(at):
            self._in_string = int(in_string[-1])
        outside = ~quote & (in_string == 0)
        at, code = at[outside], code[outside]
        step = _STEP[code]
        depth = np.cumsum(step, dtype=np.int64) + self._depth
        if len(at):
            self._depth = int(depth[-1])
        event = depth + (step < 0) <= 2
        return zip(at[event].tolist(), depth[event].tolist(), code[event].tolist(), strict=True)

    def _trailing(self, chunk: bytes) -> int:
        """How many backslashes the input so far ends with; whether that is odd is what counts."""
        if not chunk.endswith(b"\\"):
            return 0 if chunk else self._backslashes
        count = len(chunk) - len(chunk.rstrip(b"\\"))
        return count + self._backslashes if count == len(chunk) else count

    @staticmethod
    def _escaped(at: Any, code: Any, slash: Any, carried: int) -> Any:
        """Indices into `at` of the quotes that follow an odd number of backslashes."""
        quotes = np.flatnonzero((code[1:] == _QUOTE) & slash[:-1] & (np.diff(at) == 1)) + 1
        runs = np.ones(len(quotes), np.int64)  # how many backslashes stand before each of them
        longer = np.flatnonzero((quotes > 1) & slash[quotes - 2] & (at[quotes - 2] == at[quotes] - 2))
        if len(longer):
            index = np.arange(len(at))
            goes_on = np.zeros(len(at), np.bool_)
            goes_on[1:] = slash[1:] & slash[:-1] & (np.diff(at) == 1)
            begins = np.maximum.accumulate(np.where(goes_on, 0, index))
            runs[longer] = quotes[longer] - begins[quotes[longer] - 1]
        if carried:
            runs[at[quotes] == runs] += carried
            if len(at) and at[0] == 0 and code[0] == _QUOTE:
                quotes, runs = np.append(quotes, 0), np.append(runs, carried)
        return quotes[runs % 2 == 1]

    def _here(self, chunk: bytes, at: int) -> tuple[int, int]:
        """Line and offset of a place in the chunk; places must come in their order."""
        self._line += chunk.count(b"\n", self._counted, at)
        self._counted = at
        return self._line, self._offset + at

    def _element(self, chunk: bytes, start: int, end: int) -> None:
        if self._held:
            self._held += chunk[start : min(end, start + self._limit + 1)]
            data = bytes(self._held)
            self._held = bytearray()
        else:
            data = chunk[start:end]
        self._add(data, self._from)

    def _add(self, data: bytes, where: tuple[int, int]) -> None:
        self.found.data.append(data[: self._limit + 1] if len(data) > self._limit else data)
        self.found.numbers.append(where[0])
        self.found.offsets.append(where[1])

    def _value_due(self, here: tuple[int, int]) -> None:
        if self._state == "comma":
            raise FileFault("not_json_array", "a comma is missing before this element", *here)

    def _between(self, chunk: bytes, start: int, end: int, *, final: bool) -> None:
        """What stands between elements that are objects or arrays: a comma, as a rule."""
        text = chunk[start:end]
        if not self._gap:
            if self._state == "comma" and text.strip(_SPACE) == b",":
                self._state = "value"
                return
            if not text.strip(_SPACE):
                return
            self._gap_from = self._here(chunk, start)
        goes_on = not final and self._gap.startswith(b'"') and b'"' not in text  # a long string: not looked at anew
        text, self._gap = self._gap + text, b""
        line, offset = self._gap_from
        if goes_on and len(text) <= self._limit:
            self._gap = text
            return
        counted = 0
        for token in _TOKEN.finditer(text):
            first = text[token.start()]
            if first in _SPACE:
                continue
            line += text.count(b"\n", counted, token.start())
            counted = token.start()
            here = line, offset + token.start()
            if first != ord(",") and token.end() == len(text) and not final:
                self._gap, self._gap_from = token[0], here
                if len(self._gap) > self._limit:
                    reason = f"the element that begins here has more than {size_text(self._limit)}"
                    raise FileFault("row_too_large", reason, *here)
                return
            if self._state == "done":
                raise FileFault("not_json_array", "something follows the end of the array", *here)
            if first == ord(","):
                if self._state != "comma":
                    raise FileFault("not_json_array", "no element stands before this comma", *here)
                self._state = "value"
            else:
                self._value_due(here)
                self._add(token[0], here)
                self._state = "comma"


# CSV

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
        self._chunks = _headed(chunks)
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
        if self._unfed.startswith(_UTF16):
            raise FileFault("not_csv", "it is UTF-16: save it as UTF-8")
        if self._unfed.startswith(_BOM):
            self._unfed, self._offset = self._unfed[len(_BOM) :], len(_BOM)
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
