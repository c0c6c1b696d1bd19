"""From what happened outside to the run that it concerns: uploads make runs, job events wake them.

Events only wake: an upload's event causes a look into its folder, and what stands there decides. Called by
`dataset_uploaded`, `job_finished` and, for events that never came, by the sweep. What is not for us is left alone with
one log line and a count.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from typing import assert_never
from uuid import uuid4

import msgspec

from shared import naming
from shared.advance import wake
from shared.app import App
from shared.dataset.folder import Dataset, Listed, Waiting, datasets_in
from shared.dataset.spec import SPEC_NAME, Spec, SpecError, parse_spec
from shared.errors import NotFound
from shared.events import Ignored, blob_created, job_changed as parse_job_changed
from shared.lifecycle import Phase
from shared.records import CONTAINER, Entry, File, Run, Wake
from shared.telemetry import ignored

log = logging.getLogger("droptune.intake")

DATASETS = "datasets"


def uploaded(app: App, body: bytes) -> None:
    """Handles a BlobCreated event. Raises ValueError when the message is no event at all."""
    event = blob_created(body)
    if isinstance(event, Ignored):
        ignored(event.kind, event.reason)
        return
    if event.container != DATASETS:
        ignored("other_container", f"{event.container}/{event.name} is not in the container {DATASETS}")
        return
    folder = event.name.rpartition("/")[0]
    if not folder:
        ignored("no_folder", f"{event.name} lies in no folder: upload datasets as <name>/<file>")
        return
    look_into(app, folder)


def job_changed(app: App, body: bytes) -> None:
    """Handles an Azure ML run event. Raises ValueError when the message is no event at all."""
    event = parse_job_changed(body)
    if isinstance(event, Ignored):
        ignored(event.kind, event.reason)
        return
    run_id = naming.run_of_job(event.job)
    loaded = app.runs.load(run_id) if run_id else None
    if loaded is None:
        ignored("unknown_job", f"job {event.job} was not started by Droptune, or its run is forgotten")
        return
    if loaded[0].phase.ended:
        ignored("ended_run", f"job {event.job} of run {run_id}, which has ended")
        return
    wake(app, loaded[0])
