"""From what happened outside to the run that it concerns: uploads make runs, job events wake them.

Events only wake: an upload's event causes a look into its folder, and what stands there decides. Called by
`dataset_uploaded`, `job_finished` and, for events that never came or could not be delivered, by the sweep. What is not
for us is left alone with one log line and a count.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime

import msgspec

from shared import naming
from shared.app import App, start_timer, wake
from shared.dataset.folder import Contents, Dataset
from shared.dataset.spec.choices import FILE_NAME, Policy
from shared.errors import Conflict, Permanent, Transient
from shared.intake import events
from shared.intake.folder import Folder, datasets_of, read_folder, rejected_run, taken, told_by
from shared.lifecycle.phase import Phase
from shared.logs import ignored, visible
from shared.records import layout
from shared.records.base import Order, Wake
from shared.records.layout import DATASETS, STATE
from shared.records.run import Ending, File, Run, Source
from shared.records.store import readable
from shared.serving.gate import Promotion

log = logging.getLogger("droptune.intake.arrivals")


def uploaded(app: App, body: bytes) -> None:
    """Handles a BlobCreated event. Raises ValueError when the message is no event at all."""
    event = events.blob_created(body)
    if isinstance(event, events.Ignored):
        ignored("storage_event", event.reason)
    elif event.container != DATASETS:
        ignored("other_container", f"{event.container}/{event.path} is not in the container {DATASETS}")
    elif not event.folder:
        ignored("no_folder", f"{event.path} lies in no folder: upload a dataset as <name>/<file>")
    else:
        look_into(app, event.folder, cause=event.name)


def job_changed(app: App, body: bytes) -> None:
    """Handles an Azure ML run event. Raises ValueError when the message is no event at all."""
    event = events.job_changed(body)
    if isinstance(event, events.Ignored):
        ignored("job_event", event.reason)
        return
    run_id = naming.run_of_job(event.run_id)
    loaded = app.runs.load(run_id) if run_id else None
    if loaded is None or naming.job_name(loaded.record.id, loaded.record.attempt.number) != event.run_id:
        ignored("unknown_job", f"job {event.run_id} is not the job of any run")
    elif loaded.record.phase not in (Phase.PREPARED, Phase.TRAINING):  # PREPARED: submitted, and not noted yet
        ignored("over_job", f"job {event.run_id}, whose run is {loaded.record.phase} already")
    else:
        wake(app, loaded.record)


def undelivered(app: App, body: bytes) -> None:
    """Handles a dead letter: a JSON list of events that Event Grid could not deliver.

    Raises, after the others were handled, Transient, Conflict or Permanent when one of them could not be handled now,
    else ValueError when one is nothing that we know.
    """
    letter = json.loads(body)
    unknown = []
    later: Transient | Conflict | Permanent | None = None
    for event in letter if isinstance(letter, list) else [letter]:
        kind = str((event.get("eventType") or event.get("type")) if isinstance(event, dict) else event)
        try:
            if kind.startswith("Microsoft.Storage."):
                uploaded(app, json.dumps(event).encode())
            elif kind.startswith("Microsoft.MachineLearningServices."):
                job_changed(app, json.dumps(event).encode())
            else:
                unknown.append(f"no event of datasets or jobs: {visible(kind, 80)}")
        except (Transient, Conflict, Permanent) as error:
            log.warning("a dead letter's event can't be handled now, the others are: %s", error)
            later = error
        except ValueError as error:
            unknown.append(str(error))
        except Exception as error:
            log.exception("a dead letter's event can't be handled; the others are")
            unknown.append(f"{visible(kind, 80)}: {error}")
    if later:
        raise later
    if unknown:
        raise ValueError("; ".join(unknown))


def look_into(app: App, name: str, *, cause: str = "", came: datetime | None = None) -> None:
    """Makes the runs that the folder yields now and that do not exist yet. `cause`: the file that an event named.

    `came`: when files came that look older, since a rename, an undelete or a copy keeps their dates. What stands there
    then is newer than all that stood there before, and may not be all there yet.
    """
    if why := naming.refused(naming.FOLDER, name):
        ignored("folder_name", f"{why}: rename it, and upload it again")
        return
    folder = read_folder(app, name)
    if not folder.files:
        ignored("empty_folder", f"{DATASETS}/{name} has no files (any more)")
        app.cloud.blobs.delete(STATE, layout.waiting(name))
        return
    if folder.unread or folder.contents.misnamed:
        app.cloud.blobs.delete(STATE, layout.waiting(name))
        _reject(app, folder)
        return
    found = folder.contents
    if cause in found.ignored:
        ignored("not_trained_on", f"{DATASETS}/{name}/{cause}: {found.ignored[cause]}")
    _note_waiting(app, name, found)
    if found.several:
        _receive_several(app, folder, came)
    for run_id, dataset in datasets_of(folder).items():
        if _receive(app, run_id, folder, dataset, came):
            return
        known = readable(app.runs, run_id)
        if known is None or _takes(known.record, dataset):
            if cause:
                ignored("known_upload", f"{dataset.told} is run {run_id} already")
            return


def _receive(app: App, run_id: str, folder: Folder, dataset: Dataset, came: datetime | None) -> bool:
    """Makes the run; False when it exists already."""
    model = folder.spec.model if folder.spec and folder.spec.model else app.settings.training.base_model
    source = Source(
        folder=folder.name,
        base_model=model,
        parameters=dict(folder.spec.parameters) if folder.spec else {},
        policy=folder.spec.policy if folder.spec else Policy(),
        promotion=folder.spec.promotion if folder.spec else Promotion(),
        hub=dataset.hub,
        **taken(folder.name, dataset),
    )
    return _begin(app, run_id, folder, source, max(dataset.newest, came or dataset.newest), dataset.told)


def _receive_several(app: App, folder: Folder, came: datetime | None) -> None:
    """Makes the run that is rejected once the upload is whole, unless one says the same, or will."""
    files = folder.contents.several
    source = Source(
        folder=folder.name,
        base_model=app.settings.training.base_model,
        train=tuple(
            File(name=layout.dataset_file(folder.name, file.name), etag=file.etag, size=file.size) for file in files
        ),
    )
    told = f"{DATASETS}/{folder.name}, {len(files)} training files"
    newest = max(*(file.modified for file in files), *((came,) if came else ()))
    for run_id in told_by(folder):
        if _begin(app, run_id, folder, source, newest, told):
            return
        if (known := readable(app.runs, run_id)) and _says(known.record, folder):
            ignored("known_upload", f"{told}: run {run_id} says what is to be done")
            return


def _takes(run: Run, dataset: Dataset) -> bool:
    """Whether the run trains on precisely these pieces, or will: until it reads them, it takes what is there."""
    if run.phase is Phase.RECEIVED and not (run.ending or run.attempt.in_job or run.attempt.data):
        return True
    took = {file.name.removeprefix(layout.dataset_file(run.source.folder)): file.etag for file in run.source.train}
    return not took or took == {file.name: file.etag for file in dataset.train}  # a record made of tags may know none


def _says(run: Run, folder: Folder) -> bool:
    """Whether the run has said what is wrong with the folder as it stands now, or will."""
    return run.phase is Phase.RECEIVED if not run.phase.ended else run.why == folder.problem


def _begin(app: App, run_id: str, folder: Folder, source: Source, newest: datetime, told: str) -> bool:
    """Makes a run that waits for the rest of its upload; False when it exists already."""
    now = app.cloud.blobs.now()
    run = Run(
        id=run_id,
        line=naming.line_id(folder.name, source.base_model, installation=folder.installation),
        installation=folder.installation,
        order=Order(uploaded=newest),
        source=source,
        since=now,
        wake=Wake.at(max(newest + app.settings.data.settle, now)),
    ).noted(now, f"received {told}")
    if not app.runs.create(run):
        return False
    start_timer(app, run)
    log.info("run %s: received %s, %s", run_id, told, source.base_model)
    return True


def _reject(app: App, folder: Folder) -> None:
    """A finetune.yaml that can't be followed, or read, is a run that ends first thing: its owner has to hear of it.

    One that is archived may be read later: its run waits for that.
    """
    spec, now = folder.files[FILE_NAME] if folder.unread else folder.contents.misnamed[0], app.cloud.blobs.now()
    path = layout.dataset_file(folder.name, spec.name)
    file = File(name=path, etag=spec.etag, size=spec.size)
    ending = None if folder.archived else Ending(phase=Phase.REJECTED, why=folder.problem)
    run = Run(
        id=rejected_run(folder),
        line=naming.line_id(folder.name, app.settings.training.base_model, installation=folder.installation),
        installation=folder.installation,
        order=Order(uploaded=spec.modified),
        source=Source(folder=folder.name, base_model=app.settings.training.base_model, train=(file,), spec=file),
        since=now,
        ending=ending,
    ).noted(now, f"received {path}")
    if app.runs.create(run):
        wake(app, run)
        log.info("run %s: %s: %s", run.id, "rejected" if ending else "waits", folder.problem)


def _note_waiting(app: App, name: str, found: Contents) -> None:
    """Keeps what an incomplete folder waits for where the page can show it."""
    blob = layout.waiting(name)
    if found.waiting:
        app.cloud.blobs.write(STATE, blob, msgspec.json.encode(found.waiting.for_))
        log.info("%s/%s waits for %s", DATASETS, name, found.waiting)
    else:
        app.cloud.blobs.delete(STATE, blob)
