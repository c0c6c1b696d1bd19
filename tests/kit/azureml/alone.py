"""The local Azure ML's routes by themselves: in this process, without a server or a clock; nobody hears of events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from localcloud import azureml
from localcloud.azureml import middleware
from localcloud.azureml.cloud import Cloud, StorageAccess, route
from localcloud.azureml.store import Json, Store


class _Now:
    """A clock that is always now."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def real(self, delta: timedelta) -> float:
        return delta.total_seconds()

    async def sleep(self, delta: timedelta) -> None:
        await asyncio.sleep(delta.total_seconds())


class _Nowhere:
    """Events that nobody hears."""

    async def publish(self, topic: str, events: list[Json]) -> None:
        return None


def service_in(state: Path) -> Cloud:
    """What a route is given."""
    return Cloud(
        state=state,
        clock=_Now(),
        events=_Nowhere(),
        store=Store(state / "store"),
        management_url="https://localhost:1",
        storage=StorageAccess(blob_url="https://localhost:2/a", account="a", key="a2V5"),
        repo=state,
    )


def routes_of(service: Cloud) -> TestClient:
    """A client of its routes, which may do everything; `POST /bug` is one with a bug."""
    app = Starlette(routes=[*azureml.build(service), route(service, "POST", "/bug", _bug)])
    managed = middleware.management(app, lambda token: token == "good")
    return TestClient(managed, raise_server_exceptions=False, headers={"Authorization": "Bearer good"})


async def _bug(_cloud: Cloud, _request: Request) -> Response:
    raise RuntimeError("oops")
