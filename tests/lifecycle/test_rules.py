"""Every phase against everything that it can be shown."""

import ast
import dataclasses
import inspect
import itertools
import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from scripts import lifecycle_page
from scripts.lifecycle_page import LOOKS, shown, target
from shared import sweep as sweeps
from shared.lifecycle import rules
from shared.lifecycle.action import Action
from shared.lifecycle.phase import ENDED, WORK, Phase, refused
from shared.lifecycle.rules import Do, Go, Poll, Step, Stop, Wait, next_step
from shared.lifecycle.seen import CheckSeen, DeploymentSeen, JobSeen, PlanSeen, RolloutSeen, Seen, UploadSeen
from shared.line.remade import Queue
from shared.records.mark import mark_of
from shared.records.run import Waiting
from tests.kit.carried import EMPTY
from tests.kit.records import changed

SHOWN: dict[Phase, list[Seen]] = {phase: list(shown(phase)) for phase in LOOKS}
ONWARD = {
    Phase.RECEIVED: {Phase.PREPARED, Phase.REJECTED, Phase.UNCHANGED, Phase.FAILED, Phase.SUPERSEDED},
    Phase.PREPARED: {Phase.TRAINING, Phase.UNCHANGED, Phase.FAILED, Phase.SUPERSEDED},
    Phase.TRAINING: {Phase.PREPARED, Phase.REGISTERED, Phase.FAILED, Phase.REJECTED, Phase.SUPERSEDED},
    Phase.REGISTERED: {Phase.DEPLOYING, Phase.FAILED, Phase.SUPERSEDED},
    Phase.DEPLOYING: {Phase.CHECKING, Phase.ROLLED_BACK, Phase.SUPERSEDED},
    Phase.CHECKING: {Phase.LIVE, Phase.ROLLED_BACK, Phase.SUPERSEDED},
}


# A table of the rules -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule in words. `looks`: examples that no rule above is about, each with the step that it leads to.

    `both`: a look that the rule below is about too, and with `without` changed that one alone. Where no look can be of
    both, `apart` says why.
    """

    words: str
    looks: Mapping[Seen, Step]
    both: Seen | None = None
    without: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    apart: str = ""


NEWER_TRAINS = Stop(Phase.SUPERSEDED, "run r9 is newer, and is ready to train or serves already")
NO_QUOTA = "no vCPUs are left of family A100"
SHORT_OF_IT = Wait(900, NO_QUOTA, hold="quota")
BY_HAND = Wait(300, "30 % to blue", hold="endpoint")
BEHIND = Wait(60, "quota, for which run r2 has waited longer", hold="quota", wakes="r2")
OLDER = "run r2, which trains"
NO_MACHINES = "machines, of which Azure has none to give"
NOTE, REMOVE = Do(Action.NOTE_NO_MACHINES, Phase.DEPLOYING), Do(Action.REMOVE_FAILED, Phase.DEPLOYING)
TRAIN_AGAIN = Do(Action.TRAIN_AGAIN, Phase.PREPARED)
FULL = "a free seat: 5 of MAX_LIVE_ENDPOINTS=5 lines serve or are on their way (a, b, c and 2 more)"
NO_SEAT = Wait(None, FULL, hold="seat")
QUEUE = "a free slot: 2 of MAX_ACTIVE_JOBS=2 are taken"
TOO_SLOW = "the job took longer than MAX_TRAINING_HOURS (24 hours)"
QUEUED = "a node of cluster gpu"
JOB_GONE = Stop(Phase.FAILED, "the job is gone: somebody deleted it")
RECEIVED = (
    Rule(
        words="A folder that has changed, or is gone, yields this run no more.",
        looks={UploadSeen(gone="it was deleted"): Stop(Phase.SUPERSEDED, "it was deleted")},
        both=UploadSeen(gone="it was deleted", settles_in=30),
        without={"gone": None},
    ),
    Rule(
        words="The rest of an upload may be on its way.",
        looks={
            UploadSeen(settles_in=30): Wait(30, "the rest of the upload"),
            UploadSeen(settles_in=0.5, checked=True): Wait(0.5, "the rest of the upload"),
            UploadSeen(settles_in=9, last="a.csv"): Wait(
                9, "the rest of the upload, after a.csv, which was written last"
            ),
        },
        both=UploadSeen(settles_in=30, in_job=True),
        without={"settles_in": 0},
    ),
    Rule(
        words="What is too big for a function is checked by the job.",
        looks={UploadSeen(in_job=True): Go(Phase.PREPARED)},
        both=UploadSeen(in_job=True, checked=False),
        without={"in_job": False},
    ),
    Rule(
        words="Data are checked first.",
        looks={
            UploadSeen(): Do(Action.PREPARE_DATA, Phase.RECEIVED),
            UploadSeen(settles_in=-5): Do(Action.PREPARE_DATA, Phase.RECEIVED),
        },
        both=UploadSeen(checked=False, rejected="line 3 is no JSON"),
        without={"checked": True},
    ),
    Rule(
        words="Nothing is trained on bad data.",
        looks={UploadSeen(checked=True, rejected="line 3 is no JSON"): Stop(Phase.REJECTED, "line 3 is no JSON")},
        both=UploadSeen(checked=True, rejected="line 3 is no JSON", trained="run r1 made m:1"),
        without={"rejected": ""},
    ),
    Rule(
        words="Nor on what was trained on before.",
        looks={
            UploadSeen(checked=True, trained="run r1 made m:1"): Stop(
                Phase.UNCHANGED, "already trained: run r1 made m:1"
            )
        },
        both=UploadSeen(checked=True, trained="run r1 made m:1"),
        without={"trained": None},
    ),
    Rule(words="Good data are prepared.", looks={UploadSeen(checked=True): Go(Phase.PREPARED)}),
)

PREPARED = (
    Rule(
        words="A file that the job would prepare is another one by now.",
        looks={PlanSeen(changed="a.jsonl was deleted"): Stop(Phase.SUPERSEDED, "a.jsonl was deleted")},
        both=PlanSeen(changed="a.jsonl was deleted", newer="r9"),
        without={"changed": None},
    ),
    Rule(
        words="A newer run is ready to train.",
        looks={PlanSeen(newer="r9"): NEWER_TRAINS},
        both=PlanSeen(newer="r9", planned=False),
        without={"newer": None},
    ),
    Rule(
        words="What the job is made of is settled before anything is asked of Azure for it.",
        looks={PlanSeen(planned=False): Do(Action.RESOLVE_PLAN, Phase.PREPARED)},
        both=PlanSeen(planned=False, trained="run r1 made m:1"),
        without={"planned": True},
    ),
    Rule(
        words="What was trained on while it waited is not trained on again.",
        looks={PlanSeen(trained="run r1 made m:1"): Stop(Phase.UNCHANGED, "already trained: run r1 made m:1")},
        both=PlanSeen(trained="run r1 made m:1", behind=OLDER),
        without={"trained": None},
    ),
    Rule(
        words="What waits for an older run of its line is noted, and takes nobody's place.",
        looks={
            PlanSeen(behind=OLDER): Do(Action.WAIT_FOR_OLDER, Phase.PREPARED),
            PlanSeen(behind=OLDER, slot=False): Do(Action.WAIT_FOR_OLDER, Phase.PREPARED),
        },
        both=PlanSeen(behind=OLDER),
        without={"noted": True},
    ),
    Rule(
        words="Then it waits.",
        looks={
            PlanSeen(behind=OLDER, noted=True): Wait(300, OLDER),
            PlanSeen(behind=OLDER, noted=True, slot=False): Wait(300, OLDER),
        },
        both=PlanSeen(behind=OLDER, noted=True, no_seat=FULL),
        without={"behind": ""},
    ),
    Rule(
        words="Whose line gets no seat waits, before anything is asked of Azure.",
        looks={PlanSeen(no_seat=FULL, slot=False): NO_SEAT},
        both=PlanSeen(no_seat=FULL, slot=False, unusable="gpu has no identity"),
        without={"no_seat": ""},
    ),
    Rule(
        words="On a compute that can't be used no wait helps.",
        looks={PlanSeen(unusable="gpu has no identity"): Stop(Phase.FAILED, "gpu has no identity")},
        both=PlanSeen(unusable="gpu has no identity", quota=NO_QUOTA),
        without={"unusable": None},
    ),
    Rule(
        words="Who finds no quota, or others who wait for it, takes a place among them.",
        looks={
            PlanSeen(quota=NO_QUOTA): Do(Action.WAIT_FOR_QUOTA, Phase.PREPARED),
            PlanSeen(ahead="r2"): Do(Action.WAIT_FOR_QUOTA, Phase.PREPARED),
        },
        both=PlanSeen(queued=False, quota=NO_QUOTA),
        without={"queued": True},
    ),
    Rule(
        words="Where there is no quota the first in line waits for some as well.",
        looks={PlanSeen(queued=True, quota=NO_QUOTA): SHORT_OF_IT},
        both=PlanSeen(queued=True, quota=NO_QUOTA, ahead="r2"),
        without={"quota": ""},
    ),
    Rule(
        words="Where there is some it is theirs who have waited longer, and they are woken.",
        looks={PlanSeen(queued=True, ahead="r2"): BEHIND},
        both=PlanSeen(queued=True, ahead="r2", missing=("cpu", "gpu")),
        without={"ahead": ""},
    ),
    Rule(
        words="Clusters that are missing are made.",
        looks={
            PlanSeen(missing=("gpu",)): Do(Action.MAKE_CLUSTERS, Phase.PREPARED),
            PlanSeen(missing=("gpu",), queued=True): Do(Action.MAKE_CLUSTERS, Phase.PREPARED),
        },
        both=PlanSeen(missing=("cpu",), pending=("gpu",)),
        without={"missing": ()},
    ),
    Rule(
        words="Those that are being made are waited for.",
        looks={
            PlanSeen(pending=("gpu",)): Poll("compute gpu, which is being made"),
            PlanSeen(pending=("cpu", "gpu")): Poll("compute cpu, gpu, which is being made"),
        },
        both=PlanSeen(pending=("gpu",), slot=False, queue=""),
        without={"pending": ()},
    ),
    Rule(
        words="Who has all of that asks for a seat and a slot.",
        looks={PlanSeen(slot=False): Do(Action.TAKE_SLOT, Phase.PREPARED)},
        both=PlanSeen(slot=False, queue="", newest=False),
        without={"queue": QUEUE},
    ),
    Rule(
        words="It supersedes the older ones.",
        looks={
            PlanSeen(newest=False): Do(Action.BECOME_NEWEST, Phase.PREPARED),
            PlanSeen(newest=False, slot=False, queue=QUEUE): Do(Action.BECOME_NEWEST, Phase.PREPARED),
        },
        both=PlanSeen(newest=False, slot=False, queue=QUEUE),
        without={"newest": True},
    ),
    Rule(
        words="Without a slot it waits for one.",
        looks={
            PlanSeen(slot=False, queue=QUEUE): Wait(None, QUEUE, hold="slot"),
            PlanSeen(slot=False, queue=QUEUE, room_in=30): Wait(30, QUEUE, hold="slot"),
        },
        both=PlanSeen(slot=False, queue=QUEUE),
        without={"slot": True},
    ),
    Rule(words="With one it trains.", looks={PlanSeen(): Do(Action.SUBMIT_JOB, Phase.TRAINING)}),
)

TRAINING = (
    Rule(
        words="A file was written over before the job had read it.",
        looks={
            JobSeen(status="Running", changed="a.jsonl was changed"): Stop(Phase.SUPERSEDED, "a.jsonl was changed"),
            JobSeen(status="Completed", changed="a.jsonl was changed"): Stop(Phase.SUPERSEDED, "a.jsonl was changed"),
        },
        both=JobSeen(status="Completed", changed="a.jsonl was changed", report="new"),
        without={"changed": None},
    ),
    Rule(
        words="A report on the data is read, whatever became of the job.",
        looks={
            JobSeen(status="Completed", report="new"): Do(Action.TAKE_REPORT, Phase.TRAINING),
            JobSeen(status="Failed", report="new", why="exit code 3"): Do(Action.TAKE_REPORT, Phase.TRAINING),
        },
        both=JobSeen(status="Failed", report="new", rejected="line 3 is no JSON"),
        without={"report": "taken"},
    ),
    Rule(
        words="Bad data are the reason why the job failed.",
        looks={
            JobSeen(status="Failed", rejected="line 3 is no JSON"): Stop(Phase.REJECTED, "line 3 is no JSON"),
            JobSeen(status="Completed", rejected="line 3 is no JSON"): Stop(Phase.REJECTED, "line 3 is no JSON"),
        },
        both=JobSeen(status="Completed", report="missing", rejected="line 3 is no JSON"),
        without={"rejected": ""},
    ),
    Rule(
        words="No model comes of data on which there is no report.",
        looks={
            JobSeen(status="Completed", report="missing"): Stop(
                Phase.FAILED, "the job's first step left no report on the data that it prepared"
            )
        },
        both=JobSeen(status="Completed", report="missing"),
        without={"report": "taken"},
    ),
    Rule(
        words="What a job has made is registered, late as it may be, and whoever is newer.",
        looks={
            JobSeen(status="Completed"): Do(Action.REGISTER_MODEL, Phase.REGISTERED),
            JobSeen(status="Completed", newer="r9"): Do(Action.REGISTER_MODEL, Phase.REGISTERED),
            JobSeen(status="Completed", overdue=TOO_SLOW): Do(Action.REGISTER_MODEL, Phase.REGISTERED),
            JobSeen(status="Completed", given_up=TOO_SLOW): Do(Action.REGISTER_MODEL, Phase.REGISTERED),
        },
        apart="the next rule is about jobs that have not ended",
    ),
    Rule(
        words="A job that has not ended makes way for a newer run.",
        looks={
            JobSeen(status="Running", newer="r9"): NEWER_TRAINS,
            JobSeen(status="NotResponding", newer="r9", turns="trains"): NEWER_TRAINS,
            JobSeen(status="Queued", newer="r9", overdue=TOO_SLOW): NEWER_TRAINS,
            JobSeen(status="CancelRequested", newer="r9", given_up=TOO_SLOW): NEWER_TRAINS,
            JobSeen(status=None, newer="r9"): NEWER_TRAINS,
        },
        both=JobSeen(status=None, fresh=True, newer="r9"),
        without={"newer": None},
    ),
    Rule(
        words="Azure may not show yet what has just been submitted.",
        looks={JobSeen(status=None, fresh=True): Poll("the job to be seen")},
        both=JobSeen(status=None, fresh=True),
        without={"fresh": False},
    ),
    Rule(
        words="A job that is gone is no job that takes long.",
        looks={JobSeen(status=None): JOB_GONE, JobSeen(status=None, overdue=TOO_SLOW): JOB_GONE},
        apart="what is gone is in no state",
    ),
    Rule(
        words="One that got no machines before it trained is submitted again.",
        looks={JobSeen(status="Failed", why="AllocationFailed", again=True): TRAIN_AGAIN},
        apart="the next rule is about a job that was cancelled",
    ),
    Rule(
        words="One that was cancelled for that it took too long ends as that.",
        looks={
            JobSeen(status="Canceled", overdue=TOO_SLOW): Stop(Phase.FAILED, f"{TOO_SLOW}, and was cancelled"),
            JobSeen(status="Canceled", given_up=TOO_SLOW): Stop(Phase.FAILED, f"{TOO_SLOW}, and was cancelled"),
        },
        both=JobSeen(status="Canceled", overdue=TOO_SLOW),
        without={"overdue": ""},
    ),
    Rule(
        words="One that failed says why, if Azure does, and whoever is newer.",
        looks={
            JobSeen(status="Failed", why="out of memory"): Stop(Phase.FAILED, "the job ended as Failed: out of memory"),
            JobSeen(status="Failed", why="out of memory", newer="r9", overdue=TOO_SLOW): Stop(
                Phase.FAILED, "the job ended as Failed: out of memory"
            ),
            JobSeen(status="Failed", why="out of memory", report="missing"): Stop(
                Phase.FAILED, "the job ended as Failed: out of memory"
            ),
            JobSeen(status="Canceled"): Stop(
                Phase.FAILED, "the job ended as Canceled: Azure ML names no reason; see its logs"
            ),
        },
        apart="the next rule is about a job that is being cancelled, and has not ended",
    ),
    Rule(
        words="One that is being cancelled is not cancelled again.",
        looks={
            JobSeen(status="CancelRequested"): Wait(None, "the job to be cancelled"),
            JobSeen(status="CancelRequested", overdue=TOO_SLOW): Wait(None, f"the job to be cancelled: {TOO_SLOW}"),
            JobSeen(status="CancelRequested", given_up=TOO_SLOW): Wait(None, f"the job to be cancelled: {TOO_SLOW}"),
        },
        both=JobSeen(status="CancelRequested", given_up=TOO_SLOW),
        without={"status": "Running"},
    ),
    Rule(
        words="One that goes on although it was cancelled is cancelled at the run's end, as often as it takes.",
        looks={
            JobSeen(status=status, given_up=TOO_SLOW): Stop(Phase.FAILED, f"{TOO_SLOW}, and is cancelled")
            for status in ("Running", "NotResponding", "Paused")
        },
        both=JobSeen(status="Running", given_up=TOO_SLOW, turns="trains"),
        without={"given_up": ""},
    ),
    Rule(
        words="That it trains is noted, for its time counts from then.",
        looks={
            JobSeen(status=status, turns="trains"): Do(Action.NOTE_TRAINING, Phase.TRAINING)
            for status in ("Running", "NotResponding")
        },
        apart="it does one or the other",
    ),
    Rule(
        words="That it queues again is noted, for it does not train meanwhile.",
        looks={
            JobSeen(status=status, turns="queues"): Do(Action.NOTE_QUEUEING, Phase.TRAINING)
            for status in ("Running", "Queued", "Paused")
        },
        both=JobSeen(status="Running", turns="queues", overdue=TOO_SLOW),
        without={"turns": ""},
    ),
    Rule(
        words="One that takes too long is cancelled.",
        looks={
            JobSeen(status="Running", overdue=TOO_SLOW): Do(Action.CANCEL_JOB, Phase.TRAINING),
            JobSeen(status="NotResponding", overdue=TOO_SLOW): Do(Action.CANCEL_JOB, Phase.TRAINING),
            JobSeen(status="Paused", overdue=TOO_SLOW): Do(Action.CANCEL_JOB, Phase.TRAINING),
            JobSeen(status="Queued", overdue=TOO_SLOW, fresh=True): Do(Action.CANCEL_JOB, Phase.TRAINING),
        },
        both=JobSeen(status="Running", overdue=TOO_SLOW, doing=QUEUED),
        without={"overdue": ""},
    ),
    Rule(
        words="Else its event is waited for, and the words say what it does; no other status is an end.",
        looks={
            JobSeen(status="NotStarted"): Wait(None, "the job to end"),
            **{
                JobSeen(status=status, doing=QUEUED): Wait(None, QUEUED)
                for status in ("Queued", "Running", "NotResponding", "Paused", "Unknown")
            },
        },
    ),
)

REGISTERED = (
    Rule(
        words="What is older than what went further need not be deployed.",
        looks={RolloutSeen(newer="r9"): Stop(Phase.SUPERSEDED, "run r9 is newer and went further")},
        both=RolloutSeen(newer="r9", pinned_by="ann"),
        without={"newer": None},
    ),
    Rule(
        words="A line that a person keeps where it is stays so.",
        looks={
            RolloutSeen(pinned_by="ann"): Wait(
                None, "the line, which ann has pinned to what it serves: droptune unpin", hold="pin"
            )
        },
        both=RolloutSeen(pinned_by="ann", busy="the rollout of run r8"),
        without={"pinned_by": ""},
    ),
    Rule(
        words="One change of a line at a time.",
        looks={RolloutSeen(busy="the rollout of run r8"): Wait(60, "the rollout of run r8")},
        both=RolloutSeen(busy="the rollout of run r8", seat=False, no_seat=FULL),
        without={"busy": None},
    ),
    Rule(
        words="Who asks for a seat waits for it, before anything is made.",
        looks={
            RolloutSeen(seat=False, no_seat=FULL): NO_SEAT,
            RolloutSeen(seat=False, no_seat=FULL, endpoint=None): NO_SEAT,
        },
        both=RolloutSeen(seat=False, no_seat=FULL),
        without={"no_seat": ""},
    ),
    Rule(
        words="Whose line has none, or lost it, asks.",
        looks={RolloutSeen(seat=False): Do(Action.TAKE_SEAT, Phase.REGISTERED)},
        both=RolloutSeen(seat=False, endpoint=None, fresh=True),
        without={"seat": True},
    ),
    Rule(
        words="One look that misses an endpoint which serves is not believed.",
        looks={RolloutSeen(endpoint=None, fresh=True): Poll("the endpoint to be seen")},
        both=RolloutSeen(endpoint=None, fresh=True),
        without={"fresh": False},
    ),
    Rule(
        words="An endpoint that is not there is made, before anything else is looked at.",
        looks={
            RolloutSeen(endpoint=None): Do(Action.MAKE_ENDPOINT, Phase.REGISTERED),
            RolloutSeen(endpoint=None, gone="model m:1", retiring=True): Do(Action.MAKE_ENDPOINT, Phase.REGISTERED),
            RolloutSeen(endpoint=None, quota=NO_QUOTA): Do(Action.MAKE_ENDPOINT, Phase.REGISTERED),
        },
        apart="what is not there is nobody's",
    ),
    Rule(
        words="What a person did there is kept, or a person mends it: until then nothing is paid for.",
        looks={
            RolloutSeen(hands="30 % to blue"): BY_HAND,
            RolloutSeen(hands="30 % to blue", endpoint="Failed"): BY_HAND,
            RolloutSeen(hands="30 % to blue", resized=True, retiring=True, in_place=("r1-1",)): BY_HAND,
        },
        both=RolloutSeen(hands="30 % to blue", endpoint="Failed"),
        without={"hands": ""},
    ),
    Rule(
        words="On one that Azure could not make nothing can be deployed.",
        looks={
            RolloutSeen(endpoint=state): Stop(
                Phase.FAILED,
                f"the endpoint is in state {state}, has no deployment and never served: delete it, then droptune retry",
            )
            for state in ("Failed", "Canceled")
        },
        both=RolloutSeen(endpoint="Failed"),
        without={"endpoint": "Updating"},
    ),
    Rule(
        words="One that is being changed is waited for.",
        looks={
            RolloutSeen(endpoint=state): Poll(f"the endpoint, which is {state}")
            for state in ("Creating", "Updating", "Deleting")
        },
        both=RolloutSeen(endpoint="Updating", gone="model m:1", fresh=True),
        without={"endpoint": "Succeeded"},
    ),
    Rule(
        words="One look that misses the model is not believed.",
        looks={RolloutSeen(gone="model m:1", fresh=True): Poll("model m:1 to be seen")},
        both=RolloutSeen(gone="model m:1", fresh=True),
        without={"fresh": False},
    ),
    Rule(
        words="A model that is gone is registered again before anything that serves is touched.",
        looks={RolloutSeen(gone="model m:1"): Do(Action.REGISTER_AGAIN, Phase.REGISTERED)},
        both=RolloutSeen(gone="model m:1", resized=True),
        without={"gone": None},
    ),
    Rule(
        words="What a person made of what serves is noted, and told, before it goes, and before it is paid for again.",
        looks={
            RolloutSeen(resized=True): Do(Action.KEEP_SIZE, Phase.REGISTERED),
            RolloutSeen(resized=True, quota=NO_QUOTA): Do(Action.KEEP_SIZE, Phase.REGISTERED),
        },
        both=RolloutSeen(resized=True, retiring=True),
        without={"resized": False},
    ),
    Rule(
        words="What served before goes.",
        looks={RolloutSeen(retiring=True): Do(Action.END_GRACE, Phase.REGISTERED)},
        both=RolloutSeen(retiring=True, in_place=("r1-1",)),
        without={"retiring": False},
    ),
    Rule(
        words="Without spare instances what serves goes too, which may give back the quota that there is none of.",
        looks={RolloutSeen(in_place=("r1-1",)): Do(Action.MAKE_ROOM, Phase.REGISTERED)},
        both=RolloutSeen(in_place=("r1-1",), quota=NO_QUOTA),
        without={"in_place": ()},
    ),
    Rule(
        words="Who finds no quota, or others who wait for it, takes a place among them.",
        looks={
            RolloutSeen(quota=NO_QUOTA): Do(Action.WAIT_FOR_QUOTA, Phase.REGISTERED),
            RolloutSeen(ahead="r2"): Do(Action.WAIT_FOR_QUOTA, Phase.REGISTERED),
        },
        both=RolloutSeen(queued=False, quota=NO_QUOTA),
        without={"queued": True},
    ),
    Rule(
        words="Where there is no quota the first in line waits for some as well.",
        looks={RolloutSeen(queued=True, quota=NO_QUOTA): SHORT_OF_IT},
        both=RolloutSeen(queued=True, quota=NO_QUOTA, ahead="r2"),
        without={"quota": ""},
    ),
    Rule(
        words="Where there is some it is theirs who have waited longer, and they are woken.",
        looks={RolloutSeen(queued=True, ahead="r2"): BEHIND},
        both=RolloutSeen(queued=True, ahead="r2"),
        without={"ahead": ""},
    ),
    Rule(
        words="Else the model is deployed.",
        looks={
            RolloutSeen(): Do(Action.DEPLOY_MODEL, Phase.DEPLOYING),
            RolloutSeen(queued=True): Do(Action.DEPLOY_MODEL, Phase.DEPLOYING),
        },
    ),
)

DEPLOYING = (
    Rule(
        words="A deployment that is made is checked, late as it may be.",
        looks={
            DeploymentSeen(state="Succeeded"): Go(Phase.CHECKING),
            DeploymentSeen(state="Succeeded", overdue=True): Go(Phase.CHECKING),
        },
        apart="what is made has not failed",
    ),
    Rule(
        words="Without a deployment of its own it gives way to who is newer and has a model.",
        looks={
            DeploymentSeen(state=None, newer="r9", again_in=30, waits=NO_MACHINES): Stop(
                Phase.SUPERSEDED, "run r9 is newer and went further"
            )
        },
        apart="what is newer is looked for only where nothing is to be noted",
    ),
    Rule(
        words="That Azure had no machines for it is noted first.",
        looks={DeploymentSeen(state="Failed", why="OutOfCapacity", again="note"): NOTE},
        apart="one thing is next",
    ),
    Rule(
        words="Then what failed is deleted, which may hold quota.",
        looks={DeploymentSeen(state="Failed", why="OutOfCapacity", again="remove"): REMOVE},
        apart="one thing is next",
    ),
    Rule(
        words="Then there is a pause.",
        looks={DeploymentSeen(state=None, again_in=30, waits=NO_MACHINES): Wait(30, NO_MACHINES, hold="quota")},
        apart="one thing is next",
    ),
    Rule(
        words="Then it is deployed again.",
        looks={
            DeploymentSeen(state=None, again="deploy"): Do(Action.DEPLOY_MODEL, Phase.DEPLOYING),
            DeploymentSeen(state="Creating", again="deploy"): Do(Action.DEPLOY_MODEL, Phase.DEPLOYING),
        },
        both=DeploymentSeen(state="Failed", again="deploy"),
        without={"again": ""},
    ),
    Rule(
        words="One that failed says why, if Azure does.",
        looks={
            DeploymentSeen(state="Failed", why="no image"): Stop(Phase.ROLLED_BACK, "the deployment failed: no image"),
            DeploymentSeen(state="Failed", why="no image", overdue=True): Stop(
                Phase.ROLLED_BACK, "the deployment failed: no image"
            ),
            DeploymentSeen(state="Canceled"): Stop(
                Phase.ROLLED_BACK, "the deployment failed: Azure ML names no reason; see its log"
            ),
        },
        apart="what has failed is there",
    ),
    Rule(
        words="Azure may not show yet what has just been asked for.",
        looks={DeploymentSeen(state=None, fresh=True): Poll("the deployment to be seen")},
        both=DeploymentSeen(state=None, fresh=True),
        without={"fresh": False},
    ),
    Rule(
        words="One that is gone is none that takes long.",
        looks={
            DeploymentSeen(state=None): Stop(Phase.ROLLED_BACK, "the deployment is gone: somebody deleted it"),
            DeploymentSeen(state=None, overdue=True): Stop(
                Phase.ROLLED_BACK, "the deployment is gone: somebody deleted it"
            ),
        },
        apart="what is gone is in no state",
    ),
    Rule(
        words="One that takes too long is given up.",
        looks={
            DeploymentSeen(state="Creating", overdue=True): Stop(
                Phase.ROLLED_BACK, "the deployment was still Creating after MAX_DEPLOYING_HOURS"
            )
        },
        both=DeploymentSeen(state="Creating", overdue=True),
        without={"overdue": False},
    ),
    Rule(
        words="Else it is waited for.",
        looks={
            DeploymentSeen(state="Creating"): Poll("the deployment"),
            DeploymentSeen(state="Updating", fresh=True): Poll("the deployment"),
        },
    ),
)

CHECKING = (
    Rule(
        words="What serves by the line's record is live, whatever else there is.",
        looks={CheckSeen(serves=True, why="m:1 answers at endpoint e"): Stop(Phase.LIVE, "m:1 answers at endpoint e")},
        both=CheckSeen(serves=True, why="m:1 answers at endpoint e", newer="r9"),
        without={"serves": False},
    ),
    Rule(
        words="What is older than what serves need not.",
        looks={CheckSeen(newer="r9"): Stop(Phase.SUPERSEDED, "run r9 is newer and serves")},
        both=CheckSeen(newer="r9", gone="deployment r1-1", fresh=True),
        without={"newer": None},
    ),
    Rule(
        words="One look that misses it is not believed.",
        looks={CheckSeen(gone="deployment r1-1", fresh=True): Poll("deployment r1-1 to be seen")},
        both=CheckSeen(gone="deployment r1-1", fresh=True),
        without={"fresh": False},
    ),
    Rule(
        words="What is gone can't serve.",
        looks={
            CheckSeen(gone="deployment r1-1"): Stop(Phase.ROLLED_BACK, "deployment r1-1 is gone: somebody deleted it")
        },
        both=CheckSeen(gone="deployment r1-1", passed=False, why="the answer is empty"),
        without={"gone": None},
    ),
    Rule(
        words="What has failed a check gets no traffic, late as that may be found, nor what has some by hand.",
        looks={
            CheckSeen(passed=False, why="the answer is empty"): Stop(Phase.ROLLED_BACK, "the answer is empty"),
            CheckSeen(passed=True, gate=False, why="below min_score"): Stop(Phase.ROLLED_BACK, "below min_score"),
            CheckSeen(passed=True, gate=False, why="below min_score", approval=True, ask=True): Stop(
                Phase.ROLLED_BACK, "below min_score"
            ),
            CheckSeen(passed=False, gate=True, traffic=100, why="the answer is empty"): Stop(
                Phase.ROLLED_BACK, "the answer is empty"
            ),
        },
        apart="the next rule is about what has passed both",
    ),
    Rule(
        words="What nobody has approved for days, although they were asked, costs too much.",
        looks={
            CheckSeen(passed=True, gate=True, approval=True, unanswered=True): Stop(
                Phase.ROLLED_BACK,
                "nobody has approved it in MAX_APPROVAL_DAYS days: droptune retry deploys it again, and asks again",
            )
        },
        both=CheckSeen(passed=True, gate=True, approval=True, unanswered=True, ask=True),
        without={"unanswered": False},
    ),
    Rule(
        words="People are asked for an approval, once a day.",
        looks={
            CheckSeen(passed=True, gate=True, approval=True, ask=True): Do(Action.ASK_APPROVAL, Phase.CHECKING),
        },
        both=CheckSeen(passed=True, gate=True, approval=True, ask=True),
        without={"ask": False},
    ),
    Rule(
        words="It is waited for, and that time is not the run's.",
        looks={
            CheckSeen(passed=True, gate=True, approval=True): Wait(
                None, "an approval: droptune approve", hold="approval"
            ),
        },
        both=CheckSeen(passed=True, gate=True, approval=True, busy=False, traffic=100),
        without={"approval": False},
    ),
    Rule(
        words="What has all of the traffic serves: callers have it.",
        looks={CheckSeen(passed=True, gate=True, traffic=100): Do(Action.START_SERVING, Phase.CHECKING)},
        apart="what serves has passed",
    ),
    Rule(
        words="It is asked a question first, whatever there is of other checks, approvals and traffic by hand.",
        looks={
            CheckSeen(): Do(Action.SMOKE_TEST, Phase.CHECKING),
            CheckSeen(gate=False): Do(Action.SMOKE_TEST, Phase.CHECKING),
            CheckSeen(gate=True, approval=True, ask=True): Do(Action.SMOKE_TEST, Phase.CHECKING),
            CheckSeen(gate=True, approval=True, ask=True, unanswered=True): Do(Action.SMOKE_TEST, Phase.CHECKING),
            CheckSeen(gate=True, traffic=100): Do(Action.SMOKE_TEST, Phase.CHECKING),
        },
        both=CheckSeen(passed=None, gate=None),
        without={"passed": True},
    ),
    Rule(
        words="Then its answers are compared.",
        looks={
            CheckSeen(passed=True): Do(Action.COMPARE_ANSWERS, Phase.CHECKING),
            CheckSeen(passed=True, traffic=100): Do(Action.COMPARE_ANSWERS, Phase.CHECKING),
            CheckSeen(passed=True, approval=True, ask=True, unanswered=True): Do(
                Action.COMPARE_ANSWERS, Phase.CHECKING
            ),
        },
        both=CheckSeen(passed=True, gate=None, busy=True),
        without={"gate": True},
    ),
    Rule(
        words="An endpoint that is being updated takes no other traffic, and may not have taken what it was given.",
        looks={
            CheckSeen(passed=True, gate=True, busy=True): Poll("the endpoint, which is being updated"),
            CheckSeen(passed=True, gate=True, busy=True, traffic=100): Poll("the endpoint, which is being updated"),
        },
        both=CheckSeen(passed=True, gate=True, busy=True, hands="30 % to blue"),
        without={"busy": False},
    ),
    Rule(
        words="What a person gave to somebody else is not the rollout's to take.",
        looks={
            CheckSeen(passed=True, gate=True, hands="30 % to blue"): BY_HAND,
            CheckSeen(passed=True, gate=True, hands="30 % to blue", traffic=70): BY_HAND,
        },
        both=CheckSeen(passed=True, gate=True, hands="30 % to blue"),
        without={"hands": ""},
    ),
    Rule(
        words="What has passed, and was approved where it has to be, gets all of the traffic.",
        looks={
            CheckSeen(passed=True, gate=True): Do(Action.GIVE_TRAFFIC, Phase.CHECKING),
            CheckSeen(passed=True, gate=True, ask=True): Do(Action.GIVE_TRAFFIC, Phase.CHECKING),
            CheckSeen(passed=True, gate=True, unanswered=True): Do(Action.GIVE_TRAFFIC, Phase.CHECKING),
            CheckSeen(passed=True, gate=True, traffic=99): Do(Action.GIVE_TRAFFIC, Phase.CHECKING),
        },
    ),
)

RULES: Mapping[Phase, tuple[Rule, ...]] = {
    Phase.RECEIVED: RECEIVED,
    Phase.PREPARED: PREPARED,
    Phase.TRAINING: TRAINING,
    Phase.REGISTERED: REGISTERED,
    Phase.DEPLOYING: DEPLOYING,
    Phase.CHECKING: CHECKING,
}
"""Of each phase its rules, in their order: the first one that is about a look decides."""


@pytest.mark.parametrize("phase", WORK)
def test_each_look_leads_to_the_step_of_its_rule(phase: Phase) -> None:
    for rule in RULES[phase]:
        for seen, step in rule.looks.items():
            assert next_step(phase, seen) == step, f"{rule.words} {seen}"


@pytest.mark.parametrize("phase", WORK)
def test_of_two_rules_that_are_about_a_look_the_first_one_decides(phase: Phase) -> None:
    for first, second in itertools.pairwise(RULES[phase]):
        assert bool(first.both) is not bool(first.apart)
        if first.both:
            assert next_step(phase, first.both) in first.looks.values(), first.words
            alone: Seen = dataclasses.replace(first.both, **first.without)
            assert next_step(phase, alone) in second.looks.values(), f"{first.words} {second.words}"
            assert next_step(phase, alone) not in first.looks.values(), first.words


@pytest.mark.parametrize("phase", WORK)
def test_the_table_has_every_rule(phase: Phase) -> None:
    """One that is added to the code is added here too, in its place."""
    (decides,) = ast.parse(inspect.getsource(getattr(rules, f"_{phase}"))).body
    cases = [node for node in ast.walk(decides) if isinstance(node, ast.match_case)]
    assert len(cases) == len(RULES[phase])


# Everything that can be shown -----------------------------------------------------------------------------------------


def everything() -> Iterator[tuple[Phase, Seen]]:
    for phase, looks in SHOWN.items():
        for seen in looks:
            yield phase, seen


def test_the_page_is_made_of_the_code() -> None:
    assert lifecycle_page.PAGE.read_text() == lifecycle_page.page(), "run `.venv/bin/python -m scripts.pages`"


def test_the_page_has_words_for_every_action_and_no_name_of_one() -> None:
    page = lifecycle_page.page()
    assert [action for action in Action if action.value in page or action.doing not in page] == []


def test_every_phase_has_something_it_can_be_shown() -> None:
    assert tuple(SHOWN) == WORK


def test_a_run_stays_or_moves_only_where_the_design_lets_it() -> None:
    for phase, seen in everything():
        to = target(next_step(phase, seen))
        assert to is None or to == phase or to in ONWARD[phase], (phase, seen)


def test_every_allowed_move_is_made_for_something() -> None:
    made = {(phase, target(next_step(phase, seen))) for phase, seen in everything()}
    made |= {(phase, refused(phase)) for phase in WORK}
    for phase, onward in ONWARD.items():
        assert onward == {to for at, to in made if at is phase and to not in (None, phase)}


def test_whoever_waits_or_stops_says_what_for() -> None:
    for phase, seen in everything():
        match next_step(phase, seen):
            case Wait(seconds, why, hold):
                assert why
                assert not hold or seconds is None or hold in ("slot", "quota", "endpoint")
                assert seconds is None or seconds > 0
            case Poll(why) | Stop(_, why):
                assert why or (isinstance(seen, CheckSeen) and not seen.why)


LET_IN = {(Phase.PREPARED, "slot"), (Phase.PREPARED, "seat"), (Phase.REGISTERED, "seat")}
"""Waits for those who are woken as their turn comes (run/slots.py, line/seats.py): the sweep asks both whose it is."""
REVIEWED = {(Phase.REGISTERED, "pin"), (Phase.CHECKING, "approval")}
"""Waits for a person, whose command wakes the run."""


def test_no_wait_is_without_what_ends_it() -> None:
    """A timer; a job's event; or a hold, of which somebody else's doing is the end. The sweep makes up for each."""
    now = EMPTY.since + timedelta(days=1)
    for phase, seen in everything():
        match next_step(phase, seen):
            case Wait(None, why, hold):
                mark = mark_of(changed(EMPTY, phase=phase, claim=None, wake=None, waiting=Waiting(why=why, hold=hold)))
                assert phase is Phase.TRAINING if not hold else (phase, hold) in LET_IN | REVIEWED, (phase, seen)
                asks = {mark.id} if hold in ("slot", "seat") else set()
                idle = sweeps._is_overdue(mark, now=now, queue=Queue(turn=(), waiting=asks), review=True)
                turn = sweeps._is_overdue(mark, now=now, queue=Queue(turn=[*asks], waiting=asks), review=False)
                assert idle or turn, (phase, seen)
            case Wait(int() | float() as seconds):
                assert 0 < seconds < math.inf
            case _:
                pass


def test_an_end_and_a_look_of_another_phase_are_bugs() -> None:
    for phase in Phase:
        for other, looks in SHOWN.items():
            if phase.ended or other is not phase:
                with pytest.raises(ValueError, match=str(phase)):
                    next_step(phase, looks[0])


def test_no_money_is_spent_on_bad_or_unsettled_data() -> None:
    for seen in SHOWN[Phase.RECEIVED]:
        assert isinstance(seen, UploadSeen)
        step = next_step(Phase.RECEIVED, seen)
        if step == Go(Phase.PREPARED):
            assert seen.gone is None
            assert seen.settles_in <= 0
            assert seen.in_job or (seen.checked and not seen.rejected)


def test_a_job_starts_only_with_a_plan_and_on_ready_computes() -> None:
    for seen in SHOWN[Phase.PREPARED]:
        assert isinstance(seen, PlanSeen)
        starts = next_step(Phase.PREPARED, seen) == Do(Action.SUBMIT_JOB, Phase.TRAINING)
        ready = seen.planned and not (seen.missing or seen.pending or seen.unusable or seen.changed or seen.quota)
        ready = ready and not (seen.trained or seen.behind or seen.no_seat)
        assert starts == (ready and seen.slot and seen.newest and not seen.newer and not seen.ahead)


def test_who_waits_for_a_slot_has_everything_else_and_says_for_what() -> None:
    waiting = PlanSeen(slot=False, queue="2 runs are before it")
    assert next_step(Phase.PREPARED, waiting) == Wait(None, "2 runs are before it", hold="slot")
    assert next_step(Phase.PREPARED, PlanSeen(slot=False)) == Do(Action.TAKE_SLOT, Phase.PREPARED)
    for seen in SHOWN[Phase.PREPARED]:
        assert isinstance(seen, PlanSeen)
        if next_step(Phase.PREPARED, seen) == Do(Action.TAKE_SLOT, Phase.PREPARED):
            asked = dataclasses.replace(seen, slot=True, queue="", room_in=None, queued=False)
            assert dataclasses.replace(asked, newest=True, noted=False) == PlanSeen()


def test_an_older_run_gives_way_to_a_newer_one_until_it_is_trained() -> None:
    for seen in SHOWN[Phase.TRAINING]:
        assert isinstance(seen, JobSeen)
        good = seen.report == "taken" and not (seen.rejected or seen.changed)
        if good and seen.newer and seen.status not in ("Completed", "Failed", "Canceled"):
            assert target(next_step(Phase.TRAINING, seen)) is Phase.SUPERSEDED
    assert next_step(Phase.TRAINING, JobSeen(status="Completed", newer="ra")) == Do(
        Action.REGISTER_MODEL, Phase.REGISTERED
    )


def test_what_serves_is_touched_only_for_a_rollout_that_may_go_on() -> None:
    for seen in SHOWN[Phase.REGISTERED]:
        assert isinstance(seen, RolloutSeen)
        step = next_step(Phase.REGISTERED, seen)
        if isinstance(step, Do) and step.action in (Action.END_GRACE, Action.MAKE_ROOM, Action.DEPLOY_MODEL):
            assert (seen.newer, seen.busy, seen.pinned_by, seen.gone) == (None, None, "", None)
            assert seen.endpoint == "Succeeded"
        if step == Do(Action.DEPLOY_MODEL, Phase.DEPLOYING):
            assert dataclasses.replace(seen, fresh=False, queued=False) == RolloutSeen()
        if isinstance(step, Do) and step.action == Action.MAKE_ENDPOINT:
            assert not seen.fresh, "it would take the traffic from what one look has missed"


def test_traffic_goes_only_to_what_passed_and_a_run_is_live_only_when_it_serves_alone() -> None:
    for seen in SHOWN[Phase.CHECKING]:
        assert isinstance(seen, CheckSeen)
        step = next_step(Phase.CHECKING, seen)
        if step == Do(Action.GIVE_TRAFFIC, Phase.CHECKING):
            assert seen.passed
            assert seen.gate
            assert (seen.busy, seen.approval, seen.gone, seen.hands) == (False, False, None, "")
        if step == Do(Action.START_SERVING, Phase.CHECKING):
            rest = dataclasses.replace(seen, why="", fresh=False, ask=False, unanswered=False, hands="")
            assert rest == CheckSeen(passed=True, gate=True, traffic=100)
        assert (target(step) is Phase.LIVE) == seen.serves


def test_an_approval_has_a_limit_of_its_own_and_people_are_told_before_that() -> None:
    for seen in SHOWN[Phase.CHECKING]:
        assert isinstance(seen, CheckSeen)
        step = next_step(Phase.CHECKING, seen)
        good = bool(seen.passed and seen.gate and not (seen.serves or seen.newer or seen.gone))
        unanswered = isinstance(step, Stop) and "MAX_APPROVAL_DAYS" in step.why
        assert unanswered == (good and seen.approval and seen.unanswered)
        assert (step == Do(Action.ASK_APPROVAL, Phase.CHECKING)) == (
            good and seen.approval and seen.ask and not seen.unanswered
        )
        if good and seen.approval and not (seen.ask or seen.unanswered):
            assert isinstance(step, Wait)
            assert step.hold == "approval"


def test_a_model_is_registered_only_of_data_that_were_found_good() -> None:
    for seen in SHOWN[Phase.TRAINING]:
        assert isinstance(seen, JobSeen)
        if next_step(Phase.TRAINING, seen) == Do(Action.REGISTER_MODEL, Phase.REGISTERED):
            assert (seen.status, seen.report, seen.rejected, seen.changed) == ("Completed", "taken", "", None)


def test_a_job_that_failed_over_bad_data_is_a_rejection_and_any_other_is_a_failure() -> None:
    failed = JobSeen(status="Failed", why="exit code 3", report="new")
    assert next_step(Phase.TRAINING, failed) == Do(Action.TAKE_REPORT, Phase.TRAINING)
    rejected = dataclasses.replace(failed, report="taken", rejected="2 of 9 rows are bad")
    assert next_step(Phase.TRAINING, rejected) == Stop(Phase.REJECTED, "2 of 9 rows are bad")
    killed = dataclasses.replace(failed, report="missing", why="exit code -9")
    assert next_step(Phase.TRAINING, killed) == Stop(Phase.FAILED, "the job ended as Failed: exit code -9")
    trained_badly = dataclasses.replace(failed, report="taken", why="out of memory")
    assert next_step(Phase.TRAINING, trained_badly) == Stop(Phase.FAILED, "the job ended as Failed: out of memory")


def test_an_overdue_job_is_cancelled_once_and_never_while_it_is_done() -> None:
    overdue = JobSeen(status="Running", overdue=TOO_SLOW)
    assert next_step(Phase.TRAINING, overdue) == Do(Action.CANCEL_JOB, Phase.TRAINING)
    for status in ("CancelRequested", "Canceled"):
        step = next_step(Phase.TRAINING, dataclasses.replace(overdue, status=status))
        assert isinstance(step, Wait | Stop)
        assert TOO_SLOW in step.why
    done = dataclasses.replace(overdue, status="Completed")
    assert next_step(Phase.TRAINING, done) == Do(Action.REGISTER_MODEL, Phase.REGISTERED)


def test_only_a_job_s_own_end_is_one_or_what_the_run_has_given_up() -> None:
    """A status that nobody knows, or one that passes, is no end; and what is given up was cancelled before."""
    for seen in (*SHOWN[Phase.TRAINING], JobSeen(status="Unknown"), JobSeen(status="Standby", turns="queues")):
        assert isinstance(seen, JobSeen)
        step = next_step(Phase.TRAINING, seen)
        if isinstance(step, Stop) and step.phase is Phase.FAILED:
            assert seen.status in (*ENDED, None) or seen.given_up


def test_what_azure_refuses_for_good_ends_as_rolled_back_once_there_is_a_deployment() -> None:
    assert {phase: refused(phase) for phase in WORK} == {
        Phase.RECEIVED: Phase.FAILED,
        Phase.PREPARED: Phase.FAILED,
        Phase.TRAINING: Phase.FAILED,
        Phase.REGISTERED: Phase.FAILED,
        Phase.DEPLOYING: Phase.ROLLED_BACK,
        Phase.CHECKING: Phase.ROLLED_BACK,
    }
