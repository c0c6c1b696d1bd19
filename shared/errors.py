"""Errors that say what happens next.

Whoever catches one of these knows what to do with the run at hand: record it and stop (`Permanent`), or wake it
later (`Transient`; `Refused` where only a person ends the wait). Anything else that is raised is a bug; it is retried
by the queue and ends in its poison queue.
"""

from __future__ import annotations

from datetime import timedelta


class Permanent(Exception):
    """Trying again is useless: the run ends, with this text as its reason. The text says what to do."""


class ModelFailed(Permanent):
    """A model answered with an error of its own. Asked once more it may answer; else that is its answer for good."""


class Transient(Exception):
    """Azure is not ready, busy or out of reach: the run is woken again after `after`.

    `shut_out`: the app is not let in (any more, or yet), which says nothing of what it asks for. `scarce`: Azure has no
    machines for it, which lifecycle/again.py has a limit for.
    """

    def __init__(
        self,
        reason: str,
        after: timedelta = timedelta(seconds=30),
        *,
        shut_out: bool = False,
        scarce: bool = False,
    ) -> None:
        super().__init__(reason)
        self.after = after
        self.shut_out = shut_out
        self.scarce = scarce


class Refused(Transient):
    """A rule that somebody set in Azure forbids it: a lock, a policy, a deny assignment, a network that is shut.

    It is tried again by itself, but only a person ends the wait: the text says how, and people are told at once, and
    once a day as long as it lasts.
    """

    def __init__(self, reason: str, after: timedelta = timedelta(minutes=5)) -> None:
        super().__init__(reason, after)


class NotFound(Exception):
    """The resource does not exist (any more)."""


class Conflict(Exception):
    """Somebody else changed the blob since it was read (If-Match failed), or made it first (If-None-Match)."""
