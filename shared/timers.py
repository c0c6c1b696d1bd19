"""How a run is woken: a message in the queue of its phase, now or later."""

from __future__ import annotations

from datetime import timedelta

from shared.app import App
from shared.lifecycle import Phase
from shared.records import Run

PREPARE_QUEUE = "prepare"
STEPS_QUEUE = "run-steps"


def queue_of(phase: Phase) -> str:
    """The queue that a run in `phase` is woken through: a long dataset must not block the short steps."""
    return PREPARE_QUEUE if phase is Phase.RECEIVED else STEPS_QUEUE


def wake(app: App, run: Run, *, after: timedelta = timedelta(0), token: str | None = None) -> None:
    """Has the run looked at after `after`. Without a token it is nobody's timer: never dropped, arms nothing."""
    app.cloud.queues.send(queue_of(run.phase), {"run": run.id, "token": token}, after=after)
