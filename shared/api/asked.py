"""What comes from outside with a command: who asks, and what for."""

from __future__ import annotations

import re

from shared.errors import Permanent
from shared.logs import visible
from shared.naming import FOLDER, refused

SOMEBODY = "somebody"
BY_LENGTH = 100
NAME_LENGTH = 1024
"""Of a blob's name in Azure: no folder has a longer one."""
_DIGITS = 9
"""More than a number has that somebody gives: Python reads none of thousands."""
CLAIMED = " (claimed)"
_PLAIN = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def who(name: str, *, proven: bool) -> str:
    """Who asks, as records and answers show it: a name that nobody vouches for says so."""
    if proven or not _line(name):
        return kept(name)
    return _line(name)[: BY_LENGTH - len(CLAIMED)].rstrip() + CLAIMED


def kept(by: str) -> str:
    """A name as it is kept: one line, of what can be printed, and not long."""
    return _line(by)[:BY_LENGTH].rstrip() or SOMEBODY


def such(kind: str, asked: str) -> str:
    """What was asked for, as an answer says it: by its name where that is a plain one; nothing else is repeated."""
    return f"{kind} {asked}" if _PLAIN.fullmatch(asked) else f"such {kind}"


def may_name_line(text: str) -> bool:
    """Whether it can be what a line is named by: its id, its endpoint, or its folder, if that can be read and typed."""
    return not refused(FOLDER, text) and text == visible(text) and len(text) <= NAME_LENGTH


def number(what: str, text: str, most: int) -> int:
    """A number from 1 to `most` that somebody gave for `what`. Raises Permanent, in a sentence."""
    found = int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0
    if not 1 <= found <= most:
        raise Permanent(f"{what} is {visible(text, 40)!r}: it must be a number from 1 to {most}")
    return found


def _line(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()
