"""Who may train now, and who waits: the limits on jobs at once and in a day, as functions of plain data.

The record `state/slots.json` is a `Slots`; run/slots.py reads and changes it by these functions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.lifecycle.moment import Moment

DAY = timedelta(hours=24)
TICK = timedelta(microseconds=1)
"""The service tells its time in whole seconds, so those who come in the same second are told apart by this."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many may train at once (`active`), and how many may start in any 24 hours (`day`)."""

    active: int
    day: int


@dataclass(frozen=True, kw_only=True)
class Slots:
    """`holding`: runs with a slot, since when. `waiting`: runs without, since when. `started`: starts of the last day.

    `short`: `phase/run/attempt` of those that found no quota, since when; who waits no more is passed over, and
    forgotten by the sweep.
    `version`: as of all records, see records/base.py, which stands above. Times are the storage service's, UTC. A start
    counts even where the job failed right away: it may have cost money.
    """

    version: int = 1
    holding: Mapping[str, Moment] = field(default_factory=dict)
    waiting: Mapping[str, Moment] = field(default_factory=dict)
    started: tuple[Moment, ...] = ()
    short: Mapping[str, Moment] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a run may do. `granted`: it has a slot. If not, `why` is what it waits for, "" where it is to `take` one.

    `room_in`: seconds until there is room without anybody's doing; None where somebody else wakes the run.
    """

    granted: bool = False
    why: str = ""
    room_in: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """Where a run stands where quota is short. `queued`: it waits for some; `ahead`: who has waited for it longest."""

    queued: bool = False
    ahead: str = ""


def in_order(slots: Slots) -> list[str]:
    """Those who wait, oldest first."""
    return sorted(slots.waiting, key=lambda run: (slots.waiting[run], run))


def free_slots(slots: Slots, limits: Limits) -> int:
    """Slots that nobody holds, whatever the day allows."""
    return max(0, limits.active - len(slots.holding))


def room(slots: Slots, limits: Limits, now: datetime) -> int:
    """How many more may start at once."""
    return min(free_slots(slots, limits), max(0, limits.day - len(_of_the_day(slots, now))))


def taken(slots: Slots, run: str, limits: Limits, now: datetime) -> Slots:
    """After `run` asked for a slot: it holds one if its turn has come, else it waits. The same if nothing changed."""
    if run in slots.holding:
        return slots
    asking = slots
    if run not in slots.waiting:
        last = max(slots.waiting.values(), default=now - TICK)
        asking = replace(slots, waiting={**slots.waiting, run: max(now, last + TICK)})
    if run not in in_order(asking)[: room(asking, limits, now)]:
        return asking
    return replace(
        asking,
        holding={**asking.holding, run: now},
        waiting={each: since for each, since in asking.waiting.items() if each != run},
        started=(*_of_the_day(asking, now), now),
    )


def granted(slots: Slots, run: str, since: datetime) -> Slots:
    """After `run` got a slot whatever the limits say. The same if it had one."""
    if run in slots.holding:
        return slots
    left = freed(slots, {run})
    # Its start may be known already, and count twice: rather a job too few in a day than one too many.
    return replace(left, holding={**left.holding, run: since}, started=(*left.started, since))


def freed(slots: Slots, runs: Collection[str]) -> Slots:
    """After `runs` gave back their slots and their places among those who wait. The same if they had none."""
    if not any(run in slots.holding or run in slots.waiting for run in runs):
        return slots
    return replace(
        slots,
        holding={run: since for run, since in slots.holding.items() if run not in runs},
        waiting={run: since for run, since in slots.waiting.items() if run not in runs},
    )


def unstarted(slots: Slots, run: str) -> Slots:
    """After what `run` took its slot for was refused, so that its start does not count. The same if it had no slot."""
    started = list(slots.started)
    if (since := slots.holding.get(run)) in started:
        started.remove(since)
    return replace(slots, started=tuple(started)) if len(started) < len(slots.started) else slots


def would_get(slots: Slots, run: str, holder: str, limits: Limits, now: datetime) -> bool:
    """Whether `run` would hold a slot at once if `holder` gave back its own."""
    return run in taken(freed(slots, {holder}), run, limits, now).holding


def passed_on(slots: Slots, before: str, run: str) -> Slots:
    """After `run` took the place of `before` among those who wait, if that is the better one."""
    since, own = slots.waiting.get(before), slots.waiting.get(run)
    if since is None or own is None or own < since:
        return slots
    left = {each: at for each, at in slots.waiting.items() if each != before}
    return replace(slots, waiting=left | {run: since})


def upcoming(slots: Slots, limits: Limits) -> list[str]:
    """Those that no slot is wanting for, oldest first: they may start, or the day holds them up, which has an end."""
    return in_order(slots)[: free_slots(slots, limits)]


def place(slots: Slots, run: str, limits: Limits, now: datetime) -> Place:
    """Where `run` stands."""
    if run in slots.holding:
        return Place(granted=True)
    if run not in slots.waiting:
        return Place()
    before, free = in_order(slots).index(run), free_slots(slots, limits)
    if before < room(slots, limits, now):
        return Place()
    ahead = f", {before} {'run is' if before == 1 else 'runs are'} before it" if before else ""
    starts = _of_the_day(slots, now)
    if before >= free:
        why = f"a free slot: {len(slots.holding)} of MAX_ACTIVE_JOBS={limits.active} are taken{ahead}"
        return Place(why=why)
    index = len(starts) - limits.day + before
    at = (starts[index] if index < len(starts) else now) + DAY  # the one that makes way for it may be yet to start
    return Place(
        why=(
            f"its turn at {_minute(at)}: {len(starts)} of MAX_JOBS_PER_DAY={limits.day} jobs were started in the last "
            f"24 h{ahead}"
        ),
        room_in=float(math.ceil((at - now).total_seconds())),
    )


def waited_longer(slots: Slots, attempt: str) -> list[str]:
    """Those of `short` that have waited longer than `attempt`; all of them where it is not in it. Oldest first."""
    queue = sorted(slots.short, key=lambda each: (slots.short[each], each))
    return queue[: queue.index(attempt)] if attempt in slots.short else queue


def _of_the_day(slots: Slots, now: datetime) -> tuple[datetime, ...]:
    """Starts that still count, oldest first."""
    return tuple(sorted(start for start in slots.started if start > now - DAY))


def _minute(at: datetime) -> str:
    """A time to be told, never too early."""
    return f"{at + timedelta(seconds=59):%Y-%m-%d %H:%M} UTC"
