"""What an Event Grid message says, as far as Droptune wants to know: a blob is whole, a job's status changed.

Events only wake: the run is decided on from its record and from what Azure shows, so little is read here, and that
carefully. Both schemas are taken, Event Grid's own and CloudEvents 1.0. Called by the triggers dataset_uploaded and
job_finished, with a queue message's body. ValueError means a message that will never be read: it belongs in the
poison queue. `Ignored` means one that is fine, and not for us: count it and let it go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from shared.logs import visible
from shared.naming import is_unicode

# The only calls after which a blob is whole: before them come empty or partial blobs (CreateFile, Append...).
WHOLE = frozenset({"PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"})
# Statuses on a job's way, in lower case: there is nothing to do at any of them. Whatever else comes is worth a look.
UNDERWAY = frozenset({"notstarted", "queued", "starting", "provisioning", "preparing", "running", "finalizing"})

_BLOB_CREATED = "Microsoft.Storage.BlobCreated"
_RUN_COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
_RUN_STATUS_CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"
_CONTAINERS = "/blobServices/default/containers/"


@dataclass(frozen=True, kw_only=True)
class BlobCreated:
    """A blob was written and is whole. `etag` without quotes, `size` in bytes; either may be unknown."""

    container: str
    path: str
    etag: str | None
    size: int | None

    @property
    def folder(self) -> str:
        """The dataset that the blob belongs to; empty for a blob at the container's top."""
        return folder_of(self.path)

    @property
    def name(self) -> str:
        """The blob's path below its folder."""
        return self.path.removeprefix(f"{self.folder}/") if self.folder else self.path


@dataclass(frozen=True, kw_only=True)
class JobChanged:
    """A job's status became `Completed`, `Failed`, `Canceled`, ..., in any case; `run_id` is the job's name."""

    run_id: str
    status: str


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """An event that is none of our business, and why."""

    reason: str


def folder_of(path: str) -> str:
    """The dataset that a blob of this path belongs to; empty for a blob at the container's top."""
    return path.rpartition("/")[0].partition("/")[0]


def is_marker(path: str, size: int | None) -> bool:
    """Whether a blob is no file, but what some tools make so that a folder is seen."""
    last = path.rpartition("/")[2]
    return not last or (size == 0 and "." not in last)


def blob_created(message: bytes | str) -> BlobCreated | Ignored:
    """What a message of the storage account's topic says. Raises ValueError for what is no such event at all.

    Container and path come from the subject, which carries the name as it is; data.url carries it percent-encoded and
    decides when the subject could be read either way.
    """
    kind, subject, data = _event(message)
    if kind != _BLOB_CREATED:
        return Ignored(reason=f"a {kind} event")
    api = data.get("api")
    if api not in WHOLE:
        return Ignored(reason=f"the blob is not whole after {api}")
    before, found, rest = subject.partition(_CONTAINERS)
    container, blobs, path = rest.partition("/blobs/")
    if before or not found or not blobs or not container:
        raise ValueError(f"{_BLOB_CREATED} event with the subject {subject!r}: not {_CONTAINERS}<name>/blobs/<path>")
    path = _as_named(container, path, str(data.get("url") or ""))
    size = data.get("contentLength")
    size = size if isinstance(size, int) and not isinstance(size, bool) else None
    if is_marker(path, size):
        return Ignored(reason=f"{container}/{path} is empty and has no suffix: a folder marker (hdi_isfolder)")
    etag = data.get("eTag")
    return BlobCreated(
        container=container,
        path=path,
        etag=etag.removeprefix("W/").strip('"') or None if isinstance(etag, str) else None,
        size=size,
    )


def job_changed(message: bytes | str) -> JobChanged | Ignored:
    """What a message of the workspace's topic says. Raises ValueError for what is no such event at all.

    Steps of a pipeline raise events too: whose job it is tells its name, since not all events carry `runType`.
    """
    kind, subject, data = _event(message)
    if kind not in (_RUN_COMPLETED, _RUN_STATUS_CHANGED):
        return Ignored(reason=f"a {kind} event")
    run_id = data.get("runId")
    status = "Completed" if kind == _RUN_COMPLETED else data.get("runStatus")
    if not isinstance(run_id, str) or not run_id:
        raise ValueError(f"{kind} event of {subject!r} without data.runId")
    if not isinstance(status, str) or not status:
        raise ValueError(f"{kind} event of run {visible(run_id)} without data.runStatus")
    if status.lower() in UNDERWAY:
        return Ignored(reason=f"job {run_id} is {status}")
    return JobChanged(run_id=run_id, status=status)


def _event(message: bytes | str) -> tuple[str, str, Mapping[str, Any]]:
    """Type, subject and data of the one event that a queue message holds."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the message is not JSON: {error}") from None
    if not is_unicode(json.dumps(event, ensure_ascii=False)):
        raise ValueError("the message holds text that is no Unicode")
    match event:
        case {"specversion": _, "type": str(kind), "subject": str(subject), "data": dict(data)}:
            return kind, subject, data
        case {"eventType": str(kind), "subject": str(subject), "data": dict(data)}:
            return kind, subject, data
    raise ValueError("the message is no event: eventType (CloudEvents: type), subject and data must be there")


def _as_named(container: str, path: str, url: str) -> str:
    try:
        true = unquote(urlsplit(url).path)
    except ValueError:
        return path
    decoded = unquote(path)
    as_is, as_decoded = (true.endswith(f"/{container}/{name}") for name in (path, decoded))
    return decoded if as_decoded and not as_is else path
