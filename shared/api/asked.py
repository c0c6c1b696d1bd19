"""What comes from outside with a command: who asks, and ids."""

from __future__ import annotations

SOMEBODY = "somebody"
BY_LENGTH = 100
CLAIMED = " (claimed)"


def who(name: str, *, proven: bool) -> str:
    """Who asks, as records and answers show it: a name that nobody vouches for says so."""
    if proven or not _line(name):
        return kept(name)
    return _line(name)[: BY_LENGTH - len(CLAIMED)].rstrip() + CLAIMED


def kept(by: str) -> str:
    """A name as it is kept: one line, of what can be printed, and not long."""
    return _line(by)[:BY_LENGTH].rstrip() or SOMEBODY


def may_be_id(text: str) -> bool:
    """Whether it is safe as a part of a record's name. What was asked for comes from outside."""
    return text.isascii() and text.replace("-", "").replace("_", "").isalnum()


def _line(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()
