"""The safety net under the events: finds uploads and jobs whose event never came, and wakes runs that are overdue.

Called by a timer. Costs a listing of what is active and of the datasets, never of what has ended.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from shared.app import App
from shared.errors import Conflict, NotFound, Transient
from shared.events import folder_of
from shared.folders import DATASETS
from shared.intake import look_into
from shared.lifecycle import Phase
from shared.records import CONTAINER, Run, expired
from shared.timers import wake

log = logging.getLogger("droptune.sweep")

WATERMARK = "watermark.json"
MARGIN = timedelta(minutes=1)
PARKED = timedelta(hours=1)
"""A parked run is tried again so often: what it stumbled over may have been mended, and it may cost money."""
OVERLAP = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """When Droptune swept first, and last. By the storage service's clock."""

    installed: datetime
    swept: datetime


def sweep(app: App) -> None:
    """One pass over what may have been missed. Doing it twice at once wakes twice and changes nothing."""
    _wake_overdue(app)
    _find_uploads(app)


def _wake_overdue(app: App) -> None:
    now = app.cloud.blobs.now()
    for run_id, marked in app.runs.active():
        try:
            _wake_if_overdue(app, run_id, marked, now)
        except Exception:
            log.exception("run %s can't be looked at; the others are", run_id)


def _wake_if_overdue(app: App, run_id: str, marked: datetime, now: datetime) -> None:
    loaded = app.runs.load(run_id)
    if loaded is None:
        if now - marked > OVERLAP:
            app.runs.retire(run_id)
        return
    run, _ = loaded
    parked_until = run.parked_at + PARKED if run.parked and run.parked_at else now
    if parked_until <= now and (run.phase.ended or _overdue(run, now)):
        log.info("run %s (%s) is overdue: woken", run.id, run.phase)
        wake(app, run)


def _overdue(run: Run, now: datetime) -> bool:
    """Whether something should have happened by itself. A job is always looked at: its event may be lost."""
    if run.claim is None and run.wake is None:
        return run.phase is Phase.TRAINING or now - run.since > MARGIN
    return expired(run, now, MARGIN)


def _find_uploads(app: App) -> None:
    """Uploads since the last sweep, less a margin for late commits. What was there at the first sweep is left alone."""
    now = app.cloud.blobs.now().replace(microsecond=0)  # blobs tell their last change in whole seconds
    try:
        data, etag = app.cloud.blobs.read(CONTAINER, WATERMARK)
        mark = msgspec.json.decode(data, type=Watermark)
    except NotFound:
        mark, etag = Watermark(installed=now, swept=now), None
    since = max(mark.installed, mark.swept - OVERLAP)
    changed = {folder_of(blob.name) for blob in app.cloud.blobs.list(DATASETS) if blob.last_modified >= since}
    again = False
    for folder in sorted(changed - {""}):
        try:
            look_into(app, folder)
        except (Transient, Conflict) as error:
            log.warning("%s/%s can't be looked into now: %s", DATASETS, folder, error)
            again = True
        except Exception:
            log.exception("%s/%s can't be looked into; the other folders are", DATASETS, folder)
    if again:
        return  # the mark stays, so that the next sweep looks again
    try:
        body = msgspec.json.encode(replace(mark, swept=now))
        app.cloud.blobs.write(CONTAINER, WATERMARK, body, if_match=etag, if_none_match=etag is None)
    except Conflict:
        log.info("another sweep moved the watermark")
