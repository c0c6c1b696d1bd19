"""What every command shares: who asks, ids that come from outside, and trying again when somebody else was faster."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shared.errors import Conflict

log = logging.getLogger("droptune.commands")


TRIES = 5


SOMEBODY = "somebody"


BY_LENGTH = 100


def who(by: str) -> str:
    """A name as it is kept: one line, of what can be printed, and not long."""
    return "".join(letter for letter in by if letter.isprintable()).strip()[:BY_LENGTH] or SOMEBODY


def until_unchanged(attempt: Callable[[], str], what: str) -> str:
    """Tries a change until nobody else changes the record at the same time."""
    for _ in range(TRIES):
        try:
            return attempt()
        except Conflict:
            log.info("%s changed meanwhile: read again", what)
    raise Conflict(f"{what} changes all the time: try again in a minute")


def may_be_id(text: str) -> bool:
    """Whether it is safe as a part of a record's name. What was asked for comes from outside."""
    return text.isascii() and text.replace("-", "").replace("_", "").isalnum()
