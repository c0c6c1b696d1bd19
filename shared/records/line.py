"""The record of a model line: what its endpoint serves, what served before, and what is being done to it.

Plain data, and questions about it; `store` reads and writes it, `shared/line/` changes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from shared.lifecycle.giving_way import Pace
from shared.lifecycle.moment import Moment
from shared.records.base import TOLD_AGAIN, VERSION, Notice, Order, Refusal, Wake
from shared.records.run import Run
from shared.serving.instances import Instances

# Its endpoint's state ------------------------------------------------------------------------------------------------


class NotMade(msgspec.Struct, frozen=True, kw_only=True, tag="not_made"):
    """Nothing has served yet. `missing`, here and below: since when Azure does not show what ought to be there."""

    missing: Moment | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True, tag="standing"):
    """Something serves. `noticed`: since when people know that it is idle.

    `no_traffic`: since when what should serve has none, which somebody took away.
    """

    missing: Moment | None = None
    no_traffic: Moment | None = None
    noticed: Moment | None = None


class Empty(msgspec.Struct, frozen=True, kw_only=True, tag="empty"):
    """The endpoint has no deployment that should serve since then."""

    since: Moment
    missing: Moment | None = None


class TearingDown(msgspec.Struct, frozen=True, kw_only=True, tag="tearing_down"):
    """Its deployments are being deleted, `whole`: the endpoint with them. `emptied`: since when it was empty before.

    `stopped`: who has asked for that, and why; "" where nobody did, as nobody used it.
    """

    whole: bool
    emptied: Moment | None = None
    stopped: str = ""


class Removed(msgspec.Struct, frozen=True, kw_only=True, tag="removed"):
    """The endpoint is gone since then. `emptied`: since when nothing cost any more, if something had."""

    since: Moment
    emptied: Moment | None = None


type State = NotMade | Standing | Empty | TearingDown | Removed

TEARDOWN, TRAFFIC = "", "/traffic"
"""In `Line.refused`: the teardown, which waits until it is allowed, and the traffic. No deployment is called so."""
TRIED_AGAIN = timedelta(minutes=15)
"""How often what was refused is tried again."""
_BELIEVED = timedelta(minutes=10)
"""How long a refusal is taken for one that stands: less than that, so that who waits for quota meanwhile tries, too."""

# What is on it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a line's endpoint serves; `order` is that of its run.

    `asked`: the instances that the settings wanted when it was deployed, None where that is not known.
    """

    run: str
    deployment: str
    model: str
    fingerprint: str
    since: Moment
    order: Order
    asked: Instances | None = None


@dataclass(frozen=True, kw_only=True)
class Newest:
    """The newest run of a line whose data are good, of those that train or of those that wait to.

    Older ones of its kind are superseded by it.
    """

    run: str
    order: Order


@dataclass(frozen=True, kw_only=True)
class Retiring:
    """A deployment that has no traffic any more; it is deleted at `until`, and is `going` by then.

    `model`: what a rollback may find in it; "" of an orphan, which nobody takes up again.
    """

    deployment: str
    model: str
    until: Moment
    going: bool = False


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A deployment of Droptune's that no run owns, since when it is seen, and whether people know that it stays."""

    deployment: str
    since: Moment
    reported: bool = False


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Somebody wants the line kept as it is, whoever calls it, until then; None: until somebody ends that."""

    until: Moment | None
    who: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """All versions of one dataset folder and base model, behind one stable endpoint.

    `serving`: what answers now; `latest`: what went live last, kept when it is torn down; `previous`: what served
    before that, which a rollback goes back to; `displaced`: what went for a rollout without spare instances, until
    something serves. `newest`: the newest run that trains, or did; `waits`: the newest that waits for that one;
    `pace`: how long it trains. `rollout`: the run that it is being changed for.
    `retiring`: what is about to be deleted; `orphans`: what may be next. `others`: what is in its place and somebody
    else's, as people were told. `pinned_by`: who keeps it at what it serves, "" if nobody; `keep`: who wants it to
    stand; `hours`: office hours, in which it is not torn down, "" for none; `cost_told`: when people
    heard last what it costs that it is kept. `wake`: the line's timer, of a teardown or of what retires. `refused`:
    what Azure does not let be deleted, by deployment or as TEARDOWN; `taken`: the traffic that was taken away for a
    deletion, which gets it back where that is refused. `installation`: the id of the Droptune that made it.
    """

    version: int = VERSION
    id: str
    folder: str
    base_model: str
    endpoint: str
    installation: str = ""
    state: State = field(default_factory=NotMade)
    serving: Serving | None = None
    latest: Serving | None = None
    previous: Serving | None = None
    displaced: Serving | None = None
    newest: Newest | None = None
    waits: Newest | None = None
    pace: Pace = field(default_factory=Pace)
    rollout: str = ""
    retiring: tuple[Retiring, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    others: tuple[str, ...] = ()
    pinned_by: str = ""
    keep: Keep | None = None
    hours: str = ""
    cost_told: Moment | None = None
    instances: int = 0
    refused: dict[str, Refusal] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    wake: Wake | None = None
    outbox: tuple[Notice, ...] = ()

    def kept_at(self, now: datetime) -> Keep | None:
        """Who wants it to stand at `now`; None if nobody does, or not any more."""
        return self.keep if self.keep and (self.keep.until is None or now < self.keep.until) else None

    @property
    def is_going(self) -> bool:
        """Whether a teardown is under way."""
        return isinstance(self.state, TearingDown)

    @property
    def emptied(self) -> datetime | None:
        """Since when its deployments cost nothing any more; None while one serves, and where none ever did."""
        match self.state:
            case Empty(since=since):
                return since
            case TearingDown(emptied=since) | Removed(emptied=since):
                return since
        return None

    @property
    def removed(self) -> datetime | None:
        """Since when there is no endpoint any more."""
        return self.state.since if isinstance(self.state, Removed) else None

    @property
    def noticed(self) -> datetime | None:
        """Since when people know that it is idle."""
        return self.state.noticed if isinstance(self.state, Standing) else None

    @property
    def missing(self) -> datetime | None:
        """Since when Azure does not show what ought to be there."""
        return None if isinstance(self.state, TearingDown | Removed) else self.state.missing

    def with_missing(self, since: datetime | None) -> Line:
        """The line with what ought to be there missing since then, or there (again)."""
        if isinstance(self.state, TearingDown | Removed):
            return self
        return replace(self, state=msgspec.structs.replace(self.state, missing=since))

    def without_serving(self, now: datetime) -> Line:
        """The line once nothing serves; an endpoint that was empty before is so since then."""
        line = self.allow([TEARDOWN, self.serving.deployment]) if self.serving else self  # that was for what served
        return replace(line, serving=None, state=Empty(since=self.emptied or now))

    def without_endpoint(self, now: datetime) -> Line:
        """The line once its endpoint is gone, and all that was on it."""
        emptied = self.emptied or (now if self.serving else None)
        gone = replace(self, serving=None, retiring=(), orphans=(), refused={}, taken={})
        return replace(gone, state=Removed(since=now, emptied=emptied))

    def refuse(self, why: Mapping[str, str], now: datetime, *, unclear: bool = False) -> Line:
        """The line after Azure has refused these, each with the reason: people are told at once, and once a day."""
        if not why:
            return self
        after = {
            name: Refusal.after(self.refused.get(name), now, reason, unclear=unclear) for name, reason in why.items()
        }
        line = replace(self, refused=self.refused | after)
        told = {name: f"{_stands(name)}: {each.why}" for name, each in after.items() if each.told == now}
        if traffic := told.pop(TRAFFIC, ""):
            line = line.to_send(now, "Endpoint.TrafficRefused", traffic)
        return line.to_send(now, "Endpoint.DeleteRefused", "; ".join(told.values())) if told else line

    def remind(self, now: datetime) -> Line:
        """The line after people were told once more, if a day is over, of a teardown that is refused and not tried."""
        before = self.refused.get(TEARDOWN)
        if before is None or now - before.told < TOLD_AGAIN:
            return self
        line = replace(self, refused=self.refused | {TEARDOWN: replace(before, told=now)})
        return line.to_send(now, "Endpoint.DeleteRefused", f"{_stands(TEARDOWN)}: {before.why}")

    def allow(self, names: Collection[str]) -> Line:
        """The line without the refusals of these."""
        return replace(self, refused={name: each for name, each in self.refused.items() if name not in names})

    def is_stuck(self, name: str, now: datetime) -> bool:
        """Whether Azure has just refused to delete it, so that nobody waits for that."""
        refusal = self.refused.get(name)
        return refusal is not None and now - refusal.at < _BELIEVED

    def to_send(self, at: datetime, kind: str, why: str) -> Line:
        """The line with an event to send, of what becomes true by its next save; of a `kind` at most one a second."""
        notice = Notice(id=f"{self.id}-{kind}-{at:%Y%m%dT%H%M%S}", type=f"Droptune.{kind}", at=at, why=why)
        return replace(self, outbox=(*self.outbox, notice))


def _stands(name: str) -> str:
    match name:
        case "":
            return "the endpoint can't be torn down: callers keep their answers, and what is on it still costs"
        case "/traffic":
            return "the traffic can't be given back to what served, so that callers get no answers"
    return f"deployment {name} can't be deleted, and still costs"


def newer_to_train(line: Line | None, run: Run) -> str | None:
    """The run of the same line that is newer and ready to train, or further: this one need not train any more.

    One that waits is in the way of others that do, and not of what it waits for.
    """
    newest, waits = (line.newest, line.waits) if line else (None, None)
    if newest and newest.order >= run.order:
        return newest.run if newest.order > run.order else None
    return waits.run if waits and waits.order > run.order else None


def newer_that_serves(line: Line, run: Run) -> str | None:
    """The run that went live and is newer: this one need not any more.

    What a run is to serve instead of is never that, even if it became newer meanwhile because its data were uploaded
    once more: that is no word against a rollback.
    """
    latest, instead_of = line.latest, run.restores.instead_of if run.restores else ""
    return latest.run if latest and latest.order > run.order and latest.run != instead_of else None


def serves_same(line: Line, run: Run) -> bool:
    """Whether the line serves, for longer than a teardown, what the run would make of its data and settings."""
    serving = line.serving
    return serving is not None and serving.fingerprint == run.attempt.fingerprint and not line.is_going


def adoptable(line: Line, run: Run) -> Retiring | None:
    """The deployment of the run's very model that served before and still stands: a rollback need not make another."""
    return next((each for each in line.retiring if each.model == run.attempt.model and not each.going), None)
