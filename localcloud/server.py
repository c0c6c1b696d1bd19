"""The cloud server: one asyncio process with every listener of the local cloud but Azurite's and the Functions host's.

`python -m localcloud.server --state DIR`, started by localcloud/stack.py under a guard. Reads STATE/cloud.json; ready
when `GET /_local/health` on the management listener answers 200. SIGTERM ends it within three seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from localcloud import azureml
from localcloud.azureml import arm, middleware
from localcloud.azureml.cloud import Cloud, StorageAccess
from localcloud.azureml.history import History
from localcloud.azureml.store import Store
from localcloud.clock import LocalClock
from localcloud.environment import ACCOUNT, APP_IDENTITY, Description
from localcloud.eventgrid import EventGrid
from localcloud.faults import Traffic
from localcloud.identity import Identity
from localcloud.old_blobs import OldBlobs
from localcloud.storage import Storage
from localcloud.storage_proxy import Exchange, StorageProxy, blob_created

log = logging.getLogger(__name__)

REPO = Path(__file__).parents[1]
_PROVIDERS = f"{arm.SUBSCRIPTION_ID}/resourceGroups/{arm.RESOURCE_GROUP}/providers"
TOPICS = {
    "storage": f"{_PROVIDERS}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
    "azureml": arm.WORKSPACE_ID,
    "lifecycle": f"{_PROVIDERS}/Microsoft.EventGrid/topics/lifecycle",
}
"""Names and resource ids."""


class _Listener(uvicorn.Server):
    """uvicorn without its own signal handlers: several listeners share one process, which handles them itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _listening(app: ASGIApp, port: int, **tls: Any) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http="h11",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        **tls,
    )
    listener = _Listener(config)
    running = asyncio.create_task(listener.serve())
    try:
        while not listener.started:
            if running.done():
                running.result()
                raise OSError(f"port {port} can't be listened on")
            await asyncio.sleep(0.005)
        yield
    finally:
        listener.should_exit = True
        with contextlib.suppress(SystemExit):
            await running


class Denied:
    """A proxy that refuses everything, and remembers what it was asked for. Children are given it as their proxy."""

    def __init__(self) -> None:
        self.attempts: list[dict[str, str]] = []

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """Refuse on 127.0.0.1."""
        async with await asyncio.start_server(self._refuse, "127.0.0.1", port) as server:
            yield
            server.abort_clients()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            line = (await reader.readline()).decode("latin-1").strip()
            if line:
                log.warning("refused: %s", line)
                self.attempts.append({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "request": line})
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    def routes(self) -> list[Route]:
        """GET `/_local/denied` -> the requests that would have left this machine."""
        return [Route("/_local/denied", self._route)]

    async def _route(self, _request: Request) -> Response:
        return JSONResponse(self.attempts)


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ready"})


async def serve(description: Description) -> None:
    """Run every listener until SIGTERM or SIGINT. Raises OSError when a port is taken."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)

    clock = LocalClock(description.state / "clock.json")
    identity = Identity(
        secret=description.identity_secret, header=description.identity_header, resource_id=APP_IDENTITY
    )
    storage = Storage(description, identity)
    events = EventGrid(clock, storage, topics=TOPICS)
    traffic, history = Traffic(middleware.effect_of), History(clock.now)
    cloud = Cloud(
        state=description.state / "azureml",
        clock=clock,
        events=events,
        store=Store(description.state / "azureml" / "store", now=clock.now, watcher=history.watch),
        management_url=description.management_url,
        storage=StorageAccess(
            blob_url=description.storage_url("blob"), account=ACCOUNT, key=description.key, ca=description.ca
        ),
        repo=REPO,
    )
    denied, old = Denied(), OldBlobs(storage, clock)
    control = [*clock.routes(), *old.routes(), *events.routes(), *denied.routes(), *history.routes()]
    routes = [*control, Route("/_local/health", _health), *azureml.build(cloud)]
    app = middleware.management(Starlette(routes=routes), identity.authorized, traffic)
    pki = description.state / "pki"
    tls = {"ssl_certfile": pki / "server.pem", "ssl_keyfile": pki / "server.key"}

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(clock.close)
        stack.push_async_callback(storage.close)
        await stack.enter_async_context(denied.listening(description.ports["denied"]))
        await stack.enter_async_context(_listening(Starlette(routes=identity.routes()), description.ports["identity"]))
        stack.push_async_callback(events.close)  # after the proxies: what they still raise is delivered
        for proxy, port in _proxies(description, clock, events, storage, traffic, old):
            await proxy.start(port)
            stack.push_async_callback(proxy.close)
        await _until_azurite(storage, ended)
        stack.push_async_callback(azureml.stop, cloud)
        await azureml.start(cloud)
        await stack.enter_async_context(_listening(app, description.ports["management"], **tls))
        await ended.wait()


def _proxies(
    description: Description, clock: LocalClock, events: EventGrid, storage: Storage, traffic: Traffic, old: OldBlobs
) -> Iterator[tuple[StorageProxy, int]]:
    pki = description.state / "pki"
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(pki / "server.pem", pki / "server.key")
    client_tls = ssl.create_default_context(cafile=str(description.ca))
    endpoint = description.storage_url("blob").removesuffix(f"/{ACCOUNT}")

    async def observe(exchange: Exchange) -> None:
        event = await blob_created(exchange, endpoint=endpoint, properties=storage.properties)
        if event is not None:
            await events.publish("storage", [event])

    for service in ("blob", "queue", "table"):
        yield (
            StorageProxy(
                upstream=description.ports[f"azurite_{service}"],
                clock=clock,
                server_tls=server_tls,
                client_tls=client_tls,
                observer=observe if service == "blob" else None,
                service=service,
                traffic=traffic,
                old=old if service == "blob" else None,
            ),
            description.ports[service],
        )


async def _until_azurite(storage: Storage, ended: asyncio.Event) -> None:
    """Make the containers and queues as soon as Azurite answers; it is started at the same time as this process."""
    while not ended.is_set():
        try:
            await storage.make_resources()
        except httpx.TransportError:  # nobody listens yet
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.05)
        else:
            return


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m localcloud.server", description="The local cloud's server.")
    parser.add_argument("--state", type=Path, required=True, help="the state folder")
    state = parser.parse_args().state
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    description = Description.load(state)
    if description is None:
        parser.error(f"{state} holds no cloud.json: start the cloud with `python -m localcloud up --state {state}`")
    asyncio.run(serve(description))


if __name__ == "__main__":
    main()
