"""Azure Monitor's metrics of many resources: how few calls they take, what one that is gone costs, and what it says."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest
from azure.identity import ManagedIdentityCredential
from azure.monitor.querymetrics import MetricsClient

from benchmarks import metrics as benchmark
from benchmarks.counting import requests_of
from localcloud.azureml.arm import WORKSPACE_ID
from localcloud.stack import Stack
from shared.app import App
from shared.cloud.clients import RETRIES
from shared.cloud.metrics import BATCH, OUTAGES, SPARE
from shared.cloud.series import Series, floor
from shared.settings import Settings
from tests.kit.azureml import MODEL
from tests.kit.azureml.endpoints import INSTANCE, payload
from tests.kit.clouds import later, pointed_at
from tests.kit.metrics import cpu_points, many_requests
from tests.kit.waiting import eventually

HOUR = timedelta(hours=1)
ROUTE = "metrics:getBatch"
HALVINGS = 12
"""Calls that it takes to find one of 50 that no refusal names."""


@pytest.fixture(scope="module")
def many(cloud: Stack) -> Iterator[list[str]]:
    """Ids of 120 endpoints that nobody asks."""
    with pointed_at(cloud), ThreadPoolExecutor(4) as threads:
        app = App.of(Settings.read(os.environ))
        arm, url = app.cloud.clients.arm, app.cloud.clients.arm_url
        ids = [f"{WORKSPACE_ID}/onlineEndpoints/m-{uuid4().hex[:12]}" for _ in range(120)]

        def send(method: str, id_: str) -> bool:
            body = {"location": "westeurope", "properties": {"authMode": "Key"}} if method == "PUT" else None
            address = f"{url}{id_}?api-version=2023-10-01"
            return bool(arm.send_request(HttpRequest(method, address, json=body)).status_code < 400)

        assert all(threads.map(lambda id_: send("PUT", id_), ids))
        yield ids
        assert all(threads.map(lambda id_: eventually(lambda: send("DELETE", id_)), ids))
        app.cloud.close()


@pytest.fixture
def refuse(app: App, cloud: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has queries fail while the test runs, all that match; pauses between retries cost nothing."""
    monkeypatch.setattr(HttpTransport, "sleep", lambda *_: None)

    def refuse(**fault: Any) -> None:
        cloud.control("POST", "/_local/faults", {"path": ROUTE, "count": None} | fault)

    yield refuse
    cloud.control("DELETE", "/_local/faults")


def name(id_: str) -> str:
    return id_.rpartition("/")[2]


def asked(app: App, ids: list[str]) -> tuple[dict[str, Series | None], int]:
    """Their requests of the last hour, and how many calls that took."""
    now = app.cloud.blobs.now()
    with requests_of(app) as sent:
        found = app.cloud.metrics.request_series(ids, now - HOUR, now)
    assert list(found) == ids, "in the order asked"
    return found, sent.requests


def unread(found: dict[str, Series | None]) -> list[str]:
    return [id_ for id_, each in found.items() if each is None]


@pytest.mark.parametrize("number", [0, 1, 50, 51, 120])
def test_a_call_takes_50_resources(app: App, many: list[str], number: int) -> None:
    found, calls = asked(app, many[:number])
    assert calls == math.ceil(number / BATCH)
    assert unread(found) == []
    assert all((each.points, each.sum, each.last) == (0, 0.0, None) for each in found.values() if each)


def test_one_that_is_gone_and_named_costs_a_call(app: App, many: list[str], caplog: pytest.LogCaptureFixture) -> None:
    gone = many[17] + "-gone"
    ids = [*many[:17], gone, *many[18:50]]
    with caplog.at_level(logging.WARNING, "shared.cloud.metrics"):
        found, calls = asked(app, ids)
    assert (unread(found), calls) == ([gone], 2)
    (record,) = caplog.records
    assert gone in record.getMessage()


@pytest.mark.parametrize("status", [400, 404])
def test_one_that_no_refusal_names_is_found(
    app: App, many: list[str], refuse: Callable[..., None], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    refuse(content=name(many[63]), status=status, message="One of the resources is not supported.")
    with caplog.at_level(logging.WARNING, "shared.cloud.metrics"):
        found, calls = asked(app, many)
    assert unread(found) == [many[63]]
    assert calls == 3 + HALVINGS
    (record,) = caplog.records
    assert record.getMessage().startswith(f"Not read: metric RequestsPerMinute of {many[63]} in westeurope: One of")


def test_a_name_that_begins_like_another_is_not_taken_for_it(app: App, many: list[str], refuse: Any) -> None:
    refuse(content=f"{name(many[1])}-longer", status=404, message=f"{many[1]}-longer was not found.")
    ids = [many[0], many[1], f"{many[1]}-longer"]
    found, calls = asked(app, ids)
    assert (unread(found), calls) == ([f"{many[1]}-longer"], 2)


def test_what_refuses_everything_is_asked_a_bounded_number_of_times(
    app: App, many: list[str], refuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(status=400, message="The metric is not supported.")
    with caplog.at_level(logging.WARNING, "shared.cloud.metrics"):
        found, calls = asked(app, many)
    assert unread(found) == many
    assert calls == 3 + SPARE
    assert any("no call is left to find it" in each.getMessage() for each in caplog.records)


def test_in_an_outage_the_rest_is_not_asked(
    app: App, many: list[str], refuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(status=503)
    with caplog.at_level(logging.WARNING, "shared.cloud.metrics"):
        found, calls = asked(app, many)
    assert unread(found) == many
    assert calls == OUTAGES * (1 + RETRIES)
    assert caplog.records[-1].getMessage() == "Not asked: metric RequestsPerMinute of 20 more resources"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "count": 1 + RETRIES},
        {"reset": True, "count": 1},
        {"status": 200, "body": "<html>", "count": 1},
        {"status": 200, "body": {"values": 1}, "count": 1},
        {"status": 200, "body": {}, "count": 1},
    ],
    ids=["busy", "reset", "html", "another form", "empty"],
)
def test_a_call_that_fails_once_costs_its_50_alone(
    app: App, many: list[str], refuse: Any, fault: dict[str, Any]
) -> None:
    refuse(**fault)
    found, _ = asked(app, many)
    assert unread(found) == many[:50]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "check METRICS_AUDIENCE, AZURE_CLIENT_ID and the tenant"),
        (403, "Monitoring Reader on the subscription"),
    ],
)
def test_who_is_not_let_in_asks_once_and_says_what_to_do(
    app: App, many: list[str], refuse: Any, caplog: pytest.LogCaptureFixture, status: int, said: str
) -> None:
    refuse(status=status)
    with caplog.at_level(logging.WARNING, "shared.cloud.metrics"):
        found, calls = asked(app, many)
    assert (unread(found), calls) == (many, 1)
    assert said in caplog.records[0].getMessage()


def test_an_answer_without_the_metric_is_not_0(
    app: App, many: list[str], refuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    read = {"name": {"value": "RequestsPerMinute"}, "timeseries": [], "errorCode": "Success"}
    values = [{"resourceid": many[0].lower(), "value": []}, {"resourceid": many[1].upper(), "value": [read]}]
    refuse(status=200, body={"values": values})
    with caplog.at_level(logging.WARNING, "shared.cloud.metrics"):
        found, calls = asked(app, many[:3])
    assert unread(found) == [many[0], many[2]]
    assert calls == 1
    assert [each.getMessage() for each in caplog.records] == [
        f"Not read: metric RequestsPerMinute of {many[0]}: no word about the metric",
        f"Not read: metric RequestsPerMinute of {many[2]}: no word about it",
    ]
    now = app.cloud.blobs.now()
    assert many_requests(app.cloud.metrics, many[:2], now - HOUR, now) == {many[0]: None, many[1]: 0.0}
    assert cpu_points(app.cloud.metrics, many[:1], now - HOUR, now) == {many[0]: 0}


@pytest.fixture
def used(app: App, cloud: Stack) -> Iterator[tuple[str, str]]:
    """Ids of an endpoint that was asked three times in one minute, and of its deployment, some minutes ago."""
    endpoints, endpoint = app.cloud.endpoints, f"m-{uuid4().hex[:12]}"
    cloud.control("POST", "/_local/pretend", {"deployments": {"match": f"^{endpoint}/"}})
    endpoints.create(endpoint)

    def settled() -> bool:
        found = endpoints.get(endpoint)
        return bool(found and not found.busy)

    eventually(settled)
    endpoints.deploy(endpoint, "blue", MODEL, INSTANCE, 1)
    eventually(lambda: (found := endpoints.deployment(endpoint, "blue")) and found.state == "Succeeded")
    endpoints.set_traffic(endpoint, {"blue": 100})
    eventually(settled)
    for _ in endpoints.score_each(endpoint, [payload()] * 3):
        pass
    found = endpoints.get(endpoint)
    assert found
    deployment = f"{found.id}/deployments/blue"

    def measured() -> bool:  # processors are, when a minute is over, and within a second of real time
        later(app, cloud, timedelta(minutes=3))
        now = app.cloud.blobs.now()
        return cpu_points(app.cloud.metrics, [deployment], now - HOUR, now)[deployment] >= 6

    eventually(measured, 8, every=0.5)  # what was asked is to be less than an hour ago
    yield found.id, deployment
    cloud.control("DELETE", "/_local/pretend")
    endpoints.set_traffic(endpoint, {})
    eventually(settled)
    endpoints.delete(endpoint)


def sdk_points(
    app: App, kind: str, metric: str, id_: str, start: datetime, end: datetime
) -> list[tuple[datetime, Any]]:
    """What Azure's own client makes of the same question."""
    settings = app.settings.metrics
    with MetricsClient(settings.endpoint, ManagedIdentityCredential(), audience=settings.audience) as client:
        (found,) = client.query_resources(
            resource_ids=[id_],
            metric_namespace=f"Microsoft.MachineLearningServices/workspaces/onlineEndpoints{kind}",
            metric_names=[metric],
            timespan=(start, end),
            granularity=timedelta(minutes=1),
            aggregations=["Average"],
        )
    lines = [line for each in found.metrics for line in each.timeseries]
    return [(point.timestamp, point.average) for line in lines for point in line.data if point.average is not None]


def test_the_numbers_are_those_of_azures_own_client(app: App, used: tuple[str, str], many: list[str]) -> None:
    endpoint, deployment = used
    end = app.cloud.blobs.now()
    start = end - HOUR
    grain = timedelta(minutes=1)
    found = app.cloud.metrics.request_series([many[0], endpoint], start, end)
    silent, busy = found[many[0]], found[endpoint]
    assert silent
    assert busy
    theirs = sdk_points(app, "", "RequestsPerMinute", endpoint, floor(start, grain), end)
    assert silent.points == 0
    assert busy.sum == busy.busiest_hour == sum(average for _, average in theirs) == 3
    assert busy.last == theirs[-1][0] + grain
    assert many_requests(app.cloud.metrics, [many[0], endpoint], start, end) == {many[0]: 0.0, endpoint: 3.0}

    cpu = app.cloud.metrics.cpu_series([deployment], start, end)[deployment]
    theirs = sdk_points(app, "/deployments", "CpuUtilizationPercentage", deployment, floor(start, grain), end)
    assert cpu
    assert list(cpu.averages) == [average for _, average in theirs]
    assert list(cpu.begins) == [begin.timestamp() / 60 for begin, _ in theirs]
    assert cpu.points >= 6
    assert cpu.control(start) == 0, "it is younger than half an hour"
    assert cpu.control(end - timedelta(minutes=6)) >= 2
    assert cpu_points(app.cloud.metrics, [deployment], start, end) == {deployment: cpu.points}


def test_the_benchmark_finds_that_all_read_the_same() -> None:
    """The ratio of times is the benchmark's to hold, on a machine that does nothing else."""
    result = benchmark.measure(1)
    assert result["same"]
    assert result["sdk_ms"] > result["rest_ms"] > 0
