"""Sums over intervals: what was spent in a time, by line, run or day, and what teardowns have saved. Pure.

Amounts are whole millionths of a currency. An interval is cut by cumulative rounding: a piece costs what the whole had
cost by its end, less what it had cost by its beginning. So pieces always add up to the whole, and every way to group
them adds up to the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from shared.money.ledger import Cause, Interval, Removal

SAVED_FOR = timedelta(days=30)
"""How long a teardown counts as a saving: nobody knows for how long nobody would have noticed."""
MICROS = 10**6
"""Parts of a currency that are counted."""
ASSUMPTION = (
    "what the cleanup tore down, had it gone on with the same instances at the same price: "
    f"until it was revived or removed, {SAVED_FOR.days} days at most"
)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = 3600
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)


# Time ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Period:
    """From `start` up to `end`, in UTC; `name`: `2026-11`, `2026-11-29` or `all`."""

    name: str
    start: datetime
    end: datetime


def period(text: str, now: datetime) -> Period:
    """The time that is meant: `this month`, `last month`, `YYYY-MM`, `YYYY-MM-DD` or `all`, in UTC.

    Raises ValueError, in a sentence; its text is not repeated there, for it is others'.
    """
    asked = " ".join(text.lower().replace("-month", " month").split())
    this = month_of(now)
    if asked in ("", "this month"):
        return _month(this)
    if asked == "last month":
        return _month(month_of(month_start(this) - _MICROSECOND))
    if asked == "all":
        return Period(name="all", start=_FIRST, end=_LAST)
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}", asked):
            return _month(asked)
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", asked):
            start = datetime.fromisoformat(asked).replace(tzinfo=UTC)
            if _FIRST <= start < _LAST:
                return Period(name=asked, start=start, end=start + timedelta(days=1))
    except ValueError:
        pass
    raise ValueError(
        f"that is no time to sum up: it must be 'this month', 'last month', a month as {this}, "
        f"a day as {now.astimezone(UTC):%Y-%m-%d}, or 'all', in UTC"
    )


def month_of(at: datetime) -> str:
    """The month of a moment, in UTC: `2026-11`."""
    return f"{at.astimezone(UTC):%Y-%m}"


def month_start(month: str) -> datetime:
    """When a month begins. Raises ValueError where there is no such month."""
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)


def next_month(month: str) -> str:
    """The one after it."""
    return month_of(month_start(month) + timedelta(days=32))


def months(start: datetime, end: datetime) -> Iterator[str]:
    """Every month that has some of the time from `start` up to `end`."""
    month = month_of(start)
    while month_start(month) < end:
        yield month
        month = next_month(month)


def _month(month: str) -> Period:
    start = month_start(month)
    if not _FIRST <= start < _LAST:
        raise ValueError(month)
    return Period(name=month, start=start, end=month_start(next_month(month)))


# Pieces --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of an interval's time, or of the time after it that it `saved`; `of`: when that whole began."""

    interval: Interval
    of: datetime
    start: datetime
    end: datetime
    saved: bool = False

    @property
    def microseconds(self) -> int:
        """Of all its instances together."""
        return (self.end - self.start) // _MICROSECOND * self.interval.instances

    @property
    def micros(self) -> int | None:
        """What it cost, in millionths of the currency; None where its price is unknown."""
        price, instances = self.interval.price, self.interval.instances
        if price is None:
            return None
        return _cost(price, instances, self.end - self.of) - _cost(price, instances, self.start - self.of)


def _cost(price: Decimal, instances: int, length: timedelta) -> int:
    """What they cost for so long, in millionths, rounded half up: it never gets less for longer."""
    numerator, denominator = price.as_integer_ratio()
    numerator *= instances * (length // _MICROSECOND)  # of a price for 3600 s, millionths come from microseconds
    denominator *= _HOUR
    return (2 * numerator + denominator) // (2 * denominator)


def spent(intervals: Iterable[Interval], start: datetime, end: datetime, now: datetime) -> Iterator[Piece]:
    """Of each interval what lies between `start` and `end`; what still runs has run until `now`."""
    for each in intervals:
        piece = _piece(each, each.start, each.end or max(now, each.start), start, end)
        if piece:
            yield piece


def saved(
    intervals: Iterable[Interval], removals: Iterable[Removal], start: datetime, end: datetime, now: datetime
) -> Iterator[Piece]:
    """What teardowns of the cleanup saved between `start` and `end`: see ASSUMPTION."""
    known = list(intervals)
    again: dict[str, list[datetime]] = {}
    for each in known:
        if each.kind == "serving":
            again.setdefault(each.line, []).append(each.start)
    for removal in removals:
        again.setdefault(removal.line, []).append(removal.at)
    for each in known:
        if each.cause is Cause.IDLE and each.end is not None:
            gone = each.end
            until = min([at for at in again[each.line] if at >= gone], default=now) if each.line in again else now
            piece = _piece(each, gone, min(until, gone + SAVED_FOR, max(now, gone)), start, end, saved=True)
            if piece:
                yield piece


def days(piece: Piece) -> Iterator[Piece]:
    """The same, cut where a day of UTC ends."""
    start = piece.start
    while start < piece.end:
        midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        end = min(midnight, piece.end)
        yield Piece(interval=piece.interval, of=piece.of, start=start, end=end, saved=piece.saved)
        start = end


def _piece(
    interval: Interval, of: datetime, until: datetime, start: datetime, end: datetime, *, saved: bool = False
) -> Piece | None:
    begin, stop = max(of, start), min(until, end)
    return Piece(interval=interval, of=of, start=begin, end=stop, saved=saved) if begin < stop else None


# Sums ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sum:
    """What pieces come to that have `key`, kind and currency in common. Different currencies are never added.

    `micros`, `saved`: millionths of the currency, both None where the price is unknown: then they are of one `size`.
    The time is counted all the same: `microseconds` that cost, `saved_microseconds`, of all instances together.
    """

    key: str
    kind: str
    size: str
    currency: str
    micros: int | None
    saved: int | None
    microseconds: int
    saved_microseconds: int


KEYS: dict[str, Callable[[Piece], str]] = {
    "line": lambda piece: piece.interval.line,
    "run": lambda piece: piece.interval.run,
    "day": lambda piece: f"{piece.start.astimezone(UTC):%Y-%m-%d}",
}
"""What sums can be made by."""


def sums(pieces: Iterable[Piece], by: str) -> list[Sum]:
    """A sum for each group of KEYS[by], kind, currency and, where the price is unknown, size; in that order."""
    cut = (part for piece in pieces for part in days(piece)) if by == "day" else iter(pieces)
    found: dict[tuple[str, str, str, str, bool], list[int]] = {}
    for piece in cut:
        each, micros = piece.interval, piece.micros
        unknown = micros is None
        group = (KEYS[by](piece), each.kind, each.currency, each.size if unknown else "", unknown)
        total = found.setdefault(group, [0, 0, 0, 0])
        total[piece.saved] += micros or 0
        total[2 + piece.saved] += piece.microseconds
    return [
        Sum(
            key=key,
            kind=kind,
            size=size,
            currency=currency,
            micros=None if unknown else total[0],
            saved=None if unknown else total[1],
            microseconds=total[2],
            saved_microseconds=total[3],
        )
        for (key, kind, currency, size, unknown), total in sorted(found.items())
    ]


def amount(micros: int) -> Decimal:
    """Millionths as an exact number with six places."""
    return Decimal(micros).scaleb(-6)
