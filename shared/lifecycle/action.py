"""What a run can have done to it, by name, and the words for it: a name is for the code and the claim in a record.

rules.py chooses one, run/actions/ has a function for each. People read `doing` (what is under way, or failed) and
`done` (a line of the history), never a name.
"""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """One act for a run, which may be done again after a crash."""

    doing: str
    done: str

    def __new__(cls, name: str, doing: str, done: str) -> Action:
        action = str.__new__(cls, name)
        action._value_ = name
        action.doing, action.done = doing, done
        return action

    PREPARE_DATA = "prepare_data", "checking and copying the data", "checked the data, split and copied them"
    RESOLVE_PLAN = (
        "resolve_plan",
        "settling what the job is made of",
        "settled base model, component, parameters and GPUs",
    )
    MAKE_CLUSTERS = "make_clusters", "making the compute clusters", "made the compute clusters"
    BECOME_NEWEST = "become_newest", "noting that it is the newest of its line", "is the newest of its line to train"
    WAIT_FOR_OLDER = (
        "wait_for_older",
        "noting that it waits for an older run of its line",
        "waits for an older run of its line",
    )
    TAKE_SLOT = "take_slot", "asking for a slot to train", "asked for a slot to train"
    TAKE_SEAT = (
        "take_seat",
        "asking for a seat among the live endpoints",
        "asked for a seat among the live endpoints",
    )
    WAIT_FOR_QUOTA = "wait_for_quota", "lining up for quota", "lined up for quota"
    SUBMIT_JOB = "submit_job", "submitting the job", "submitted the job"
    NOTE_TRAINING = "note_training", "noting since when the job trains", "noted that the job trains"
    NOTE_QUEUEING = "note_queueing", "noting since when the job queues", "noted that the job queues"
    CANCEL_JOB = "cancel_job", "cancelling the job", "cancelled the job"
    TAKE_REPORT = "take_report", "reading the report on the data", "read the report on the data"
    REGISTER_MODEL = "register_model", "registering the model", "registered the model"
    TRAIN_AGAIN = (
        "train_again",
        "giving up a job that got no machines",
        "gave up a job that got no machines; another one is submitted",
    )
    REGISTER_AGAIN = "register_again", "registering the model again", "registered the model again, of the job's output"
    MAKE_ENDPOINT = "make_endpoint", "making the endpoint", "made the endpoint"
    KEEP_SIZE = "keep_size", "noting how it is to be deployed", "noted how it is to be deployed"
    END_GRACE = "end_grace", "deleting what retires", "asked to delete what retires"
    MAKE_ROOM = "make_room", "taking away what serves, to make room", "took away what served, to make room"
    DEPLOY_MODEL = "deploy_model", "deploying the model", "asked for the deployment"
    NOTE_NO_MACHINES = (
        "note_no_machines",
        "noting that Azure had no machines for it",
        "noted that Azure had no machines for it",
    )
    REMOVE_FAILED = "remove_failed", "deleting what failed", "asked to delete what failed"
    SMOKE_TEST = "smoke_test", "asking the deployment a question", "asked the deployment a held-out question"
    COMPARE_ANSWERS = "compare_answers", "comparing answers", "compared its answers with what is asked of them"
    ASK_APPROVAL = "ask_approval", "asking for an approval", "asked for an approval"
    GIVE_TRAFFIC = "give_traffic", "giving it the traffic", "gave it all of the traffic"
    START_SERVING = "start_serving", "noting that it serves", "noted that it serves"
