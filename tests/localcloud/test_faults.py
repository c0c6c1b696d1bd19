"""Faults on request, through the real SDKs: each comes as Azure's own would, as often as asked, and where asked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.rest import HttpRequest
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient, QueueServiceClient

from localcloud.azureml.arm import WORKSPACE_ID
from localcloud.stack import Stack, StackError
from shared.app import App

Ask = Callable[..., None]


@pytest.fixture
def ask(cloud: Stack) -> Iterator[Ask]:
    """Ask for a fault; all end with the test."""

    def ask(**fault: Any) -> None:
        cloud.control("POST", "/_local/faults", fault)

    yield ask
    cloud.control("DELETE", "/_local/faults")


@pytest.fixture
def container(cloud_env: Stack) -> Iterator[ContainerClient]:
    """A container of its own, over a client that never tries again."""
    with (
        DefaultAzureCredential() as credential,
        BlobServiceClient(cloud_env.urls["blob"], credential, retry_total=0) as service,
    ):
        yield service.create_container(f"faults-{uuid.uuid4()}")


@pytest.fixture
def queue(cloud_env: Stack) -> Iterator[QueueClient]:
    with (
        DefaultAzureCredential() as credential,
        QueueServiceClient(cloud_env.urls["queue"], credential, retry_total=0) as service,
    ):
        yield service.create_queue(f"faults-{uuid.uuid4()}")


class Arm:
    """Requests below the workspace, as the app sends its own, but never a second time."""

    def __init__(self, app: App) -> None:
        self._client, self._url = app.cloud.clients.arm, app.cloud.clients.arm_url

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        request = HttpRequest(method, f"{self._url}{WORKSPACE_ID}/{path}?api-version=2024-01-01", json=body)
        return self._client.send_request(request, retry_total=0)


@pytest.fixture
def arm(app: App) -> Arm:
    return Arm(app)


@pytest.fixture
def name() -> str:
    return f"f-{uuid.uuid4().hex[:8]}"


def data(name: str) -> dict[str, Any]:
    """The body of a data asset, whose PUT is the cheapest effect there is."""
    return {"properties": {"dataUri": f"azureml://datastores/prepared/paths/{name}", "dataType": "uri_file"}}


@pytest.mark.parametrize(
    ("status", "raised", "code"),
    [
        (401, ClientAuthenticationError, "InvalidAuthenticationInfo"),
        (404, ResourceNotFoundError, "BlobNotFound"),
        (409, ResourceExistsError, "BlobAlreadyExists"),
        (412, ResourceModifiedError, "ConditionNotMet"),
        (429, HttpResponseError, "TooManyRequests"),
        (500, HttpResponseError, "InternalError"),
        (503, HttpResponseError, "ServerBusy"),
    ],
)
def test_storage_fails_as_azure_does(
    ask: Ask, container: ContainerClient, status: int, raised: type[HttpResponseError], code: str
) -> None:
    ask(service="blob", path=f"/{container.container_name}/", status=status, retry_after=7, count=2)
    with pytest.raises(raised) as caught:
        container.upload_blob("a", b"x" * 100_000, overwrite=True)
    error: Any = caught.value
    assert (error.status_code, error.error_code) == (status, code)
    assert error.response.headers["Retry-After"] == "7"
    if status != 401:  # a challenge is answered with another token, and that request failed too
        with pytest.raises(raised):  # a HEAD has no body that could tell it
            container.get_blob_client("a").get_blob_properties()
    assert not list(container.list_blob_names())
    container.upload_blob("a", b"y")


def test_an_expired_token_is_answered_with_a_new_one(ask: Ask, container: ContainerClient) -> None:
    ask(service="blob", path=f"/{container.container_name}/a", status=401)
    container.upload_blob("a", b"x")
    assert container.download_blob("a").readall() == b"x"


@pytest.mark.parametrize("reset", [False, True])
def test_an_answer_of_storage_gets_lost_after_its_effect(ask: Ask, container: ContainerClient, reset: bool) -> None:
    ask(service="blob", method="PUT", path="/a$", moment="after", status=500, reset=reset)
    with pytest.raises((HttpResponseError, ServiceRequestError, ServiceResponseError)) as caught:
        container.upload_blob("a", b"x")
    assert isinstance(caught.value, HttpResponseError) is not reset
    assert container.download_blob("a").readall() == b"x"
    container.upload_blob("a", b"y", overwrite=True, match_condition=MatchConditions.IfPresent)


def test_a_reset_before_the_effect_leaves_nothing(ask: Ask, container: ContainerClient) -> None:
    ask(service="blob", method="PUT", path="/a$", reset=True)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        container.upload_blob("a", b"x" * 3_000_000)
    assert not list(container.list_blob_names())


def test_a_query_tells_requests_of_one_path_apart(ask: Ask, container: ContainerClient) -> None:
    ask(service="blob", path=f"/{container.container_name}$", query="comp=list")
    assert container.exists()
    with pytest.raises(HttpResponseError, match="busy"):
        list(container.list_blob_names())


def test_the_queue_can_be_throttled_too(ask: Ask, queue: QueueClient) -> None:
    ask(service="queue", method="POST", path=f"/{queue.queue_name}/messages$", skip=1, count=2)
    queue.send_message("one")
    for _ in range(2):
        with pytest.raises(HttpResponseError) as caught:
            queue.send_message("two")
        assert getattr(caught.value, "error_code", None) == "ServerBusy"
    queue.send_message("three")
    assert [message.content for message in queue.receive_messages()] == ["one", "three"]


def test_a_fault_of_one_service_spares_the_others(ask: Ask, container: ContainerClient, arm: Arm, name: str) -> None:
    ask(service="queue", count=None, path="faults-none")
    ask(service="management", path="/no/such/path", count=None)
    container.upload_blob("a", b"x")
    assert arm("PUT", f"data/{name}/versions/1", data(name)).status_code == 201


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "ExpiredAuthenticationToken"), (409, "Conflict"), (429, "TooManyRequests"), (503, "ServiceUnavailable")],
)
def test_management_fails_as_azure_does(ask: Ask, arm: Arm, name: str, status: int, code: str) -> None:
    ask(path=f"/data/{name}/", method="PUT", status=status, retry_after=9, skip=1, count=2)
    answers = [arm("PUT", f"data/{name}/versions/{version}", data(name)) for version in (1, 2)]
    assert [answer.status_code for answer in answers] == [201, status]
    assert answers[1].json()["error"]["code"] == code
    assert answers[1].headers["Retry-After"] == "9"
    assert arm("GET", f"data/{name}/versions/2").status_code == 404


def test_no_quota_is_the_services_own_error(ask: Ask, arm: Arm, name: str) -> None:
    ask(path=f"/data/{name}/", status=400, code="OutOfQuota", message="Not enough quota.")
    error = arm("PUT", f"data/{name}/versions/1", data(name)).json()["error"]
    assert error == {"code": "OutOfQuota", "message": "Not enough quota."}


@pytest.mark.parametrize(("moment", "found"), [("before", 404), ("after", 200)])
def test_a_connection_to_management_is_reset(ask: Ask, arm: Arm, name: str, moment: str, found: int) -> None:
    ask(path=f"/data/{name}/", method="PUT", moment=moment, reset=True)
    with pytest.raises((ServiceRequestError, ServiceResponseError), match=r"reset|aborted|Connection"):
        arm("PUT", f"data/{name}/versions/1", data(name))
    assert arm("GET", f"data/{name}/versions/1").status_code == found


def test_reads_are_stale_for_a_while(ask: Ask, cloud: Stack, arm: Arm, name: str) -> None:
    def described() -> Any:
        answer = arm("GET", f"data/{name}/versions/1")
        return answer.json()["properties"]["description"] if answer.status_code == 200 else answer.status_code

    def versions() -> int:
        answer = arm("GET", f"data/{name}/versions")
        return len(answer.json()["value"]) if answer.status_code == 200 else 0

    def put(text: str) -> None:
        body = data(name)
        body["properties"]["description"] = text
        assert arm("PUT", f"data/{name}/versions/1", body).status_code < 300

    def pass_time(seconds: float) -> None:
        cloud.control("POST", "/_local/clock", {"advance": seconds})

    ask(moment="stale", path=f"/data/{name}", seconds=300)
    put("one")
    assert (described(), versions()) == (404, 0)
    pass_time(200)
    put("two")
    assert (described(), versions()) == (404, 0)
    pass_time(150)
    assert (described(), versions()) == ("one", 1)
    pass_time(150)
    assert (described(), versions()) == ("two", 1)
    put("three")
    assert described() == "two"
    cloud.control("DELETE", "/_local/faults")
    assert described() == "three"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"service": "table"}, "one of management, blob, queue"),
        ({"moment": "never"}, "one of before, after"),
        ({"path": "("}, "no regular expression"),
        ({"service": "blob", "moment": "stale"}, "strongly consistent"),
        ({"seconds": 4000}, "from 0 to 3600"),
        ({"nonsense": 1}, "unknown: nonsense"),
        ({"taken": 1}, "unknown: taken"),
        ({"count": "many"}, "whole number"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(cloud: Stack, fault: dict[str, Any], said: str) -> None:
    with pytest.raises(StackError, match=said):
        cloud.control("POST", "/_local/faults", fault)
    assert cloud.control("GET", "/_local/faults") == []


def test_the_ledger_records_storage_when_asked(cloud: Stack, container: ContainerClient, ask: Ask) -> None:
    def entries() -> list[tuple[str, str, int]]:
        found = [each for each in cloud.control("GET", "/_local/ledger") if container.container_name in each["path"]]
        return [(each["service"], each["method"], each["status"]) for each in found]

    container.upload_blob("a", b"x")
    assert entries() == []
    cloud.control("POST", "/_local/ledger", {"storage": True})
    try:
        container.upload_blob("b", b"x")
        ask(service="blob", path="/c$", moment="after", status=500)
        ask(service="blob", path="/c$", reset=True)
        for _ in range(2):
            with pytest.raises((HttpResponseError, ServiceRequestError, ServiceResponseError)):
                container.upload_blob("c", b"x")
        assert entries() == [("blob", "PUT", 201), ("blob", "PUT", 500), ("blob", "PUT", 0)]
    finally:
        cloud.control("POST", "/_local/ledger", {"storage": False})
    container.upload_blob("d", b"x")
    assert len(entries()) == 3
