"""The slots of those that train: at most MAX_ACTIVE_JOBS runs at once, MAX_JOBS_PER_DAY starts in any 24 hours.

And whose turn it is when there is quota again, to train or to deploy: theirs who have waited for it longest.
lifecycle/slots.py has the rules.

One blob, `state/slots.json`, changed under If-Match only, so that two hosts can't both take the last slot. A run takes
a slot before it submits its job and gives it back when it trains no more; whoever gives one back wakes those whose turn
it is, oldest first. A record that is lost, or that somebody broke, is made again, of the runs that work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from shared import naming
from shared.app import App, wake
from shared.errors import Permanent, Transient
from shared.lifecycle.action import Action
from shared.lifecycle.phase import ENDED, Phase
from shared.lifecycle.slots import (
    TICK,
    Limits,
    Place,
    Shortage,
    Slots,
    freed,
    granted,
    in_order,
    passed_on,
    place,
    room,
    taken,
    unstarted,
    upcoming,
    waited_longer,
)
from shared.lifecycle.slots import would_get as by_rule
from shared.line.remade import Queue, Remade
from shared.records.layout import SLOTS
from shared.records.mark import Mark
from shared.records.run import Run
from shared.records.store import Unreadable, readable
from shared.run import machines

log = logging.getLogger("droptune.run.slots")


def look(app: App, run_id: str) -> Place:
    """Where the run stands. Changes nothing, but for a record that is lost (see remade.py)."""
    slots = _record.read(app)
    return place(slots, run_id, _limits(app), app.cloud.blobs.now())


def would_get(app: App, run_id: str, holder: str) -> bool:
    """Whether the run would hold a slot at once if `holder` gave back its own. Changes nothing, as `look`."""
    slots = _record.read(app)
    return by_rule(slots, run_id, holder, _limits(app), app.cloud.blobs.now())


def has_place(app: App, run_id: str) -> bool:
    """Whether the run holds a slot, or stands among those who wait for one. Changes nothing, as `look`."""
    slots = _record.read(app)
    return run_id in slots.holding or run_id in slots.waiting


def shortage(app: App, run: Run) -> Shortage:
    """Where the run stands where the quota that its phase takes is short. Changes nothing, as `look`.

    Loads the record of the one before it, and of those that have waited longer still and do not any more.
    """
    slots = _record.read(app)
    longer = (each for each in waited_longer(slots, _attempt(run)) if each.startswith(f"{run.phase}/"))
    ahead = next((other.id for each in longer if (other := _of(app, each)) and _is_short(app, other)), "")
    return Shortage(queued=_attempt(run) in slots.short, ahead=ahead)


def take(app: App, run_id: str) -> Place:
    """Gives the run a slot if its turn has come, else lets it wait. Again, it changes nothing. Raises Transient."""
    limits = _limits(app)
    slots = _record.changed(app, lambda slots: taken(slots, run_id, limits, app.cloud.blobs.now()))
    return place(slots, run_id, limits, app.cloud.blobs.now())


def wait_for_quota(app: App, run: Run) -> None:
    """Has the run stand among those that wait for quota, behind all that do already. Raises Transient."""

    def queued(slots: Slots) -> Slots:
        now = app.cloud.blobs.now()
        last = max(slots.short.values(), default=now - TICK)
        return replace(slots, short={_attempt(run): max(now, last + TICK), **slots.short})

    _record.changed(app, queued)


def pass_on(app: App, before: str, run_id: str) -> None:
    """Gives the run the place of `before` among those who wait for a slot, if that is the better one. Raises Transient.

    Else who is replaced again and again, while it waits, would always be the last.
    """
    _record.changed(app, lambda slots: passed_on(slots, before, run_id))


def hold(app: App, run_id: str, since: datetime) -> None:
    """Gives the run a slot whatever the limits say: its job runs, since then. Again, it changes nothing.

    Raises Transient.
    """
    _record.changed(app, lambda slots: granted(slots, run_id, since))


def free(app: App, run_id: str) -> list[str]:
    """Takes back the run's slot, or its place among those who wait. Raises Transient.

    Returns the runs to wake, oldest first, and the same ones again when it is called again after a crash. That a start
    counts for the day is not taken back.
    """
    slots = _record.changed(app, lambda slots: freed(slots, {run_id}))
    return upcoming(slots, _limits(app))


def stale(app: App, marks: Mapping[str, Mark]) -> Queue:
    """Takes back what runs hold that train no more, and the places of runs at the head that wait no more.

    For the sweep: no crash may block the others for ever, nor an edit by hand, but for a record that can't be read:
    its job may be running. `marks`: what a listing says of the open runs, by id. Loads the records of those that hold
    a slot, or whose turn it is, and of which that says something else; looks for the jobs of those that hold one and
    are parked. Raises Transient.
    """
    limits = _limits(app)
    slots = _record.read(app)
    gone, over = _gone(app, slots, limits, marks), {each for each in slots.short if not _of(app, each)}

    def tidied(slots: Slots) -> Slots:
        left = freed(slots, gone)
        return replace(left, short={each: since for each, since in left.short.items() if each not in over})

    if gone or over:
        slots = _record.changed(app, tidied)
    turn = upcoming(slots, limits) if gone else in_order(slots)[: room(slots, limits, app.cloud.blobs.now())]
    return Queue(turn=turn, waiting=slots.waiting)


def _gone(app: App, slots: Slots, limits: Limits, marks: Mapping[str, Mark]) -> set[str]:
    def seems_to_train(run: str) -> bool:
        mark = marks.get(run)
        return mark is not None and not mark.parked and mark.phase in (Phase.PREPARED, Phase.TRAINING)

    gone = {run for run in slots.holding if not seems_to_train(run) and not _trains(app, run)}
    left = freed(slots, gone)
    while dead := {run for run in upcoming(left, limits) if not _waits(app, run)}:
        gone |= dead
        left = freed(left, dead)
    return gone


def _trains(app: App, run_id: str) -> bool:
    """Whether the run may hold a slot. One whose record can't be read does: its job may be running.

    One that is parked may be so for long: it holds one only while its job runs, and asks again before it submits one.
    """
    try:
        loaded = app.runs.load(run_id)
    except Unreadable:
        return True
    if loaded is None or loaded.record.phase not in (Phase.PREPARED, Phase.TRAINING):
        return False
    return not loaded.record.parked or _job_may_run(app, loaded.record)


def _job_may_run(app: App, run: Run) -> bool:
    """Whether the run's job has not ended, as far as can be seen; the record need not know that it was submitted.

    That Azure shows none is not believed of a run that trains: it would not ask for another slot.
    """
    try:
        job = app.cloud.jobs.get(naming.job_name(run.id, run.attempt.number))
    except (Permanent, Transient) as error:
        log.warning("run %s is parked and keeps its slot: its job can't be looked at: %s", run.id, error)
        return True
    return job.status not in ENDED if job else run.phase is Phase.TRAINING


def _waits(app: App, run_id: str) -> bool:
    """Whether the run comes when its turn has come. One that is parked gets a new place once it goes on."""
    loaded = readable(app.runs, run_id)
    run = loaded.record if loaded else None
    return run is not None and run.phase is Phase.PREPARED and not (run.parked or run.ending)


def _attempt(run: Run) -> str:
    """What stands for the run in `short`, as long as it is where it is: each phase takes a quota of its own."""
    return f"{run.phase}/{run.id}/{run.attempt.number}"


def _of(app: App, attempt: str) -> Run | None:
    """The run that stands in `short` as this; None where it is somewhere else by now."""
    loaded = readable(app.runs, attempt.partition("/")[2].partition("/")[0])
    return loaded.record if loaded and _attempt(loaded.record) == attempt else None


def _is_short(app: App, run: Run) -> bool:
    """Whether quota may be meant for the run: not while it tries nothing, since Azure had no machines for it."""
    waits = run.hold == "quota" and not (run.parked or run.ending)
    return waits and not machines.awaited(run, app.cloud.blobs.now())


def _limits(app: App) -> Limits:
    settings = app.settings.training
    return Limits(active=settings.max_active_jobs, day=settings.max_jobs_per_day)


def _as_found(app: App) -> Slots:
    """The record as the runs that work show it; those whose own record can't be read are passed over.

    Who has a job, or was about to submit it, holds a slot. What can't be seen any more is the starts of runs that have
    ended.
    """
    runs = [loaded.record for run_id in app.runs.active() if (loaded := readable(app.runs, run_id))]
    holding = {run.id: run.since for run in runs if _has_begun(app, run)}
    waiting = {run.id: run.since for run in runs if run.hold == "slot"}
    short = {_attempt(run): run.since for run in runs if run.hold == "quota"}
    return Slots(holding=holding, waiting=waiting, started=tuple(sorted(holding.values())), short=short)


def _has_begun(app: App, run: Run) -> bool:
    if run.phase is not Phase.PREPARED:
        return run.phase is Phase.TRAINING
    return (run.claim is not None and run.claim.action == Action.SUBMIT_JOB) or (
        bool(run.parked) and _job_may_run(app, run)
    )


_record = Remade(name=SLOTS, kind=Slots, as_found=_as_found, whole="holding")


def free_slot(app: App, run: Run) -> None:
    """Gives the run's place among those that train back, and wakes whom that makes room for."""
    _wake_all(app, free(app, run.id))


def not_started(app: App, run: Run) -> None:
    """As `free_slot`, for a run whose job was refused: nothing was started, so that nothing counts for the day.

    Raises Transient.
    """
    slots = _record.changed(app, lambda slots: freed(unstarted(slots, run.id), {run.id}))
    _wake_all(app, upcoming(slots, _limits(app)))


def _wake_all(app: App, runs: Iterable[str]) -> None:
    for run_id in runs:
        if loaded := readable(app.runs, run_id):
            wake(app, loaded.record)
