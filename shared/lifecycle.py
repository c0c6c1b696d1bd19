"""What happens next to a run: every rule of the lifecycle, as one pure function.

A run is one uploaded dataset on its way to an endpoint. `next_step` gets the phase that its record says and what one
cheap look at Azure has shown, and answers with the step to take. It knows nothing of time, storage or Azure; the loop
in `advance.py` looks, asks here, acts and remembers. Events never decide anything: they only cause a look.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

type Held = Literal["", "slot", "quota", "approval", "pin"]


class Phase(StrEnum):
    """Where a run is. Those from REJECTED on are ends; within one attempt the phases form a DAG."""

    RECEIVED = "received"
    PREPARED = "prepared"
    TRAINING = "training"
    REGISTERED = "registered"
    DEPLOYING = "deploying"
    CHECKING = "checking"
    LIVE = "live"
    REJECTED = "rejected"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing happens any more to a run in this phase."""
        return self not in WORK


WORK = (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING, Phase.REGISTERED, Phase.DEPLOYING, Phase.CHECKING)


# What a look can show ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Upload:
    """RECEIVED. `gone`: why the folder yields this run no more. `faults`: None until checked.

    `reason`: why it can't be trained on, as far as that is known. `trained`: what was made of the same data and
    settings before. `in_job`: it is too big to be prepared here.
    """

    gone: str | None = None
    settles_in: float = 0
    faults: int | None = None
    reason: str = ""
    trained: str | None = None
    in_job: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """PREPARED. `pinned`: model, component and parameters are resolved. Names of computes; `unusable` tells why.

    `changed`: which file that the job would prepare is not the one any more that the run took. `newer`: the run of the
    same line that is ready to train and newer; `heads`: that this is a newest one itself. `quota`: why there is none;
    `queued`: that the run stands among those that wait for some; `before`: who has waited for it longest, if another.
    `slot`: whether it may train now; if it waits for that, `queue` says for what, and `room_in` in how many seconds
    there is room without anybody's doing. `wasteful`: to lead would end a job for a run that can't start today.
    """

    pinned: bool = True
    missing: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    unusable: str | None = None
    changed: str | None = None
    newer: str | None = None
    heads: bool = True
    quota: str = ""
    queued: bool = False
    before: str = ""
    slot: bool = True
    queue: str = ""
    room_in: float | None = None
    wasteful: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """TRAINING. `status` is Azure ML's, None when there is no such job; `fresh`: that may be too early to say.

    `overdue`: it takes longer than MAX_TRAINING_HOURS. `newer`: as for a Plan.
    Of a job that prepares its data itself, once it has ended:
    `report`, what became of the data; `reason`, why they can't be trained on, once the report is taken; `changed`, that
    somebody wrote over them while they were read.
    """

    status: str | None
    why: str | None = None
    overdue: bool = False
    fresh: bool = False
    newer: str | None = None
    report: Literal["taken", "new", "missing"] = "taken"
    reason: str = ""
    changed: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """REGISTERED. `busy`: what else is done to the line. `endpoint`: its provisioning state, None: there is none.

    `fresh`: as for a Job.
    `pinned`: who keeps the line at what it serves. `leaving`: whether what served before is still there; `in_place`:
    deployments that have to go first, since the run is to do without spare instances. `quota`, `queued`, `before`: as
    for a Plan.
    """

    newer: str | None = None
    busy: str | None = None
    endpoint: str | None = "Succeeded"
    fresh: bool = False
    pinned: str = ""
    leaving: bool = False
    in_place: tuple[str, ...] = ()
    quota: str = ""
    queued: bool = False
    before: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """DEPLOYING. State of the run's own deployment, None: not there. `fresh`: that may be too early to say.

    `overdue`: it takes longer than MAX_DEPLOYING_HOURS.
    """

    state: str | None
    why: str | None = None
    fresh: bool = False
    overdue: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """CHECKING. `passed`: None until asked, `why` tells. `traffic`: the deployment's percentage on its endpoint.

    `gate`: the same of the comparison with what serves. `approval`: somebody has to let it pass. `ask`: people have not
    been told of that for a day; `unanswered`: they were, on MAX_APPROVAL_DAYS days. `busy`: the endpoint is being
    changed. `serves`: the line says that this run serves. `gone`: what of it is not there; `fresh`: as for a Job.
    `overdue`: what it waited for last, where all but the approval takes longer than MAX_CHECKING_HOURS.
    """

    passed: bool | None = None
    why: str = ""
    gate: bool | None = None
    approval: bool = False
    ask: bool = False
    unanswered: bool = False
    gone: str | None = None
    fresh: bool = False
    busy: bool = False
    traffic: int = 0
    newer: str | None = None
    serves: bool = False
    overdue: str = ""


type Seen = Upload | Plan | Job | Rollout | Deployment | Check


# What to do about it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Do:
    """Claim, act, save, and go on in phase `then`, which is never an end."""

    action: str
    then: Phase


@dataclass(frozen=True)
class Go:
    """On to the next phase; there is nothing to do for it."""

    phase: Phase


@dataclass(frozen=True)
class Wait:
    """Nothing to do now. `seconds`: look again after so long; None: an event or the sweep will wake the run.

    `held`: what is not worth a look before somebody did something: `slot` (a run that trains ends), `quota` (which
    nothing tells of), `approval`, `pin`. `wakes`: the run that is waited for, which may not know that it is its turn.
    """

    seconds: float | None
    why: str
    held: Held = ""
    wakes: str = ""


@dataclass(frozen=True)
class Poll:
    """Azure works on something that raises no event: look again at the polling interval, backing off."""

    why: str


@dataclass(frozen=True)
class Stop:
    """The end, one way or another: what the run holds and should not keep is let go, then it ends."""

    phase: Phase
    why: str


type Step = Do | Go | Wait | Poll | Stop

JOB_FAILED = ("Failed", "Canceled", "NotResponding")
ENDED = ("Completed", *JOB_FAILED)
QUOTA_WAIT = 15 * 60.0
"""Seconds: quota comes when somebody deletes something or is granted more; nothing tells of it."""
UNANSWERED = "nobody has approved it in MAX_APPROVAL_DAYS days: droptune retry deploys it again, and asks again"
OVERDUE = (
    "it did not serve within MAX_CHECKING_HOURS: see to what it waited for, then droptune retry, which does not train "
    "again; that was"
)


def unseen(what: str) -> str:
    """What is waited for where something ought to be there. That it is gone is believed at the second look."""
    return f"{what} to be seen"


def next_step(phase: Phase, seen: Seen) -> Step:
    """The step that a run in `phase` takes after a look that showed `seen`.

    Raises ValueError when the look does not belong to the phase, or the phase is an end: both are bugs.
    """
    match phase, seen:
        case Phase.RECEIVED, Upload():
            return _received(seen)
        case Phase.PREPARED, Plan():
            return _prepared(seen)
        case Phase.TRAINING, Job():
            return _training(seen)
        case Phase.REGISTERED, Rollout():
            return _registered(seen)
        case Phase.DEPLOYING, Deployment():
            return _deploying(seen)
        case Phase.CHECKING, Check():
            return _checking(seen)
        case _:
            raise ValueError(f"a run in phase {phase} can't be shown {seen!r}")


def refused(phase: Phase) -> Phase:
    """How a run in `phase` ends when something that it takes is refused for good, so that no look will show it."""
    return Phase.ROLLED_BACK if phase in (Phase.DEPLOYING, Phase.CHECKING) else Phase.FAILED


def _received(seen: Upload) -> Step:
    match seen:
        case Upload(gone=str(why)):
            return Stop(Phase.SUPERSEDED, why)
        case Upload(settles_in=seconds) if seconds > 0:
            return Wait(seconds, "the rest of the upload")
        case Upload(in_job=True):
            return Go(Phase.PREPARED)
        case Upload(faults=None):
            return Do("prepare", Phase.RECEIVED)
        case Upload(reason=why) if why:
            return Stop(Phase.REJECTED, why)
        case Upload(trained=str(what)):
            return Stop(Phase.UNCHANGED, f"already trained: {what}")
        case _:
            return Go(Phase.PREPARED)


def _prepared(seen: Plan) -> Step:
    match seen:
        case Plan(changed=str(why)):
            return Stop(Phase.SUPERSEDED, why)
        case Plan(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and ready to train")
        case Plan(pinned=False):
            return Do("pin", Phase.PREPARED)
        case Plan(unusable=str(why)):
            return Stop(Phase.FAILED, why)
        case Plan(queued=False) if seen.quota or seen.before:
            return Do("queue_up", Phase.PREPARED)
        case Plan(quota=why) if why:
            return Wait(QUOTA_WAIT, why, held="quota")
        case Plan(before=other) if other:
            return _give_way(other)
        case Plan(missing=(_, *_)):
            return Do("make_computes", Phase.PREPARED)
        case Plan(pending=(_, *_)):
            return Poll(f"compute {', '.join(seen.pending)}, which is being made")
        case Plan(slot=False, queue=""):
            return Do("admit", Phase.PREPARED)
        case Plan(heads=False) if seen.slot or not seen.wasteful:
            return Do("lead", Phase.PREPARED)
        case Plan(slot=False):
            return Wait(seen.room_in, seen.queue, held="slot")
        case _:
            return Do("train", Phase.TRAINING)


def _give_way(other: str) -> Step:
    return Wait(60, f"quota, for which run {other} has waited longer", held="quota", wakes=other)


def _training(seen: Job) -> Step:
    match seen:
        case Job(changed=str(why)):
            return Stop(Phase.SUPERSEDED, why)
        case Job(report="new"):
            return Do("take_report", Phase.TRAINING)
        case Job(reason=why) if why:
            return Stop(Phase.REJECTED, why)
        case Job(status="Completed", report="missing"):
            return Stop(Phase.FAILED, "the job's first step left no report on the data that it prepared")
        case Job(status="Completed"):
            return Do("register", Phase.REGISTERED)
        case Job(newer=str(other)) if seen.status not in ENDED:
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and ready to train")
        case Job(status=None, fresh=True):
            return Poll(unseen("the job"))
        case Job(status=None):
            return Stop(Phase.FAILED, "the job is gone: somebody deleted it")
        case Job(status="Canceled", overdue=True):
            return Stop(Phase.FAILED, "the job took longer than MAX_TRAINING_HOURS and was cancelled")
        case Job(status=status) if status in JOB_FAILED:
            why = seen.why or "Azure ML names no reason; see its logs"
            return Stop(Phase.FAILED, f"the job ended as {status}: {why}")
        case Job(overdue=True, status="CancelRequested"):
            return Wait(None, "the job to be cancelled")
        case Job(overdue=True):
            return Do("cancel_job", Phase.TRAINING)
        case _:
            return Wait(None, "the job's event")


def _registered(seen: Rollout) -> Step:
    match seen:
        case Rollout(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and went further")
        case Rollout(pinned=who) if who:
            return Wait(None, f"the line, which {who} has pinned to what it serves: droptune unpin", held="pin")
        case Rollout(busy=str(what)):
            return Wait(60, what)
        case Rollout(endpoint=None, fresh=True):
            return Poll(unseen("the endpoint"))
        case Rollout(endpoint=None):
            return Do("make_endpoint", Phase.REGISTERED)
        case Rollout(endpoint="Failed" | "Canceled"):
            return Stop(Phase.FAILED, f"the endpoint is in state {seen.endpoint}: delete it, then droptune retry")
        case Rollout(endpoint=state) if state != "Succeeded":
            return Poll(f"the endpoint, which is {state}")
        case Rollout(leaving=True):
            return Do("clear", Phase.REGISTERED)
        case Rollout(in_place=(_, *_)):
            return Do("make_room", Phase.REGISTERED)
        case Rollout(queued=False) if seen.quota or seen.before:
            return Do("queue_up", Phase.REGISTERED)
        case Rollout(quota=why) if why:
            return Wait(QUOTA_WAIT, why, held="quota")
        case Rollout(before=other) if other:
            return _give_way(other)
        case _:
            return Do("deploy", Phase.DEPLOYING)


def _deploying(seen: Deployment) -> Step:
    match seen:
        case Deployment(state="Succeeded"):
            return Go(Phase.CHECKING)
        case Deployment(state="Failed" | "Canceled"):
            return Stop(
                Phase.ROLLED_BACK, f"the deployment failed: {seen.why or 'Azure ML names no reason; see its log'}"
            )
        case Deployment(state=None, fresh=True):
            return Poll(unseen("the deployment"))
        case Deployment(state=None):
            return Stop(Phase.ROLLED_BACK, "the deployment is gone: somebody deleted it")
        case Deployment(state=str(state), overdue=True):
            return Stop(Phase.ROLLED_BACK, f"the deployment was still {state} after MAX_DEPLOYING_HOURS")
        case _:
            return Poll("the deployment")


def _checking(seen: Check) -> Step:
    match seen:
        case Check(serves=True):
            return Stop(Phase.LIVE, seen.why)
        case Check(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and serves")
        case Check(gone=str(what), fresh=True):
            return Poll(unseen(what))
        case Check(gone=str(what)):
            return Stop(Phase.ROLLED_BACK, f"{what} is gone: somebody deleted it")
        case Check(passed=False) | Check(passed=True, gate=False):
            return Stop(Phase.ROLLED_BACK, seen.why)
        case Check(passed=True, gate=True, approval=True, unanswered=True):
            return Stop(Phase.ROLLED_BACK, UNANSWERED)
        case Check(passed=True, gate=True, approval=True, ask=True):
            return Do("ask", Phase.CHECKING)
        case Check(passed=True, gate=True, approval=True):
            return Wait(None, "an approval: droptune approve", held="approval")
        case Check(passed=True, gate=True, busy=False, traffic=100):
            return Do("serve", Phase.CHECKING)
        case Check(overdue=what) if what:
            return Stop(Phase.ROLLED_BACK, f"{OVERDUE} {what}")
        case Check(passed=None):
            return Do("check", Phase.CHECKING)
        case Check(gate=None):
            return Do("compare", Phase.CHECKING)
        case Check(busy=True):
            return Poll("the endpoint, which is being updated")
        case _:
            return Do("give_traffic", Phase.CHECKING)
