"""Uploads that yield no run: what lies in no folder, in none directly, and folders of which no file is trained on.

Read from the container's listing, and from no file. A folder with a finetune.yaml is none of them: it is a run, is
rejected, or waits for files, which is told elsewhere. Called for `droptune status` and the list of folders; and by the
sweep, which has people hear of each such folder, once a day at most.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice

import msgspec

from shared import naming
from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.dataset.folder import DataFile, contents
from shared.dataset.kinds import kind_of
from shared.dataset.spec.choices import FILE_NAME
from shared.errors import Conflict, NotFound
from shared.intake.events import folder_of, is_marker
from shared.lifecycle.moment import Moment
from shared.records.base import from_json
from shared.records.layout import DATASETS, STATE, UPLOADS_TOLD, dataset_file

log = logging.getLogger("droptune.intake.without_run")
LOOKED_AT = 5000
"""Blobs: a page of a listing."""
AGAIN = timedelta(days=1)
EVENT = "Upload.WithoutRun"
_NAMED = 5
"""Files that an event names one by one."""
_REMEMBERED = 1000
"""Folders."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A blob's path in the container, why no run comes of it and what to do, and when it was uploaded."""

    path: str
    folder: str
    why: str
    at: datetime


def uploads_without_run(app: App, looked_at: int | None = LOOKED_AT) -> Iterator[Upload]:
    """Those among so many first blobs of the container, folder by folder; None: among all.

    A folder that is cut off there is left out.
    """
    first = list(islice(app.cloud.blobs.list(DATASETS), looked_at))
    cut = folder_of(first[-1].name) if len(first) == looked_at else ""
    for folder, blobs in by_folder(first):
        if not folder or folder != cut:
            yield from without_run(folder, blobs)


def by_folder(listed: Iterable[BlobInfo]) -> Iterator[tuple[str, list[BlobInfo]]]:
    """A listing of the container folder by folder, one in memory at a time. What lies in none comes as "", in parts."""
    for folder, blobs in groupby(listed, key=lambda blob: folder_of(blob.name)):
        yield folder, list(blobs)


def without_run(folder: str, blobs: list[BlobInfo]) -> Iterator[Upload]:
    """Those among a folder's blobs, which are all there are of it; "": among what lies in none."""
    if folder:
        yield from _in_folder(folder, blobs)
    else:
        yield from (_in_no_folder(blob) for blob in blobs if not is_marker(blob.name, blob.size))


def may_start(folder: str, blobs: list[BlobInfo]) -> bool:
    """Whether it looks, from its listing, as if `droptune start` made a run of the folder."""
    files = _files(folder, blobs)
    if naming.refused(naming.FOLDER, folder):
        return False
    found = contents(folder, [file for file in files if file.name != FILE_NAME], None)
    return any(file.name == FILE_NAME for file in files) or bool(found.datasets or found.problem)


def _in_no_folder(blob: BlobInfo) -> Upload:
    inside = dataset_file("<dataset>", blob.name.rpartition("/")[2])
    return Upload(path=blob.name, folder="", why=f"it lies in no folder: upload it as {inside}", at=blob.last_modified)


def _in_folder(folder: str, blobs: list[BlobInfo]) -> Iterator[Upload]:
    files = _files(folder, blobs)
    if why := naming.refused(naming.FOLDER, folder):
        yield from (_upload(folder, file, f"{why}: rename it, and upload it again") for file in files)
        return
    if any(file.name == FILE_NAME for file in files):
        return
    found = contents(folder, files, None)
    for file in files:
        told = found.ignored.get(file.name)
        # Of a folder that is a run, only what seems to be meant as data of it: a page about it may lie beside.
        if told and (not (found.datasets or found.problem) or ("/" in file.name and kind_of(file.name))):
            yield _upload(folder, file, told)


def _files(folder: str, blobs: list[BlobInfo]) -> list[DataFile]:
    prefix = dataset_file(folder)
    return [
        DataFile(name=blob.name.removeprefix(prefix), etag=blob.etag, size=blob.size, modified=blob.last_modified)
        for blob in blobs
        if not is_marker(blob.name, blob.size)
    ]


def _upload(folder: str, file: DataFile, why: str) -> Upload:
    return Upload(path=dataset_file(folder, file.name), folder=folder, why=why, at=file.modified)


# Events --------------------------------------------------------------------------------------------------------------


def tell_of_uploads(app: App, since: datetime, uploads: Iterable[Upload]) -> None:
    """An event for each folder of which `uploads` yield no run and came after `since`, and after it was told last.

    Within a day a folder is told once, what lies in no folder all together. What may not be all there yet is left to
    the next time. Raises Transient, Permanent.
    """
    now = app.cloud.blobs.now().replace(microsecond=0)  # blobs tell their last change in whole seconds
    told, etag = _told(app)
    after = dict[str, datetime]()
    for folder, each in groupby(sorted(uploads, key=lambda upload: upload.folder), key=lambda upload: upload.folder):
        last = told.get(folder, since)
        new = [upload for upload in each if upload.at >= last]
        if folder in told:
            after[folder] = told[folder]
        if not new or now - max(upload.at for upload in new) < app.settings.data.settle:
            continue
        if folder in told and now - last < AGAIN:
            continue
        if _publish(app, folder, new, now):
            after[folder] = now
    kept = dict(sorted(after.items(), key=lambda item: item[1])[-_REMEMBERED:])
    if kept == told:
        return
    try:
        body = msgspec.json.encode(kept)
        app.cloud.blobs.write(STATE, UPLOADS_TOLD, body, if_match=etag, if_none_match=etag is None)
    except Conflict:
        log.info("another sweep told of uploads without a run")


def _publish(app: App, folder: str, uploads: list[Upload], now: datetime) -> bool:
    whys = dict.fromkeys(upload.why for upload in uploads)
    named = [f"{upload.path} yields no run: {upload.why}" for upload in uploads[:_NAMED]]
    if len(whys) == 1 and len(uploads) > 1:
        paths = ", ".join(upload.path for upload in uploads[:_NAMED])
        named = [f"{paths} yield no run: {uploads[0].why}"]
    more = [f"and {len(uploads) - _NAMED} more"] if len(uploads) > _NAMED else []
    why = "; ".join([*named, *more])
    log.warning("%s", why)
    subject, data = f"datasets/{folder}", {"reason": why, "dataset": folder}
    event = f"without-run-{naming.line_id(folder, '', installation=app.settings.storage.installation)}-{now:%Y%m%d}"
    return app.cloud.topic.publish(f"Droptune.{EVENT}", subject, data, id=event, time=now)


def _told(app: App) -> tuple[dict[str, datetime], str | None]:
    try:
        data, etag = app.cloud.blobs.read(STATE, UPLOADS_TOLD)
    except NotFound:
        return {}, None
    try:
        return from_json(data, dict[str, Moment]), etag
    except ValueError:
        log.exception("%s/%s can't be read, and is made anew: what it told of is told once more", STATE, UPLOADS_TOLD)
        return {}, etag
