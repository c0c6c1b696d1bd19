"""What the web functions answer: the records as JSON, with what belongs to them read where it is."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import msgspec

from shared.app import App, app
from shared.counters import ignored_so_far
from shared.errors import NotFound, Permanent, Transient
from shared.records import layout
from shared.records.layout import PREPARED, STATE, WAITING
from shared.serving.idle import money_saved
from shared.settings import SettingError

RECENT = 50


def health() -> bytes:
    """Whether this process could work: its settings, and an answer from storage."""
    try:
        problem, now = "", app().cloud.blobs.now().isoformat()
    except (SettingError, Transient, Permanent) as error:
        problem, now = str(error), ""
    body = {"ok": not problem, "problem": problem, "time": now, "ignored": dict(ignored_so_far), "pid": os.getpid()}
    return msgspec.json.encode(body)


def runs(app: App) -> bytes:
    """The records of the runs that work, and of those that ended last, newest first."""
    return msgspec.json.encode(app.runs.recent(RECENT))


def run(app: App, run_id: str) -> bytes | None:
    """One run's record, with the report on its data and the metrics of its job where there are any."""
    loaded = app.runs.load(run_id)
    if loaded is None:
        return None
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
    return msgspec.json.encode(body)


def folders(app: App) -> bytes:
    """Folders whose finetune.yaml names files that are not there (yet): name to missing files."""
    blobs = app.cloud.blobs
    waiting = {}
    for blob in blobs.list(STATE, WAITING):
        with suppress(NotFound):  # it has just been completed
            name = blob.name.removeprefix(WAITING).removesuffix(".json")
            waiting[name] = msgspec.Raw(blobs.read(STATE, blob.name)[0])
    return msgspec.json.encode(waiting)


def lines(app: App) -> bytes:
    """The lines, with what their empty endpoints have saved so far."""
    now = app.cloud.blobs.now()
    found = []
    for line in app.lines.recent(RECENT):
        saved = 0.0
        if line.emptied:
            price = app.settings.instance_price
            saved = money_saved(line.emptied, now, instances=line.instances, price_per_hour=price)
        found.append(msgspec.to_builtins(line) | {"saved": round(saved, 2)})
    return msgspec.json.encode(found)
