"""Which lines may have deployments, and who waits for that: the cap on live endpoints, as functions of plain data.

A line takes a seat before its job is paid for, and keeps it as long as something of it stands or is on its way. The
record `state/seats.json` is a `Seats`; line/seats.py reads and changes it by these functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.lifecycle.moment import Moment

NAMED = 3
"""Folders that a sentence names."""
_DELETE = "az ml online-endpoint delete --name"
_BEFORE = " before it"


@dataclass(frozen=True, kw_only=True)
class Seat:
    """That of a line, since then. `runs`: those on their way to its endpoint; none where only what stands keeps it."""

    since: Moment
    folder: str
    endpoint: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A run that waits for its line to have a seat, and how new it is: when it was `uploaded`, and its `ordinal`.

    `trained`: it has its model, and goes before those without one.
    """

    line: str
    since: Moment
    uploaded: Moment
    ordinal: int = 0
    trained: bool = False


@dataclass(frozen=True, kw_only=True)
class Seats:
    """`taken`: seats, by line. `asking`: who waits for one, by run. `version`: as of all records."""

    version: int = 1
    taken: Mapping[str, Seat] = field(default_factory=dict)
    asking: Mapping[str, Asking] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many lines may have a seat (`most`). `standing`: lines that are known to have a deployment.

    Who looks has to say who stands only where more seats are taken than there may be, as after MAX_LIVE_ENDPOINTS was
    lowered.
    """

    most: int
    standing: frozenset[str] = frozenset()


def in_order(seats: Seats) -> list[str]:
    """The runs that wait: those that have a model first, then the oldest first."""
    return sorted(seats.asking, key=lambda run: _turn(run, seats.asking[run]))


def free(seats: Seats, limit: Limit) -> int:
    """Seats that no line has."""
    return max(0, limit.most - len(seats.taken))


def fits(seats: Seats, line: str, limit: Limit) -> bool:
    """Whether a line that has a seat may use it: what stands does, and beside it those that came first."""
    if len(seats.taken) <= limit.most or line in limit.standing:
        return True
    own = seats.taken[line]
    before = [
        each
        for each, seat in seats.taken.items()
        if each != line and (each in limit.standing or (seat.since, each) < (own.since, line))
    ]
    return len(before) < limit.most


def gets(seats: Seats, run: str, asking: Asking, limit: Limit) -> bool:
    """Whether the run's line has a seat, or would get one if it asked now."""
    if asking.line in seats.taken:
        return fits(seats, asking.line, limit)
    return ahead(seats, run, asking) < free(seats, limit)


def ahead(seats: Seats, run: str, asking: Asking) -> int:
    """How many lines without a seat get one before the run's."""
    mine = _turn(run, _as_its_line(seats, asking))
    lines = {
        other.line
        for each, other in seats.asking.items()
        if other.line not in seats.taken and other.line != asking.line and _turn(each, other) < mine
    }
    return len(lines)


def granted(seats: Seats, run: str, line: str, limit: Limit) -> bool:
    """Whether the run is on its way to a seat that its line has and may use."""
    seat = seats.taken.get(line)
    return seat is not None and run in seat.runs and run not in seats.asking and fits(seats, line, limit)


def asked(seats: Seats, run: str, asking: Asking, seat: Seat, limit: Limit) -> Seats:
    """After the run asked for a seat: it has one, `seat` if its line had none, or it waits. The same if it did before.

    Who waits for a line for which another run does already has that one's place.
    """
    if not gets(seats, run, asking, limit):
        return replace(seats, asking={**seats.asking, run: _as_its_line(seats, asking)})
    has = seats.taken.get(asking.line, seat)
    runs = has.runs if run in has.runs else (*has.runs, run)
    waiting = {each: other for each, other in seats.asking.items() if each != run}
    return replace(seats, taken={**seats.taken, asking.line: replace(has, runs=runs)}, asking=waiting)


def held(seats: Seats, line: str, seat: Seat) -> Seats:
    """After a line got a seat whatever the limit says, since something of it stands. The same if it had one."""
    return seats if line in seats.taken else replace(seats, taken={**seats.taken, line: seat})


def left(seats: Seats, runs: Collection[str], standing: Mapping[str, bool]) -> Seats:
    """After `runs` are neither on their way any more, nor wait. The same if they did not.

    `standing`: of lines, whether something of theirs stands; one of which nothing does, and for which no run is on its
    way, has no seat any more.
    """
    taken = {}
    for line, seat in seats.taken.items():
        kept = tuple(each for each in seat.runs if each not in runs)
        if kept or standing.get(line, True):
            taken[line] = seat if kept == seat.runs else replace(seat, runs=kept)
    asking = {run: other for run, other in seats.asking.items() if run not in runs}
    return replace(seats, taken=taken, asking=asking)


def rivals(seats: Seats, run: str, asking: Asking) -> dict[str, bool]:
    """The other runs of its line that wait to be trained, and of each whether it is newer."""
    mine = (asking.uploaded, asking.ordinal)
    return {
        each: (other.uploaded, other.ordinal) > mine
        for each, other in seats.asking.items()
        if each != run and other.line == asking.line and not (other.trained or asking.trained)
    }


def upcoming(seats: Seats, limit: Limit) -> list[str]:
    """The runs that would get a seat if they asked now, in their order."""
    return [run for run in in_order(seats) if gets(seats, run, seats.asking[run], limit)]


def told(seats: Seats, limit: Limit) -> str:
    """How many seats are taken, and by whom, in words."""
    if not seats.taken:
        return f"0 of MAX_LIVE_ENDPOINTS={limit.most} lines serve or are on their way"
    folders = [seat.folder for seat in sorted(seats.taken.values(), key=lambda seat: (seat.since, seat.folder))]
    more = len(folders) - NAMED
    named = ", ".join(folders[:NAMED]) + (f" and {more} more" if more > 0 else "")
    one = "line serves or is on its" if limit.most == 1 else "lines serve or are on their"
    return f"{len(folders)} of MAX_LIVE_ENDPOINTS={limit.most} {one} way ({named})"


def why(seats: Seats, limit: Limit, *, deletes: bool, before: int = 0) -> str:
    """What a run waits for that gets no seat, and what ends that. `deletes`: idle endpoints go by themselves.

    `before`: how many have their turn before it; said where seats are free, since it waits for nothing else then.
    """
    wait = f"a free seat: {told(seats, limit)}"
    if before and free(seats, limit):
        return f"{wait}, and {before} {'runs are' if before > 1 else 'run is'}{_BEFORE}"
    if deletes:
        return f"{wait}. One is free once an endpoint that nobody calls is torn down; MAX_LIVE_ENDPOINTS may be raised"
    stands = min(
        (seat for seat in seats.taken.values() if not seat.runs),
        key=lambda seat: (seat.since, seat.folder),
        default=None,
    )
    frees = f"delete one ({_DELETE} {stands.endpoint})" if stands else "cancel a run"
    return (
        f"{wait}, and none goes by itself with CLEANUP_MODE=report: {frees}, set CLEANUP_MODE=delete, or raise "
        "MAX_LIVE_ENDPOINTS"
    )


def is_stale(words: str, seats: Seats, limit: Limit) -> bool:
    """Whether what `why` said, or its beginning, names an endpoint that has no seat any more, or seats that were free.

    Other words stay right, or do no harm: they are not made anew each time that a line comes or goes.
    """
    if words.endswith(_BEFORE):
        return not free(seats, limit)
    _, names, rest = words.partition(f"({_DELETE} ")
    endpoint, whole, _ = rest.partition(")")
    return bool(names and whole) and endpoint not in {seat.endpoint for seat in seats.taken.values()}


def _turn(run: str, asking: Asking) -> tuple[bool, datetime, str]:
    return not asking.trained, asking.since, run


def _as_its_line(seats: Seats, asking: Asking) -> Asking:
    """The same, as old as the oldest run of its line that waits."""
    waiting = (other.since for other in seats.asking.values() if other.line == asking.line)
    return replace(asking, since=min([asking.since, *waiting]))
