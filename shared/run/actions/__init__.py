"""What Droptune does to Azure for a run, a function for each action: `ACTIONS[action](app, run)` gives the record.

Every action may be done again after a crash: names are derived from run and attempt, and what exists already is
adopted. Raises Transient (later) or Permanent (the run ends); anything else is a bug.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.app import App
from shared.records.run import Run
from shared.run.actions import data, gate, rollout, train

ACTIONS: dict[str, Callable[[App, Run], Run]] = {
    "prepare": data.prepare,
    "pin": train.pin,
    "make_computes": train.make_computes,
    "lead": train.lead,
    "admit": train.admit,
    "queue_up": train.queue_up,
    "train": train.train,
    "cancel_job": train.cancel_job,
    "take_report": data.take_report,
    "register": train.register,
    "make_endpoint": rollout.make_endpoint,
    "clear": rollout.clear,
    "make_room": rollout.make_room,
    "deploy": rollout.deploy,
    "check": rollout.check,
    "compare": gate.compare,
    "ask": rollout.ask,
    "give_traffic": rollout.give_traffic,
    "serve": rollout.serve,
}
