"""What ends a command early: a sentence for the person who typed it, printed by `__main__`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CliError(Exception):
    """The command can't be carried out. The text says why and what to do."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C. The text says what holds now, and what to do."""


@contextmanager
def stopped_with(text: str) -> Iterator[None]:
    """Says that after Ctrl-C in the block, which may have changed something. Raises Stopped then."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise error if isinstance(error, Stopped) else Stopped(text) from None
