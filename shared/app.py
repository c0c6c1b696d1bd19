"""One object for everything a trigger needs: the settings, Azure, and the records; and how to wake a run or a line.

Built at the first invocation of a process and kept: SDK clients are dear to make. `functions/` and all rooms above this
one get it from here; nothing in it is made before it is asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from shared.cloud import Cloud
from shared.cloud.unread_settings import unread
from shared.lifecycle.phase import Phase
from shared.logs import harmless
from shared.records.base import Wake
from shared.records.layout import PREPARE_QUEUE, STEPS_QUEUE
from shared.records.line import Line
from shared.records.run import Run
from shared.records.store import Lines, Runs
from shared.settings import Settings

log = logging.getLogger("droptune.app")


@dataclass(frozen=True, kw_only=True)
class App:
    """The app as its parts see it."""

    settings: Settings
    cloud: Cloud
    runs: Runs
    lines: Lines

    @classmethod
    def of(cls, settings: Settings) -> App:
        """The app over the cloud that `settings` names."""
        cloud = Cloud(settings)
        return cls(settings=settings, cloud=cloud, runs=Runs(cloud.blobs), lines=Lines(cloud.blobs))


@cache
def app() -> App:
    """This process's app, whose log is harmless from now on. Raises SettingError when the environment is incomplete."""
    harmless()
    settings = Settings.read(os.environ)
    for told in mistyped():
        log.warning("%s", told)
    return App.of(settings)


def mistyped() -> list[str]:
    """A sentence for each setting of this process that nothing reads."""
    return unread(os.environ)


def queue_of(phase: Phase) -> str:
    """The queue that a run in `phase` is woken through: a long dataset must not block the short steps."""
    return PREPARE_QUEUE if phase is Phase.RECEIVED else STEPS_QUEUE


def wake(app: App, record: Run | Line, *, after: timedelta = timedelta(0), token: str | None = None) -> None:
    """Has a run, or a line's upkeep, looked at after `after`.

    Without a token it is nobody's timer: never dropped, arms nothing. With one it is the timer of the record's `wake`.
    """
    if isinstance(record, Run):
        app.cloud.queues.send(queue_of(record.phase), {"run": record.id, "token": token}, after=after)
    else:
        app.cloud.queues.send(STEPS_QUEUE, {"line": record.id, "token": token}, after=after)


def arm[T: (Run, Line)](app: App, record: T, due: datetime, save: Callable[[T], object]) -> None:
    """Gives the record the one timer that counts, due then: saves it by `save`, then sends the timer's message.

    In this order: after a crash between the two the sweep, or the cleanup, finds a timer that is overdue.
    """
    armed = replace(record, wake=Wake.at(due))
    save(armed)
    start_timer(app, armed)


def start_timer(app: App, record: Run | Line) -> None:
    """Sends the message of the timer that the record, as it was saved, has; nothing where it has none."""
    if record.wake:
        wake(app, record, after=record.wake.due - app.cloud.blobs.now(), token=record.wake.token)
