"""Endpoints and deployments over the real SDK, and a model that really answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.errors import NotFound, Permanent, Transient
from tests.kit.azureml import MODEL
from tests.kit.metrics import cpu_points, many_requests
from tests.kit.waiting import eventually

SIZE = "Standard_DS3_v2"
QUESTION = {
    "input_data": {
        "input_string": [{"role": "user", "content": "Hello?"}],
        "parameters": {"do_sample": False, "max_new_tokens": 4},
    },
    "params": {},
}


def ready(azure: Cloud, endpoint: str) -> None:
    def succeeded() -> bool:
        found = azure.endpoints.get(endpoint)
        return found is not None and found.state == "Succeeded"

    eventually(succeeded)


def gone(azure: Cloud, endpoint: str) -> None:
    eventually(lambda: azure.endpoints.get(endpoint) is None)


def effects(cloud: Stack, name: str) -> list[str]:
    """Methods of the requests that changed something of that name."""
    return [entry["method"] for entry in cloud.control("GET", "/_local/ledger") if entry.get("name") == name]


def test_an_endpoint_from_making_to_deleting(azure: Cloud, cloud: Stack, unique: str) -> None:
    assert azure.endpoints.get(unique) is None
    azure.endpoints.create(unique, "a test", {"droptune.line": unique})
    azure.endpoints.create(unique, "another", {})
    assert effects(cloud, unique) == ["PUT"], "one that is there must be left alone"
    ready(azure, unique)
    found = azure.endpoints.get(unique)
    assert found is not None
    assert found.id.endswith(f"/onlineEndpoints/{unique}")
    assert found.scoring_uri.endswith(f"/{unique}/score")
    assert found.traffic == {}
    assert [each for each in azure.endpoints.list() if each.name == unique] == [found]
    assert azure.endpoints.deployments(unique) == []
    azure.endpoints.delete(unique)
    gone(azure, unique)
    azure.endpoints.delete(unique)


def test_what_does_not_exist(azure: Cloud, unique: str) -> None:
    assert azure.endpoints.deployment(unique, "dep-1") is None
    assert azure.endpoints.deployments(unique) == []
    assert azure.endpoints.logs(unique, "dep-1") == ""
    azure.endpoints.remove_deployment(unique, "dep-1")
    with pytest.raises(NotFound, match=f"endpoint {unique}"):
        azure.endpoints.set_traffic(unique, {"dep-1": 100})
    with pytest.raises(NotFound, match=f"endpoint {unique}"):
        azure.endpoints.score(unique, QUESTION)
    with pytest.raises(Transient, match=f"{unique}/dep-1"):
        azure.endpoints.deploy(unique, "dep-1", MODEL, SIZE, 1)


@pytest.mark.thorough
def test_a_deployment_from_making_to_deleting(azure: Cloud, cloud: Stack, unique: str) -> None:
    endpoints = azure.endpoints
    endpoints.create(unique, "a test", {"droptune.line": unique})
    ready(azure, unique)
    before = set(threading.enumerate())
    endpoints.deploy(unique, "dep-1", MODEL, SIZE, 1, {"droptune.run": unique})
    assert set(threading.enumerate()) == before, "something polls"
    endpoints.deploy(unique, "dep-1", MODEL, SIZE, 1, {"droptune.run": unique})
    with pytest.raises(Permanent, match="somebody else's"):
        endpoints.deploy(unique, "dep-1", MODEL, SIZE, 1, {"droptune.run": "another"})

    def state() -> str:
        found = endpoints.deployment(unique, "dep-1")
        return found.state if found else "gone"

    eventually(lambda: state() == "Succeeded", 120)
    deployment = endpoints.deployment(unique, "dep-1")
    assert deployment is not None
    assert endpoints.deployments(unique) == [deployment]
    assert (deployment.endpoint, deployment.model, deployment.instance_type) == (unique, MODEL, SIZE)
    assert deployment.tags == {"droptune.run": unique}

    # It answers when it is asked by name, without traffic; the endpoint has nobody to ask yet.
    assert isinstance(endpoints.score(unique, QUESTION, "dep-1")["output"], str)
    with pytest.raises(NotFound):
        endpoints.score(unique, QUESTION)
    with pytest.raises(Permanent, match="input_string"):
        endpoints.score(unique, {"nonsense": 1}, "dep-1")

    endpoints.set_traffic(unique, {"dep-1": 100, "dep-0": 0})
    with pytest.raises(Transient, match="Updating"):
        endpoints.set_traffic(unique, {})
    ready(azure, unique)
    found = endpoints.get(unique)
    assert found is not None
    assert found.traffic == {"dep-1": 100}
    assert found.tags == {"droptune.line": unique}, "an update keeps the tags"
    answers = list(endpoints.score_each(unique, [QUESTION, QUESTION]))
    assert answers[0] == answers[1], "greedy answers don't differ"
    assert "init function" in endpoints.logs(unique, "dep-1")
    assert len(endpoints.logs(unique, "dep-1", lines=2).splitlines()) == 2

    # Its requests are counted, and its CPU shows that they would have been.
    cloud.control("POST", "/_local/clock", {"advance": 120})  # a minute is told when it is over
    at = azure.blobs.now()
    start, end = at - timedelta(minutes=30), at + timedelta(minutes=30)
    asked = many_requests(azure.metrics, [found.id], start, end)[found.id]
    assert asked is not None
    assert asked >= 3

    def measured() -> bool:
        cloud.control("POST", "/_local/clock", {"advance": 60})  # processors are looked at when a minute is over
        now = azure.blobs.now() + timedelta(minutes=30)
        return cpu_points(azure.metrics, [deployment.id], start, now)[deployment.id] > 0

    eventually(measured, every=0.5)
    nobody = found.id + "-not-there"
    both = many_requests(azure.metrics, [found.id, nobody], start, end)
    assert both[nobody] is None
    assert both[found.id]
    assert many_requests(azure.metrics, [found.id], start - timedelta(days=2), start - timedelta(days=1)) == {
        found.id: 0.0
    }

    with pytest.raises(Permanent, match="traffic"):
        endpoints.remove_deployment(unique, "dep-1")
    endpoints.set_traffic(unique, {})
    ready(azure, unique)
    endpoints.remove_deployment(unique, "dep-1")
    eventually(lambda: endpoints.deployment(unique, "dep-1") is None)
    endpoints.delete(unique)
    gone(azure, unique)


def test_a_deployment_that_fails_says_why(azure: Cloud, unique: str) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment

    azure.endpoints.create(unique)
    ready(azure, unique)
    broken = ManagedOnlineDeployment(
        name="broken",
        endpoint_name=unique,
        model=MODEL,
        instance_type=SIZE,
        instance_count=1,
        environment_variables={"GUNICORN_CMD_ARGS": "--no-such-option"},
    )
    azure.clients.ml.online_deployments.begin_create_or_update(broken)

    def failed() -> bool:
        found = azure.endpoints.deployment(unique, "broken")
        return found is not None and found.state == "Failed"

    eventually(failed, 60)
    found = azure.endpoints.deployment(unique, "broken")
    assert found is not None
    assert "ended with code" in found.why
    with pytest.raises(Permanent, match="does not serve"):
        azure.endpoints.score(unique, QUESTION, "broken")
    azure.endpoints.deploy(unique, "broken", MODEL, SIZE, 1)
    again = azure.endpoints.deployment(unique, "broken")
    assert again is not None
    assert again.state == "Failed", "what failed is the rollout's to remove"
    azure.endpoints.remove_deployment(unique, "broken")
    eventually(lambda: azure.endpoints.deployments(unique) == [])
    azure.endpoints.delete(unique)
    gone(azure, unique)


@pytest.fixture
def answering(azure: Cloud, cloud: Stack, unique: str) -> Iterator[str]:
    """An endpoint whose deployment `dep-1` pretends to answer."""
    rule = {"match": unique, "answer": "An answer."}
    cloud.control("POST", "/_local/pretend", {"deployments": rule})
    azure.endpoints.create(unique)
    ready(azure, unique)
    azure.endpoints.deploy(unique, "dep-1", MODEL, SIZE, 1)
    eventually(lambda: (found := azure.endpoints.deployment(unique, "dep-1")) and found.state == "Succeeded")
    yield unique
    cloud.control("DELETE", "/_local/faults")
    azure.endpoints.delete(unique)
    gone(azure, unique)


def switch(azure: Cloud, endpoint: str, mode: str) -> None:
    """As somebody does in the portal."""
    found = azure.clients.ml.online_endpoints.get(endpoint)
    found.auth_mode = mode
    azure.clients.ml.online_endpoints.begin_create_or_update(found)
    ready(azure, endpoint)


def test_keys_and_the_auth_mode_may_change_between_two_questions(azure: Cloud, answering: str) -> None:
    answers = azure.endpoints.score_each(answering, [QUESTION] * 5, "dep-1")
    assert next(answers)
    azure.clients.ml.online_endpoints.begin_regenerate_keys(answering)
    assert next(answers)
    for mode in ("aml_token", "aad_token", "key"):
        switch(azure, answering, mode)
        assert next(answers), mode
    found = azure.endpoints.get(answering)
    assert found
    assert found.auth_mode == "key"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("key", "takes keys, and refused the primary one"),
        ("aml_token", "takes tokens of its own"),
        ("aad_token", "a role with Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"),
    ],
)
def test_who_is_not_let_in_hears_by_what(azure: Cloud, cloud: Stack, answering: str, mode: str, said: str) -> None:
    switch(azure, answering, mode)
    found = azure.endpoints.get(answering)
    assert found
    azure.endpoints.check_access(found)
    refused = {"method": "POST", "path": f"/inference/{answering}/score$", "status": 401, "count": None}
    cloud.control("POST", "/_local/faults", refused)
    with pytest.raises(Transient, match=said) as caught:
        azure.endpoints.score(answering, QUESTION, "dep-1")
    assert caught.value.shut_out
    assert "AZURE_CLIENT_ID" not in str(caught.value)
    if mode == "aad_token":
        with pytest.raises(Transient, match=said):
            azure.endpoints.check_access(found)
    cloud.control("DELETE", "/_local/faults")
    assert azure.endpoints.score(answering, QUESTION, "dep-1")


@pytest.mark.thorough
def test_an_answer_without_this_or_that_is_no_bug(azure: Cloud, cloud: Stack, answering: str) -> None:
    """Each field of an endpoint, a deployment and the keys once null and once not there: read, or said in words."""
    paths: dict[tuple[str, str], Callable[[], Any]] = {
        ("GET", f"/onlineEndpoints/{answering}"): lambda: azure.endpoints.get(answering),
        ("GET", f"/onlineEndpoints/{answering}/deployments/dep-1"): lambda: azure.endpoints.deployment(
            answering, "dep-1"
        ),
        ("POST", f"/onlineEndpoints/{answering}/listKeys"): lambda: azure.endpoints.score(answering, QUESTION, "dep-1"),
    }
    for (method, path), ask in paths.items():
        for body in without_one(whole(azure, method, path)):
            fault = {"method": method, "path": f"{path}$", "status": 200, "body": body, "count": None}
            cloud.control("POST", "/_local/faults", fault)
            with suppress(NotFound, Permanent, Transient):
                ask()
            cloud.control("DELETE", "/_local/faults")


def whole(azure: Cloud, method: str, path: str) -> dict[str, Any]:
    """What the service answers."""
    from azure.core.rest import HttpRequest

    scope = "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}"
    url = azure.clients.arm_url + scope.format(*azure.clients.settings.workspace.scope) + path
    answer: dict[str, Any] = azure.clients.arm.send_request(HttpRequest(method, url)).json()
    return answer


def without_one(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document with each of its fields, however deep, once null and once not there."""
    for name, value in document.items():
        yield document | {name: None}
        yield {each: document[each] for each in document if each != name}
        if isinstance(value, dict):
            for inner in without_one(value):
                yield document | {name: inner}


def test_no_quota_is_worth_waiting_for(azure: Cloud, unique: str) -> None:
    azure.endpoints.create(unique)
    ready(azure, unique)
    with pytest.raises(Transient, match="quota") as caught:
        azure.endpoints.deploy(unique, "dep-1", MODEL, "Standard_NC24ads_A100_v4", 500)
    assert caught.value.after >= timedelta(minutes=5)
    azure.endpoints.delete(unique)
    gone(azure, unique)


def test_a_lost_answer_is_no_second_endpoint(azure: Cloud, cloud: Stack, unique: str) -> None:
    """The service made it, the client never heard: the next try adopts it."""
    azure.clients.transport.sleep = lambda _: None
    fault: dict[str, Any] = {"method": "PUT", "path": f"/onlineEndpoints/{unique}$", "status": 503, "moment": "after"}
    cloud.control("POST", "/_local/faults", fault | {"count": 50})
    try:
        with pytest.raises(Transient):
            azure.endpoints.create(unique, "", {"droptune.line": unique})
    finally:
        cloud.control("DELETE", "/_local/faults")
    done = len(effects(cloud, unique))
    azure.endpoints.create(unique, "", {"droptune.line": unique})
    assert len(effects(cloud, unique)) == done
    ready(azure, unique)
    azure.endpoints.delete(unique)
    gone(azure, unique)
