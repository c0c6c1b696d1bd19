"""Office hours of a line, in which nothing is torn down: `Mon-Fri 08:00-18:00 Europe/Berlin`. Pure.

Hours are by the clock on the wall there: an hour that comes twice when the clocks go back counts twice, one that is
left out when they go forward is nobody's. Zones come from the IANA database in the package tzdata, which is kept up
with the rules of governments; the system's own is taken where it has one. Called by the cleanup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "Mon-Fri 08:00-18:00 Europe/Berlin"
_MINUTE = timedelta(minutes=1)
_FORM = re.compile(r"(\S+)\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s+(\S+)")
_LONGEST_CHANGE = timedelta(hours=26)  # of a zone's offset: some islands have changed sides of the date line


@dataclass(frozen=True, kw_only=True)
class OfficeHours:
    """On `days` (0 is Monday), from `start` up to `end` by the wall clock of `zone`, in minutes since midnight.

    An `end` that is not after `start` is on the day after.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo
    text: str

    def __str__(self) -> str:
        return self.text

    def has(self, now: datetime) -> bool:
        """Whether `now` is in them."""
        local = now.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        late = day in self.days and minute >= self.start
        return late or ((day - 1) % 7 in self.days and minute < self.end)

    def ends(self, now: datetime) -> datetime | None:
        """When those that `now` is in are over, in UTC; None where it is in none."""
        if not self.has(now):
            return None
        at = now.astimezone(UTC).replace(second=0, microsecond=0)
        while self.has(at):
            local = at.astimezone(self.zone)
            left = (self.end - local.hour * 60 - local.minute) % 1440 or 1440
            then = at + left * _MINUTE
            if then.astimezone(self.zone).utcoffset() == local.utcoffset():
                at = then
            else:  # the clocks change before: nobody knows how many minutes these are
                at = next(each for each in _minutes_after(at) if not self.has(each) or each >= then + _LONGEST_CHANGE)
        return at


def office_hours(text: str) -> OfficeHours:
    """The hours that are written so. Raises ValueError with what is wrong, and how it is written."""
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise ValueError(f"office hours are written as in {EXAMPLE}")
    days, *clock, zone = form.groups()
    hours = [int(each) for each in clock]
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if max(hours[1], hours[3]) > 59 or start >= 1440 or end > 1440:
        raise ValueError(f"there is no such time of day: a day goes from 00:00 to 24:00, as in {EXAMPLE}")
    chosen = _days(days)
    if start % 1440 == end % 1440 and len(chosen) == len(DAYS):
        raise ValueError("these hours never end: droptune keep says that a line stays, whatever the hour")
    where = _zone(zone)
    return OfficeHours(days=chosen, start=start, end=end % 1440, zone=where, text=" ".join(text.split()))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a ValueError: it would be a path
        known = next((each for each in available_timezones() if each.lower() == name.lower()), None)
    if known is None:
        raise ValueError(f"there is no time zone {name[:50]!r}: write it as in Europe/Berlin, or UTC")
    return ZoneInfo(known)


def _days(text: str) -> frozenset[int]:
    if text.lower() == "daily":
        return frozenset(range(len(DAYS)))
    found = set[int]()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        found.update(range(begin, end + 1) if begin <= end else (*range(begin, len(DAYS)), *range(end + 1)))
    return frozenset(found)


def _day(name: str) -> int:
    short = name.strip()[:3].capitalize()
    if short not in DAYS:
        raise ValueError(f"there is no day {name[:20]!r}: {', '.join(DAYS)}, Mon-Fri or daily, as in {EXAMPLE}")
    return DAYS.index(short)


def _minutes_after(start: datetime) -> Iterator[datetime]:
    at = start
    while True:
        at += _MINUTE
        yield at
