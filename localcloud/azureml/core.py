"""What every part of the local Azure ML service stands on.

The documents on disk, ARM's error bodies, its long-running operations and its paging, and `Cloud`: the one object that
a route is given. localcloud/server.py builds the Cloud; the other modules of this package turn it into routes.
Shapes follow what azure-ai-ml 1.35.2 reads (its generated clients under `azure/ai/ml/_restclient`).
"""

import asyncio
import hashlib
import json
import logging
import os
import tempfile
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

log = logging.getLogger(__name__)

type Json = dict[str, Any]

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP = "local"
WORKSPACE = "local"
LOCATION = "westeurope"
PROVIDER = "Microsoft.MachineLearningServices"
SUBSCRIPTION_ID = f"/subscriptions/{SUBSCRIPTION}"
WORKSPACE_ID = f"{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}/providers/{PROVIDER}/workspaces/{WORKSPACE}"
LOCATION_ID = f"{SUBSCRIPTION_ID}/providers/{PROVIDER}/locations/{LOCATION}"
LAG: ContextVar[timedelta | None] = ContextVar("LAG", default=None)
"""Set while a request is to be answered as if the service had not heard yet of the last changes."""
_LONGEST_FILE_NAME = 255
"""Bytes, on every file system that matters here."""
_KEPT_CHANGES, _KEPT_FOR = 20, timedelta(hours=1)
"""Of each document, for stale reads."""

type Watcher = Callable[[str, str, Json | None, Json | None], None]
"""Hears of each change: kind, name, and the document before and after it."""


class Clock(Protocol):
    """The local cloud's time (localcloud/clock.py)."""

    def now(self) -> datetime:
        """Now, aware, in UTC."""

    def real(self, delta: timedelta) -> float:
        """Seconds of real time that a local duration takes."""

    async def sleep(self, delta: timedelta) -> None:
        """Wait for a local duration; a new rate or a jump shortens the wait."""


class Events(Protocol):
    """Where events are published (localcloud/eventgrid.py)."""

    async def publish(self, topic: str, events: list[Json]) -> None:
        """Queue events of Event Grid's schema for delivery."""


@dataclass(frozen=True, kw_only=True)
class StorageAccess:
    """The local storage account, as the service itself reaches it: with the account's key."""

    blob_url: str
    """`https://localhost:PORT/ACCOUNT`, no slash at the end."""
    account: str
    key: str
    """Base64, as a storage account shows it."""
    ca: Path | None = None
    """The private CA's certificate; None trusts what the system trusts."""


class ArmError(Exception):
    """An answer other than success, in ARM's error body. The middleware turns it into the response."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def response(self) -> Response:
        """The error as ARM writes it."""
        body = {"error": {"code": self.code, "message": self.message, "details": [], "additionalInfo": []}}
        return JSONResponse(body, status_code=self.status, headers=self.headers)


def user_error(message: str, *, status: int = 400) -> ArmError:
    """What Azure ML's own frontend answers when the request is at fault."""
    return ArmError(status, "UserError", message)


def not_found(kind: str, name: str) -> ArmError:
    """The answer for a resource that isn't there."""
    return ArmError(404, "ResourceNotFound", f"{kind} {name} was not found in workspace {WORKSPACE}.")


def _copy[T](document: T) -> T:
    """A deep copy of JSON, several times faster than copy.deepcopy."""
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


class Store:
    """JSON documents by kind and name: in memory, and one file each, written whole (by a rename).

    Callers get and give copies: changing a document means putting it back. Reads under a LAG see what was there then.
    """

    def __init__(
        self, folder: Path, *, now: Callable[[], datetime] | None = None, watcher: Watcher | None = None
    ) -> None:
        """`now`: the local clock's time. `watcher` hears of every change; it must change nothing."""
        self._folder = folder
        self._now = now or (lambda: datetime.now(UTC))
        self._watcher = watcher
        self._changes: dict[str, dict[str, deque[tuple[datetime, Json | None]]]] = {}
        self._documents: dict[str, dict[str, Json]] = {}
        self._order: dict[tuple[str, str], int] = {}
        entries = [(path.parent.name, json.loads(path.read_text())) for path in folder.glob("*/*.json")]
        for kind, entry in sorted(entries, key=lambda found: found[1]["order"]):
            self._documents.setdefault(kind, {})[entry["name"]] = entry["document"]
            self._order[kind, entry["name"]] = entry["order"]
        self._next = count(max(self._order.values(), default=0) + 1)

    def get(self, kind: str, name: str) -> Json | None:
        """The document, or None."""
        document = self._seen(kind).get(name)
        return _copy(document)

    def put(self, kind: str, name: str, document: Json) -> None:
        """Write the document, new or over the old one."""
        order = self._order.get((kind, name)) or next(self._next)
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(json.dumps({"name": name, "order": order, "document": document}))  # dump() is far slower
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        # Only now: what could not be written must not be there until the next start either.
        old = self._documents.setdefault(kind, {}).get(name)
        self._documents[kind][name] = _copy(document)
        self._order[kind, name] = order
        self._changed(kind, name, old, document)

    def delete(self, kind: str, name: str) -> bool:
        """Remove the document; False when there was none."""
        self._path(kind, name).unlink(missing_ok=True)
        self._order.pop((kind, name), None)
        old = self._documents.get(kind, {}).pop(name, None)
        if old is not None:
            self._changed(kind, name, old, None)
        return old is not None

    def items(self, kind: str) -> list[tuple[str, Json]]:
        """All documents of a kind with their names."""
        return [(name, _copy(document)) for name, document in self._seen(kind).items()]

    def list(self, kind: str, prefix: str = "", *, where: Callable[[Json], bool] | None = None) -> list[Json]:
        """The documents of a kind, in the order in which they were first put.

        Those whose name starts with `prefix`, and for which `where` (which must not change what it is given) is true.
        """
        found: Iterable[tuple[str, Json]] = self._seen(kind).items()
        if prefix:
            found = [(name, each) for name, each in found if name.startswith(prefix)]
        return [_copy(each) for _, each in found if where is None or where(each)]

    def _changed(self, kind: str, name: str, old: Json | None, new: Json | None) -> None:
        now = self._now()
        changes = self._changes.setdefault(kind, {}).setdefault(name, deque(maxlen=_KEPT_CHANGES))
        while changes and changes[0][0] < now - _KEPT_FOR:
            changes.popleft()
        changes.append((now, old))
        if self._watcher:
            self._watcher(kind, name, old, new)

    def _seen(self, kind: str) -> dict[str, Json]:
        """The documents of a kind, as they were a LAG ago if there is one."""
        lag = LAG.get()
        if lag is None:
            return self._documents.get(kind, {})
        then = self._now() - lag
        seen = dict(self._documents.get(kind, {}))
        for name, changes in self._changes.get(kind, {}).items():
            since = next((old for at, old in changes if at > then), seen.get(name))
            if since is None:
                seen.pop(name, None)
            else:
                seen[name] = since
        return seen

    def _path(self, kind: str, name: str) -> Path:
        file = f"{quote(name, safe='')}.json"
        if len(file) > _LONGEST_FILE_NAME:  # the file itself says whose it is; quoted names have no "="
            file = f"sha256={hashlib.sha256(name.encode()).hexdigest()}.json"
        return self._folder / kind / file


@dataclass(kw_only=True)
class Cloud:
    """All that a route needs."""

    state: Path
    """The folder `azureml/` of the local cloud's state: documents, jobs' and models' folders."""
    clock: Clock
    events: Events
    store: Store
    management_url: str
    """`https://localhost:PORT`, no slash at the end."""
    storage: StorageAccess
    repo: Path
    """The repository: holds `.models/` and `.venv-model/`."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Notified when a job ends, for the jobs that wait for its place."""

    def folder(self, *parts: str) -> Path:
        """A folder below `state`, made when missing."""
        path = self.state.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def now(self) -> str:
        """The local clock's time as ARM writes it."""
        return timestamp(self.clock.now())

    def background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work beside the requests. An exception is logged, never lost; stop() cancels what still runs."""
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)


type Handler = Callable[[Cloud, Request], Awaitable[Response]]


def route(cloud: Cloud, method: str, path: str, handler: Handler) -> Route:
    """A Starlette route whose handler is given the Cloud. `path` is whole, from the root."""
    return Route(path, partial(handler, cloud), methods=[method])


def timestamp(at: datetime) -> str:
    """ISO 8601 in UTC with a Z, to the microsecond."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def resource(cloud: Cloud, path: str, kind: str, properties: Json, **more: Any) -> Json:
    """An ARM resource. `path` is its place below the workspace (`computes/cpu`), `kind` the type below the provider."""
    now = cloud.now()
    system = {"createdAt": now, "createdBy": "droptune", "createdByType": "User", "lastModifiedAt": now}
    return {
        "id": f"{WORKSPACE_ID}/{path}",
        "name": path.rsplit("/", 1)[-1],
        "type": f"{PROVIDER}/workspaces/{kind}",
        "properties": properties,
        "systemData": system,
        **more,
    }


async def body(request: Request) -> Json:
    """The request's JSON object. Raises ArmError 400 for anything else."""
    try:
        document = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ArmError(400, "InvalidRequestContent", f"The request body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArmError(400, "InvalidRequestContent", "The request body must be a JSON object.")
    return document


def page(cloud: Cloud, request: Request, items: Sequence[Json], *, size: int = 10) -> Response:
    """One page of a list, with ARM's `nextLink` when there is more. Honours `$top` as the page's size and `$skip`."""
    query = dict(request.query_params)
    try:
        skip, top = int(query.get("$skip", "0")), int(query.get("$top", str(size)))
    except ValueError as error:
        raise user_error("$skip and $top must be whole numbers.") from error
    answer: Json = {"value": list(items[skip : skip + top])}
    if len(items) > skip + top:
        query["$skip"] = str(skip + top)
        answer["nextLink"] = f"{cloud.management_url}{request.url.path}?{urlencode(query)}"
    return JSONResponse(answer)


# Long-running operations: Azure-AsyncOperation after a PUT or POST, Location after a DELETE. One document each, so that
# a client's poller survives a restart of the server.


def begin(cloud: Cloud) -> str:
    """A new operation, in progress. Returns its id."""
    operation = str(uuid.uuid4())
    cloud.store.put("operations", operation, {"status": "InProgress", "startTime": cloud.now()})
    return operation


def reopen(cloud: Cloud, operation: str) -> None:
    """The operation is in progress again: what it does goes on after a restart."""
    document = cloud.store.get("operations", operation) or {"startTime": cloud.now()}
    kept = {key: value for key, value in document.items() if key == "startTime"}
    cloud.store.put("operations", operation, kept | {"status": "InProgress"})


def finish(cloud: Cloud, operation: str, error: ArmError | None = None) -> None:
    """The operation succeeded, or failed with `error`."""
    document: Json = {"status": "Failed" if error else "Succeeded", "endTime": cloud.now()}
    if error:
        document["error"] = {"code": error.code, "message": error.message}
    cloud.store.put("operations", operation, (cloud.store.get("operations", operation) or {}) | document)


def accepted(cloud: Cloud, operation: str, document: Json | None, *, status: int = 201) -> Response:
    """The answer that starts an operation: 201 with the resource (PUT), or 202 with no body (DELETE, POST)."""
    where = f"{cloud.management_url}{LOCATION_ID}"
    headers = {"Retry-After": "1"}
    if document is not None:
        headers["Azure-AsyncOperation"] = f"{where}/mfeOperationsStatus/{operation}"
        return JSONResponse(document, status_code=status, headers=headers)
    headers["Location"] = f"{where}/mfeOperationResults/{operation}"
    return Response(status_code=202, headers=headers)


async def operation_status(cloud: Cloud, request: Request) -> Response:
    """GET Azure-AsyncOperation: 200 with the status, whatever it is."""
    name = request.path_params["operation"]
    document = cloud.store.get("operations", name)
    if document is None:
        raise not_found("Operation", name)
    headers = {"Retry-After": "1"} if document["status"] == "InProgress" else {}
    return JSONResponse({"id": request.url.path, "name": name, **document}, headers=headers)


async def operation_result(cloud: Cloud, request: Request) -> Response:
    """GET Location: 202 while in progress, then 204, or the error."""
    name = request.path_params["operation"]
    document = cloud.store.get("operations", name)
    if document is None:
        raise not_found("Operation", name)
    if document["status"] == "InProgress":
        return Response(status_code=202, headers={"Retry-After": "1", "Location": str(request.url)})
    if error := document.get("error"):
        raise ArmError(400, error["code"], error["message"])
    return Response(status_code=204)


def interrupted(cloud: Cloud) -> None:
    """At start: what was in progress when the server ended can't go on."""
    for name, document in cloud.store.items("operations"):
        if document["status"] == "InProgress":
            finish(cloud, name, ArmError(500, "OperationInterrupted", "The local cloud was stopped meanwhile."))


async def unsupported(request: Request) -> Response:
    """The last route: what is not implemented says so by name instead of looking like a missing resource."""
    message = f"The local cloud does not implement {request.method} {request.url.path}."
    return ArmError(501, "NotImplemented", message).response()
