"""Uploads that yield no run: what lies in no folder, in none directly, and folders of which no file is trained on.

Read from the container's listing, and from no file. A folder with a finetune.yaml is none of them: it is a run, is
rejected, or waits for files, which is told elsewhere. Called for `droptune status` and the list of folders; and by the
sweep, which has people hear of each such folder, once a day at most.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice

import msgspec

from shared import naming
from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.dataset.folder import DataFile, contents
from shared.dataset.names import use_of
from shared.dataset.spec.choices import FILE_NAME
from shared.errors import NotFound
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
_LEFT = 100
"""Files of a folder that look old and are still to be told of."""


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
    is_run = bool(found.datasets or found.problem or found.waiting)
    taken = {name for dataset in found.datasets for name in dataset.etags}
    for file in files:
        told = found.ignored.get(file.name) if file.name not in taken else ""
        # Of a folder that is a run, only what seems to be meant as data of it: a page about it may lie beside.
        if told and (not is_run or ("/" in file.name and use_of(file.name) != "none")):
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


@dataclass(frozen=True, kw_only=True)
class _Told:
    """When a folder was told of last, if it was; and of what looks older than it came, and is still to be told of."""

    at: Moment | None = None
    left: tuple[str, ...] = ()


def tell_of_uploads(
    app: App,
    since: datetime,
    uploads: Iterable[Upload],
    *,
    found: Collection[str] = (),
    listed: datetime | None = None,
) -> None:
    """An event for each folder of which `uploads` yield no run and came after `since`, and after it was told last.

    Within a day a folder is told once, what lies in no folder all together. What has come just now is left to the next
    time: more may be on its way. `found`: paths of those that look older than they came, which are remembered until
    they are told of. `listed`: when the uploads were; None: now. Raises Transient, Conflict, Permanent.
    """
    now = (listed or app.cloud.blobs.now()).replace(microsecond=0)  # blobs tell their last change in whole seconds
    told, etag = _told(app)
    after = dict[str, _Told]()
    for folder, each in groupby(sorted(uploads, key=lambda upload: upload.folder), key=lambda upload: upload.folder):
        if known := _told_of(app, folder, list(each), told.get(folder, _Told()), since, found, now):
            after[folder] = known
    kept = dict(sorted(after.items(), key=lambda item: item[1].at or now)[-_REMEMBERED:])
    if kept == told:
        return
    body = msgspec.json.encode({folder: each if each.left else each.at for folder, each in kept.items()})
    app.cloud.blobs.write(STATE, UPLOADS_TOLD, body, if_match=etag, if_none_match=etag is None)


def _told_of(
    app: App,
    folder: str,
    uploads: list[Upload],
    known: _Told,
    since: datetime,
    found: Collection[str],
    now: datetime,
) -> _Told | None:
    """What is to be remembered of the folder, once it is told of if that is due."""
    settle = app.settings.data.settle
    waits = {upload.path for upload in uploads if upload.path in found or upload.path in known.left}

    def is_new(upload: Upload) -> bool:
        # When it was told of last, what had come within the settle time was left out.
        return (upload.at > known.at - settle if known.at else upload.at >= since) and now - upload.at >= settle

    new = [upload for upload in uploads if upload.path in waits or is_new(upload)]
    if new and (known.at is None or now - known.at >= AGAIN) and _publish(app, folder, new, now):
        return _Told(at=now)
    left = tuple(sorted(waits)[:_LEFT])
    return _Told(at=known.at, left=left) if known.at or left else None


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


def _told(app: App) -> tuple[dict[str, _Told], str | None]:
    try:
        data, etag = app.cloud.blobs.read(STATE, UPLOADS_TOLD)
    except NotFound:
        return {}, None
    try:
        found = from_json(data, dict[str, Moment | _Told])
        return {key: each if isinstance(each, _Told) else _Told(at=each) for key, each in found.items()}, etag
    except ValueError:
        log.exception("%s/%s can't be read, and is made anew: what it told of is told once more", STATE, UPLOADS_TOLD)
        return {}, etag
