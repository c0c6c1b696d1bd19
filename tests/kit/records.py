"""Records, and what can be seen of them afterwards."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from localcloud.stack import Stack
from shared.app import App
from shared.cloud.queues import PEEKED
from shared.records.base import Order
from shared.records.layout import STEPS_QUEUE
from shared.records.line import Line, Serving
from shared.records.run import Run

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def serving(run: str, model: str = "m:1", **changes: Any) -> Serving:
    """What a run has left serving."""
    base = Serving(run=run, deployment=f"{run}-1", model=model, fingerprint="f", since=NOW, order=Order(uploaded=NOW))
    return replace(base, **changes)


def changed(run: Run, **changes: Any) -> Run:
    """The run with these fields, each by its name, in whichever part of the record it stands: `changed(run, job="j")`.

    One of the deployment needs one to be there, or to be given as `deployed`.
    """
    attempt = run.attempt
    if "deployed" in changes:
        attempt = replace(attempt, deployed=changes.pop("deployed"))
    if attempt.deployed:
        attempt = replace(attempt, deployed=replace(attempt.deployed, **_taken(changes, attempt.deployed)))
    parts: dict[str, Any] = {
        "source": replace(run.source, **_taken(changes, run.source)),
        "attempt": replace(attempt, **_taken(changes, attempt)),
    }
    return replace(run, **parts | changes)


def _taken(changes: dict[str, Any], part: Any) -> dict[str, Any]:
    """Those of the changes that are fields of the part, and no more among them."""
    return {each.name: changes.pop(each.name) for each in fields(part) if each.name in changes}


def run_of(app: App, run: str | Run) -> Run:
    """A run's record as it stands."""
    loaded = app.runs.load(run if isinstance(run, str) else run.id)
    assert loaded
    return loaded.record


def etag_of(app: App, run_id: str) -> str:
    """Of a run's record."""
    loaded = app.runs.load(run_id)
    assert loaded
    return loaded.etag


def line_of(app: App, line: str | Line | Run) -> Line:
    """A line's record as it stands: of its id, of an older record, or of one of its runs."""
    loaded = app.lines.load(line if isinstance(line, str) else line.line if isinstance(line, Run) else line.id)
    assert loaded
    return loaded.record


def events_of(cloud: Stack, record: Run | Line) -> list[dict[str, Any]]:
    """What the lifecycle topic was told of it, in order."""
    subject = f"{'runs' if isinstance(record, Run) else 'lines'}/{record.id}"
    told = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
    return [event for event in told if event.get("subject") == subject]


def woken(app: App, run: str | Run, queue: str = STEPS_QUEUE) -> int:
    """How often the run was woken by nobody's timer."""
    wanted = {"run": run if isinstance(run, str) else run.id, "token": None}
    there = app.cloud.clients.queue_service.get_queue_client(queue).peek_messages(PEEKED)
    assert len(there) < PEEKED, f"queue {queue} may hold more than can be seen: empty it before"
    return sum(json.loads(base64.b64decode(each.content)) == wanted for each in there)
