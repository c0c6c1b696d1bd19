"""`Cloud`: the one object that a route is given, and what it stands on. localcloud/server.py builds it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud.azureml.store import Json, Store

log = logging.getLogger(__name__)


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
