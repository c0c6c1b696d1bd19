"""What happens next to a run: every rule of the lifecycle, as one pure function.

A run is one uploaded dataset on its way to an endpoint. `next_step` gets the phase that its record says and what one
cheap look at Azure has shown, and answers with the step to take. It knows nothing of time, storage or Azure; the loop
in run/loop.py looks, asks here, acts and remembers. Events never decide anything: they only cause a look.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.lifecycle.phase import ENDED, JOB_FAILED, Held, Phase
from shared.lifecycle.seen import Check, Deployment, Job, Plan, Rollout, Seen, Upload

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
        case Rollout(gone=str(what), fresh=True):
            return Poll(unseen(what))
        case Rollout(gone=str(what)):
            return Stop(Phase.FAILED, f"{what} is gone: somebody deleted it; upload the dataset again")
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
