"""The line of a run: who may change its endpoint now.

A run takes its line's place before it deploys, and gives it back when it ends. Used by the looks, the effects and the
release; the cleanup takes the line by marking a teardown.
"""

from __future__ import annotations

from datetime import timedelta

from shared import naming
from shared.app import App
from shared.errors import Conflict, Permanent, Transient
from shared.records import Line, Run


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
        settings = app.settings
        endpoint = naming.endpoint_name(
            f"{run.folder}/{run.base_model}", settings.subscription, settings.resource_group, settings.workspace
        )
        app.lines.create(Line(id=run.line, folder=run.folder, base_model=run.base_model, endpoint=endpoint))
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


def held_by(app: App, line: Line, run: Run) -> str:
    """The other run that the line's endpoint is being changed for, "" if none. One that has ended holds nothing."""
    if line.rollout in ("", run.id):
        return ""
    other = app.runs.load(line.rollout)
    return line.rollout if other and not other[0].phase.ended else ""
