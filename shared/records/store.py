"""Reads and writes the records, as JSON blobs that change under If-Match only.

A record is never locked. Whoever changes one has read it, and loses (`Conflict`) when somebody else was faster. Markers
stand beside what is open, an index holds what is over, so that ticks and pages pay for what is active and not for all
that ever ran. Used by every room above.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared import naming
from shared.errors import Conflict, NotFound, Transient
from shared.records import layout
from shared.records.base import VERSION, from_json
from shared.records.layout import ACTIVE_RUNS, ENDED_RUNS, LINES, REMOVED_LINES, RUNS, STANDING_LINES, STATE
from shared.records.line import Empty, Line, Removed
from shared.records.mark import Mark, mark_in, mark_of, version_in
from shared.records.run import Run

if TYPE_CHECKING:
    from shared.cloud.blobs import Blobs

log = logging.getLogger("droptune.records.store")
STILLBORN = timedelta(minutes=15)
"""A marker so old without its record: whoever made it died before the first save."""
UNDER_WAY = timedelta(minutes=1)
"""A marker that is younger may say already what is about to be saved."""
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


class Unreadable(Transient):
    """A record that this code can't read: a newer app wrote it, or somebody broke it by hand.

    Never rewritten. Whoever needs it waits, and says so: the app is updated, or the record mended, by a person.
    """

    def __init__(self, what: str, why: str, *, version: int = 0) -> None:
        super().__init__(f"{what} can't be read: {why}", after=timedelta(minutes=5))
        self.version = version


class _Versioned(msgspec.Struct):
    version: int = 0


def decoded[R](data: bytes, kind: type[R], what: str) -> R:
    """The record that `data` holds, of a kind that says its version. Raises Unreadable, which names `what`."""
    try:
        record = from_json(data, kind)
        version = getattr(record, "version", 0)
        if version <= VERSION:
            return record
        problem = ""
    except ValueError as error:
        problem = f"{error}: mend that blob, or delete it and recover"
        try:
            version = from_json(data, _Versioned).version
        except ValueError:
            version = 0
    if version > VERSION:
        problem = f"it is of version {version}, and this app knows {VERSION}: update the app"
    raise Unreadable(what, problem, version=version)


class Loaded[T: (Run, Line)](NamedTuple):
    """A record as it was read. Whoever saves it names the ETag, and loses if somebody else was faster."""

    record: T
    etag: str


class Open(NamedTuple):
    """The marker of a record that is open: its id, when the marker was made, its ETag, and what it says."""

    key: str
    modified: datetime
    etag: str
    metadata: Mapping[str, str]


class Records[T: (Run, Line)]:
    """The JSON blobs of one kind, `<prefix>/<id>.json` in the container `state`, and two lists that spare listing them.

    A record that is open (a run that works, a line whose endpoint may stand) has a marker beside it, an empty blob
    `<open>/<id>` with metadata, from before its first save until after its last one. When it is over it gets an entry
    in an index whose names sort the newest first, `<over>/<time left>-<id>`. So looking at what is open, and at the
    page of what was over last, costs the same however many there ever were.
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
        """The record, or None. Raises Unreadable when a newer app wrote it, or somebody broke it by hand.

        The key may come from outside: from a request, a message or a tag. Nothing is asked for what can't be an id.
        """
        if not naming.is_id(key):
            return None
        name = self._name(key)
        try:
            data, etag = self._blobs.read(STATE, name)
        except NotFound:
            return None
        return Loaded(decoded(data, self._kind, f"{STATE}/{name}"), etag)

    def save(self, record: T, etag: str) -> str:
        """Replaces the record that was read with `etag`; answers with the new ETag. Raises Conflict."""
        return self._blobs.write(STATE, self._name(record.id), msgspec.json.encode(record), if_match=etag)

    def create(self, record: T) -> bool:
        """Writes a new record; False when there is one of that id already."""
        if self.load(record.id):
            return False
        self._mark(record)
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

    def open(self) -> Iterator[Open]:
        """The markers of the records that are open."""
        prefix = layout.marker(self._open)
        for blob in self._blobs.list(STATE, prefix, metadata=True):
            yield Open(blob.name.removeprefix(prefix), blob.last_modified, blob.etag, blob.metadata)

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
            entry = layout.entry(self._over, _newest_first(at), key)
            self._blobs.write(STATE, entry, b"", metadata=self._metadata(loaded.record))
        elif marker and self._blobs.now() - marker.last_modified < STILLBORN:
            return
        if marker:
            with suppress(Conflict):
                self._blobs.delete(STATE, marker.name, if_match=marker.etag)

    def reopen(self, record: T, etag: str) -> str:
        """Saves a record that is not over any more, as `save` does.

        The marker comes first, so that no crash hides the record; and once more after the save, for the case that
        somebody who had read the older record was about to take it away. The index keeps its entry, which lists
        pass over.
        """
        self._mark(record)
        saved = self.save(record, etag)
        self._mark(record)
        return saved

    def _listed(self, limit: int) -> tuple[list[Open], dict[str, Mapping[str, str]]]:
        """The markers of what is open, and what the index says of the `limit` that were over last, the newest first.

        Costs a listing of the markers and a page of the index. What was over once and is open again is open.
        """
        working = list(self.open())
        known, over = {found.key for found in working}, dict[str, Mapping[str, str]]()
        prefix = layout.entry(self._over)
        for entry in self._blobs.list(STATE, prefix, page=limit, metadata=True):
            if (key := entry.name[len(prefix) + _DIGITS + 1 :]) not in known:
                over.setdefault(key, entry.metadata)
            if len(over) == limit:
                break
        return working, over

    def _mark(self, record: T) -> str:
        """Puts the marker beside the record; answers with its ETag."""
        marker = layout.marker(self._open, record.id)
        return self._blobs.write(STATE, marker, b"", metadata=self._metadata(record))

    def _metadata(self, record: T) -> Mapping[str, str]:  # noqa: ARG002 - for those that have some
        """What listings are to say of the record."""
        return {}


def readable[T: (Run, Line)](records: Records[T], key: str) -> Loaded[T] | None:
    """As `load`; None as well where the record can't be read: the others are not to suffer from that."""
    try:
        return records.load(key)
    except Unreadable as error:
        log.warning("%s", error)
        return None


class Runs(Records[Run]):
    """The runs; those that have not ended are open. Listings say of each what its Mark holds."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, RUNS, Run, open_=ACTIVE_RUNS, over=ENDED_RUNS)

    def _ended(self, record: Run) -> datetime | None:
        return record.since if record.phase.ended else None

    def _metadata(self, record: Run) -> Mapping[str, str]:
        return mark_of(record).metadata()

    def save(self, record: Run, etag: str, *, before: Run | None = None) -> str:
        """Replaces the run that was read with `etag`; answers with the new ETag. Raises Conflict.

        `before`: that run. Its mark changes where people would see another one, or the sweep has to look sooner; that
        is said before the save, so that no crash leaves a mark which has the sweep look too late. It looks a while too
        early where the mark is left as it is, and puts it right then (`remark`). A mark that somebody else has written
        meanwhile is left to them: theirs belongs to a newer record, or else they put it right.
        """
        known, mark = mark_of(before) if before else None, mark_of(record)
        sooner = known is None or mark.is_sooner(known)
        if not sooner and known and mark.shows_same(known):
            return super().save(record, etag)
        if sooner:
            own = self._mark(record)
        else:
            marker = self._blobs.head(STATE, layout.marker(self._open, record.id))
            own = marker.etag if marker else ""
        try:
            saved = super().save(record, etag)
        except Conflict:  # somebody was faster, or it was this very save, whose answer was lost
            if found := readable(self, record.id):
                self._mark_over(found.record, own)
            raise
        if not sooner:
            self._mark_over(record, own)
        return saved

    def _mark_over(self, record: Run, etag: str) -> None:
        """Replaces the mark of that ETag, if it is still there."""
        with suppress(Conflict):
            marker = layout.marker(self._open, record.id)
            self._blobs.write(STATE, marker, b"", if_match=etag, metadata=self._metadata(record))

    def remark(self, found: Open, metadata: Mapping[str, str]) -> None:
        """Puts right what an open run's marker says, unless somebody else did meanwhile.

        Not while it is young: the save that it belongs to may be yet to come, see `save`.
        """
        if metadata == found.metadata or self._blobs.now() - found.modified < UNDER_WAY:
            return
        with suppress(Conflict):
            self._blobs.write(STATE, layout.marker(self._open, found.key), b"", if_match=found.etag, metadata=metadata)

    def active(self) -> Iterator[str]:
        """Ids of the runs that have not ended."""
        return (found.key for found in self.open())

    def summaries(self, limit: int) -> tuple[list[Mark], list[tuple[str, int]]]:
        """At most `limit` runs that are open, then at most `limit` that are over, of both the newest first.

        And the ids and versions of those whose record can't be read (0 where it says none). Costs a listing of what is
        open and a page of the index; the record of a run is only read where a listing does not say enough.
        """
        found: list[Mark] = []
        unreadable: list[tuple[str, int]] = []
        working, over = self._listed(limit)
        for key, metadata in [*((each.key, each.metadata) for each in working), *over.items()]:
            if (version := version_in(metadata)) > VERSION or "unreadable" in metadata:
                unreadable.append((key, version))
                continue
            try:
                mark = mark_in(metadata) or self._read_mark(key)
            except Unreadable as error:
                unreadable.append((key, error.version))
            else:
                found += [mark] if mark else []
        open_ = sorted((each for each in found if each.id not in over), key=lambda each: each.since, reverse=True)
        return [*open_[:limit], *(each for each in found if each.id in over)], unreadable

    def _read_mark(self, key: str) -> Mark | None:
        loaded = self.load(key)
        return mark_of(loaded.record) if loaded else None


class Lines(Records[Line]):
    """The lines; open are those whose endpoint may stand, and those that have something to tell yet.

    Rollout, teardown and cleanup change them, each under the ETag of what it has read.
    """

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, LINES, Line, open_=STANDING_LINES, over=REMOVED_LINES)

    def _ended(self, record: Line) -> datetime | None:
        return None if record.outbox else record.removed

    def save(self, record: Line, etag: str) -> str:
        """Replaces the line that was read with `etag`; answers with the new ETag. Raises Conflict.

        One that is rolled out to is not removed any more, and marked before the save; one whose endpoint is removed is
        put among those after it.
        """
        if record.rollout:
            self._mark(record)
            if isinstance(record.state, Removed):
                record = replace(record, state=Empty(since=record.state.emptied or record.state.since))
        saved = super().save(record, etag)
        if self._ended(record):
            self.retire(record.id)
        return saved

    def standing(self) -> Iterator[str]:
        """Ids of the lines whose endpoint may stand."""
        return (found.key for found in self.open())

    def recent(self, limit: int) -> tuple[list[Line], list[tuple[str, Unreadable]]]:
        """At most `limit` lines that are open, then at most `limit` that are over, of both the newest first.

        And those of them that can't be read. Costs a listing of what is open, a page of the index, and what it returns.
        """
        working, over = self._listed(limit)
        latest = sorted(working, key=lambda each: each.modified, reverse=True)[:limit]
        found: list[Line] = []
        broken: list[tuple[str, Unreadable]] = []
        for key in [*(each.key for each in latest), *over]:
            try:
                loaded = self.load(key)
            except Unreadable as error:
                broken.append((key, error))
            else:
                found += [loaded.record] if loaded else []
        return found, broken


def _newest_first(at: datetime) -> str:
    """Digits that are smaller the later `at` is: listings go by name. Good until the year 2286."""
    return f"{10**_DIGITS - (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1):0{_DIGITS}d}"
