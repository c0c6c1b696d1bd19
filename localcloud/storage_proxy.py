"""The reverse proxy in front of Azurite: one listener a service, on the path of every storage call.

Azurite raises no events; the proxy sees each blob that became whole and raises Microsoft.Storage.BlobCreated for it. It
also answers with the local clock's times, by which the app reckons. Everything else passes through byte for byte (so
signatures stay right), in both directions at once, in pieces, so that memory doesn't grow with a body.
Faults that are asked for (localcloud/faults.py) take place here. localcloud/server.py starts it. HTTP/1.1 only, which
is all that the storage SDKs and Azurite speak.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import httpx

from localcloud import faults
from localcloud.clock import LocalClock
from localcloud.old_blobs import OldBlobs

log = logging.getLogger(__name__)

IDLE = 3.0
"""Seconds after which an idle connection to Azurite isn't used again: Azurite itself closes it after 5."""
GRACE = 0.5
"""Seconds that the observer has to finish when the proxy is closed."""
_KEPT = 10_000
"""Changes whose local time is remembered, since Azurite's does not tell it."""
_PIECE = 256 * 1024
_HEAD = 64 * 1024
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:.*\bchunked\b", re.IGNORECASE | re.MULTILINE)
_CLOSE = re.compile(rb"^connection:.*\bclose\b", re.IGNORECASE | re.MULTILINE)
_EXPECT = re.compile(rb"^expect:[ \t]*100-continue", re.IGNORECASE | re.MULTILINE)
_DATE = re.compile(rb"^date:[^\r\n]*", re.IGNORECASE | re.MULTILINE)
_MODIFIED = re.compile(rb"(?<=^last-modified: )[^\r\n]{29}", re.IGNORECASE | re.MULTILINE)
_ETAG = re.compile(rb'^etag: "?([^"\r\n]+)', re.IGNORECASE | re.MULTILINE)
_LISTED = re.compile(rb"(?<=<Last-Modified>)[^<]{29}(?=</Last-Modified>(?:<Etag>([^<]*)</Etag>)?)")
_LISTING = re.compile(rb"^GET [^ ]*[?&]comp=list\b")
_UNDELETE = re.compile(rb"^PUT [^ ]*[?&]comp=undelete\b")
_UNAVAILABLE = (
    b"HTTP/1.1 503 Server Busy\r\nx-ms-error-code: ServerBusy\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
_NO_BLOB = faults.Fault(service="blob", status=404)

type Observer = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request that succeeded, and the head of its answer. Header names are lower case."""

    method: str
    path: str
    """Percent-encoded, without the query."""
    query: dict[str, list[str]]
    request: dict[str, str]
    answer: dict[str, str]


@dataclass(kw_only=True)
class _Wire:
    """One connection, from either side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: float = 0.0

    @property
    def fresh(self) -> bool:
        return not (self.reader.at_eof() or self.writer.is_closing() or time.monotonic() - self.used > IDLE)


class StorageProxy:
    """One service's listener. `observer` hears of every PUT that succeeded, in the background."""

    def __init__(
        self,
        *,
        upstream: int,
        clock: LocalClock,
        server_tls: ssl.SSLContext,
        client_tls: ssl.SSLContext,
        observer: Observer | None = None,
        service: str = "",
        traffic: faults.Traffic | None = None,
        old: OldBlobs | None = None,
    ) -> None:
        """`upstream`: Azurite's port of this service. `traffic`: the ledger, and the faults of `service`."""
        self._service, self._traffic = service, traffic
        self._upstream, self._clock, self._observer = upstream, clock, observer
        self._server_tls, self._client_tls = server_tls, client_tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._observing: set[asyncio.Future[None]] = set()
        self._old = old
        self._changes: dict[bytes, datetime] = old.dates if old else {}

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, ssl=self._server_tls, limit=_PIECE, backlog=512
        )

    async def close(self) -> None:
        """Stop listening, drop every connection, and let the observer finish for GRACE seconds."""
        if self._server is not None:
            self._server.close()
            self._server.abort_clients()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._observing:
            _, late = await asyncio.wait(self._observing, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, azurite = _Wire(reader=reader, writer=writer), None
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while head := await _head(reader):
                fault = self._fault(head)
                if fault is not None:
                    await asyncio.sleep(fault.delay)
                    if fault.moment == "before":
                        if not await self._fail(client, head, fault, read=False):
                            return
                        continue
                if self._old and (path := _named_blob(head)):
                    if _UNDELETE.match(head):
                        done = await self._old.undelete(path)
                        answer = (200, {}, b"") if done else (_NO_BLOB.status, *_NO_BLOB.answer())
                        if not await self._reply(client, head, *answer, read=False):
                            return
                        continue
                    if head.startswith(b"DELETE "):
                        await self._old.keep(path)
                azurite = await self._connect(azurite)
                if azurite is None:
                    writer.write(_UNAVAILABLE)
                    await writer.drain()
                    return
                lost = fault is not None and fault.moment == "after"
                going = await self._exchange(reader, _Nowhere() if lost else writer, azurite, head, told=not lost)
                if fault is not None and lost:
                    going = await self._fail(client, head, fault, read=True) and going
                if not going:
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a connection broke: %r", error)
        except asyncio.CancelledError:
            pass  # close(); asyncio's own callback would log a cancelled handler
        finally:
            writer.close()
            if azurite is not None:
                azurite.writer.close()

    async def _connect(self, wire: _Wire | None) -> _Wire | None:
        if wire is not None:
            if wire.fresh:
                return wire
            wire.writer.close()
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._upstream, ssl=self._client_tls, server_hostname="localhost", limit=_PIECE
            )
        except OSError as error:
            log.warning("Azurite can't be reached on port %d: %s", self._upstream, error)
            return None
        return _Wire(reader=reader, writer=writer)

    def _fault(self, head: bytes) -> faults.Fault | None:
        if self._traffic is None or not self._traffic.faults:
            return None
        return self._traffic.take(self._service, *_named(head))

    def _record(self, head: bytes, status: int) -> None:
        if self._traffic is not None and self._traffic.storage:
            method, path, query = _named(head)
            self._traffic.record(self._service, method, path, status, query)

    async def _fail(self, client: _Wire, head: bytes, fault: faults.Fault, *, read: bool) -> bool:
        """Answer in Azurite's place. `read`: the body has been. False when the connection can't be used again."""
        if fault.reset:
            self._record(head, 0)
            faults.reset(client.writer.transport)
            return False
        return await self._reply(client, head, fault.status, *fault.answer(), read=read)

    async def _reply(
        self, client: _Wire, head: bytes, status: int, headers: dict[str, str], content: bytes, *, read: bool
    ) -> bool:
        """Answer in Azurite's place, and as `_fail` tells."""
        self._record(head, status)
        open_body = not read and _has_body(head)
        if open_body and not _EXPECT.search(head):  # with it the body may never come
            await _body(client.reader, _Nowhere(), head)
            open_body = False
        going = not (open_body or _CLOSE.search(head))
        headers = headers | {"Date": self._date().decode(), "Connection": "keep-alive" if going else "close"}
        if head.startswith(b"HEAD "):
            content = b""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in HTTPStatus else 'Fault'}"]
        lines += [f"{name}: {value}" for name, value in (headers | {"Content-Length": str(len(content))}).items()]
        client.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)
        await client.writer.drain()
        return going

    async def _exchange(
        self, source: asyncio.StreamReader, sink: _Sink, azurite: _Wire, head: bytes, *, told: bool
    ) -> bool:
        """Pass one request on and its answer back. False when the connections can't be used again.

        `told`: the client hears the answer, so that it belongs into the ledger.
        """
        azurite.writer.write(head)
        upload = asyncio.create_task(_body(source, azurite.writer, head)) if _has_body(head) else None
        try:
            answer = await _answer(azurite.reader, upload)
            while answer[9:10] == b"1":  # 100 Continue comes before the answer
                sink.write(answer)
                answer = await _answer(azurite.reader, upload)
            if not answer:
                return False
            if told:
                self._record(head, int(answer[9:12]))
            if self._observer is not None and answer[9:10] == b"2" and head.startswith(b"PUT "):
                self._observe(self._observer(_parsed(head, answer)))
            sink.write(self._in_local_time(head, _DATE.sub(b"Date: " + self._date(), answer, count=1)))
            if _LISTING.match(head) and (self._clock.moved or self._changes):
                await self._listing(azurite.reader, sink, answer)
            elif not head.startswith(b"HEAD ") and answer[9:12] not in (b"204", b"304"):
                await _body(azurite.reader, sink, answer, until_eof=True)
            await sink.drain()
            if upload is not None:
                if not upload.done() and _EXPECT.search(head):
                    return False  # refused before the body was sent: it may never come
                await upload
            azurite.used = time.monotonic()
            return not (_CLOSE.search(answer) or _CLOSE.search(head))
        finally:
            if upload is not None:
                upload.cancel()
                await asyncio.gather(upload, return_exceptions=True)  # what failed is told by what is raised here

    def _observe(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._observing.add(task)
        task.add_done_callback(self._observed)

    def _observed(self, task: asyncio.Future[None]) -> None:
        self._observing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an event was lost", exc_info=error)

    async def _listing(self, source: asyncio.StreamReader, sink: _Sink, answer: bytes) -> None:
        """Pass a list on with local times in it. They are as long as the real ones, so that nothing else changes."""
        buffer = _Buffer()
        await _body(source, buffer, answer)
        sink.write(_LISTED.sub(lambda found: self._then(found[0], found[1]), bytes(buffer.data)))

    def _in_local_time(self, head: bytes, answer: bytes) -> bytes:
        """The head of an answer with the local time of the blob's last change.

        Azurite tells whole seconds of real time. Where the clock jumped in such a second, what was written behind the
        jump would be as old as what was written before it: its local time is remembered, by the ETag that it got.
        """
        modified, found = _MODIFIED.search(answer), _ETAG.search(answer)
        if modified is None or not (self._clock.moved or self._changes):
            return answer
        etag, second = found[1] if found else b"", parsedate_to_datetime(modified[0].decode())
        if head.startswith(b"PUT ") and answer[9:10] == b"2" and self._clock.changed_in(second):
            self._changes.setdefault(etag, self._clock.now())
            if len(self._changes) > _KEPT:
                del self._changes[next(iter(self._changes))]
        return _MODIFIED.sub(lambda told: self._then(told[0], etag), answer)

    def _then(self, told: bytes, etag: bytes | None) -> bytes:
        """The local time of a change that Azurite tells in real time."""
        local = self._changes.get(etag or b"") or self._clock.then(parsedate_to_datetime(told.decode()))
        return format_datetime(local, usegmt=True).encode()

    def _date(self) -> bytes:
        return format_datetime(self._clock.now(), usegmt=True).encode()


async def _answer(reader: asyncio.StreamReader, upload: asyncio.Task[None] | None) -> bytes:
    """The head of Azurite's answer. Raises what the upload raised if that fails first: no answer may ever come then."""
    if upload is None:
        return await _head(reader)
    head = asyncio.create_task(_head(reader))
    try:
        await asyncio.wait((head, upload), return_when=asyncio.FIRST_COMPLETED)
        if not head.done():
            await upload
        return await head
    finally:
        head.cancel()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Request or status line and headers with the empty line; nothing when the peer has closed."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""


def _has_body(head: bytes) -> bool:
    length = _LENGTH.search(head)
    return bool(_CHUNKED.search(head)) or (length is not None and length[1] != b"0")


class _Sink(Protocol):
    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...


class _Buffer:
    """A body that is held back."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> None:
        self.data += data

    async def drain(self) -> None:
        """Nothing to wait for."""


class _Nowhere:
    """Where a body goes that nobody is to get."""

    def write(self, data: bytes, /) -> None:
        """Drop it."""

    async def drain(self) -> None:
        """Nothing to wait for."""


def _named(head: bytes) -> tuple[str, str, str]:
    """Method, decoded path and query of a request."""
    method, target, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    path, _, query = target.partition("?")
    return method, unquote(path), query


def _named_blob(head: bytes) -> str:
    """The percent-encoded path in the account of the blob that a request names; "" where it names none."""
    target = head.partition(b"\r\n")[0].decode("latin-1").split(" ")[1]
    path = target.partition("?")[0].lstrip("/").partition("/")[2]
    return path if path.partition("/")[2] else ""


async def _body(source: asyncio.StreamReader, sink: _Sink, head: bytes, *, until_eof: bool = False) -> None:
    """Copy the body that belongs to `head`. An answer without a length lasts until its sender closes."""
    if _CHUNKED.search(head):
        while True:
            line = await source.readuntil(b"\r\n")
            sink.write(line)
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            await _copy(source, sink, size + 2)
        while line != b"\r\n":  # trailers
            line = await source.readuntil(b"\r\n")
            sink.write(line)
        await sink.drain()
    elif length := _LENGTH.search(head):
        await _copy(source, sink, int(length[1]))
    elif until_eof:
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
        raise ConnectionResetError("the answer ended with its connection")


async def _copy(source: asyncio.StreamReader, sink: _Sink, size: int) -> None:
    while size:
        piece = await source.read(min(size, _PIECE))
        if not piece:
            raise ConnectionResetError(f"the sender closed {size} bytes early")
        size -= len(piece)
        sink.write(piece)
        await sink.drain()


def _parsed(head: bytes, answer: bytes) -> Exchange:
    first, _, rest = head.decode("latin-1").partition("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    return Exchange(
        method=method,
        path=path,
        query=parse_qs(query, keep_blank_values=True),
        request=_fields(rest),
        answer=_fields(answer.decode("latin-1").partition("\r\n")[2]),
    )


def _fields(lines: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.split("\r\n") if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def operation(exchange: Exchange) -> str | None:
    """Which operation made a blob whole: PutBlob, PutBlockList, CopyBlob; None for any other request."""
    parts = exchange.path.split("/", 3)
    if exchange.method != "PUT" or len(parts) < 4 or not parts[3] or "restype" in exchange.query:
        return None
    match exchange.query.get("comp"):
        case ["blocklist"]:
            return "PutBlockList"
        case None:
            return "CopyBlob" if "x-ms-copy-source" in exchange.request else "PutBlob"
    return None


async def blob_created(
    exchange: Exchange, *, endpoint: str, properties: Callable[[str], Awaitable[httpx.Headers | None]]
) -> dict[str, Any] | None:
    """The BlobCreated event of an exchange, or None when no blob became whole by it.

    `endpoint`: the blob service's address before the account. `properties`: a blob's headers by its encoded path; asked
    for what the request itself doesn't say. Source of the shape: Event Grid's schema for Blob storage.
    """
    if (api := operation(exchange)) is None:
        return None
    _, _, container, name = exchange.path.split("/", 3)
    sent, answer = exchange.request, exchange.answer
    if api == "PutBlob":
        kind = sent.get("x-ms-blob-type", "BlockBlob")
        size = sent.get("x-ms-blob-content-length") or sent.get("content-length", "0")
        content_type = sent.get("x-ms-blob-content-type") or sent.get("content-type") or "application/octet-stream"
    else:
        found = await properties(f"{container}/{name}")
        if found is None:
            return None  # deleted again meanwhile: Azure may send the event, the app has to cope either way
        kind, size = found.get("x-ms-blob-type", "BlockBlob"), found.get("content-length", "0")
        content_type = found.get("content-type", "application/octet-stream")
    return {
        "eventType": "Microsoft.Storage.BlobCreated",
        "subject": f"/blobServices/default/containers/{unquote(container)}/blobs/{unquote(name)}",
        "data": {
            "api": api,
            "clientRequestId": sent.get("x-ms-client-request-id", ""),
            "requestId": answer.get("x-ms-request-id", ""),
            "eTag": answer.get("etag", "").strip('"'),
            "contentType": content_type,
            "contentLength": int(size),
            "blobType": kind,
            "url": f"{endpoint}{exchange.path}",
            "sequencer": f"{time.time_ns():032X}",
            "storageDiagnostics": {"batchId": answer.get("x-ms-request-id", "")},
        },
    }
