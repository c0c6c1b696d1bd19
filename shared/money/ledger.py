"""The ledger: what cost something, from when to when, as intervals; and how they follow what is seen. Pure.

An interval has one number of instances, one size and one price; where one of them changes, it ends and another begins.
What Droptune did has its exact time; what others did is seen at a tick, and the interval says so. `records/bill.py`
keeps the intervals, `sums.py` adds them up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from shared.lifecycle.moment import Moment

type Kind = Literal["serving", "training"]
type Thing = tuple[str, str, str]
"""What can cost: its kind, its line, and its name, which is a deployment's or a job's."""

KINDS: frozenset[Kind] = frozenset(("serving", "training"))
REMADE = timedelta(minutes=5)
"""By more than that Azure's time and ours of one beginning never differ: what was made later is another thing."""
_DEAREST, _DIGITS = Decimal(10**9), 20
"""More than an hour costs, and a price's digits behind the point: a broken record must not ask for endless sums."""


class Cause(StrEnum):
    """Why an interval ended."""

    IDLE = "idle"
    """The cleanup took it down: nobody called. What it would have cost since is what counts as saved."""
    STOPPED = "stopped"
    """A person asked Droptune for it: a command."""
    REPLACED = "replaced"
    """Another version serves, or it was no version's any more."""
    DONE = "done"
    """A job that came to its end."""
    FAILED = "failed"
    """It did not come to be, or came to nothing."""
    CHANGED = "changed"
    """It goes on with other instances, another size or another price, in the next interval."""
    GONE = "gone"
    """Somebody else took it away."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """Something that costs, as it is now. `name`: of the deployment or the job; `instances`: or nodes.

    `price`: of one instance for an hour, in `currency`; None: unknown. `since`: when it was made, None where nobody
    says; `size`: of the machines.
    """

    kind: Kind
    line: str
    run: str
    name: str
    instances: int
    size: str
    price: Decimal | None
    currency: str
    since: datetime | None = None

    @property
    def thing(self) -> Thing:
        """What it is an interval of."""
        return self.kind, self.line, self.name


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An end that Droptune itself caused or knows the time of. `why`: in words, for people.

    `was`: what ended, with its `since`; needed only of what was made and went between two looks.
    """

    kind: Kind
    line: str
    name: str
    at: datetime
    cause: Cause
    why: str = ""
    was: Running | None = None

    @property
    def thing(self) -> Thing:
        """What it is an end of."""
        return self.kind, self.line, self.name


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is seen at one moment. Of `kinds` it shows everything, but for the lines in `unseen`, which nobody could
    read: what is not `running` there is gone. With no `kinds` it only adds what it names.
    """

    running: tuple[Running, ...] = ()
    ended: tuple[Ended, ...] = ()
    kinds: frozenset[Kind] = KINDS
    unseen: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A time in which something cost. `end` is None while it runs; then `cause` says why it ended, and `why` in words.

    `start_seen`, `end_seen`: that time is a tick's, at which it was seen; it happened since the tick before.
    Raises ValueError for what can't be: a price below 0, an end before the start.
    """

    kind: Kind
    line: str
    run: str
    name: str
    instances: int
    size: str
    price: Decimal | None = None
    currency: str = ""
    start: Moment
    end: Moment | None = None
    cause: Cause | None = None
    why: str = ""
    start_seen: bool = False
    end_seen: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.instances < 0:
            raise ValueError(f"{self.instances} instances of {self.name}")
        price = self.price
        if price is not None and not (price.is_finite() and 0 <= price < _DEAREST and _places(price) <= _DIGITS):
            raise ValueError(f"{price} is no price of an hour")
        if self.end is not None and self.end < self.start:
            raise ValueError(f"{self.name} ends at {self.end}, before it starts at {self.start}")

    @property
    def thing(self) -> Thing:
        """What it is an interval of."""
        return self.kind, self.line, self.name

    @property
    def key(self) -> str:
        """Which interval it is: the same from its beginning to after its end."""
        return "/".join((*self.thing, self.start.astimezone(UTC).isoformat()))

    @property
    def seen(self) -> bool:
        """Whether one of its times is only good to a tick."""
        return self.start_seen or self.end_seen

    def ended(self, at: datetime, cause: Cause, why: str = "", *, seen: bool = False) -> Interval:
        """The interval once it is over; one whose end is told before its start lasted no time."""
        return replace(self, end=max(at, self.start), cause=cause, why=why, end_seen=seen)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Somebody removed the whole line then: nothing would have cost any more."""

    line: str
    at: Moment


def merged(older: Iterable[Interval], newer: Iterable[Interval]) -> list[Interval]:
    """All of both, each once, in the order of their starts: what is over stays over, else the newer one holds."""
    found = {each.key: each for each in older}
    for each in newer:
        known = found.get(each.key)
        if known is None or known.end is None:
            found[each.key] = each
    return sorted(found.values(), key=lambda each: (each.start, each.key))


def reaches(known: Iterable[Interval], look: Look) -> datetime | None:
    """The earliest moment that `look` may tell something new of; None: of nothing that `known` does not have."""
    starts = {each.thing: each.start for each in known if each.end is None}
    times = [
        each.since
        for each in look.running
        if each.since and not (each.thing in starts and each.since <= starts[each.thing] + REMADE)
    ]
    for end in look.ended:
        times += [end.at, *([end.was.since] if end.was and end.was.since else [])]
    return min(times, default=None)


def reconcile(known: Iterable[Interval], look: Look, now: datetime) -> list[Interval]:
    """The intervals that `look`, taken at `now`, begins or ends, as they are then. The same look again gives none.

    `known`: those that run, and those that ended since `reaches`. Ends that Droptune knows come first, so that nothing
    is taken for gone that it took down itself. An end that was told before, or of which nothing is known, says nothing.
    """
    book, over = _Book(known), dict[Thing, datetime]()
    for end in sorted(look.ended, key=lambda each: each.at):
        book.end(end)
        over[end.thing] = end.at
    for running in look.running:
        last = over.get(running.thing)
        if last is None or (running.since is not None and running.since > last):  # else it is still listed
            book.runs(running, now)
    book.gone({each.thing for each in look.running}, look, now)
    return book.changed()


class _Book:
    """What is known of each thing, and what changes."""

    def __init__(self, known: Iterable[Interval]) -> None:
        self._before = {each.key: each for each in merged((), known)}
        self._now: dict[str, Interval] = {}
        self._things: dict[Thing, dict[str, Interval]] = {}
        for each in self._before.values():
            self._put(each)

    def changed(self) -> list[Interval]:
        return [each for key, each in self._now.items() if self._before.get(key) != each]

    def end(self, end: Ended) -> None:
        open_ = self._open(end.thing)
        if open_ and open_.start <= end.at:
            self._put(open_.ended(end.at, end.cause, end.why))
            return
        was = end.was
        if was is None or was.since is None or was.since > end.at or open_:
            return
        if not any(_meet(each, was.since, end.at) for each in self._of(end.thing)):
            self._put(_begun(was, was.since, seen=False).ended(end.at, end.cause, end.why))

    def runs(self, running: Running, now: datetime) -> None:
        open_ = self._open(running.thing)
        if open_ and running.since and running.since > open_.start + REMADE:
            self._put(open_.ended(running.since, Cause.GONE, _GONE, seen=True))
            open_ = None
        if open_ is None:
            self._begin(running, now)
        elif _differs(open_, running) and now > open_.start:
            self._put(open_.ended(now, Cause.CHANGED, _difference(open_, running), seen=True))
            self._put(_begun(_priced_as(open_, running), now, seen=True))

    def gone(self, there: set[Thing], look: Look, now: datetime) -> None:
        for each in list(self._now.values()):
            if each.end is not None or each.thing in there or each.start > now:  # that began after the look
                continue
            if each.kind in look.kinds and each.line not in look.unseen:
                self._put(each.ended(now, Cause.GONE, _GONE, seen=True))

    def _begin(self, running: Running, now: datetime) -> None:
        """From when it was made on, but never twice for the same time."""
        last = max((each.end for each in self._of(running.thing) if each.end), default=None)
        start, seen = (running.since, False) if running.since else (now, True)
        if last is not None and last > now:  # this look is older than that end: what it shows is over
            return
        if last is not None and last > start:
            start, seen = last, True
        for begun in (_begun(running, start, seen=seen), _begun(running, max(start, now), seen=True)):
            if begun.key not in self._now:
                self._put(begun)
                return

    def _of(self, thing: Thing) -> Iterable[Interval]:
        return self._things.get(thing, {}).values()

    def _open(self, thing: Thing) -> Interval | None:
        return next((each for each in self._of(thing) if each.end is None), None)

    def _put(self, interval: Interval) -> None:
        self._now[interval.key] = interval
        self._things.setdefault(interval.thing, {})[interval.key] = interval


_GONE = "somebody else took it away"


def _begun(running: Running, start: datetime, *, seen: bool) -> Interval:
    return Interval(
        kind=running.kind,
        line=running.line,
        run=running.run,
        name=running.name,
        instances=running.instances,
        size=running.size,
        price=running.price,
        currency=running.currency if running.price is not None else "",
        start=start,
        start_seen=seen,
    )


def _meet(interval: Interval, start: datetime, end: datetime) -> bool:
    """Whether it has some of that time, or begins with it."""
    over = interval.end
    return interval.start == start or (interval.start < end and (over is None or start < over))


def _priced_as(open_: Interval, running: Running) -> Running:
    """It at the price that is known: a price that can't be read for a while is no other price."""
    if running.price is None and running.size == open_.size:
        return replace(running, price=open_.price, currency=open_.currency)
    return running


def _differs(open_: Interval, running: Running) -> bool:
    return bool(_difference(open_, running))


def _difference(open_: Interval, running: Running) -> str:
    """What has changed, in words; "" for nothing."""
    now = _priced_as(open_, running)
    told = []
    if now.instances != open_.instances:
        told.append(f"{now.instances} instances instead of {open_.instances}")
    if now.size != open_.size:
        told.append(f"{now.size or 'an unknown size'} instead of {open_.size or 'an unknown one'}")
    currency = now.currency if now.price is not None else ""
    if (now.price, currency) != (open_.price, open_.currency):
        told.append(f"{_price(now.price, currency)} an hour instead of {_price(open_.price, open_.currency)}")
    return ", ".join(told)


def _price(price: Decimal | None, currency: str) -> str:
    return "an unknown price" if price is None else f"{price:f} {currency}".rstrip()


def _places(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else _DIGITS + 1
