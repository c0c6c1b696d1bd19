"""What the web functions answer: the records as JSON, with what belongs to them read where it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from shared.api.access import shut
from shared.api.answers import Answer, answered, turned_away
from shared.app import App, app
from shared.counters import ignored_so_far
from shared.errors import NotFound, Permanent, Transient
from shared.records import layout
from shared.records.layout import PREPARED, STATE, WAITING
from shared.records.line import Line
from shared.serving.idle import money_saved
from shared.settings import SettingError

RECENT = 50


def health() -> Answer:
    """Whether this process could work: its settings, and an answer from storage.

    Anybody may ask, unless the door is shut to all.
    """
    try:
        if refusal := shut(app().settings.api):
            return turned_away(refusal)
        problem, now = "", app().cloud.blobs.now().isoformat()
    except (SettingError, Transient, Permanent) as error:
        problem, now = str(error), ""
    body = {"ok": not problem, "problem": problem, "time": now, "ignored": dict(ignored_so_far), "pid": os.getpid()}
    return answered(lambda: body)


def runs(app: App) -> Answer:
    """The records of the runs that work, and of those that ended last, newest first."""
    return answered(lambda: app.runs.recent(RECENT))


def run(app: App, run_id: str) -> Answer:
    """One run's record, with the report on its data and the metrics of its job where there are any."""
    return answered(lambda: _run(app, run_id))


def folders(app: App) -> Answer:
    """Folders whose finetune.yaml names files that are not there (yet): name to missing files."""
    return answered(lambda: dict(_waiting(app)))


def lines(app: App) -> Answer:
    """The lines, with what their empty endpoints have saved so far."""
    return answered(lambda: [_line(app, line) for line in app.lines.recent(RECENT)])


def _run(app: App, run_id: str) -> dict[str, Any]:
    loaded = app.runs.load(run_id)
    if loaded is None:
        raise NotFound("there is no such run")
    record = loaded.record
    body: dict[str, Any] = msgspec.to_builtins(record)
    try:
        report, _ = app.cloud.blobs.read(PREPARED, layout.report(record.prepared))
        body["report"] = msgspec.json.decode(report)
    except NotFound:
        body["report"] = None
    try:
        body["metrics"] = app.cloud.metrics.job_metrics(record.job) if record.job else {}
    except (NotFound, Transient, Permanent) as error:
        body["metrics"], body["metrics_problem"] = {}, str(error)
    return body


def _waiting(app: App) -> Iterator[tuple[str, msgspec.Raw]]:
    blobs = app.cloud.blobs
    for blob in blobs.list(STATE, WAITING):
        with suppress(NotFound):  # it has just been completed
            name = blob.name.removeprefix(WAITING).removesuffix(".json")
            yield name, msgspec.Raw(blobs.read(STATE, blob.name)[0])


def _line(app: App, line: Line) -> dict[str, Any]:
    saved = 0.0
    if line.emptied:
        price, now = app.settings.serving.hourly_price, app.cloud.blobs.now()
        saved = money_saved(line.emptied, now, instances=line.instances, price_per_hour=price)
    body: dict[str, Any] = msgspec.to_builtins(line)
    return body | {"saved": round(saved, 2)}
