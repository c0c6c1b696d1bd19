"""Blobs: records under compare-and-swap, datasets streamed in chunks, and the storage service's time.

ETags are passed around without quotes, as Event Grid and listings mostly give them, and quoted on the wire. Called by
records, dataset preparation and the dashboard.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from shared.cloud.clients import CHUNK, Clients, plain
from shared.cloud.failures import translated
from shared.errors import NotFound, Transient
from shared.naming import has_steps, is_unicode

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

_ROLE = "Storage Blob Data Owner on the app's storage account"
_FRESH_SECONDS = 1.0
_ARCHIVE, _APPENDED = "archive", "appendblob"
_AT_ONCE = {"retry_total": 0, "connection_timeout": 3, "read_timeout": 3}


@dataclass(frozen=True, kw_only=True)
class BlobInfo:
    """A blob as a listing or a HEAD shows it. `size` in bytes, `etag` without quotes, `last_modified` in UTC.

    `archived`: it is in the access tier Archive, and can't be read; `rehydrates`: it is on its way back, which takes
    hours. `appended`: it is an append blob, which may grow. `md5`: of its content, in hex, "" where nobody has
    noted it.
    """

    name: str
    etag: str
    size: int
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    archived: bool = False
    rehydrates: bool = False
    appended: bool = False
    md5: str = ""


class Blobs:
    """The blob service of the app's storage account.

    A write under `if_match` whose answer was lost is sent again by the SDK and then meets its own ETag: it raises
    Conflict although it was done. Callers read again and look, as after any Conflict.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._seen: tuple[datetime, float] | None = None  # the service's time, and the monotonic clock's when it came

    def read(self, container: str, name: str, if_match: str | None = None) -> tuple[bytes, str]:
        """A whole blob, for records and small files, with its ETag. Raises NotFound; Conflict if it changed."""
        with translated(f"blob {container}/{name}", role=_ROLE):
            found = self._blob(container, name).download_blob(**self._options(if_match))
            return found.readall(), _bare(found.properties.etag)

    def stream(self, container: str, name: str, if_match: str | None = None) -> Iterator[bytes]:
        """A blob in chunks of at most 4 MiB, all of one version: Conflict if it changes in between. Raises NotFound."""
        with translated(f"blob {container}/{name}", role=_ROLE):
            yield from self._blob(container, name).download_blob(**self._options(if_match)).chunks()

    def source(self, container: str, name: str, etag: str, size: int) -> BlobFile:
        """One version of a blob as a file to read, in one go or here and there. Asks nothing yet."""
        return BlobFile(blobs=self, container=container, path=name, etag=etag, size=size)

    def read_at(self, container: str, name: str, offset: int, size: int, if_match: str) -> bytes:
        """The `size` bytes of a blob from `offset` on, which must be in it. Raises NotFound; Conflict if it changed."""
        with translated(f"blob {container}/{name}", role=_ROLE):
            options = self._options(if_match)
            data: bytes = self._blob(container, name).download_blob(offset=offset, length=size, **options).readall()
            return data

    def write(
        self,
        container: str,
        name: str,
        data: bytes,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Writes a whole blob and returns its ETag. Conflict: not the version `if_match`, or there already.

        `metadata`: ASCII, 8 KiB in all, names in lower case; listings can have them.
        """
        with translated(f"blob {container}/{name}", role=_ROLE):
            done = self._blob(container, name).upload_blob(
                data,
                length=len(data),
                overwrite=True,
                metadata=dict(metadata or {}),
                **self._options(if_match, if_none_match=if_none_match),
            )
            return _bare(str(done["etag"]))

    def upload(self, container: str, name: str, chunks: Iterable[bytes]) -> str:
        """Writes a blob of any length from `chunks` and returns its ETag. Nothing is left when `chunks` raises."""
        with self.writer(container, name) as writer:
            for chunk in chunks:
                writer.write(chunk)
        return writer.etag

    @contextmanager
    def writer(self, container: str, name: str) -> Iterator[BlobWriter]:
        """A file to write to. It becomes a blob at the end of the block, at once, and not at all if that raises."""
        writer = BlobWriter(self._blob(container, name), f"blob {container}/{name}", self._options(None))
        yield writer
        writer.commit()

    def list(
        self, container: str, prefix: str = "", *, page: int | None = None, metadata: bool = False
    ) -> Iterator[BlobInfo]:
        """The blobs whose names start with `prefix`, in the order of their names; with their `metadata` if asked for.

        `page`: how many to ask for at a time, for who may stop before the end; the service's own measure is 5,000.
        """
        with translated(f"list of container {container}", role=_ROLE):
            blobs = self._clients.blob_service.get_container_client(container).list_blobs(
                name_starts_with=prefix or None,
                results_per_page=page,
                include=["metadata"] if metadata else None,
                **self._options(None),
            )
            for blob in blobs:
                yield _info(blob)

    def head(self, container: str, name: str) -> BlobInfo | None:
        """What is known of a blob, or None when there is none."""
        try:
            with translated(f"blob {container}/{name}", role=_ROLE):
                return _info(self._blob(container, name).get_blob_properties(**self._options(None)))
        except NotFound:
            return None

    def delete(self, container: str, name: str, if_match: str | None = None) -> None:
        """Deletes a blob; one that is gone already is fine. Conflict if it changed."""
        try:
            with translated(f"blob {container}/{name}", role=_ROLE):
                self._blob(container, name).delete_blob(**self._options(if_match))
        except NotFound:
            return

    def now(self) -> datetime:
        """The storage service's time, good to a second: instances of the app share it, whatever their clocks say."""
        for _ in range(2):  # azure-storage-blob forgets its hook when a connection breaks and it tries once more
            if self._seen is None or time.monotonic() - self._seen[1] > _FRESH_SECONDS:
                with translated("time of the storage service", role=_ROLE):
                    self._clients.blob_service.get_container_client("state").exists(**self._options(None))
        return self._reckoned()

    def answers(self, container: str, name: str) -> tuple[datetime, bytes | None]:
        """The storage service's time, and a small blob or None, in one call that is not tried again, within seconds.

        For who asks whether it answers at all. Raises Transient or Permanent.
        """
        options, data = self._options(None) | _AT_ONCE, None
        with suppress(NotFound), translated("storage, asked whether it answers", role=_ROLE):
            data = self._blob(container, name).download_blob(**options).readall()
        return self._reckoned(), data

    def _reckoned(self) -> datetime:
        """The service's time, from what it said last."""
        if self._seen is None:
            raise Transient("the storage service does not tell its time")
        at, then = self._seen
        return at + timedelta(seconds=time.monotonic() - then)

    def _blob(self, container: str, name: str) -> BlobClient:
        """Asks nothing. Raises NotFound for a name that no blob can have, or that is a way to another address."""
        if has_steps(name) or not is_unicode(name):
            raise NotFound(f"blob {container}/{name!r}: a part of its name is . or .., or it is no Unicode")
        return self._clients.blob_service.get_blob_client(container, name)

    def _options(self, if_match: str | None, *, if_none_match: bool = False) -> dict[str, Any]:
        from azure.core import MatchConditions

        options: dict[str, Any] = {"raw_response_hook": self._note_time}
        if if_match is not None:
            options |= {"etag": f'"{_bare(if_match)}"', "match_condition": MatchConditions.IfNotModified}
        elif if_none_match:
            options["match_condition"] = MatchConditions.IfMissing
        return options

    def _note_time(self, response: Any) -> None:
        date = response.http_response.headers.get("Date")
        if date:
            self._seen = (parsedate_to_datetime(date).astimezone(UTC), time.monotonic())


@dataclass(frozen=True, kw_only=True)
class BlobFile:
    """A blob as a dataset's Source. Raises Conflict once it is another version; that or NotFound once it is gone."""

    blobs: Blobs
    container: str
    path: str
    etag: str
    size: int

    @property
    def name(self) -> str:
        """The blob's name behind its last slash."""
        return self.path.rpartition("/")[2]

    def chunks(self) -> Iterator[bytes]:
        """The blob from its beginning, at most 4 MiB at a time."""
        return self.blobs.stream(self.container, self.path, self.etag)

    def read_at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on; fewer only where the blob ends."""
        size = min(size, self.size - offset)
        return self.blobs.read_at(self.container, self.path, offset, size, self.etag) if size > 0 else b""


class BlobWriter:
    """Stages blocks of 4 MiB as bytes come; `commit` makes them the blob. `etag` is set by then."""

    def __init__(self, blob: BlobClient, what: str, options: dict[str, Any]) -> None:
        self._blob = blob
        self._what = what
        self._options = options
        self._buffer = bytearray()
        self._lead = bytearray()
        self._blocks: list[str] = []
        self._prefix = uuid.uuid4().hex  # two writers of one blob never share a block
        self.size = 0
        self.etag = ""

    def write(self, data: bytes) -> int:
        """Takes `data` and returns its length, as a file does."""
        self.size += len(data)
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            self._stage(bytes(self._buffer[:CHUNK]))
            del self._buffer[:CHUNK]
        return len(data)

    def lead(self, data: bytes) -> None:
        """Takes `data`, held in memory, for the beginning of the blob, behind what was given so before."""
        self.size += len(data)
        self._lead += data

    def restart(self) -> None:
        """Forgets what was written: blocks that are not committed are nobody's."""
        self._buffer.clear()
        self._lead.clear()
        self._blocks.clear()
        self.size = 0

    def commit(self) -> None:
        """Stages the rest and makes the blob."""
        from azure.storage.blob import BlobBlock

        if self._buffer:
            self._stage(bytes(self._buffer))
            self._buffer.clear()
        if self._lead:
            self._stage(bytes(self._lead))
            self._blocks.insert(0, self._blocks.pop())
        with translated(self._what, role=_ROLE):
            blocks = [BlobBlock(block_id=block) for block in self._blocks]
            self.etag = _bare(str(self._blob.commit_block_list(blocks, **self._options)["etag"]))

    def _stage(self, data: bytes) -> None:
        block = base64.b64encode(f"{self._prefix}{len(self._blocks):06d}".encode()).decode()
        with translated(self._what, role=_ROLE):
            self._blob.stage_block(block, data, length=len(data), **self._options)
        self._blocks.append(block)


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _info(properties: Any) -> BlobInfo:
    settings = properties.content_settings
    return BlobInfo(
        name=properties.name,
        etag=_bare(properties.etag),
        size=properties.size,
        last_modified=properties.last_modified.astimezone(UTC),
        metadata=dict(properties.metadata or {}),
        archived=plain(properties.blob_tier).lower() == _ARCHIVE,
        rehydrates=bool(properties.archive_status),
        appended=plain(properties.blob_type).lower() == _APPENDED,
        md5=bytes(settings.content_md5).hex() if settings and settings.content_md5 else "",
    )
