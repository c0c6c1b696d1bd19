"""The record of a run, one uploaded dataset on its way to an endpoint, and what becomes of it with each event.

Plain data, and functions that give a changed copy; `store` reads and writes it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shared.dataset.spec.choices import Hub, Policy
from shared.lifecycle.phase import Held, Phase
from shared.records import layout
from shared.records.base import CLOCKS, FRESH, Notice, Wake
from shared.serving.gate import Promotion, Scores
from shared.serving.smoke import Silence

log = logging.getLogger("droptune.records.run")

HISTORY_LIMIT = 200
LATE = timedelta(minutes=10)
"""Who comes so much later than somebody was to finds that all hosts stood still: a sweep makes up for a lost timer."""
LIMITED = (Phase.DEPLOYING, Phase.CHECKING)
"""Phases whose limit counts the time in which somebody looked. That of TRAINING is the job's, which goes on anyway."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A blob in `datasets`, as it was when the run took it. `size` in bytes; 0 in records of old, which had none."""

    name: str
    etag: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Somebody (`holder`, a token) does `action` until `until`, and renews that in long work.

    After that the claim counts as a crash, and the action is done again.
    """

    action: str
    until: datetime
    holder: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a run's history."""

    at: datetime
    phase: Phase
    what: str


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What the run's job is made of, resolved once so that a redo submits the very same job."""

    model_id: str
    model_version: str
    component_id: str
    component_version: str
    parameters: dict[str, Any]
    gpus: int


_EVENTS = {
    Phase.TRAINING: "Training.Started",
    Phase.REGISTERED: "Model.Registered",
    Phase.LIVE: "Endpoint.Live",
    Phase.REJECTED: "Dataset.Rejected",
    Phase.ROLLED_BACK: "Endpoint.RolledBack",
    Phase.FAILED: "Run.Failed",
    Phase.UNCHANGED: "Run.Unchanged",
    Phase.SUPERSEDED: "Run.Superseded",
    Phase.CANCELLED: "Run.Cancelled",
}
"""What is told of a run that comes to a phase, once an attempt; behind `Droptune.`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One uploaded dataset on its way to an endpoint. Times are the storage service's, UTC.

    Its data are files, `train` at least, or `hub`; `hub_commit` is what that one's revision was when it was read first.
    `in_job`: they are too big for a function, and the first step of the run's job prepares them. `origin`: the run
    whose model this one serves again, where a person asked for that (rollback, revive); it begins at REGISTERED.
    `data_of`: see `prepared`, where that is another run's or attempt's. `held`: see lifecycle/rules.py, Wait.
    `approved`: who let it have traffic; `asked`: when people were told that it waits for that. `resumed`: see `begun`.
    `rollback`: `origin`'s model serves in the place of a newer one, that of the run `instead_of`. `silence`: while its
    deployment does not answer the smoke test. `scores`: what the gate was shown and said (see serving/gate.py).
    `untold`: events to send.
    """

    id: str
    folder: str
    line: str
    base_model: str
    uploaded: datetime
    ordinal: int = 0
    origin: str = ""
    rollback: bool = False
    instead_of: str = ""
    data_of: str = ""
    train: File | None = None
    validation: File | None = None
    test: File | None = None
    spec: File | None = None
    hub: Hub | None = None
    hub_commit: str = ""
    policy: Policy = field(default_factory=Policy)
    promotion: Promotion = field(default_factory=Promotion)
    parameters: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    phase: Phase = Phase.RECEIVED
    since: datetime
    ending: Phase | None = None
    reason: str = ""
    waiting: str = ""
    held: Held = ""
    parked: str = ""
    parked_at: datetime | None = None
    crashes: int = 0
    claim: Claim | None = None
    wake: Wake | None = None
    notes: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    faults: int | None = None
    in_job: bool = False
    pinned: Pinned | None = None
    job: str = ""
    model: str = ""
    endpoint: str = ""
    deployment: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    passed: bool | None = None
    silence: Silence | None = None
    scores: Scores | None = None
    approved: str = ""
    asked: tuple[datetime, ...] = ()
    resumed: datetime | None = None
    untold: tuple[Notice, ...] = ()
    history: tuple[Entry, ...] = ()

    @property
    def order(self) -> tuple[datetime, int]:
        """Newer runs of a line compare greater."""
        return (self.uploaded, self.ordinal)

    @property
    def files(self) -> tuple[File, ...]:
        """The data files that it takes; none where its data are the hub's."""
        return tuple(file for file in (self.train, self.validation, self.test) if file)

    @property
    def data(self) -> str:
        """What it is trained on, to be told: a path in the storage account, or a dataset of the hub at a revision."""
        if self.hub:
            return f"hf://datasets/{self.hub.name}@{self.hub_commit or self.hub.revision}"
        return f"datasets/{self.train.name}" if self.train else ""

    @property
    def prepared(self) -> str:
        """Prefix in the container `prepared` of the immutable copy of the data that its model is trained on."""
        return self.data_of or layout.attempt(self.id, self.attempt)

    @property
    def begun(self) -> datetime:
        """Since when its phase's time counts: what it waited for a person, or for hosts to come back, does not."""
        return max(self.since, self.resumed or self.since)

    def taken_up(self, now: datetime) -> Run:
        """The run as a turn finds it at `now`, without the time in which somebody was to look, and nobody did.

        Since when that is its timer, its claim or its last change tells. The timer is moved too: the next turn after a
        crash must not find the same time again.
        """
        changed = self.history[-1].at if self.history else None
        times = (self.wake and self.wake.due, self.claim and self.claim.until, changed, self.parked_at)
        due = max([self.begun, *(each for each in times if each)])
        if self.held or self.phase not in LIMITED or now - due < LATE:
            return self
        timer = Wake(token=self.wake.token if self.wake else "", due=now - CLOCKS)
        return replace(self, resumed=self.begun + (now - due), wake=timer)

    def is_fresh(self, now: datetime) -> bool:
        """Whether the run came to its phase so recently that Azure may not show yet what was made for it."""
        return now - self.since < FRESH

    def told(self, at: datetime, what: str, *, phase: Phase | None = None, **changes: Any) -> Run:
        """The run with another line in its history and these fields changed; `since` moves with the phase."""
        phase = phase or self.phase
        if phase != self.phase:
            changes |= {"phase": phase, "since": at, "waiting": "", "held": ""}
            if kind := _EVENTS.get(phase):
                changes["untold"] = (*self.untold, self._notice(kind, at, self.reason))
        history = (*self.history, Entry(at=at, phase=phase, what=what))[-HISTORY_LIMIT:]
        return replace(self, history=history, **changes)

    def park(self, at: datetime, why: str) -> Run:
        """The run left alone until the sweep, or a person, tries it again."""
        notice = self._notice("Run.Parked", at, why)
        return replace(self, parked=why, parked_at=at, claim=None, crashes=0, untold=(*self.untold, notice))

    def ask(self, at: datetime, why: str) -> Run:
        """The run after people were told, `why` in words, that it waits for an approval."""
        notice = self._notice("Run.ApprovalNeeded", at, why)
        return replace(self, asked=(*self.asked, at), untold=(*self.untold, notice))

    def _notice(self, kind: str, at: datetime, why: str) -> Notice:
        if kind == "Endpoint.Live" and self.origin:
            kind = "Endpoint.RolledBack" if self.rollback else "Endpoint.Revived"
        if kind == "Endpoint.RolledBack" and self.scores and not self.scores.passed:
            kind = "Gate.Failed"
        often = kind in ("Run.Parked", "Run.ApprovalNeeded")
        which = f"{at:%Y%m%dT%H%M%S}" if often else str(self.attempt)
        return Notice(id=f"{self.id}-{kind}-{which}", type=f"Droptune.{kind}", at=at, why=why)


def expired(run: Run, now: datetime, margin: timedelta) -> bool:
    """Whether the run's timer or claim should have come by itself more than `margin` ago, and did not."""
    due = run.claim.until if run.claim else run.wake.due if run.wake else None
    return due is not None and due + margin < now
