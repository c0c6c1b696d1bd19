"""The bill: what cost something, a blob a month, written under If-Match.

A month's blob has every interval that has some of that month, whenever it began: so a question of a month reads that
month, and what is written once is never moved. What still runs at a month's end is taken over into the next one; the
month is closed to what is new before that, so that nobody adds to it what the next one then lacks. Older months are
written before newer ones, the one that says what runs last: a crash in between leaves a look that can be done again.

Written by the cleanup's tick and by whatever begins or ends something that costs; read for `GET /api/cost`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.errors import NotFound
from shared.money.ledger import Interval, Look, Removal, merged, reaches, reconcile
from shared.money.sums import SAVED_FOR, Period, Piece, month_of, month_start, months, next_month, saved, spent
from shared.records import layout
from shared.records.base import VERSION
from shared.records.layout import BILL, STATE
from shared.records.store import Unreadable, compare_and_swap, decoded

if TYPE_CHECKING:
    from shared.cloud import Cloud
    from shared.cloud.blobs import Blobs

log = logging.getLogger("droptune.records.bill")
TOLD_FOR = timedelta(days=7)
"""How long people are told of a month that was made anew."""
_EVENT = "Droptune.Record.Unreadable"
_STAMP = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month of the bill. `closed`: what began is written to a later one by now; ends in this one still come here."""

    version: int = VERSION
    closed: bool = False
    intervals: tuple[Interval, ...] = ()
    removals: tuple[Removal, ...] = ()

    @property
    def running(self) -> tuple[Interval, ...]:
        """What had not ended, as far as this month knows."""
        return tuple(each for each in self.intervals if each.end is None)

    def having(self, name: str, known: Iterable[Interval]) -> Month:
        """The month of that name with those that have some of it; what is over in it stays as it is."""
        keys = {each.key for each in self.intervals}
        own = [each for each in known if each.key in keys or _has_some(name, each)]
        return replace(self, intervals=tuple(merged(self.intervals, own)))


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the bill says of a period. `unreadable`: which parts of it are in no sum, and why.

    `pieces`: of what was spent and saved; `seen`: how many intervals have a time that is only good to a tick.
    """

    pieces: list[Piece] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    seen: int = 0


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A month as it was read; without an ETag there is no blob yet."""

    name: str
    month: Month
    etag: str | None = None


class Bill:
    """The bill of the app over `cloud`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @property
    def _blobs(self) -> Blobs:
        return self._cloud.blobs

    # Written

    def record(self, look: Look, now: datetime) -> list[Interval]:
        """Notes what `look` shows, which was taken at `now`, storage's time; gives the intervals that began or ended.

        Costs a read where nothing changed, else a write more; at a month's turn two writes more. Doing it again changes
        nothing. Raises Conflict when others are always faster, Unreadable when a newer app wrote the bill.
        """
        return compare_and_swap(lambda: self._record(look, now), "the bill")

    def remove(self, line: str, at: datetime) -> None:
        """Notes that a line is removed: from then on nothing is saved by its teardown. Raises as `record` does."""

        def attempt() -> None:
            held = self._current(at)
            if held.name > month_of(at):  # the clock went back
                held = self._load(month_of(at)) or held
            if all(each.line != line or each.at < at for each in held.month.removals):
                self._write(held, replace(held.month, removals=(*held.month.removals, Removal(line=line, at=at))))

        compare_and_swap(attempt, "the bill")

    def _record(self, look: Look, now: datetime) -> list[Interval]:
        current = self._current(now)
        reached = min(now, reaches(current.month.intervals, look) or now)
        older = [
            self._load(name) or _Held(name=name, month=Month(closed=True))
            for name in months(reached, month_start(current.name))
        ]
        known: list[Interval] = []
        for held in (*older, current):
            known = merged(known, held.month.intervals)
        changed = reconcile(known, look, now)
        for held in (*older, current):
            self._write(held, held.month.having(held.name, merged(known, changed)))
        return changed

    def _current(self, now: datetime) -> _Held:
        """The month that takes what begins: that of `now`, made of the one before where it is new; or a later one."""
        held = self._load(month_of(now))
        if held and not held.month.closed:
            return held
        latest = max(self._names(), default="")
        if not latest:
            return _Held(name=month_of(now), month=Month())
        held = self._load(latest) or _Held(name=latest, month=Month())
        while held.name < month_of(now) or held.month.closed:
            held = self._next(held)
        return held

    def _next(self, held: _Held) -> _Held:
        """The month after the last one there is, with what runs. Raises Conflict."""
        self._write(held, replace(held.month, closed=True))
        name, month = next_month(held.name), Month(intervals=held.month.running)
        return _Held(name=name, month=month, etag=self._put(name, month, None))

    def _write(self, held: _Held, month: Month) -> None:
        """Raises Conflict. What is as it was is not written."""
        if month != held.month:
            self._put(held.name, month, held.etag)

    def _put(self, name: str, month: Month, etag: str | None) -> str:
        body = msgspec.json.encode(month)
        return self._blobs.write(STATE, layout.bill(name), body, if_match=etag, if_none_match=etag is None)

    def _load(self, name: str) -> _Held | None:
        """A month to write to. One that is broken is made anew. Raises Unreadable where a newer app wrote it."""
        blob = layout.bill(name)
        try:
            data, etag = self._blobs.read(STATE, blob)
        except NotFound:
            return None
        try:
            return _Held(name=name, month=decoded(data, Month, f"{STATE}/{blob}"), etag=etag)
        except Unreadable as error:
            if error.version > VERSION:
                raise
            return self._anew(name, data, etag)

    def _anew(self, name: str, data: bytes, etag: str) -> _Held:
        """A month in the place of one that can't be read: of what the months beside it say that ran in it."""
        now = self._blobs.now()
        kept = layout.damaged(f"{layout.bill(name)}-{now:{_STAMP}}")
        self._blobs.write(STATE, kept, data)
        before = self._readable(month_of(month_start(name) - timedelta(days=1)))
        after = self._readable(next_month(name))
        ran = merged(before.running if before else (), after.intervals if after else ())
        month = Month(closed=after is not None).having(name, ran)
        anew = _Held(name=name, month=month, etag=self._put(name, month, etag))
        why = _made_anew(name, now, kept)
        log.error("%s", why)
        told = {"reason": why, "dataset": ""}
        event = f"unreadable-{layout.bill(name)}-{now:{_STAMP}}"
        self._cloud.topic.publish(_EVENT, f"records/{layout.bill(name)}", told, id=event, time=now)
        return anew

    # Read

    def account(self, period: Period, now: datetime) -> Account:
        """What was spent and saved in a period, up to `now`. Reads its months, and those before that savings need."""
        end = min(period.end, max(now, period.start))
        names, unreadable = self._names(), list[str]()
        first = month_of(max(period.start - SAVED_FOR, month_start(min(names, default="1970-01"))))
        found: dict[str, Month] = {}
        before = Month()
        if first not in names and (earlier := [name for name in names if name < first]):
            before, why = self._said(max(earlier))
            unreadable += [why] if why else []
        for name in months(month_start(first), end):
            if name in names:
                before, why = self._said(name)
                unreadable += [why] if why else []
            else:  # nothing was written since: what ran before runs on
                before = Month(intervals=before.running)
            found[name] = before
        return _account(found, period.start, end, now, unreadable)

    def unreadable(self, now: datetime) -> Iterator[str]:
        """A sentence for each month that was made anew within TOLD_FOR, for health and status."""
        prefix = layout.damaged(BILL)
        for blob in self._blobs.list(STATE, prefix):
            if now - blob.last_modified < TOLD_FOR:
                yield _made_anew(blob.name.removeprefix(prefix).partition(".")[0], blob.last_modified, blob.name)

    def _names(self) -> list[str]:
        """The months that there are."""
        found = (blob.name.removeprefix(BILL).removesuffix(".json") for blob in self._blobs.list(STATE, BILL))
        return [name for name in found if _is_month(name)]

    def _said(self, name: str) -> tuple[Month, str]:
        """A month, and why nothing of it is in the sums."""
        try:
            data, _ = self._blobs.read(STATE, layout.bill(name))
            return decoded(data, Month, f"{STATE}/{layout.bill(name)}"), ""
        except NotFound:
            return Month(), ""
        except Unreadable as error:
            return Month(), f"{name} is in no sum: {error}"

    def _readable(self, name: str) -> Month | None:
        month, why = self._said(name)
        return None if why or month == Month() else month


def _account(found: dict[str, Month], start: datetime, end: datetime, now: datetime, unreadable: list[str]) -> Account:
    pieces, known, seen = list[Piece](), list[Interval](), set[str]()
    for name, month in found.items():
        known = merged(known, month.intervals)
        part = list(spent(month.intervals, max(start, month_start(name)), min(end, month_start(next_month(name))), now))
        seen |= {piece.interval.key for piece in part if piece.interval.seen}
        pieces += part
    removals = [each for month in found.values() for each in month.removals]
    pieces += saved(known, removals, start, end, now)
    return Account(pieces=pieces, unreadable=unreadable, seen=len(seen))


def _has_some(month: str, interval: Interval) -> bool:
    """Whether an interval has some of a month, or lies in it without lasting."""
    begins, over = month_start(month), month_start(next_month(month))
    end = interval.end
    return interval.start < over and (end is None or end > begins or (end == interval.start and end >= begins))


def _is_month(name: str) -> bool:
    try:
        return month_of(month_start(name)) == name
    except ValueError:
        return False


def _made_anew(name: str, at: datetime, kept: str) -> str:
    return (
        f"{STATE}/{layout.bill(name)} could not be read, and was made anew at {at:%Y-%m-%d %H:%M} (UTC) of what still "
        f"ran: what ended in that month before then is in no sum; {STATE}/{kept} keeps what it held"
    )
