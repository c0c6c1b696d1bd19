"""The line of a run: who may change its endpoint now.

A run takes its line's place before it deploys, and gives it back when it ends. Used by the run's looks,
actions and end; the cleanup takes the line by marking a teardown.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from shared import naming
from shared.app import App
from shared.cloud.endpoints import Deployment
from shared.errors import Conflict, Permanent, Transient
from shared.records.line import Line
from shared.records.outbox import send_events
from shared.records.owner import is_on_line
from shared.records.run import Run
from shared.records.store import Unreadable

log = logging.getLogger("droptune.line.access")


def own(app: App, run: Run) -> tuple[Line, str]:
    """Reads the line again before traffic moves or something is deleted. Raises Permanent when it is not ours."""
    line, etag = line_of(app, run)
    if line.rollout != run.id:
        raise Permanent(f"the line's rollout is not this run's any more, but {line.rollout or 'nobody'}'s")
    return line, etag


def line_of(app: App, run: Run) -> tuple[Line, str]:
    """The run's line and its ETag; made when there is none."""
    loaded = app.lines.load(run.line)
    if loaded is None:
        app.lines.create(
            Line(
                id=run.line,
                folder=run.source.folder,
                base_model=run.source.base_model,
                endpoint=naming.endpoint_name(
                    run.source.folder,
                    run.source.base_model,
                    *app.settings.workspace.scope,
                    installation=run.installation,
                ),
                installation=run.installation,
            )
        )
        loaded = app.lines.load(run.line)
    if loaded is None:
        raise Transient(f"line {run.line} was deleted while it was read")
    return loaded


def save_line(app: App, line: Line, etag: str) -> None:
    """Replaces the line that was read with `etag`. Raises Transient when somebody else was faster."""
    try:
        app.lines.save(line, etag)
    except Conflict:
        raise Transient("the line changed meanwhile", after=timedelta(seconds=2)) from None


def tell_line(app: App, line: Line, etag: str) -> None:
    """The same, and sends the events in its outbox."""
    try:
        save_and_send(app, line, etag)
    except Conflict:
        raise Transient("the line changed meanwhile", after=timedelta(seconds=2)) from None


def reopen_line(app: App, line: Line, etag: str) -> None:
    """The same for a line whose endpoint was removed, and is about to stand again."""
    try:
        app.lines.reopen(line, etag)
    except Conflict:
        raise Transient("the line changed meanwhile", after=timedelta(seconds=2)) from None


def serves(app: App, run: Run) -> bool:
    """Whether the line says that this run serves."""
    loaded = app.lines.load(run.line)
    return loaded is not None and loaded.record.serving is not None and loaded.record.serving.run == run.id


def ours(app: App, line: Line) -> dict[str, Deployment]:
    """The deployments on the line's endpoint that were made for it, by name."""
    found = app.cloud.endpoints.deployments(line.endpoint)
    return {each.name: each for each in found if is_on_line(line, each.name, each.tags)}


def held_by(app: App, line: Line, run: Run) -> str:
    """What else the endpoint is being changed for, to be told; "" if nothing. A run that has ended holds nothing.

    Where that may take for ever, because nobody approves it or there is no quota, it says how to put an end to it. One
    whose record somebody broke by hand holds the line: what it has there is not known.
    """
    if line.rollout in ("", run.id):
        return ""
    what = f"the rollout of run {line.rollout}"
    try:
        other = app.runs.load(line.rollout)
    except Unreadable as error:
        return f"{what}, whose record {error}"
    if other is None or other.record.phase.ended:
        return ""
    waits = _waits_for(other.record)
    if not waits or other.record.ending:
        return what
    how = "is parked" if other.record.parked else "itself waits"
    return f"{what}, which {how} ({waits}); droptune cancel {line.rollout} ends it"


def _waits_for(run: Run) -> str:
    """What may never end of itself: why it is parked, or waits for a person, for quota, or for what Azure refuses."""
    if run.parked:
        return run.parked.why
    waiting = run.waiting
    return waiting.why if waiting and (waiting.hold or run.refused or "quota" in waiting.why) else ""


def is_active(app: App, run_id: str) -> bool:
    """Whether the run works; one whose record can't be read may, for all that is known."""
    try:
        loaded = app.runs.load(run_id) if run_id else None
    except Unreadable as error:
        log.warning("run %s is taken for one that works: %s", run_id, error)
        return True
    return loaded is not None and not loaded.record.phase.ended


def save_and_send(app: App, line: Line, etag: str) -> tuple[Line, str]:
    """Saves the line, then sends the events in its outbox. Raises Conflict."""
    return send_and_save(app, line, app.lines.save(line, etag))


def send_and_save(app: App, line: Line, etag: str) -> tuple[Line, str]:
    """Sends the line's events, and saves that they were sent; those that a crash left are the next one's who comes."""
    if not line.outbox:
        return line, etag
    sent = send_events(app.cloud, line)
    for notice in line.outbox:
        if notice not in sent.outbox:
            log.info("endpoint %s: %s (%s)", line.endpoint, notice.type, notice.why)
    return sent, etag if sent == line else app.lines.save(sent, etag)
