"""Waiting for what comes by itself: never by sleeping a while and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually[T](look: Callable[[], T | None], timeout: float = 30, *, every: float = 0.05) -> T:
    """Look until the answer is true (or the last look raises no AssertionError); fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() > deadline
        try:
            found = look()
        except AssertionError:
            if late:
                raise
        else:
            if found:
                return found
            assert not late, f"still {found!r} after {timeout} s"
        time.sleep(every)
