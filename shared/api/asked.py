"""What comes from outside with a command: who asks, and ids."""

from __future__ import annotations

SOMEBODY = "somebody"
BY_LENGTH = 100


def who(by: str) -> str:
    """A name as it is kept: one line, of what can be printed, and not long."""
    return "".join(letter for letter in by if letter.isprintable()).strip()[:BY_LENGTH] or SOMEBODY


def may_be_id(text: str) -> bool:
    """Whether it is safe as a part of a record's name. What was asked for comes from outside."""
    return text.isascii() and text.replace("-", "").replace("_", "").isalnum()
