"""The record of a run, one uploaded dataset on its way to an endpoint, and what becomes of it with each event.

Plain data in parts, and functions that give a changed copy; `store` reads and writes it. A retry, a restore and the
tags take parts over whole, so that a new field is with them from its first day.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shared.dataset.spec.choices import Hub, Policy
from shared.dataset.split import PARTS, Part
from shared.lifecycle.again import Scarce, after
from shared.lifecycle.course import Course
from shared.lifecycle.moment import Moment
from shared.lifecycle.phase import ROLLOUT, Hold, Phase
from shared.records import layout
from shared.records.base import CLOCKS, FRESH, VERSION, Notice, Order, Refusal, Wake
from shared.serving.gate import Promotion, Scores
from shared.serving.instances import Instances
from shared.serving.smoke import Answered, Silence

log = logging.getLogger("droptune.records.run")

HISTORY_LIMIT = 200
LATE = timedelta(minutes=10)
"""Who comes so much later than somebody was to finds that all hosts stood still: a sweep makes up for a lost timer."""
PARKED = timedelta(hours=1)
"""A parked run is tried again so often: what it stumbled over may have been mended, and it may cost money."""

# What it is made of --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class File:
    """A blob in `datasets`, as it was when the run took it. `size` in bytes.

    `md5`: of its content, in hex, "" where storage knows none. What is set on a blob changes its ETag, and not that.
    """

    name: str
    etag: str
    size: int
    md5: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was uploaded, and what finetune.yaml asks for.

    The data are files, `train` at least, or `hub`; a part may have several, in order of name. `hub_commit` is what the
    hub's revision was when it was read first.
    """

    folder: str
    base_model: str
    train: tuple[File, ...] = ()
    validation: tuple[File, ...] = ()
    test: tuple[File, ...] = ()
    spec: File | None = None
    hub: Hub | None = None
    hub_commit: str = ""
    policy: Policy = field(default_factory=Policy)
    promotion: Promotion = field(default_factory=Promotion)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[File, ...]:
        """The data files that it takes; none where its data are the hub's."""
        return (*self.train, *self.validation, *self.test)

    @property
    def parts(self) -> dict[Part, tuple[File, ...]]:
        """The files of each part that has some."""
        of = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: files for part in PARTS if (files := of[part])}

    @property
    def pinned_hub(self) -> Hub | None:
        """The dataset of the hub, at the commit that was read where one was."""
        return replace(self.hub, revision=self.hub_commit or self.hub.revision) if self.hub else None

    @property
    def address(self) -> str:
        """The data for people: a path in the storage account, or a dataset of the hub at a revision."""
        if hub := self.pinned_hub:
            return f"hf://datasets/{hub.name}@{hub.revision}"
        more = f" and {len(self.train) - 1} more" if len(self.train) > 1 else ""
        return f"datasets/{self.train[0].name}{more}" if self.train else ""


@dataclass(frozen=True, kw_only=True)
class Restores:
    """A person asked for a model that was there before, that of `run`; such a run begins at REGISTERED.

    `rollback`: it serves in the place of a newer one, that of the run `instead_of`.
    """

    run: str
    instead_of: str
    rollback: bool


# What an attempt comes to --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was found in the data. `rows` by part; `rejected`: why they can't be trained on, "" if they can."""

    fingerprint: str
    rows: dict[str, int] = field(default_factory=dict)
    rejected: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the job is made of, resolved once so that a redo submits the very same job; `notes` are for people."""

    model_id: str
    model_version: str
    component_id: str
    component_version: str
    parameters: dict[str, Any]
    gpus: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Approval:
    """`asked`: when people were told that the run waits for one; `by`: who gave it, "" as long as nobody has.

    `needed`: whatever finetune.yaml says, since the record was lost and what the deployment was for is not known.
    """

    needed: bool = False
    asked: tuple[Moment, ...] = ()
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The deployment `name` of `endpoint`, and what its checks showed.

    `smoke`: None until it was asked, a Silence while it does not answer. `scores`: what the gate was shown and said.
    `instances`: what it has; `asked`: what the settings wanted when it was made. None where that is not known.
    """

    endpoint: str
    name: str
    instances: Instances | None = None
    asked: Instances | None = None
    smoke: Silence | Answered | None = None
    scores: Scores | None = None
    approval: Approval = field(default_factory=Approval)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to come from the data to an endpoint; a retry begins another one.

    `data_of`: see Run.prepared. `in_job`: the data are too big for a function, and the first step of the job prepares
    them. `data`: None until they were checked. `kept`: what a person made of what serves, where its deployment gets
    that instead of what the settings say. `course`: what the job was seen to do, None before it trained. `resumed`: see
    Run.begun. `scarce`: how often Azure had no machines for it. `registered_again`: how often its model was gone, and
    made once more of the job's output.
    """

    number: int = 1
    data_of: str = ""
    in_job: bool = False
    data: Data | None = None
    plan: Plan | None = None
    job: str = ""
    course: Course | None = None
    model: str = ""
    kept: Instances | None = None
    deployed: Deployed | None = None
    resumed: Moment | None = None
    scarce: Scarce | None = None
    registered_again: int = 0

    @property
    def fingerprint(self) -> str:
        """Equal for attempts that make the same model of the same rows in the same way; "" until that is known."""
        return self.data.fingerprint if self.data else ""


# What happens to it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Somebody (`holder`, a token) does `action` until `until`, and renews that in long work.

    After that the claim counts as a crash, and the action is done again.
    """

    action: str
    until: Moment
    holder: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a run's history."""

    at: Moment
    phase: Phase
    what: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What the run waits for, in words; `hold`: see lifecycle/rules.py, Wait."""

    why: str
    hold: Hold = ""


@dataclass(frozen=True, kw_only=True)
class Parked:
    """It failed again and again: left alone until the sweep, or a person, tries it again."""

    at: Moment
    why: str


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How the run ends, and why. Decided once; the phase follows when what the run held is let go."""

    phase: Phase
    why: str


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
"""The event of a run that comes to a phase, once an attempt; behind `Droptune.`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One uploaded dataset on its way to an endpoint. Times are the storage service's, UTC."""

    version: int = VERSION
    id: str
    line: str
    installation: str = ""
    order: Order
    source: Source
    restores: Restores | None = None
    phase: Phase = Phase.RECEIVED
    since: Moment
    attempt: Attempt = field(default_factory=Attempt)
    ending: Ending | None = None
    waiting: Waiting | None = None
    refused: Refusal | None = None
    parked: Parked | None = None
    crashes: int = 0
    claim: Claim | None = None
    wake: Wake | None = None
    outbox: tuple[Notice, ...] = ()
    history: tuple[Entry, ...] = ()

    @property
    def is_ending(self) -> bool:
        """Whether its end is decided, and not carried out yet."""
        return self.ending is not None and not self.phase.ended

    @property
    def why(self) -> str:
        """Why it ends or ended; "" while it works."""
        return self.ending.why if self.ending else ""

    @property
    def hold(self) -> Hold:
        """What it is not worth a look before, see lifecycle/rules.py, Wait."""
        return self.waiting.hold if self.waiting else ""

    @property
    def needs_approval(self) -> bool:
        """Whether a person has to let it have traffic: finetune.yaml asks for that, or nobody knows what it was for."""
        deployed = self.attempt.deployed
        asked_for = self.source.promotion.approve == "manual" and not self.restores
        return asked_for or (deployed is not None and deployed.approval.needed)

    @property
    def deployed(self) -> Deployed:
        """The attempt's deployment. Raises ValueError where there is none: the phase says that there is."""
        if self.attempt.deployed is None:
            raise ValueError(f"run {self.id} is {self.phase}, and has no deployment")
        return self.attempt.deployed

    @property
    def prepared(self) -> str:
        """Prefix in the container `prepared` of the immutable copy of the data that its model is trained on."""
        return self.attempt.data_of or layout.attempt(self.id, self.attempt.number)

    @property
    def begun(self) -> datetime:
        """Since when its phase's time counts: what it waited for a person, or for hosts to come back, does not."""
        return max(self.since, self.attempt.resumed or self.since)

    def in_attempt(self, **changes: Any) -> Run:
        """The run with these fields of its attempt changed."""
        return replace(self, attempt=replace(self.attempt, **changes))

    def in_deployed(self, **changes: Any) -> Run:
        """The run with these fields of its attempt's deployment changed."""
        return self.in_attempt(deployed=replace(self.deployed, **changes))

    def taken_up(self, now: datetime) -> Run:
        """The run as a turn finds it at `now`, without the time in which somebody was to look, and nobody did.

        Since when that is its timer, its claim or its last change tells; one that is parked is looked at after PARKED.
        What waits for a person without a timer waits all the time. The timer is moved too: the next turn after a crash
        must not find the same time again.
        """
        changed = self.history[-1].at if self.history else None
        parked = self.parked.at + PARKED if self.parked else None
        times = (self.wake and self.wake.due, self.claim and self.claim.until, changed, parked)
        due = max([self.begun, *(each for each in times if each)])
        if (self.hold and not self.wake) or self.phase not in ROLLOUT or now - due < LATE:
            return self
        timer = Wake(token=self.wake.token if self.wake else "", due=now - CLOCKS)
        return replace(self.in_attempt(resumed=self.begun + (now - due)), wake=timer)

    def is_fresh(self, now: datetime) -> bool:
        """Whether it was so recently that Azure may not show yet what was made for it.

        That is since the run came to its phase, or since the deployment was asked for once more.
        """
        scarce = self.attempt.scarce
        asked = scarce.at if scarce and self.phase is Phase.DEPLOYING and not scarce.standing else self.since
        return now - max(self.since, asked) < FRESH

    def without_machines(self, at: datetime, why: str, *, standing: bool = False) -> Run:
        """The run after Azure had no machines for it once more; `standing`: see Scarce."""
        return self.in_attempt(scarce=after(self.attempt.scarce, at, why, standing=standing))

    def noted(self, at: datetime, what: str, *, phase: Phase | None = None, **changes: Any) -> Run:
        """The run with another line in its history and these fields changed; `since` moves with the phase.

        What the last line says already is not said twice: some things are noted again, more exactly.
        """
        phase = phase or self.phase
        if phase != self.phase:
            changes |= {"phase": phase, "since": at, "waiting": None, "refused": None}
            if kind := _EVENTS.get(phase):
                changes["outbox"] = (*self.outbox, self._notice(kind, at, self.why))
        last = self.history[-1] if self.history else None
        if last is None or (last.phase, last.what) != (phase, what):
            changes["history"] = (*self.history, Entry(at=at, phase=phase, what=what))[-HISTORY_LIMIT:]
        return replace(self, **changes)

    def park(self, at: datetime, why: str) -> Run:
        """The run left alone until the sweep, or a person, tries it again."""
        notice = self._notice("Run.Parked", at, why)
        return replace(self, parked=Parked(at=at, why=why), claim=None, crashes=0, outbox=(*self.outbox, notice))

    def refuse(self, at: datetime, why: str) -> Run:
        """The run after a rule of somebody's has refused what it wants: people are told at once, and once a day."""
        refused = Refusal.after(self.refused, at, why)
        outbox = (*self.outbox, self._notice("Run.Refused", at, why)) if refused.told == at else self.outbox
        return replace(self, refused=refused, outbox=outbox)

    def ask_approval(self, at: datetime, why: str) -> Run:
        """The run after people were told, `why` in words, that it waits for an approval."""
        notice, approval = self._notice("Run.ApprovalNeeded", at, why), self.deployed.approval
        asked = self.in_deployed(approval=replace(approval, asked=(*approval.asked, at)))
        return replace(asked, outbox=(*self.outbox, notice))

    def tell_of_seat(self, at: datetime, why: str) -> Run:
        """The run after people were told, `why` in words, that it waits for a seat among the live endpoints."""
        return replace(self, outbox=(*self.outbox, self._notice("Run.SeatNeeded", at, why)))

    def keep(self, instances: Instances | None, at: datetime, why: str) -> Run:
        """The run whose deployment gets these instances, or what the settings say; people are told `why` in words."""
        changed = self.in_attempt(kept=instances).noted(at, why)
        notice = self._notice("Run.InstancesKept", at, why)
        return replace(changed, outbox=(*self.outbox, notice)) if instances else changed

    def _notice(self, kind: str, at: datetime, why: str) -> Notice:
        if kind == "Endpoint.Live" and self.restores:
            kind = "Endpoint.RolledBack" if self.restores.rollback else "Endpoint.Revived"
        scores = self.attempt.deployed.scores if self.attempt.deployed else None
        if kind == "Endpoint.RolledBack" and scores and not scores.passed:
            kind = "Gate.Failed"
        often = kind in ("Run.Parked", "Run.ApprovalNeeded", "Run.Refused", "Run.InstancesKept", "Run.SeatNeeded")
        which = f"{at:%Y%m%dT%H%M%S}" if often else str(self.attempt.number)
        return Notice(id=f"{self.id}-{kind}-{which}", type=f"Droptune.{kind}", at=at, why=why)
