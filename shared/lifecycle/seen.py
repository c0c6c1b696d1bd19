"""What one look at Azure can show of a run: plain data, a dataclass for each phase.

Made by run/observe.py, judged by `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class UploadSeen:
    """RECEIVED: the folder, and what is known of its data."""

    gone: str | None = None
    """Why the folder does not yield this run any more."""
    settles_in: float = 0
    """Seconds until the rest of the upload should be there."""
    last: str = ""
    """The file that was written last: from there they count."""
    checked: bool = False
    rejected: str = ""
    """Why the data can't be trained on."""
    trained: str | None = None
    """What was made of the same data and settings before."""
    in_job: bool = False
    """They are too big to be prepared here: the job does it."""


@dataclass(frozen=True, kw_only=True)
class PlanSeen:
    """PREPARED: whether the job can be submitted now, and what it waits for if not."""

    planned: bool = True
    """Model, component and parameters are settled."""
    missing: tuple[str, ...] = ()
    """Compute clusters that are to be made."""
    pending: tuple[str, ...] = ()
    """Compute clusters that are being made."""
    unusable: str | None = None
    """Why a cluster can't be used."""
    changed: str | None = None
    """Where the job is to prepare the data, which file is not the one any more that it took, or what came."""
    newer: str | None = None
    """A run of the same line that is newer and ready to train, or serves."""
    trained: str | None = None
    """What was made of the same data and settings meanwhile."""
    behind: str = ""
    """The older run of the line that it waits for before it trains, in words."""
    noted: bool = False
    """The line says that it waits for that, or one as new, and it keeps no place that others could have."""
    newest: bool = True
    """The line says that this run is the newest that trains, or as new as that one."""
    quota: str = ""
    """Why there is none."""
    queued: bool = False
    """The run stands among those that wait for quota."""
    ahead: str = ""
    """The run that has waited for quota longest, if it is another one."""
    no_seat: str = ""
    """What it waits for where its line gets no seat among the live endpoints, in words."""
    slot: bool = True
    """The run may train now."""
    queue: str = ""
    """What it waits for if not, in words."""
    room_in: float | None = None
    """Seconds until there is a slot although nobody does anything; None where somebody wakes the run."""


@dataclass(frozen=True, kw_only=True)
class JobSeen:
    """TRAINING: the job, and the data where the job prepares them itself."""

    status: str | None
    """Azure ML's; None when there is no such job."""
    why: str | None = None
    """What Azure ML says of a failure."""
    turns: Literal["", "trains", "queues"] = ""
    """What it does now, where the record does not say so yet."""
    doing: str = ""
    """What is waited for, since when and how long at most, in words."""
    overdue: str = ""
    """Why it is to be given up, where it queues or trains for too long."""
    given_up: str = ""
    """Why its end was asked for already."""
    fresh: bool = False
    """It may be too early to say that there is none."""
    newer: str | None = None
    """A run of the same line that is newer and ready to train, or serves."""
    report: Literal["taken", "new", "missing"] = "taken"
    """What became of the report on the data, once the job has ended."""
    rejected: str = ""
    """Why the data can't be trained on, by a report that is taken."""
    changed: str | None = None
    """Which file somebody wrote over while it was read."""
    again: bool = False
    """It failed for want of machines before it trained, and another one may be submitted."""


@dataclass(frozen=True, kw_only=True)
class RolloutSeen:
    """REGISTERED: the line, its endpoint, and whether there is room for another deployment."""

    newer: str | None = None
    """A run that is newer and went further."""
    busy: str | None = None
    """What else the line is being changed for."""
    seat: bool = True
    """The line has a seat among the live endpoints."""
    no_seat: str = ""
    """What the run waits for if not, in words; "" where it is to ask for one."""
    endpoint: str | None = "Succeeded"
    """Its provisioning state; None: there is none."""
    gone: str | None = None
    """The model, where it is not there."""
    fresh: bool = False
    """It may be too early to say that the endpoint, or the model, is not there."""
    hands: str = ""
    """What a person has done to the endpoint, or has to, and what ends the wait for that."""
    pinned_by: str = ""
    """Who keeps the line at what it serves."""
    retiring: bool = False
    """What served before is still there."""
    in_place: tuple[str, ...] = ()
    """Deployments that have to go first, since the run is to do without spare instances."""
    resized: bool = False
    """A person gave what serves another size, or took that back, and the run does not know it yet."""
    quota: str = ""
    """Why there is none."""
    queued: bool = False
    """The run stands among those that wait for quota."""
    ahead: str = ""
    """The run that has waited for quota longest, if it is another one."""


@dataclass(frozen=True, kw_only=True)
class DeploymentSeen:
    """DEPLOYING: the run's own deployment."""

    state: str | None
    """Its provisioning state; None: it is not there."""
    why: str | None = None
    """What Azure ML says of a failure."""
    fresh: bool = False
    """It may be too early to say that it is not there."""
    overdue: bool = False
    """It takes longer than MAX_DEPLOYING_HOURS."""
    again: Literal["", "note", "remove", "deploy"] = ""
    """What is next where Azure had no machines for it; "" where that is not so, or is tried no more."""
    again_in: float = 0
    """Seconds until it is deployed again, if that is not now."""
    waits: str = ""
    """What it waits for until then, in words."""
    newer: str | None = None
    """A run that is newer and went further, where this one has no deployment."""


@dataclass(frozen=True, kw_only=True)
class CheckSeen:
    """CHECKING: what the deployment has passed, and how far it is from the traffic."""

    passed: bool | None = None
    """The smoke test; None until it was asked."""
    why: str = ""
    """What the smoke test or the gate has said."""
    gate: bool | None = None
    """The gate; None until it was asked."""
    approval: bool = False
    """A person has to let it have traffic, and has not yet."""
    ask: bool = False
    """People have not been asked for that within a day."""
    unanswered: bool = False
    """They were asked on MAX_APPROVAL_DAYS days."""
    gone: str | None = None
    """The endpoint or the deployment, where it is not there."""
    fresh: bool = False
    """It may be too early to say so."""
    busy: bool = False
    """The endpoint is being changed."""
    hands: str = ""
    """Whom a person gave traffic that is not the rollout's to take, and what ends the wait for that."""
    traffic: int = 0
    """Percent that the deployment has of what it may have of the endpoint's traffic."""
    newer: str | None = None
    """A run that is newer and serves."""
    serves: bool = False
    """The line says that this run serves."""


type Seen = UploadSeen | PlanSeen | JobSeen | RolloutSeen | DeploymentSeen | CheckSeen
