"""Times and lengths as people read them: in the zone of this machine, and by the largest units that they fill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def local(at: datetime) -> str:
    """Day and time, to the second, on this machine's clock."""
    return f"{_here(at):%Y-%m-%d %H:%M:%S}"


def clock(at: datetime, beside: datetime | None = None) -> str:
    """The time; with the day where that is another one than that of `beside`."""
    here = _here(at)
    same = beside is None or _here(beside).date() == here.date()
    return f"{here:%H:%M:%S}" if same else f"{here:%m-%d %H:%M:%S}"


def zone(at: datetime) -> str:
    """What the zone is called in which times are told."""
    return _here(at).tzname() or "local time"


class _Ahead:
    """By how much the app's clock is ahead of this machine's: that of a local cloud can be moved."""

    by = timedelta(0)


def now() -> datetime:
    """The time on the app's clock, in UTC."""
    return datetime.now(UTC) + _Ahead.by


def app_s_time(at: datetime | None) -> None:
    """Has `now` go on from this moment; None: from this machine's time."""
    _Ahead.by = at - datetime.now(UTC) if at else timedelta(0)


def ago(at: datetime) -> str:
    """How long that is past on the app's clock, in the largest unit that it fills."""
    passed = int((now() - at).total_seconds())
    for unit, seconds in _UNITS[:-1]:
        if passed >= seconds:
            return f"{passed // seconds} {unit} ago"
    return "just now"


def lasted(length: timedelta) -> str:
    """A length in its two largest units: `3 min 20 s`."""
    left = max(round(length.total_seconds()), 0)
    said = list[str]()
    for unit, seconds in _UNITS:
        if left >= seconds and len(said) < 2:
            said.append(f"{left // seconds} {unit}")
            left %= seconds
        elif said:
            break
    return " ".join(said) or "0 s"


def _here(at: datetime) -> datetime:
    try:
        return at.astimezone()
    except (OverflowError, ValueError):  # the first and last days that there are
        return at
