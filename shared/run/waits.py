"""How long a run may wait: when that is up to a person, who is told, and when it is given up.

One rule for all phases. A phase that costs money, or holds its line, has a limit of its own; at its end the run ends,
but never before it has tried once more: `given_up` is asked where a turn has come to nothing, and not before. Called by
the loop, by whoever parks a run, by the sweep and for status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from shared.app import App
from shared.lifecycle.phase import WORK, Hold, Phase, refused
from shared.line.waits import Need, unreadable_record
from shared.records.base import VERSION
from shared.records.mark import Mark, version_in
from shared.records.run import Approval, Ending, Run
from shared.records.store import Open
from shared.run import machines
from shared.settings import Settings

BY_PEOPLE = ("approval", "pin", "endpoint")
"""Holds that only a person ends."""
DAY, MARGIN = timedelta(days=1), timedelta(hours=1)
ENDS_WITHIN = timedelta(minutes=15)
"""One that ends, or that hosts come back to, when it has been where it is for long already, is not told of yet."""
_LIMITS = {
    Phase.REGISTERED: ("it was not deployed within MAX_REGISTERED_DAYS", "max_registered_days", DAY),
    Phase.DEPLOYING: ("it was not deployed within MAX_DEPLOYING_HOURS", "max_deploying_hours", timedelta(hours=1)),
    Phase.CHECKING: ("it did not serve within MAX_CHECKING_HOURS", "max_checking_hours", timedelta(hours=1)),
}
"""Phases that end by themselves after so long: in words, the setting of the rollout, and its unit."""
_HOW = "see to what it waited for, then droptune retry, which does not train again; that was"


def limit_of(settings: Settings, phase: Phase) -> timedelta | None:
    """After how long a run in that phase is given up; None where it is not: it costs nothing, or its job has one."""
    if phase not in _LIMITS:
        return None
    _, name, unit = _LIMITS[phase]
    return int(getattr(settings.rollout, name)) * unit


def given_up(app: App, run: Run, why: str, hold: Hold = "") -> Ending | None:
    """The end of a run that has just tried once more, and waits for `why`, if it has done so for too long.

    An approval has a limit of its own, and so has a deployment that Azure had no machines for.
    """
    limit = limit_of(app.settings, run.phase)
    approval = run.attempt.deployed.approval if run.attempt.deployed else Approval()
    if run.ending or limit is None or hold == "approval" or (approval.asked and not approval.by):
        return None
    if app.cloud.blobs.now() - machines.begun(run) <= limit:
        return None
    return Ending(phase=refused(run.phase), why=f"{_LIMITS[run.phase][0]}: {_HOW} {why}")


def usual(settings: Settings, phase: Phase) -> timedelta:
    """How long a run is in that phase at most, as a rule: people are told of one that is so longer."""
    if phase is Phase.TRAINING:
        return timedelta(hours=settings.training.max_hours) + DAY
    limit = limit_of(settings, phase)
    return min(limit + MARGIN, DAY) if limit else DAY


def is_up_to_people(mark: Mark) -> bool:
    """Whether the run goes on only when somebody does something."""
    return mark.parked or mark.refused or mark.hold in BY_PEOPLE


def is_long(settings: Settings, mark: Mark, now: datetime) -> bool:
    """Whether the run has been where it is for longer than usual."""
    return mark.phase in WORK and now - (mark.begun or mark.since) > usual(settings, Phase(mark.phase))


def needs_of(app: App, found: Iterable[Open], marks: Mapping[str, Mark], now: datetime) -> Iterator[Need]:
    """What of the open runs waits for a person."""
    for each in found:
        mark = marks.get(each.key)
        if mark is None and ("unreadable" in each.metadata or version_in(each.metadata) > VERSION):
            yield unreadable_record(f"runs/{each.key}", version_in(each.metadata))
        elif mark and is_up_to_people(mark):
            itself = mark.parked or mark.refused or mark.hold == "approval"
            kind = "parked" if mark.parked else "refused" if mark.refused else mark.hold
            yield _need(mark, kind, mark.status, event="" if itself else "Run.Waiting")
        elif mark and is_long(app.settings, mark, now):
            yield _need(mark, "long", long(mark), after=ENDS_WITHIN)


def long(mark: Mark) -> str:
    """In a sentence, that it is where it is for longer than usual, and what for."""
    status = mark.status or "what it does does not come to an end"
    return f"is {mark.phase} since {mark.since:%Y-%m-%d %H:%M} (UTC): {status}"


def _need(mark: Mark, kind: str, status: str, *, event: str = "Run.Waiting", after: timedelta = timedelta(0)) -> Need:
    ends = "" if mark.status.startswith("ends as ") else f"; droptune cancel {mark.id} ends it"
    return Need(
        key=f"run {mark.id} {mark.phase} {kind}",
        event=event,
        subject=f"runs/{mark.id}",
        why=f"run {mark.id} {status}{ends}",
        dataset=mark.folder,
        run=mark.id,
        shown=True,
        after=after,
    )


def lost(mark: Mark) -> Need:
    """A run that was at work, and has no record any more."""
    return Need(
        key=f"run {mark.id} lost",
        event="Record.Lost",
        subject=f"runs/{mark.id}",
        why=f"the record of run {mark.id}, which was {mark.phase}, is lost: droptune recover makes it again, where "
        "Azure shows what it came to; where not, upload its data again",
        dataset=mark.folder,
        run=mark.id,
    )
