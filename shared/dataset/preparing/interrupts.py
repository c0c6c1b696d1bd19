"""Ctrl-C and processes that are just starting. Loads nothing: `droptune push` is small while it waits for one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """A process that starts in the block does not get Ctrl-C until it unblocks the signal: while Python loads, it would
    end with a traceback. This process gets what comes meanwhile at the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
