"""What happens next to a run: every rule of the lifecycle, as one pure function.

A run is one uploaded dataset on its way to an endpoint. `next_step` gets the phase that its record says and what one
cheap look at Azure has shown, and answers with the step to take. It knows nothing of time, storage or Azure; the loop
in run/loop.py looks, asks here, acts and remembers. Events never decide anything: they only cause a look.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.lifecycle.action import Action
from shared.lifecycle.phase import ENDED, JOB_FAILED, Hold, Phase
from shared.lifecycle.seen import CheckSeen, DeploymentSeen, JobSeen, PlanSeen, RolloutSeen, Seen, UploadSeen

# What to do about it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Do:
    """Claim, act, save, and go on in phase `then`, which is never an end."""

    action: Action
    then: Phase

    def __str__(self) -> str:
        return self.action.doing


@dataclass(frozen=True)
class Go:
    """On to the next phase; there is nothing to do for it."""

    phase: Phase

    def __str__(self) -> str:
        return f"on to {self.phase}"


@dataclass(frozen=True)
class Wait:
    """Nothing to do now. `seconds`: look again after so long; None: an event or the sweep will wake the run.

    `hold`: what is not worth a look before somebody did something: `slot` (a run that trains ends), `seat` (one ends,
    or an endpoint goes), `quota` (which nothing tells of), `approval`, `pin`, `endpoint` (what a person did to it in
    Azure, which nothing tells of either).
    `wakes`: the run that is waited for, which may not know that it is its turn. `refused`: a rule of somebody's in
    Azure is what stands in the way, which people are told of.
    """

    seconds: float | None
    why: str
    hold: Hold = ""
    wakes: str = ""
    refused: bool = False

    def __str__(self) -> str:
        return f"waits for {self.why}"


@dataclass(frozen=True)
class Poll:
    """Azure works on something that raises no event: look again at the polling interval, backing off."""

    why: str

    def __str__(self) -> str:
        return f"waits for {self.why}"


@dataclass(frozen=True)
class Stop:
    """The end, one way or another: what the run holds and should not keep is let go, then it ends."""

    phase: Phase
    why: str

    def __str__(self) -> str:
        return f"to end as {self.phase}: {self.why}"


type Step = Do | Go | Wait | Poll | Stop

HANDS_WAIT = 5 * 60.0
"""Seconds: what people do in Azure nothing tells of."""
QUOTA_WAIT = 15 * 60.0
"""Seconds: quota comes when somebody deletes something or is granted more; nothing tells of it."""
LINE_WAIT = 5 * 60.0
"""Seconds: the end of what is waited for wakes the run, but for a crash; others may get or lose a slot meanwhile."""
UNANSWERED = "nobody has approved it in MAX_APPROVAL_DAYS days: droptune retry deploys it again, and asks again"


def unseen(what: str) -> str:
    """What is waited for where something ought to be there. That it is gone is believed at the second look."""
    return f"{what} to be seen"


def next_step(phase: Phase, seen: Seen) -> Step:
    """The step that a run in `phase` takes after a look that showed `seen`.

    Raises ValueError when the look does not belong to the phase, or the phase is an end: both are bugs.
    """
    match phase, seen:
        case Phase.RECEIVED, UploadSeen():
            return _received(seen)
        case Phase.PREPARED, PlanSeen():
            return _prepared(seen)
        case Phase.TRAINING, JobSeen():
            return _training(seen)
        case Phase.REGISTERED, RolloutSeen():
            return _registered(seen)
        case Phase.DEPLOYING, DeploymentSeen():
            return _deploying(seen)
        case Phase.CHECKING, CheckSeen():
            return _checking(seen)
        case _:
            raise ValueError(f"a run in phase {phase} can't be shown {seen!r}")


def _received(seen: UploadSeen) -> Step:
    match seen:
        case UploadSeen(gone=str(why)):
            return Stop(Phase.SUPERSEDED, why)
        case UploadSeen(settles_in=seconds) if seconds > 0:
            return Wait(
                seconds, f"the rest of the upload{seen.last and f', after {seen.last}, which was written last'}"
            )
        case UploadSeen(in_job=True):
            return Go(Phase.PREPARED)
        case UploadSeen(checked=False):
            return Do(Action.PREPARE_DATA, Phase.RECEIVED)
        case UploadSeen(rejected=why) if why:
            return Stop(Phase.REJECTED, why)
        case UploadSeen(trained=str(what)):
            return Stop(Phase.UNCHANGED, f"already trained: {what}")
        case _:
            return Go(Phase.PREPARED)


def _prepared(seen: PlanSeen) -> Step:
    match seen:
        case PlanSeen(changed=str(why)):
            return Stop(Phase.SUPERSEDED, why)
        case PlanSeen(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer, and is ready to train or serves already")
        case PlanSeen(planned=False):
            return Do(Action.RESOLVE_PLAN, Phase.PREPARED)
        case PlanSeen(trained=str(what)):
            return Stop(Phase.UNCHANGED, f"already trained: {what}")
        case PlanSeen(behind=why, noted=False) if why:
            return Do(Action.WAIT_FOR_OLDER, Phase.PREPARED)
        case PlanSeen(behind=why) if why:
            return Wait(LINE_WAIT, why)
        case PlanSeen(no_seat=why) if why:
            return Wait(None, why, hold="seat")
        case PlanSeen(unusable=str(why)):
            return Stop(Phase.FAILED, why)
        case PlanSeen(queued=False) if seen.quota or seen.ahead:
            return Do(Action.WAIT_FOR_QUOTA, Phase.PREPARED)
        case PlanSeen(quota=why) if why:
            return Wait(QUOTA_WAIT, why, hold="quota")
        case PlanSeen(ahead=other) if other:
            return _give_way(other)
        case PlanSeen(missing=(_, *_)):
            return Do(Action.MAKE_CLUSTERS, Phase.PREPARED)
        case PlanSeen(pending=(_, *_)):
            return Poll(f"compute {', '.join(seen.pending)}, which is being made")
        case PlanSeen(slot=False, queue=""):
            return Do(Action.TAKE_SLOT, Phase.PREPARED)
        case PlanSeen(newest=False):
            return Do(Action.BECOME_NEWEST, Phase.PREPARED)
        case PlanSeen(slot=False):
            return Wait(seen.room_in, seen.queue, hold="slot")
        case _:
            return Do(Action.SUBMIT_JOB, Phase.TRAINING)


def _give_way(other: str) -> Step:
    return Wait(60, f"quota, for which run {other} has waited longer", hold="quota", wakes=other)


def _training(seen: JobSeen) -> Step:
    match seen:
        case JobSeen(changed=str(why)):
            return Stop(Phase.SUPERSEDED, why)
        case JobSeen(report="new"):
            return Do(Action.TAKE_REPORT, Phase.TRAINING)
        case JobSeen(rejected=why) if why:
            return Stop(Phase.REJECTED, why)
        case JobSeen(status="Completed", report="missing"):
            return Stop(Phase.FAILED, "the job's first step left no report on the data that it prepared")
        case JobSeen(status="Completed"):
            return Do(Action.REGISTER_MODEL, Phase.REGISTERED)
        case JobSeen(newer=str(other)) if seen.status not in ENDED:
            return Stop(Phase.SUPERSEDED, f"run {other} is newer, and is ready to train or serves already")
        case JobSeen(status=None, fresh=True):
            return Poll(unseen("the job"))
        case JobSeen(status=None):
            return Stop(Phase.FAILED, "the job is gone: somebody deleted it")
        case JobSeen(status="Canceled") if why := seen.given_up or seen.overdue:
            return Stop(Phase.FAILED, f"{why}, and was cancelled")
        case JobSeen(status="Failed", again=True):
            return Do(Action.TRAIN_AGAIN, Phase.PREPARED)
        case JobSeen(status=status) if status in JOB_FAILED:
            why = seen.why or "Azure ML names no reason; see its logs"
            return Stop(Phase.FAILED, f"the job ended as {status}: {why}")
        case JobSeen(status="CancelRequested"):
            why = seen.given_up or seen.overdue
            return Wait(None, f"the job to be cancelled{why and f': {why}'}")
        case JobSeen(given_up=why) if why:
            return Stop(Phase.FAILED, f"{why}, and is cancelled")
        case JobSeen(turns="trains"):
            return Do(Action.NOTE_TRAINING, Phase.TRAINING)
        case JobSeen(turns="queues"):
            return Do(Action.NOTE_QUEUEING, Phase.TRAINING)
        case JobSeen(overdue=why) if why:
            return Do(Action.CANCEL_JOB, Phase.TRAINING)
        case _:
            return Wait(None, seen.doing or "the job to end")


def _registered(seen: RolloutSeen) -> Step:
    match seen:
        case RolloutSeen(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and went further")
        case RolloutSeen(pinned_by=who) if who:
            return Wait(None, f"the line, which {who} has pinned to what it serves: droptune unpin", hold="pin")
        case RolloutSeen(busy=str(what)):
            return Wait(60, what)
        case RolloutSeen(no_seat=why) if why:
            return Wait(None, why, hold="seat")
        case RolloutSeen(seat=False):
            return Do(Action.TAKE_SEAT, Phase.REGISTERED)
        case RolloutSeen(endpoint=None, fresh=True):
            return Poll(unseen("the endpoint"))
        case RolloutSeen(endpoint=None):
            return Do(Action.MAKE_ENDPOINT, Phase.REGISTERED)
        case RolloutSeen(hands=why) if why:
            return Wait(HANDS_WAIT, why, hold="endpoint")
        case RolloutSeen(endpoint="Failed" | "Canceled"):
            return Stop(
                Phase.FAILED,
                f"the endpoint is in state {seen.endpoint}, has no deployment and never served: delete it, then "
                "droptune retry",
            )
        case RolloutSeen(endpoint=state) if state != "Succeeded":
            return Poll(f"the endpoint, which is {state}")
        case RolloutSeen(gone=str(what), fresh=True):
            return Poll(unseen(what))
        case RolloutSeen(gone=str()):
            return Do(Action.REGISTER_AGAIN, Phase.REGISTERED)
        case RolloutSeen(resized=True):
            return Do(Action.KEEP_SIZE, Phase.REGISTERED)
        case RolloutSeen(retiring=True):
            return Do(Action.END_GRACE, Phase.REGISTERED)
        case RolloutSeen(in_place=(_, *_)):
            return Do(Action.MAKE_ROOM, Phase.REGISTERED)
        case RolloutSeen(queued=False) if seen.quota or seen.ahead:
            return Do(Action.WAIT_FOR_QUOTA, Phase.REGISTERED)
        case RolloutSeen(quota=why) if why:
            return Wait(QUOTA_WAIT, why, hold="quota")
        case RolloutSeen(ahead=other) if other:
            return _give_way(other)
        case _:
            return Do(Action.DEPLOY_MODEL, Phase.DEPLOYING)


def _deploying(seen: DeploymentSeen) -> Step:
    match seen:
        case DeploymentSeen(state="Succeeded"):
            return Go(Phase.CHECKING)
        case DeploymentSeen(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and went further")
        case DeploymentSeen(again="note"):
            return Do(Action.NOTE_NO_MACHINES, Phase.DEPLOYING)
        case DeploymentSeen(again="remove"):
            return Do(Action.REMOVE_FAILED, Phase.DEPLOYING)
        case DeploymentSeen(again_in=seconds, waits=why) if seconds > 0 and why:
            return Wait(seconds, why, hold="quota")
        case DeploymentSeen(again="deploy"):
            return Do(Action.DEPLOY_MODEL, Phase.DEPLOYING)
        case DeploymentSeen(state="Failed" | "Canceled"):
            return Stop(
                Phase.ROLLED_BACK, f"the deployment failed: {seen.why or 'Azure ML names no reason; see its log'}"
            )
        case DeploymentSeen(state=None, fresh=True):
            return Poll(unseen("the deployment"))
        case DeploymentSeen(state=None):
            return Stop(Phase.ROLLED_BACK, "the deployment is gone: somebody deleted it")
        case DeploymentSeen(state=str(state), overdue=True):
            return Stop(Phase.ROLLED_BACK, f"the deployment was still {state} after MAX_DEPLOYING_HOURS")
        case _:
            return Poll("the deployment")


def _checking(seen: CheckSeen) -> Step:
    match seen:
        case CheckSeen(serves=True):
            return Stop(Phase.LIVE, seen.why)
        case CheckSeen(newer=str(other)):
            return Stop(Phase.SUPERSEDED, f"run {other} is newer and serves")
        case CheckSeen(gone=str(what), fresh=True):
            return Poll(unseen(what))
        case CheckSeen(gone=str(what)):
            return Stop(Phase.ROLLED_BACK, f"{what} is gone: somebody deleted it")
        case CheckSeen(passed=False) | CheckSeen(passed=True, gate=False):
            return Stop(Phase.ROLLED_BACK, seen.why)
        case CheckSeen(passed=True, gate=True, approval=True, unanswered=True):
            return Stop(Phase.ROLLED_BACK, UNANSWERED)
        case CheckSeen(passed=True, gate=True, approval=True, ask=True):
            return Do(Action.ASK_APPROVAL, Phase.CHECKING)
        case CheckSeen(passed=True, gate=True, approval=True):
            return Wait(None, "an approval: droptune approve", hold="approval")
        case CheckSeen(passed=True, gate=True, busy=False, traffic=100):
            return Do(Action.START_SERVING, Phase.CHECKING)
        case CheckSeen(passed=None):
            return Do(Action.SMOKE_TEST, Phase.CHECKING)
        case CheckSeen(gate=None):
            return Do(Action.COMPARE_ANSWERS, Phase.CHECKING)
        case CheckSeen(busy=True):
            return Poll("the endpoint, which is being updated")
        case CheckSeen(hands=why) if why:
            return Wait(HANDS_WAIT, why, hold="endpoint")
        case _:
            return Do(Action.GIVE_TRAFFIC, Phase.CHECKING)
