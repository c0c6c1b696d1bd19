"""What comes from outside with a command: who asks, and what for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from shared.errors import Permanent
from shared.lifecycle.moment import minute
from shared.line.kept import day_or_time
from shared.logs import visible
from shared.naming import FOLDER, refused

SOMEBODY = "somebody"
BY_LENGTH = 100
NAME_LENGTH = 1024
"""Of a blob's name in Azure: no folder has a longer one."""
_DIGITS = 9
"""More than a number has that somebody gives: Python reads none of thousands."""
CLAIMED = " (claimed)"
WHY_LENGTH = 300
_SPAN = re.compile(r"(\d{1,6})([mhdw])")
_WEEK = timedelta(weeks=1)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": _WEEK}
_PLAIN = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def who(name: str, *, proven: bool) -> str:
    """Who asks, as records and answers show it: a name that nobody vouches for says so."""
    if proven or not _line(name):
        return kept(name)
    return _line(name)[: BY_LENGTH - len(CLAIMED)].rstrip() + CLAIMED


def kept(by: str) -> str:
    """A name as it is kept: one line, of what can be printed, and not long."""
    return _line(by)[:BY_LENGTH].rstrip() or SOMEBODY


def why(text: str) -> str:
    """A reason as it is kept: one line, of what can be printed, and not long."""
    return _line(text)[:WHY_LENGTH].rstrip()


def such(kind: str, asked: str) -> str:
    """What was asked for, as an answer says it: by its name where that is a plain one; nothing else is repeated."""
    return f"{kind} {asked}" if _PLAIN.fullmatch(asked) else f"such {kind}"


def may_name_line(text: str) -> bool:
    """Whether it can be what a line is named by: its id, its endpoint, or its folder, if that can be read and typed."""
    return not refused(FOLDER, text) and text == visible(text) and len(text) <= NAME_LENGTH


def until(text: str, now: datetime) -> datetime:
    """When something ends that somebody gave an end: 90m, 12h, 3d or 2w from `now` on, a day, which counts whole, or a
    time in ISO 8601, in UTC where it has no zone. Raises Permanent, in a sentence."""
    span = _SPAN.fullmatch(text.strip().lower())
    try:
        at = now + int(span[1]) * _UNITS[span[2]] if span else day_or_time(text)
    except OverflowError:
        at = None
    if at is None:
        raise Permanent(f"{visible(text, 40)!r} is no time: it is written as in 12h, 3d, 2w or {now + _WEEK:%Y-%m-%d}")
    if at <= now:
        raise Permanent(f"{minute(at)} is over already; it is {minute(now)}")
    return at


def number(what: str, text: str, most: int) -> int:
    """A number from 1 to `most` that somebody gave for `what`. Raises Permanent, in a sentence."""
    found = int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0
    if not 1 <= found <= most:
        raise Permanent(f"{what} is {visible(text, 40)!r}: it must be a number from 1 to {most}")
    return found


def _line(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()
