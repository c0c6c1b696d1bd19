"""Times as people read them: where they are, and how long ago. JSON has them in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def local(at: datetime | None) -> str:
    """The time on this machine's clock; "" for none."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""


def ago(at: datetime) -> str:
    """How long that is past, in the largest unit that it fills."""
    passed = max(datetime.now(UTC) - at, timedelta(0))
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if passed >= length:
            return f"{passed // length} {unit} ago"
    return "just now"


def lasted(time: timedelta) -> str:
    """A length of time, in its two largest units."""
    seconds = max(int(time.total_seconds()), 0)
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
