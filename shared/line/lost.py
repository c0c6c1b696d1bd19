"""What is ours and has no record, or no end: endpoints and jobs that no record knows, lines whose upkeep stands still.

A record is lost when somebody empties `state`, or restores it from an old copy. Nothing is done to what it was of, but
that its line has a seat: `droptune recover` makes the record again. Called by the sweep, which has people hear of each
at once and once a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from shared.app import App
from shared.line import seats
from shared.line.waits import Need, unreadable_record
from shared.records.layout import POISON, STATE
from shared.records.line import Line
from shared.records.owner import line_of_endpoint
from shared.records.store import Unreadable

DAY = timedelta(days=1)
STUCK = timedelta(hours=6)
"""A teardown takes minutes."""
LOST = "Record.Lost"


def lost(kind: str, name: str, dataset: str) -> Need:
    """An `endpoint` or a `job` (`kind`) whose record is lost, and the folder of which it was made."""
    why = f"{kind} {name} costs money, and the record of what it is for is lost: droptune recover makes it again"
    return Need(key=f"lost {kind} {name}", event=LOST, subject=f"{kind}s/{name}", why=why, dataset=dataset)


def needs_of_lines(app: App, now: datetime) -> Iterator[Need]:
    """Of lines whose record can't be read or is lost, and of upkeep that does not come to its end. Raises Transient."""
    endpoints = [each for each in app.cloud.endpoints.list() if each.state != "Deleting"]
    mine = {each.name: line for each in endpoints if (line := line_of_endpoint(app.settings, each.name, each.tags))}
    known = set[str]()
    for found in app.lines.open():
        try:
            loaded = app.lines.load(found.key)
        except Unreadable as error:
            known.add(found.key)
            yield unreadable_record(f"lines/{found.key}", error.version)
            continue
        if loaded:
            known.add(found.key)
            yield from _of_line(loaded.record, now)
    for name, line in mine.items():
        if line.id not in known:
            seats.hold_lost(app, line)
            yield lost("endpoint", name, line.folder)


def _of_line(line: Line, now: datetime) -> Iterator[Need]:
    """What of it waits for somebody. A refusal is told by the line's own record, as it happens and daily."""
    for name, refusal in line.refused.items():
        yield _need(line, f"refused {name}", refusal.why, event="", shown=True)
    if line.refused:
        return
    if line.is_going:
        yield _need(line, "teardown", "its teardown does not come to its end, and it costs: see the log", after=STUCK)
    if late := [each.deployment for each in line.retiring if now - each.until > DAY]:
        yield _need(line, "retiring", f"{', '.join(late)} is to be deleted, still stands and costs: see the log")


def _need(
    line: Line,
    kind: str,
    why: str,
    *,
    event: str = "Endpoint.Waiting",
    shown: bool = False,
    after: timedelta = timedelta(0),
) -> Need:
    return Need(
        key=f"line {line.id} {kind}",
        event=event,
        subject=f"lines/{line.id}",
        why=f"endpoint {line.endpoint}: {why}",
        dataset=line.folder,
        shown=shown,
        after=after,
    )


def needs_of_messages(app: App, now: datetime) -> Iterator[Need]:
    """Of messages that failed again and again within a day. The run that one names is parked besides."""
    young = [blob.name for blob in app.cloud.blobs.list(STATE, POISON) if now - blob.last_modified < DAY]
    if young:
        why = f"{len(young)} messages failed again and again within a day, as the first {STATE}/{young[0]}: see the log"
        yield Need(key="messages", event="Message.Poisoned", subject="messages", why=why)
