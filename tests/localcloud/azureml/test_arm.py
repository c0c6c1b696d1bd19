"""Documents, operations, paging, and the middleware: by themselves, and before the real server."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from localcloud import azureml
from localcloud.azureml import arm, fleet, middleware, operations, runs
from localcloud.azureml.cloud import Cloud, StorageAccess, route
from localcloud.azureml.store import Json, Store
from localcloud.stack import Stack
from tests.conftest import eventually


class Now:
    """A clock that is always now."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def real(self, delta: timedelta) -> float:
        return delta.total_seconds()

    async def sleep(self, delta: timedelta) -> None:
        await asyncio.sleep(delta.total_seconds())


class Nowhere:
    """Events that nobody hears."""

    async def publish(self, topic: str, events: list[Json]) -> None:
        return None


@pytest.fixture
def service(tmp_path: Path) -> Cloud:
    return Cloud(
        state=tmp_path,
        clock=Now(),
        events=Nowhere(),
        store=Store(tmp_path / "store"),
        management_url="https://localhost:1",
        storage=StorageAccess(blob_url="https://localhost:2/a", account="a", key="a2V5"),
        repo=tmp_path,
    )


@pytest.fixture
def http(service: Cloud) -> Iterator[TestClient]:
    app = Starlette(routes=[*azureml.build(service), route(service, "POST", "/bug", _bug)])
    managed = middleware.management(app, lambda token: token == "good")
    with TestClient(managed, raise_server_exceptions=False, headers={"Authorization": "Bearer good"}) as client:
        yield client


async def _bug(_cloud: Cloud, _request: Request) -> Response:
    raise RuntimeError("oops")


def test_documents_survive_and_keep_their_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("z", "a/b:c", "m"):
        store.put("models", name, {"name": name})
    store.put("models", "z", {"name": "z", "changed": True})
    assert store.delete("models", "m")
    assert not store.delete("models", "m")
    again = Store(tmp_path)
    again.put("models", "b", {"name": "b"})
    assert Store(tmp_path).list("models") == [{"name": "z", "changed": True}, {"name": "a/b:c"}, {"name": "b"}]
    assert again.list("models", "a/") == [{"name": "a/b:c"}]
    assert again.get("data", "z") is None


@pytest.mark.parametrize("name", ["n" * 255, "n" * 250, "n" * 251, "/" * 255])
def test_names_may_be_longer_than_those_of_files(tmp_path: Path, name: str) -> None:
    Store(tmp_path).put("models", name, {"version": 1})
    Store(tmp_path).put("models", name, {"version": 2})
    again = Store(tmp_path)
    assert again.items("models") == [(name, {"version": 2})]
    assert again.delete("models", name)
    assert not Store(tmp_path).items("models")


def test_what_can_not_be_written_leaves_no_trace(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("models", "a", {"version": 1})
    for name in ("a", "b"):
        with pytest.raises(TypeError):
            store.put("models", name, {"version": object()})
    assert store.items("models") == [("a", {"version": 1})]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["a.json"]


def test_documents_are_given_and_taken_as_copies(tmp_path: Path) -> None:
    store = Store(tmp_path)
    given: dict[str, Any] = {"tags": {}}
    store.put("models", "m", given)
    given["tags"]["a"] = "b"
    found = store.get("models", "m")
    assert found == {"tags": {}}
    found["tags"]["c"] = "d"
    assert store.get("models", "m") == {"tags": {}}


def test_an_operation_goes_from_in_progress_to_its_end(service: Cloud, http: TestClient) -> None:
    good, bad = operations.begin(service), operations.begin(service)
    status = http.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/{good}")
    assert (status.json()["status"], status.headers["retry-after"]) == ("InProgress", "1")
    assert http.get(f"{arm.LOCATION_ID}/mfeOperationResults/{good}").status_code == 202
    operations.finish(service, good)
    operations.finish(service, bad, arm.ArmError(400, "TooBig", "It is too big."))
    assert http.get(f"{arm.LOCATION_ID}/mfeOperationResults/{good}").status_code == 204
    failed = http.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/{bad}").json()
    assert (failed["status"], failed["error"]) == ("Failed", {"code": "TooBig", "message": "It is too big."})
    assert http.get(f"{arm.LOCATION_ID}/mfeOperationResults/{bad}").json()["error"]["code"] == "TooBig"
    assert http.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/none").status_code == 404


def test_a_restart_ends_what_was_in_progress(service: Cloud, http: TestClient) -> None:
    operation = operations.begin(service)
    operations.interrupted(service)
    found = http.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/{operation}").json()
    assert found["error"]["code"] == "OperationInterrupted"


def test_a_restart_ends_the_jobs_that_ran(service: Cloud) -> None:
    for name, status in (("ran", "Running"), ("waited", "Queued"), ("done", "Completed")):
        runs.save(service, runs.new(service, name, status=status))
    runs.save(service, runs.new(service, "step", parent="ran", status="Running"))
    asyncio.run(azureml.start(service))
    statuses = {name: (run["status"], run["error"]) for name, run in service.store.items(runs.KIND)}
    stopped = ("Failed", "The local cloud was stopped while the job ran.")
    assert statuses == {"ran": stopped, "step": stopped, "waited": stopped, "done": ("Completed", None)}


def test_a_deployment_that_has_served_is_tried_until_it_serves_again(service: Cloud, tmp_path: Path) -> None:
    cloud = replace(service, state=tmp_path / "azureml")
    properties = {
        "provisioningState": "Succeeded",
        "model": "azureml:m:1",
        "requestSettings": {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S"},
        "livenessProbe": {"initialDelay": "PT10S", "period": "PT10S", "failureThreshold": 30},
    }
    path = "onlineEndpoints/e/deployments/d"
    document = arm.resource(cloud, path, "onlineEndpoints/deployments", properties, sku={"capacity": 1})
    cloud.store.put(fleet.KIND, "e/d", document)
    cloud.folder("deployments", "e/d", "azureml-models", "m", "1")  # its files; there is no Python to serve them

    async def scenario() -> str:
        await fleet.start(cloud)
        log = fleet.log_file(cloud, "e/d")
        await asyncio.to_thread(eventually, lambda: fleet.tail(log, 9).count("No such file") >= 2)
        state: str = (cloud.store.get(fleet.KIND, "e/d") or {})["properties"]["provisioningState"]
        await fleet.stop(cloud)
        return state

    assert asyncio.run(scenario()) == "Succeeded"
    assert (cloud.store.get(fleet.KIND, "e/d") or {})["properties"]["provisioningState"] == "Succeeded"


def test_a_log_that_is_not_there_is_a_404(service: Cloud, http: TestClient) -> None:
    runs.save(service, runs.new(service, "queued"))
    for name in ("queued", "nobody"):
        answer = http.get(f"/logs/{name}/executionlogs.txt")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_a_list_comes_in_pages(service: Cloud) -> None:
    items: list[Json] = [{"n": n} for n in range(5)]

    async def listed(cloud: Cloud, request: Request) -> Response:
        return arm.page(cloud, request, items, size=2)

    http = TestClient(Starlette(routes=[route(service, "GET", "/things", listed)]))
    first = http.get("/things?api-version=1").json()
    assert first["value"] == items[:2]
    assert first["nextLink"].startswith("https://localhost:1/things?api-version=1&")
    second = http.get(first["nextLink"].removeprefix("https://localhost:1")).json()
    third = http.get(second["nextLink"].removeprefix("https://localhost:1")).json()
    assert (second["value"], third) == (items[2:4], {"value": items[4:]})
    assert len(http.get("/things?$top=5").json()["value"]) == 5


def test_what_is_not_implemented_names_itself(http: TestClient) -> None:
    for method, path in (("GET", "/nothing/here"), ("DELETE", arm.WORKSPACE_ID)):
        answer = http.request(method, path)
        assert answer.status_code == 501
        assert answer.json()["error"]["message"] == f"The local cloud does not implement {method} {path}."


def test_a_bug_is_a_500_with_a_body(http: TestClient) -> None:
    answer = http.post("/bug")
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "RuntimeError in POST /bug: oops")


def test_a_body_that_is_no_object_is_refused(http: TestClient) -> None:
    for content in ("{", "[1]"):
        answer = http.put(f"{arm.WORKSPACE_ID}/computes/cpu", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")


def test_only_public_routes_answer_without_a_token(http: TestClient) -> None:
    for path, status in (("/metadata/endpoints", 200), ("/discovery", 200), (arm.WORKSPACE_ID, 401), ("/no", 401)):
        assert http.get(path, headers={"Authorization": ""}).status_code == status
        assert http.get(path, headers={"Authorization": "Bearer bad"}).status_code == status


@pytest.mark.parametrize(
    ("path", "effect"),
    [
        ("jobs/a/cancel", {"kind": "jobs", "name": "a", "action": "cancel"}),
        ("computes/c", {"kind": "computes", "name": "c"}),
        ("models/m/versions/3", {"kind": "models", "name": "m:3"}),
        ("onlineEndpoints/e/deployments/d", {"kind": "deployments", "name": "d", "parent": "e"}),
        ("onlineEndpoints", None),
    ],
)
def test_effects_are_named_in_the_ledger(path: str, effect: Json | None) -> None:
    assert middleware.effect_of(f"{arm.WORKSPACE_ID}/{path}") == effect


def test_faults_are_taken_once_each_and_in_the_ledger(http: TestClient) -> None:
    fault = {"path": "/computes/", "method": "PUT", "status": 429, "headers": {"Retry-After": "7"}, "count": 2}
    assert http.post("/_local/faults", json=fault).json()[0]["count"] == 2
    compute = f"{arm.WORKSPACE_ID}/computes/cpu"
    assert http.get(compute).status_code == 404
    for _ in range(2):
        answer = http.put(compute, json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert http.put(compute, json={}).status_code == 400
    entries = [entry for entry in http.get("/_local/ledger").json() if entry["method"] == "PUT"]
    assert [entry["status"] for entry in entries] == [429, 429, 400]
    assert entries[0]["name"] == "cpu"
    assert http.delete("/_local/ledger").status_code == 204
    assert http.get("/_local/ledger").json() == []
    assert http.post("/_local/faults", json={"path": "("}).status_code == 400
    assert http.post("/_local/faults", json={"nonsense": 1}).status_code == 400
    assert http.delete("/_local/faults").status_code == 204


def test_an_answer_can_get_lost_after_its_effect(http: TestClient) -> None:
    http.post("/_local/faults", json={"path": "/data/", "method": "PUT", "status": 503, "moment": "after"})
    version = f"{arm.WORKSPACE_ID}/data/d/versions/1"
    properties = {"dataUri": "azureml://datastores/prepared/paths/x", "dataType": "uri_file"}
    assert http.put(version, json={"properties": properties}).status_code == 503
    assert http.get(version).status_code == 200


def test_a_fault_can_only_delay(http: TestClient) -> None:
    http.post("/_local/faults", json={"moment": "delay", "delay": 0.01})
    assert http.get(arm.WORKSPACE_ID).status_code == 200
    assert http.get("/_local/faults").json()[0]["count"] == 0


def test_the_server_refuses_strangers(cloud: Stack) -> None:
    context = ssl.create_default_context(cafile=str(cloud.description.ca))
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        urllib.request.urlopen(cloud.description.management_url + arm.WORKSPACE_ID, context=context)
    caught.value.close()


def test_the_sdk_shows_what_is_not_implemented(ml: Any) -> None:
    with pytest.raises(HttpResponseError, match=r"does not implement GET .*/schedules"):
        list(ml.schedules.list())
