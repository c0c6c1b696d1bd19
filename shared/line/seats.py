"""The seats of lines: at most MAX_LIVE_ENDPOINTS lines have deployments, or runs that are on their way to one.

Nothing else bounds what stands and costs, where more is uploaded than is torn down. One blob, `state/seats.json`,
changed under If-Match only, so that two hosts can't both take the last seat. A run asks for one before its job is
submitted, and, unless its line still has one, again before it deploys. Who gets none waits, and is woken when it has
its turn: by the end of a run, by a teardown, or by the sweep. A line that serves is never held up. A record that is
lost or broken is made again, of the lines, the endpoints and the runs that work. lifecycle/seats.py has the rules.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from shared import naming
from shared.app import App, wake
from shared.errors import Permanent, Transient
from shared.lifecycle.phase import PAID, Phase
from shared.lifecycle.seats import (
    Asking,
    Limit,
    Seat,
    Seats,
    ahead,
    asked,
    free,
    gets,
    granted,
    held,
    is_stale,
    left,
    rivals,
    told,
    upcoming,
    why,
)
from shared.line.remade import Queue, Remade
from shared.line.waits import Need, unreadable_record
from shared.records.layout import SEATS, STATE
from shared.records.line import Line
from shared.records.mark import Mark, mark_in
from shared.records.owner import line_of_endpoint
from shared.records.run import Run
from shared.records.store import Unreadable, readable

log = logging.getLogger("droptune.line.seats")
REWORDED = 20
"""Runs whose words are made anew by one look of the sweep: where hundreds wait, the others follow."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a run may do. `granted`: its line has a seat for it. If not, `why` is what it waits for, "" where it is to
    `take` one; `queued`: it stands among those who wait; `newer`: a newer run of its line that waits beside it.
    """

    granted: bool = False
    why: str = ""
    queued: bool = False
    newer: str = ""


def occupied(line: Line) -> bool:
    """Whether something of the line's stands, or is being made or deleted: what costs."""
    return bool(line.serving or line.retiring or line.orphans or line.rollout or line.is_going)


def look(app: App, run: Run) -> Place:
    """Where the run stands. Changes nothing, but for a record that is lost or broken (see remade.py)."""
    seats = _record.read(app)
    return _place(app, seats, run)


def serves_on(line: Line, run: Run) -> bool:
    """Whether the line has a seat without a look: it serves, or is being changed for this very run."""
    return not line.is_going and (line.serving is not None or line.rollout == run.id)


def take(app: App, run: Run) -> Place:
    """Gives the run's line a seat if its turn has come, else lets the run wait. Again, it changes nothing.

    Raises Transient.
    """
    seats = _record.changed(app, lambda seats: asked(seats, run.id, _asking(run), _seat(app, run), _limit(app, seats)))
    if run.id in seats.asking:
        for other in rivals(seats, run.id, _asking(run)):  # the older one finds that out, and makes way
            if loaded := readable(app.runs, other):
                wake(app, loaded.record)
    return _place(app, seats, run)


def hold(app: App, line: Line) -> None:
    """Gives a line a seat whatever the limit says, since something of it stands. Raises Transient."""
    if occupied(line):
        since = line.serving.since if line.serving else app.cloud.blobs.now()
        seat = Seat(since=since, folder=line.folder, endpoint=line.endpoint)
        _record.changed(app, lambda seats: held(seats, line.id, seat))


def hold_lost(app: App, line: Line) -> None:
    """Gives a line a seat whose record is lost, if its endpoint has a deployment: that costs as before.

    What fails the next look makes up for.
    """
    try:
        if app.lines.load(line.id) is None and app.cloud.endpoints.deployments(line.endpoint):
            seat = Seat(since=app.cloud.blobs.now(), folder=line.folder, endpoint=line.endpoint)
            _record.changed(app, lambda seats: held(seats, line.id, seat))
    except (Transient, Permanent) as error:
        log.warning("line %s, whose record is lost, has no seat yet: %s", line.id, error)


def step_aside(app: App, run: Run) -> None:
    """The run waits for something else: it asks again, and is as old then. Wakes whose turn it is. Raises Transient."""
    if run.id in _record.read(app).asking:
        _let_go(app, [run.id], {})


def leave(app: App, run: Run) -> None:
    """The run is not on its way any more; its line keeps the seat if something of it stands. Wakes whose turn it is.

    Raises Transient.
    """
    seats = _record.read(app)
    seat = seats.taken.get(run.line)
    if run.id in seats.asking or (seat and (run.id in seat.runs or not seat.runs)):
        standing = {run.line: _stands(app, run.line, seat, [run.id])}
        if left(seats, [run.id], standing) != seats:
            _let_go(app, [run.id], standing)


def settle(app: App, line: Line) -> None:
    """Takes the line's seat back if nothing of it stands and no run is on its way, and wakes whose turn it is.

    What fails the sweep makes up for.
    """
    if occupied(line):
        return
    try:
        _let_go(app, [], {line.id: False})
    except (Transient, Permanent) as error:
        log.warning("line %s keeps its seat until the sweep: %s", line.id, error)


def stale(app: App, marks: Mapping[str, Mark]) -> Queue:
    """Takes back the seats of lines of which nothing stands any more, and the places of runs that wait no more.

    For the sweep: no crash may block the others for ever, nor who is parked, nor what somebody deleted by hand.
    `marks`: what a listing says of the open runs, by id. Loads the records of the lines that have a seat, where
    anybody waits for one. Raises Transient.
    """
    if not any(mark.hold == "seat" for mark in marks.values()):
        return Queue(turn=(), waiting=())
    seats = _record.read(app)
    known = {run for seat in seats.taken.values() for run in seat.runs} | seats.asking.keys()
    gone = [run for run in known if not _goes_on(app, run, marks.get(run), asks=run in seats.asking)]
    standing = {line: _stands(app, line, seat, gone) for line, seat in seats.taken.items()}
    after = left(seats, gone, standing)
    if after != seats:
        # What was no run's a moment ago may be one's by now: it is in the record then, and keeps the seat.
        after = _record.changed(app, lambda seats: left(seats, gone, standing))
    limit = Limit(most=_most(app), standing=frozenset(line for line, stands in standing.items() if stands))
    waits = [mark for mark in marks.values() if mark.hold == "seat" and mark.phase == Phase.PREPARED]
    old = [mark.id for mark in waits if is_stale(mark.status, after, limit)]
    return Queue(turn=upcoming(after, limit), waiting=after.asking.keys() - set(old[:REWORDED]))


def needed_by(app: App, line: Line) -> str:
    """What a run that begins with its deployment would wait for; "" where the line has a seat, or gets one at once."""
    if line.serving and not line.is_going:
        return ""
    seats = _record.read(app)
    limit = _limit(app, seats)
    now = app.cloud.blobs.now()
    asking = Asking(line=line.id, since=now, uploaded=now, trained=True)
    return "" if gets(seats, "", asking, limit) else _why(app, seats, limit, ahead(seats, "", asking))


def needs(app: App) -> Iterator[Need]:
    """A record that a newer app wrote: nobody gets a seat, and nothing is trained. Raises Transient."""
    try:
        _record.read(app)
    except Unreadable as error:
        yield unreadable_record(SEATS, error.version)


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How many seats are taken, in words; how many runs wait for one, and if any do, `why`.

    `turn`: runs that may take one now; who has long been asked to is looked after, as is any run that is late.
    """

    taken: str
    waiting: int = 0
    why: str = ""
    turn: Collection[str] = ()


def overview(app: App) -> Overview:
    """For people. Raises Transient."""
    seats = _record.read(app)
    limit = _limit(app, seats)
    waiting = len(seats.asking)
    return Overview(
        taken=told(seats, limit),
        waiting=waiting,
        why=_why(app, seats, limit) if waiting and not free(seats, limit) else "",
        turn=upcoming(seats, limit),
    )


def _place(app: App, seats: Seats, run: Run) -> Place:
    limit = _limit(app, seats)
    if granted(seats, run.id, run.line, limit):
        return Place(granted=True)
    if gets(seats, run.id, _asking(run), limit):
        return Place()
    newer = [each for each, is_newer in rivals(seats, run.id, _asking(run)).items() if is_newer]
    before = ahead(seats, run.id, _asking(run))
    return Place(why=_why(app, seats, limit, before), queued=run.id in seats.asking, newer=min(newer, default=""))


def _why(app: App, seats: Seats, limit: Limit, before: int = 0) -> str:
    return why(seats, limit, deletes=app.settings.cleanup.mode == "delete", before=before)


def _asking(run: Run) -> Asking:
    return Asking(
        line=run.line,
        since=run.since,
        uploaded=run.order.uploaded,
        ordinal=run.order.ordinal,
        trained=run.phase is not Phase.PREPARED,
    )


def _seat(app: App, run: Run) -> Seat:
    endpoint = naming.endpoint_name(
        run.source.folder, run.source.base_model, *app.settings.workspace.scope, installation=run.installation
    )
    return Seat(since=run.since, folder=run.source.folder, endpoint=endpoint)


def _let_go(app: App, runs: Collection[str], standing: Mapping[str, bool]) -> None:
    """Takes it out of the record, and wakes whom that makes room for. Raises Transient."""
    seats = _record.changed(app, lambda seats: left(seats, runs, standing))
    for run_id in upcoming(seats, _limit(app, seats)):
        if loaded := readable(app.runs, run_id):
            wake(app, loaded.record)


def _goes_on(app: App, run_id: str, mark: Mark | None, *, asks: bool) -> bool:
    """Whether the run is on its way, or comes when its turn has come. One whose mark can't be read is on its way.

    One that is parked may be so for long: it keeps a seat only for what it has in Azure already.
    """
    if asks:
        return _would_come(app, run_id, mark)
    if mark is None:
        return app.runs.is_marked(run_id)
    return not mark.parked or mark.phase in PAID


def _would_come(app: App, run_id: str, mark: Mark | None) -> bool:
    """Whether the run waits for a seat and nothing else; its mark may be older than what it does right now.

    Who goes on later asks again, and is as old then: nobody else is to wait until it does.
    """
    if mark and mark.hold == "seat":
        return not mark.parked
    loaded = readable(app.runs, run_id)
    run = loaded.record if loaded else None
    return run is not None and not (run.parked or run.phase.ended) and (run.hold == "seat" or run.claim is not None)


def _stands(app: App, line_id: str, seat: Seat | None, gone: Collection[str] = ()) -> bool:
    """Whether something of the line stands. Of one whose record can't be read that is believed.

    Where the record is lost its endpoint says it: what it has costs as before. Nobody asks for that as long as runs,
    but for those that are `gone`, keep the seat anyway; their line may have no record yet.
    """
    try:
        if loaded := app.lines.load(line_id):
            return occupied(loaded.record)
        if seat is None or any(run not in gone for run in seat.runs):
            return False
        return bool(app.cloud.endpoints.deployments(seat.endpoint))
    except (Transient, Permanent) as error:
        log.warning("line %s keeps its seat: %s", line_id, error)
        return True


def _most(app: App) -> int:
    return app.settings.serving.max_live


def _limit(app: App, seats: Seats) -> Limit:
    """The limit; who stands is looked at only where more seats are taken than there may be."""
    most = _most(app)
    if len(seats.taken) <= most:
        return Limit(most=most)
    return Limit(most=most, standing=frozenset(line for line, seat in seats.taken.items() if _stands(app, line, seat)))


def _as_found(app: App) -> Seats:
    """The record as lines, endpoints and the runs that work show it. Who waits asks again, at its next look."""
    seats = Seats()
    for line in _standing(app):
        since = line.serving.since if line.serving else app.cloud.blobs.now()
        seats = held(seats, line.id, Seat(since=since, folder=line.folder, endpoint=line.endpoint))
    for found in app.runs.open():
        mark = mark_in(found.metadata)
        if mark and mark.phase in PAID and (loaded_run := readable(app.runs, mark.id)):
            run = loaded_run.record
            seats = held(seats, run.line, _seat(app, run))
            seat = seats.taken[run.line]
            seats = replace(seats, taken={**seats.taken, run.line: replace(seat, runs=(*seat.runs, run.id))})
    return seats


def _standing(app: App) -> Iterator[Line]:
    """The lines of which something stands, by their records; where those are lost or broken, by their endpoints."""
    for line_id in app.lines.standing():
        if (loaded := readable(app.lines, line_id)) and occupied(loaded.record):
            yield loaded.record
    try:
        for each in app.cloud.endpoints.list():
            line = line_of_endpoint(app.settings, each.name, each.tags)
            if line and readable(app.lines, line.id) is None and app.cloud.endpoints.deployments(each.name):
                yield line
    except Permanent as error:  # no run is to end for that
        raise Transient(f"{STATE}/{SEATS} can't be made again: {error}", after=timedelta(minutes=5)) from error


_record = Remade(name=SEATS, kind=Seats, as_found=_as_found, whole="taken")
