"""What the records of runs and lines share: how they are read, a version, an order in time, a timer, and an event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from shared.lifecycle.moment import Moment

VERSION = 1
"""Of the records that this code writes. One that says a higher number is a newer app's: shown, never rewritten."""
FRESH = timedelta(minutes=5)
"""What was just made may not be seen by all of Azure yet (azure-dev#4037)."""
CLOCKS = timedelta(seconds=5)
"""More than the clocks of a service's machines differ by."""


def from_json[R](data: bytes, kind: type[R]) -> R:
    """What JSON holds that anybody may have written or broken. Raises ValueError alone, where it is no `kind`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True, kw_only=True, order=True)
class Order:
    """Which of a line's runs is newer: it compares greater. Two uploads of one moment are told apart by `ordinal`."""

    uploaded: Moment
    ordinal: int = 0


@dataclass(frozen=True, kw_only=True)
class Wake:
    """The one live self-wake: the queue message with this token is the run's timer, any other token is stale."""

    token: str
    due: Moment

    @classmethod
    def at(cls, due: datetime) -> Wake:
        """A timer that no message has had before."""
        return cls(token=uuid4().hex, due=due)


TOLD_AGAIN = timedelta(days=1)
"""How often people are told of what only they can end."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What somebody's rule in Azure forbids since then, and `why`; when it was tried, and people were told, last.

    `unclear`: no rule that is known. Whether it holds can only be found out by trying all of it again.
    """

    since: Moment
    at: Moment
    told: Moment
    why: str
    unclear: bool = False

    @classmethod
    def after(cls, before: Refusal | None, now: datetime, why: str, *, unclear: bool = False) -> Refusal:
        """The one that follows `before`. It is `told` now, unless people have heard of it within TOLD_AGAIN."""
        told = before.told if before and now - before.told < TOLD_AGAIN else now
        return cls(since=before.since if before else now, at=now, told=told, why=why, unclear=unclear)

    def rests(self, now: datetime) -> bool:
        """Whether it is not worth another try yet."""
        return self.unclear and now - self.at < TOLD_AGAIN


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A lifecycle event to send: kept in the record's outbox until it was sent, so that a crash loses none.

    `id` is derived from what happened: an event that is sent again after a crash carries the same one.
    """

    id: str
    type: str
    at: Moment
    why: str = ""
