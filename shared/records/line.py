"""The record of a line: what its endpoint serves, what served before, and what is being done to it.

Plain data, and questions about it; `store` reads and writes it, `shared/line/` changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from shared.records.base import Notice, Wake
from shared.records.run import Run


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a line's endpoint serves."""

    run: str
    deployment: str
    model: str
    fingerprint: str
    since: datetime
    uploaded: datetime
    ordinal: int = 0

    @property
    def order(self) -> tuple[datetime, int]:
        """Compares with that of runs."""
        return (self.uploaded, self.ordinal)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The newest run of a line whose data are good: older ones that still train are superseded by it."""

    run: str
    uploaded: datetime
    ordinal: int = 0

    @property
    def order(self) -> tuple[datetime, int]:
        """Compares with that of runs."""
        return (self.uploaded, self.ordinal)


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A deployment that has no traffic any more; it is deleted at `until`, and is `going` by then.

    `model`: what a rollback may find in it; "" of a stray, which nobody takes up again.
    """

    deployment: str
    model: str
    until: datetime
    going: bool = False


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A deployment of Droptune's that nothing owns, and since when that is seen. `told`: it stays, which was said."""

    deployment: str
    since: datetime
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """All versions of one dataset folder and base model, behind one stable endpoint.

    `serving`: what answers now; `latest`: what went live last, kept when it is torn down; `before`: what served before
    that, which a rollback goes back to; `displaced`: what went for a rollout without spare instances, until something
    serves. `heading`: the newest run that trains. `rollout`: the run that it is being
    changed for. `leaving`: what is about to be deleted; `strays`: what may be next. `pinned`: who keeps it at what it
    serves, "" if nobody. `emptied`: since when the endpoint has no deployment; `removed`: since when there is none.
    `missing`: since when Azure does not show the endpoint, or what should serve there. `sidelined`: since when that has
    no traffic, which somebody took away. `wake`: the line's timer, of a teardown or of what is leaving. `untold`:
    events to send.
    """

    id: str
    folder: str
    base_model: str
    endpoint: str
    serving: Serving | None = None
    latest: Serving | None = None
    before: Serving | None = None
    displaced: Serving | None = None
    heading: Heading | None = None
    rollout: str = ""
    leaving: tuple[Leaving, ...] = ()
    strays: tuple[Stray, ...] = ()
    pinned: str = ""
    noticed: datetime | None = None
    missing: datetime | None = None
    sidelined: datetime | None = None
    tearing_down: bool = False
    wake: Wake | None = None
    remove_endpoint: bool = False
    emptied: datetime | None = None
    removed: datetime | None = None
    instances: int = 0
    untold: tuple[Notice, ...] = ()

    def to_tell(self, at: datetime, kind: str, why: str) -> Line:
        """The line with an event to send, of what becomes true by its next save; of a `kind` at most one a second."""
        notice = Notice(id=f"{self.id}-{kind}-{at:%Y%m%dT%H%M%S}", type=f"Droptune.{kind}", at=at, why=why)
        return replace(self, untold=(*self.untold, notice))


def without_endpoint(line: Line, now: datetime) -> Line:
    """The line once its endpoint is gone, and all that was on it."""
    return replace(
        line,
        serving=None,
        leaving=(),
        strays=(),
        noticed=None,
        missing=None,
        sidelined=None,
        emptied=line.emptied or (now if line.serving else None),
    )


def newer_that_serves(line: Line, run: Run) -> str | None:
    """The run that went live and is newer: this one need not any more.

    What a run is to serve instead of is never that, even if it became newer meanwhile because its data were uploaded
    once more: that is no word against a rollback.
    """
    latest = line.latest
    return latest.run if latest and latest.order > run.order and latest.run != run.instead_of else None


def serves_same(line: Line, run: Run) -> bool:
    """Whether the line serves, for longer than a teardown, what the run would make of its data and settings."""
    serving = line.serving
    return serving is not None and serving.fingerprint == run.fingerprint and not line.tearing_down


def adoptable(line: Line, run: Run) -> Leaving | None:
    """The deployment of the run's very model that served before and still stands: a rollback need not make another."""
    return next((each for each in line.leaving if each.model == run.model and not each.going), None)
