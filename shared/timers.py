"""How a run, or the upkeep of a line, is woken: a message in a queue, now or later."""

from __future__ import annotations

from datetime import timedelta

from shared.app import App
from shared.lifecycle import Phase
from shared.records.run import Line, Run, readable
from shared.slots import free

PREPARE_QUEUE = "prepare"
STEPS_QUEUE = "run-steps"


def queue_of(phase: Phase) -> str:
    """The queue that a run in `phase` is woken through: a long dataset must not block the short steps."""
    return PREPARE_QUEUE if phase is Phase.RECEIVED else STEPS_QUEUE


def wake(app: App, run: Run, *, after: timedelta = timedelta(0), token: str | None = None) -> None:
    """Has the run looked at after `after`. Without a token it is nobody's timer: never dropped, arms nothing."""
    app.cloud.queues.send(queue_of(run.phase), {"run": run.id, "token": token}, after=after)


def wake_line(app: App, line: Line, *, after: timedelta = timedelta(0), token: str | None = None) -> None:
    """Has a line's upkeep (a teardown, what is leaving) looked at. Without a token it is nobody's timer, as above."""
    app.cloud.queues.send(STEPS_QUEUE, {"line": line.id, "token": token}, after=after)


def free_slot(app: App, run: Run) -> None:
    """Gives the run's place among those that train back, and wakes whom that makes room for."""
    for run_id in free(app, run.id):
        if loaded := readable(app.runs, run_id):
            wake(app, loaded[0])
