"""Reads and writes the records, as JSON blobs that change under If-Match only.

A record is never locked. Whoever changes one has read it, and loses (`Conflict`) when somebody else was faster. Markers
stand beside what is open, an index holds what is over, so that ticks and pages pay for what is active and not for all
that ever ran. Used by every room above.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.errors import Conflict, NotFound
from shared.records import layout
from shared.records.layout import ACTIVE_RUNS, ENDED_RUNS, LINES, REMOVED_LINES, RUNS, STANDING_LINES, STATE
from shared.records.line import Line
from shared.records.run import Run

if TYPE_CHECKING:
    from shared.cloud.blobs import Blobs

log = logging.getLogger("droptune.records.store")
STILLBORN = timedelta(minutes=15)
"""A marker so old without its record: whoever made it died before the first save."""
_DIGITS = 16
TRIES = 8
"""One of all who try at the same time succeeds each time, so to lose so often takes many."""


def compare_and_swap[R](attempt: Callable[[], R], what: str) -> R:
    """What `attempt` gives, which reads, changes and saves: done again as long as somebody else is faster.

    Raises Conflict when that happens TRIES times in a row.
    """
    for _ in range(TRIES):
        try:
            return attempt()
        except Conflict:
            log.info("%s changed meanwhile: read again", what)
    raise Conflict(f"{what} changes all the time: try again in a minute")


class Loaded[T: (Run, Line)](NamedTuple):
    """A record as it was read. Whoever saves it names the ETag, and loses if somebody else was faster."""

    record: T
    etag: str


class Records[T: (Run, Line)]:
    """The JSON blobs of one kind, `<prefix>/<id>.json` in the container `state`, and two lists that spare listing them.

    A record that is open (a run that works, a line whose endpoint may stand) has a marker beside it, an empty blob
    `<open>/<id>`, from before its first save until after its last one. When it is over it gets an entry in an index
    whose names sort the newest first, `<over>/<time left>-<id>`. So looking at what is open, and at the page of what
    was over last, costs the same however many there ever were.
    """

    _kind: type[T]

    def __init__(self, blobs: Blobs, prefix: str, kind: type[T], *, open_: str, over: str) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._kind = kind
        self._open = open_
        self._over = over

    def _name(self, key: str) -> str:
        return layout.record(self._prefix, key)

    def _ended(self, record: T) -> datetime | None:
        """Since when the record is over, None while it is open."""
        raise NotImplementedError

    def load(self, key: str) -> Loaded[T] | None:
        """The record, or None. Raises msgspec.ValidationError when somebody broke it by hand."""
        try:
            data, etag = self._blobs.read(STATE, self._name(key))
        except NotFound:
            return None
        return Loaded(msgspec.json.decode(data, type=self._kind), etag)

    def save(self, record: T, etag: str) -> str:
        """Replaces the record that was read with `etag`; answers with the new ETag. Raises Conflict."""
        return self._blobs.write(STATE, self._name(record.id), msgspec.json.encode(record), if_match=etag)

    def create(self, record: T) -> bool:
        """Writes a new record; False when there is one of that id already."""
        if self.load(record.id):
            return False
        self._mark(record.id)
        try:
            self._blobs.write(STATE, self._name(record.id), msgspec.json.encode(record), if_none_match=True)
        except Conflict:
            return False
        if self._ended(record):
            self.retire(record.id)
        return True

    def is_marked(self, key: str) -> bool:
        """Whether the record counts as open: one that is, and is not marked, is looked at by nobody."""
        return self._blobs.head(STATE, layout.marker(self._open, key)) is not None

    def marked(self) -> Iterator[tuple[str, datetime]]:
        """Ids of the records that are open, with the time that the marker of each was made."""
        prefix = layout.marker(self._open)
        for blob in self._blobs.list(STATE, prefix):
            yield blob.name.removeprefix(prefix), blob.last_modified

    def retire(self, key: str) -> None:
        """Puts a record that is over into the index and takes its marker away; one that is open stays as it is.

        May be done again: the entry's name is made of the record's end. A marker whose record never came goes too, once
        it is old. Of a marker that was made anew meanwhile it keeps its hands off: see `reopen`.
        """
        marker = self._blobs.head(STATE, layout.marker(self._open, key))
        loaded = self.load(key)
        if loaded:
            at = self._ended(loaded.record)
            if at is None:
                return
            self._blobs.write(STATE, layout.entry(self._over, _newest_first(at), key), b"")
        elif marker and self._blobs.now() - marker.last_modified < STILLBORN:
            return
        if marker:
            with suppress(Conflict):
                self._blobs.delete(STATE, marker.name, if_match=marker.etag)

    def reopen(self, record: T, etag: str) -> str:
        """Saves a record that is not over any more, as `save` does.

        The marker comes first, so that no crash hides the record; and once more after the save, for the case that
        somebody who had read the older record was about to take it away. The index keeps its entry, which `recent`
        passes over.
        """
        self._mark(record.id)
        saved = self.save(record, etag)
        self._mark(record.id)
        return saved

    def recent(self, limit: int) -> list[T]:
        """At most `limit` records that are open, then at most `limit` that are over, of both the newest first.

        Costs a listing of what is open, a page of the index, and what it returns. A record that somebody broke by hand
        is left out, and the log names it.
        """
        marked = sorted(self.marked(), key=lambda each: each[1], reverse=True)[:limit]
        keys = [key for key, _ in marked]
        found = [loaded.record for key in keys if (loaded := readable(self, key))]
        seen = set(keys)
        prefix = layout.entry(self._over)
        for blob in self._blobs.list(STATE, prefix, page=limit):
            key = blob.name[len(prefix) + _DIGITS + 1 :]
            if key not in seen and (loaded := readable(self, key)):
                found.append(loaded.record)
            seen.add(key)
            if len(seen) == len(keys) + limit:
                break
        return found

    def _mark(self, key: str) -> None:
        self._blobs.write(STATE, layout.marker(self._open, key), b"")


def readable[T: (Run, Line)](records: Records[T], key: str) -> Loaded[T] | None:
    """As `load`; None as well where somebody broke the record by hand: the others are not to suffer from that."""
    try:
        return records.load(key)
    except msgspec.MsgspecError:
        log.exception("record %s can't be read", key)
        return None


class Runs(Records[Run]):
    """The runs; those that have not ended are open."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, RUNS, Run, open_=ACTIVE_RUNS, over=ENDED_RUNS)

    def _ended(self, record: Run) -> datetime | None:
        return record.since if record.phase.ended else None

    def active(self) -> Iterator[tuple[str, datetime]]:
        """Ids of runs that have not ended, with the time that their marker was made."""
        return self.marked()


class Lines(Records[Line]):
    """The lines; open are those whose endpoint may stand, and those that have something to tell yet.

    Rollout, teardown and cleanup change them, each under the ETag of what it has read.
    """

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, LINES, Line, open_=STANDING_LINES, over=REMOVED_LINES)

    def _ended(self, record: Line) -> datetime | None:
        return None if record.untold else record.removed

    def save(self, record: Line, etag: str) -> str:
        """Replaces the line that was read with `etag`; answers with the new ETag. Raises Conflict.

        One that is rolled out to is not removed any more, and marked before the save; one whose endpoint is removed is
        put among those after it.
        """
        if record.rollout:
            self._mark(record.id)
            record = replace(record, removed=None)
        saved = super().save(record, etag)
        if self._ended(record):
            self.retire(record.id)
        return saved

    def standing(self) -> Iterator[str]:
        """Ids of the lines whose endpoint may stand."""
        return (key for key, _ in self.marked())


def _newest_first(at: datetime) -> str:
    """Digits that are smaller the later `at` is: listings go by name. Good until the year 2286."""
    return f"{10**_DIGITS - (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1):0{_DIGITS}d}"
