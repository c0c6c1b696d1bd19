"""Records that all runs and lines share, each in a blob of its own, made again where they are lost or broken.

Who has a slot to train (run/slots.py), and which lines have a seat (line/seats.py). Such a record is changed under
If-Match only, so that two hosts can't both take the last place; what was in a broken one is kept, and people are told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from shared.app import App
from shared.errors import Conflict, NotFound, Transient
from shared.line.unreadable import keep_and_tell
from shared.records.base import VERSION, from_json
from shared.records.layout import STATE
from shared.records.store import TRIES, Unreadable, compare_and_swap, decoded


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Who waits for a seat, or for a slot, and whose turn it is: those are to be woken, in their order."""

    turn: Sequence[str]
    waiting: Collection[str]


@dataclass(frozen=True, kw_only=True)
class Remade[R]:
    """The record of that `name` in `state`; `as_found` makes it of what can be seen.

    `whole`: a field that it always has. All have defaults, by which one that somebody emptied would hold nothing.
    """

    name: str
    kind: type[R]
    as_found: Callable[[App], R]
    whole: str
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """The threads of a process need not lose against each other: one at a time."""

    def read(self, app: App) -> R:
        """The record. Where there is none, or it is broken, it is made, and written at once.

        Raises Unreadable where a newer app wrote it: that one's is never rewritten.
        """
        return self._read(app)[0]

    def changed(self, app: App, change: Callable[[R], R]) -> R:
        """The record after `change`; it is written only where that is another one. Raises Transient.

        `change` is asked again when somebody else was faster. So is one whose own write was answered with Conflict
        although it was done (see Blobs): changes are such that doing them twice is doing them once.
        """

        def attempt() -> R:
            before, etag = self._read(app)
            after = change(before)
            if after != before:
                app.cloud.blobs.write(STATE, self.name, msgspec.json.encode(after), if_match=etag)
            return after

        what = f"{STATE}/{self.name}"
        try:
            with self._turn:
                return compare_and_swap(attempt, what)
        except Conflict:
            raise Transient(
                f"{what} was changed by others {TRIES} times in a row", after=timedelta(seconds=2)
            ) from None

    def _read(self, app: App) -> tuple[R, str]:
        try:
            data, etag = app.cloud.blobs.read(STATE, self.name)
        except NotFound:
            return self._made(app, None)
        try:
            record = decoded(data, self.kind, f"{STATE}/{self.name}")
            if self.whole in from_json(data, dict[str, msgspec.Raw]):
                return record, etag
        except Unreadable as error:
            if error.version > VERSION:
                raise
        keep_and_tell(app, self.name, data)
        return self._made(app, etag)

    def _made(self, app: App, etag: str | None) -> tuple[R, str]:
        made = self.as_found(app)
        with suppress(Conflict):  # somebody else was faster
            body = msgspec.json.encode(made)
            return made, app.cloud.blobs.write(STATE, self.name, body, if_match=etag, if_none_match=etag is None)
        return self._read(app)
