"""A JSON array of rows, as it comes, an element at a time.

Yields batches in the file's order with where each element begins, and holds no more than a row's limit. What breaks the
file off is a FileFault, raised after the rows before it were handed out. Read by `preparing/scan.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from shared.dataset.reading.files import BOM, UTF16, Elements, FileFault, Limits, paged, size_text

_SPACE = b" \t\n\r"
# What can stand between elements that are objects or arrays. A string, a number or a word may be cut off at the end.
_TOKEN = re.compile(rb'[ \t\n\r]+|,|"(?:[^"\\]++|\\.?+)*+("?)|[^ \t\n\r,"]+', re.DOTALL)
# How one that was cut off goes on: a string; a number or a word.
_MORE_TEXT = re.compile(rb'(?:[^"\\]++|\\.?+)*+("?)', re.DOTALL)
_MORE_WORD = re.compile(rb'[^ \t\n\r,"]*')
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
        for chunk in paged(chunks, limits.page):
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


class _Found:
    """Elements that were found so far: bytes, line and offset of each."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.numbers: list[int] = []
        self.offsets: list[int] = []


class _Splitter:
    """Finds elements by depth: brackets are told from text by counting quotes, a chunk at a time in numpy."""

    def __init__(self, limits: Limits) -> None:
        self.found = _Found()
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
        self._cut = bytearray()  # a string, a number or a word that the chunks so far end with: it may go on
        self._cut_from = (1, 0)
        self._cut_closed = False  # a string with both its quotes
        self._cut_escapes = 0  # 1: a string that ends with a backslash which escapes what comes next

    def take(self) -> Elements:
        """What was found since this was last asked for."""
        taken, self.found = self.found, _Found()
        return Elements(data=taken.data, numbers=taken.numbers, offsets=taken.offsets)

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
        start = 3 if not self._offset and chunk.startswith(BOM) else 0
        text = chunk[start:].lstrip(_SPACE)
        if not text or text[0] == ord("["):
            return start
        here = self._here(chunk, len(chunk) - len(text))
        if not self._offset and chunk.startswith(UTF16):
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
        if self._cut:
            start += self._go_on(chunk[start:end], final=final)
            if self._cut:
                return
        text = chunk[start:end]
        if self._state == "comma" and text.strip(_SPACE) == b",":
            self._state = "value"
            return
        if not text.strip(_SPACE):
            return
        line, offset = self._here(chunk, start)
        counted = 0
        for token in _TOKEN.finditer(text):
            first = text[token.start()]
            if first in _SPACE:
                continue
            line += text.count(b"\n", counted, token.start())
            counted = token.start()
            here = line, offset + token.start()
            if first != ord(",") and token.end() == len(text) and not final:
                self._cut, self._cut_from = bytearray(token[0]), here
                self._cut_closed, self._cut_escapes = bool(token[1]), _open_escape(token[0][1:])
                self._cut_bounded()
                return
            if first != ord(","):
                self._scalar(token[0], here)
                continue
            if self._state == "done":
                raise FileFault("not_json_array", "something follows the end of the array", *here)
            if self._state != "comma":
                raise FileFault("not_json_array", "no element stands before this comma", *here)
            self._state = "value"

    def _go_on(self, text: bytes, *, final: bool) -> int:
        """Adds to what was cut off, and to the elements if it ends here. How many bytes belong to it.

        Looks at each byte once, however long it is.
        """
        end = 0
        if self._cut[0] != _QUOTE:
            more = _MORE_WORD.match(text)
            end = more.end() if more else 0
        elif not self._cut_closed:
            begin = min(self._cut_escapes, len(text))
            more = _MORE_TEXT.match(text, begin)
            end = more.end() if more else begin
            self._cut_closed = bool(more and more[1])
            if text:
                self._cut_escapes = _open_escape(text[begin:end])
        self._cut += text[:end]
        if end == len(text) and not final:
            self._cut_bounded()
            return end
        token, self._cut = bytes(self._cut), bytearray()
        self._scalar(token, self._cut_from)
        return end

    def _cut_bounded(self) -> None:
        if len(self._cut) > self._limit:
            reason = f"the element that begins here has more than {size_text(self._limit)}"
            raise FileFault("row_too_large", reason, *self._cut_from)

    def _scalar(self, token: bytes, here: tuple[int, int]) -> None:
        """Takes an element that is no object and no array."""
        if self._state == "done":
            raise FileFault("not_json_array", "something follows the end of the array", *here)
        self._value_due(here)
        self._add(token, here)
        self._state = "comma"


def _open_escape(text: bytes) -> int:
    """1 where the text ends with a backslash that escapes what comes next, 0 otherwise."""
    return (len(text) - len(text.rstrip(b"\\"))) & 1
