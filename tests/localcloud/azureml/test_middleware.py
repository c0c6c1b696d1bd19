"""Tokens, bugs, faults and the ledger: what is around every route."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

import pytest
from starlette.testclient import TestClient

from localcloud.azureml import arm, middleware
from localcloud.azureml.store import Json
from localcloud.stack import Stack


def test_what_is_not_implemented_names_itself(routes: TestClient) -> None:
    for method, path in (("GET", "/nothing/here"), ("DELETE", arm.WORKSPACE_ID)):
        answer = routes.request(method, path)
        assert answer.status_code == 501
        assert answer.json()["error"]["message"] == f"The local cloud does not implement {method} {path}."


def test_a_bug_is_a_500_with_a_body(routes: TestClient) -> None:
    answer = routes.post("/bug")
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "RuntimeError in POST /bug: oops")


def test_a_body_that_is_no_object_is_refused(routes: TestClient) -> None:
    for content in ("{", "[1]"):
        answer = routes.put(f"{arm.WORKSPACE_ID}/computes/cpu", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")


def test_only_public_routes_answer_without_a_token(routes: TestClient) -> None:
    for path, status in (("/metadata/endpoints", 200), ("/discovery", 200), (arm.WORKSPACE_ID, 401), ("/no", 401)):
        assert routes.get(path, headers={"Authorization": ""}).status_code == status
        assert routes.get(path, headers={"Authorization": "Bearer bad"}).status_code == status


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


def test_faults_are_taken_once_each_and_in_the_ledger(routes: TestClient) -> None:
    fault = {"path": "/computes/", "method": "PUT", "status": 429, "headers": {"Retry-After": "7"}, "count": 2}
    assert routes.post("/_local/faults", json=fault).json()[0]["count"] == 2
    compute = f"{arm.WORKSPACE_ID}/computes/cpu"
    assert routes.get(compute).status_code == 404
    for _ in range(2):
        answer = routes.put(compute, json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert routes.put(compute, json={}).status_code == 400
    entries = [entry for entry in routes.get("/_local/ledger").json() if entry["method"] == "PUT"]
    assert [entry["status"] for entry in entries] == [429, 429, 400]
    assert entries[0]["name"] == "cpu"
    assert routes.delete("/_local/ledger").status_code == 204
    assert routes.get("/_local/ledger").json() == []
    assert routes.post("/_local/faults", json={"path": "("}).status_code == 400
    assert routes.post("/_local/faults", json={"content": "a", "service": "blob"}).status_code == 400
    assert routes.post("/_local/faults", json={"nonsense": 1}).status_code == 400
    assert routes.delete("/_local/faults").status_code == 204


def test_a_fault_can_look_into_the_body_which_the_route_still_gets(routes: TestClient) -> None:
    compute = f"{arm.WORKSPACE_ID}/computes/cpu"
    routes.post("/_local/faults", json={"content": "un\\w+y", "status": 404, "body": "gone"})
    answer = routes.put(compute, json={"location": "lucky"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UserError")
    answer = routes.put(compute, json={"location": "unlucky"})
    assert (answer.status_code, answer.json()) == (404, "gone")
    routes.delete("/_local/faults")


def test_an_answer_can_get_lost_after_its_effect(routes: TestClient) -> None:
    routes.post("/_local/faults", json={"path": "/data/", "method": "PUT", "status": 503, "moment": "after"})
    version = f"{arm.WORKSPACE_ID}/data/d/versions/1"
    properties = {"dataUri": "azureml://datastores/prepared/paths/x", "dataType": "uri_file"}
    assert routes.put(version, json={"properties": properties}).status_code == 503
    assert routes.get(version).status_code == 200


def test_a_fault_can_only_delay(routes: TestClient) -> None:
    routes.post("/_local/faults", json={"moment": "delay", "delay": 0.01})
    assert routes.get(arm.WORKSPACE_ID).status_code == 200
    assert routes.get("/_local/faults").json()[0]["count"] == 0


def test_the_server_refuses_strangers(cloud: Stack) -> None:
    context = ssl.create_default_context(cafile=str(cloud.description.ca))
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        urllib.request.urlopen(cloud.description.management_url + arm.WORKSPACE_ID, context=context)
    caught.value.close()
