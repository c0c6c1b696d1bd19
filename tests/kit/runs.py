"""Runs as a person finds them, whole; and what became of their data."""

from __future__ import annotations

import json

from shared.app import App
from shared.records import layout
from shared.records.layout import PREPARED
from shared.records.run import Run


def recent(app: App, limit: int) -> list[Run]:
    """At most `limit` that work, then at most `limit` that have ended, of both the newest first."""
    marks, _ = app.runs.summaries(limit)
    return [loaded.record for mark in marks if (loaded := app.runs.load(mark.id))]


def faults_of(app: App, run: Run) -> int:
    """How many faults the report names for which the run's data were rejected; 0 where they were not."""
    data = run.attempt.data
    assert data, "its data were not checked"
    report = json.loads(app.cloud.blobs.read(PREPARED, layout.report(run.prepared))[0])
    assert report["rejected"] == data.rejected
    return sum(report["by_rule"].values()) if data.rejected else 0
