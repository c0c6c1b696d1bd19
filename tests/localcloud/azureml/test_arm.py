"""What answers have in common: pages, errors, what is not implemented."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from localcloud.azureml import arm, runs
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json


def test_a_log_that_is_not_there_is_a_404(service: Cloud, routes: TestClient) -> None:
    runs.save(service, runs.new(service, "queued"))
    for name in ("queued", "nobody"):
        answer = routes.get(f"/logs/{name}/executionlogs.txt")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_a_list_comes_in_pages(service: Cloud) -> None:
    items: list[Json] = [{"n": n} for n in range(5)]

    async def listed(cloud: Cloud, request: Request) -> Response:
        return arm.page(cloud, request, items, size=2)

    routes = TestClient(Starlette(routes=[route(service, "GET", "/things", listed)]))
    first = routes.get("/things?api-version=1").json()
    assert first["value"] == items[:2]
    assert first["nextLink"].startswith("https://localhost:1/things?api-version=1&")
    second = routes.get(first["nextLink"].removeprefix("https://localhost:1")).json()
    third = routes.get(second["nextLink"].removeprefix("https://localhost:1")).json()
    assert (second["value"], third) == (items[2:4], {"value": items[4:]})
    assert len(routes.get("/things?$top=5").json()["value"]) == 5


def test_the_sdk_shows_what_is_not_implemented(ml: Any) -> None:
    with pytest.raises(HttpResponseError, match=r"does not implement GET .*/schedules"):
        list(ml.schedules.list())
