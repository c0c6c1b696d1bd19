"""What Droptune does to Azure for a run, a function for each action: `ACTIONS[action](app, run)` gives the record.

Every action may be done again after a crash: names are derived from run and attempt, and what exists already is
adopted. Raises Transient (later) or Permanent (the run ends); anything else is a bug.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.app import App
from shared.lifecycle.action import Action
from shared.records.run import Run
from shared.run import course
from shared.run.actions import data, gate, rollout, train

ACTIONS: dict[Action, Callable[[App, Run], Run]] = {
    Action.PREPARE_DATA: data.prepare_data,
    Action.RESOLVE_PLAN: train.resolve_plan,
    Action.MAKE_CLUSTERS: train.make_clusters,
    Action.BECOME_NEWEST: train.become_newest,
    Action.WAIT_FOR_OLDER: train.wait_for_older,
    Action.TAKE_SLOT: train.take_slot,
    Action.TAKE_SEAT: train.take_seat,
    Action.WAIT_FOR_QUOTA: train.wait_for_quota,
    Action.SUBMIT_JOB: train.submit_job,
    Action.NOTE_TRAINING: course.noted,
    Action.NOTE_QUEUEING: course.noted,
    Action.CANCEL_JOB: train.cancel_job,
    Action.TAKE_REPORT: data.take_report,
    Action.REGISTER_MODEL: train.register_model,
    Action.TRAIN_AGAIN: train.train_again,
    Action.REGISTER_AGAIN: train.register_again,
    Action.MAKE_ENDPOINT: rollout.make_endpoint,
    Action.KEEP_SIZE: rollout.keep_size,
    Action.END_GRACE: rollout.end_grace,
    Action.MAKE_ROOM: rollout.make_room,
    Action.DEPLOY_MODEL: rollout.deploy_model,
    Action.NOTE_NO_MACHINES: rollout.note_no_machines,
    Action.REMOVE_FAILED: rollout.remove_failed,
    Action.SMOKE_TEST: rollout.smoke_test,
    Action.COMPARE_ANSWERS: gate.compare_answers,
    Action.ASK_APPROVAL: rollout.ask_approval,
    Action.GIVE_TRAFFIC: rollout.give_traffic,
    Action.START_SERVING: rollout.start_serving,
}
