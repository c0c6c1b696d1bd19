"""Whether this process of the app could work: its settings, and an answer from storage.

Anybody may ask, a monitor or an attacker, as often as they like: so storage is asked once in FRESH seconds at most,
whoever asks, and strangers hear whether all is well and nothing else. What is wrong is told to who may call
(`about`), and logged. Called by the HTTP functions.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from shared.api import schema
from shared.api.access import shut
from shared.api.answers import Answer, answered
from shared.app import App, app, mistyped
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.intake.adopted import adopted
from shared.line.unreadable import stops_training, unreadable
from shared.line.waits import counted
from shared.logs import ignored_so_far
from shared.records.layout import DATASETS, SEATS, SLOTS, STATE
from shared.settings import SettingError

log = logging.getLogger("droptune.api.health")

FRESH = 10.0
"""Seconds for which an answer is given again, good or bad."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a look has shown. `problem`: what is wrong, "" where nothing is; `time`: storage's, "" without an answer.

    `warnings`: what keeps nobody from working, and somebody should see to; `needs`: how much waits for a person, as the
    last sweep found it, which `status` tells one by one. Both are looked at for who may call alone.
    """

    problem: str
    time: str = ""
    warnings: tuple[str, ...] = ()
    needs: int = 0


class Looks:
    """One look for all who ask within FRESH seconds; who comes while one is under way waits for it.

    `look` is asked for one, `clock` for monotonic seconds.
    """

    def __init__(self, look: Callable[[], Found], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, Found] | None = None

    def latest(self) -> tuple[float, Found]:
        """How many seconds ago the latest look was, and what it has shown."""
        with self._lock:
            if self._last is None or self._clock() - self._last[0] >= FRESH:
                found = self._look()
                self._last = self._clock(), found
            at, found = self._last
            return self._clock() - at, found


def health() -> Answer:
    """200 where all is well, 503 where not: for anybody, so that neither says more."""
    _, found = _looks.latest()
    status, what = (503, "not ok") if found.problem else (200, "ok")
    return status, msgspec.json.encode(schema.Health(status=what))


def about(app: App) -> Answer:
    """The same for who may call: what is wrong, what this process is and has seen, and where uploads go."""
    return answered(lambda: _about(app))


def _about(app: App) -> schema.About:
    seconds, found = _closer.latest()
    return schema.About(
        ok=not found.problem,
        problem=found.problem,
        warnings=list(found.warnings),
        needs=found.needs,
        time=found.time,
        age=round(seconds, 1),
        ignored=dict(ignored_so_far),
        pid=os.getpid(),
        python=platform.python_version(),
        datasets=f"{app.settings.storage.blob_uri.rstrip('/')}/{DATASETS}",
        base_model=app.settings.training.base_model,
    )


def _look_closer() -> Found:
    """The same with what only who may call hears, as of the seats: strangers cost one call."""
    found = _looks.latest()[1]
    if not found.time:
        return found
    try:
        ours = app()
        problem = found.problem or stops_training(ours.cloud.blobs.answers(STATE, SEATS)[1], SEATS)
        found = replace(found, problem=problem)
        return replace(found, warnings=(*mistyped(), *unreadable(ours), *adopted(ours)), needs=counted(ours))
    except (Transient, Permanent) as error:
        return replace(found, problem=found.problem or str(error))


def _look() -> Found:
    try:
        ours = app()
        if refusal := shut(ours.settings.api):
            return _bad(refusal.why)
        time, held = ours.cloud.blobs.answers(STATE, SLOTS)
        if problem := stops_training(held):
            log.error("not well: %s", problem)
        return Found(problem=problem, time=time.isoformat())
    except SettingError as error:
        return _bad(f"the app's settings are no good: {error}")
    except (Transient, Permanent, Conflict, NotFound) as error:
        return _bad(str(error))
    except Exception as error:  # a bug must not be louder towards strangers than anything else
        log.exception("the app can't say whether it is well")
        return Found(problem=f"{type(error).__name__}, which is in the app's log")


def _bad(problem: str) -> Found:
    log.error("not well: %s", problem)
    return Found(problem=problem)


_looks, _closer = Looks(_look), Looks(_look_closer)
