"""A job's metrics for people who look: read from Azure ML at most once in 30 seconds, however many watch.

What was read last is kept in a blob, so that this holds for all hosts of the app together. Called by the view of a run.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import msgspec

from shared.app import App
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.lifecycle.moment import Moment
from shared.records import layout
from shared.records.base import from_json
from shared.records.layout import STATE

FRESH = timedelta(seconds=30)

Curves = dict[str, list[tuple[int, float | None]]]
"""Name to (step, value) pairs; None where the value is no number."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: when somebody began to read them."""

    at: Moment
    curves: Curves = {}
    problem: str = ""


def job_curves(app: App, job: str) -> tuple[Curves, str]:
    """The metrics of a job, and why they can't be read."""
    if not job:
        return {}, ""
    blobs, name = app.cloud.blobs, layout.curves(job)
    kept, etag = _kept(app, name)
    now = blobs.now()
    if kept and abs(now - kept.at) < FRESH:  # hosts are not all of one time
        return kept.curves, kept.problem
    before = kept or _Kept(at=now)
    try:  # whoever writes this reads them; the others have those from before
        mine = msgspec.json.encode(msgspec.structs.replace(before, at=now))
        etag = blobs.write(STATE, name, mine, if_match=etag or None, if_none_match=not etag)
    except Conflict:
        return before.curves, before.problem
    try:
        found = Curves({each: list(points) for each, points in app.cloud.metrics.job_metrics(job).items()})
        problem = ""
    except (NotFound, Transient, Permanent) as error:
        found, problem = before.curves, str(error)
    with suppress(Conflict):
        blobs.write(STATE, name, msgspec.json.encode(_Kept(at=now, curves=found, problem=problem)), if_match=etag)
    return found, problem


def _kept(app: App, name: str) -> tuple[_Kept | None, str]:
    """What was read last, and the blob's ETag; "" where there is none."""
    try:
        data, etag = app.cloud.blobs.read(STATE, name)
    except NotFound:
        return None, ""
    try:
        return from_json(data, _Kept), etag
    except ValueError:
        return None, etag
