"""Which rows have to come first, so that the training's reader finds all columns there.

Azure ML's component loads what is written with the package `datasets`. That takes the columns, the keys of messages
and the types of values from the first 10 MiB of a file: a key that comes later ends the job. So a row leads its file
if it is the first to show a key, and stands too far behind to be seen. Where all texts that it sees are times it makes
times of them, and of all that follow: nothing is to be done about that but to tell. Used by `scan` and `parallel`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import msgspec

BEGINNING = 1024 * 1024
"""Bytes of a file whose rows need not lead: with the rows that do they fit into what the reader looks at."""
KEYS = (b',"tool_calls":', b',"tool_call_id":', b',"name":', b'{"id":')
"""What tells that a written row has a key that not all of them have. Within texts quotes are escaped."""
_TEXT = b"text"
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d([.]\d*)?)?)?)?(Z|[+-]\d\d(:?\d\d)?)?")
_CHUNK = 1024 * 1024

type Span = tuple[int, int]
"""Where a row begins in its file, and its length with the line's end."""


@runtime_checkable
class Leads(Protocol):
    """A sink that can put rows before all others."""

    def lead(self, data: bytes, /) -> object:
        """Takes `data`, whole, for the beginning."""


class Columns:
    """What the rows show that are written to a part, or to a piece of it. The pieces are joined in their order."""

    def __init__(self, *, tools: bool = False) -> None:
        self._size = 0
        self._first: dict[bytes, Span] = {}
        self._missing = {_TEXT, *(KEYS if tools else ())}

    def take(self, rows: Sequence[bytes]) -> list[int]:
        """Takes rows that are written next; tells which of them have to lead."""
        if not self._missing:
            return []
        late = []
        for at, row in enumerate(rows):
            shown = [key for key in self._missing if (_has_text(row) if key == _TEXT else key in row)]
            if shown:
                self._first |= dict.fromkeys(shown, (self._size, len(row) + 1))
                self._missing.difference_update(shown)
                if shown != [_TEXT] and _late(self._first[shown[0]]):
                    late.append(at)
            self._size += len(row) + 1
        return late

    def join(self, other: Columns) -> None:
        """Adds what comes behind."""
        for key, (start, length) in other._first.items():
            self._first.setdefault(key, (self._size + start, length))
        self._size += other._size
        self._missing = (self._missing | other._missing) - set(self._first)

    @property
    def only_times(self) -> bool:
        """Whether there are rows, and all texts at their beginning are times."""
        return self._size > 0 and (_TEXT not in self._first or _late(self._first[_TEXT]))

    @property
    def late(self) -> list[Span]:
        """The rows that have to lead, in their order."""
        return sorted({span for key, span in self._first.items() if key != _TEXT and _late(span)})


def bring_forward(path: Path, late: Sequence[Span]) -> None:
    """Writes a file anew, with these of its rows first."""
    if not late:
        return
    made = path.with_name(f"{path.name}.led")
    with path.open("rb") as source, made.open("wb") as target:
        for start, length in late:
            source.seek(start)
            _copy(source, target, length)
        at = 0
        for start, length in [*late, (path.stat().st_size, 0)]:
            source.seek(at)
            _copy(source, target, start - at)
            at = start + length
    made.replace(path)


def _late(span: Span) -> bool:
    return span[0] > BEGINNING


def _has_text(row: bytes) -> bool:
    contents = (message.get("content") for message in msgspec.json.decode(row)["messages"])
    return any(isinstance(content, str) and not _TIME.fullmatch(content) for content in contents)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0 and (chunk := source.read(min(size, _CHUNK))):
        target.write(chunk)
        size -= len(chunk)
