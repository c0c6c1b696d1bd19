"""Azure Monitor's metrics through the real client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.monitor.querymetrics import MetricsClient, MetricsQueryResult

from localcloud.azureml.arm import WORKSPACE_ID
from localcloud.stack import Stack
from tests.kit.azureml.endpoints import DEPLOYED, make_endpoint
from tests.kit.waiting import eventually

ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
DEPLOYMENTS = f"{ENDPOINTS}/deployments"
MINUTE = timedelta(minutes=1)


def endpoint_id(name: str) -> str:
    """An endpoint's resource id."""
    return f"{WORKSPACE_ID}/onlineEndpoints/{name}"


@pytest.fixture
def metrics(cloud_env: Stack) -> Iterator[MetricsClient]:
    """The region's metrics."""
    environment = cloud_env.environment
    credential = ManagedIdentityCredential()
    with MetricsClient(environment["METRICS_ENDPOINT"], credential, audience=environment["METRICS_AUDIENCE"]) as client:
        yield client


def requests(metrics: MetricsClient, *names: str, start: datetime, end: datetime, **more: Any) -> list[Any]:
    """RequestsPerMinute of endpoints."""
    given: dict[str, Any] = {"granularity": MINUTE, "aggregations": ["Average"]} | more
    return metrics.query_resources(
        resource_ids=[endpoint_id(name) for name in names],
        metric_namespace=ENDPOINTS,
        metric_names=["RequestsPerMinute"],
        timespan=(start, end),
        **given,
    )


def values(result: MetricsQueryResult) -> list[float]:
    """What the points of a result's one metric say."""
    return [
        point.average for series in result.metrics[0].timeseries for point in series.data if point.average is not None
    ]


def now(cloud: Stack) -> datetime:
    """The local clock."""
    return datetime.fromisoformat(cloud.control("GET", "/_local/clock")["now"])


def pass_time(cloud: Stack, duration: timedelta) -> datetime:
    """Set the local clock ahead. Returns the time then."""
    cloud.control("POST", "/_local/clock", {"advance": duration.total_seconds()})
    return now(cloud)


def test_requests_are_counted_by_the_minute(
    cloud_env: Stack, metrics: MetricsClient, served: str, ml: Any, ask: Any
) -> None:
    silent = make_endpoint(ml)
    start = pass_time(cloud_env, 2 * MINUTE)
    for _ in range(3):
        assert ask().status_code == 200
    end = pass_time(cloud_env, 2 * MINUTE)

    quiet, busy = requests(metrics, silent, served, start=start, end=end)
    assert values(quiet) == [], "no point at all without a request"
    assert sum(values(busy)) == 3
    assert busy.granularity == MINUTE
    assert (busy.namespace, busy.resource_region) == (ENDPOINTS, "westeurope")
    assert busy.metrics["RequestsPerMinute"].unit == "Count"
    busy, quiet = requests(metrics, served, silent, start=start, end=end)
    assert (sum(values(busy)), values(quiet)) == (3, []), "results come in the order asked"

    (hour,) = requests(metrics, served, start=start - timedelta(minutes=5), end=end, granularity=timedelta(hours=1))
    assert len(values(hour)) == 1
    (later,) = requests(metrics, served, start=end + MINUTE, end=end + 2 * MINUTE)
    assert values(later) == []


def test_a_running_deployment_always_has_processor_points(
    cloud_env: Stack, metrics: MetricsClient, served: str
) -> None:
    start = now(cloud_env)
    deployment = f"{endpoint_id(served)}/deployments/{DEPLOYED}"

    def percents() -> list[float]:
        (result,) = metrics.query_resources(
            resource_ids=[deployment],
            metric_namespace=DEPLOYMENTS,
            metric_names=["CpuUtilizationPercentage"],
            timespan=(start, now(cloud_env)),
            granularity=MINUTE,
            aggregations=["Average", "Maximum"],
        )
        return values(result)

    pass_time(cloud_env, timedelta(minutes=5))
    eventually(percents)  # a first measurement, if the server had just started
    pass_time(cloud_env, timedelta(minutes=60))
    found = percents()
    assert len(found) >= 60, "at once: a timer that the jump has made due asks for them, and not soon again"
    assert all(0 <= percent <= 100 for percent in found)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"aggregations": ["Total"]}, "no aggregation total"),
        ({"granularity": timedelta(seconds=30)}, "Interval"),
        ({"roll_up_by": "deployment"}, "rollupby"),
    ],
)
def test_what_it_refuses(metrics: MetricsClient, served: str, more: dict[str, Any], said: str) -> None:
    moment = datetime.now(UTC)
    with pytest.raises(HttpResponseError, match=said):
        requests(metrics, served, start=moment, end=moment, **more)


def test_an_unknown_metric_or_resource(metrics: MetricsClient, served: str) -> None:
    moment = datetime.now(UTC)
    with pytest.raises(ResourceNotFoundError, match="no-such-endpoint"):
        requests(metrics, served, "no-such-endpoint", start=moment, end=moment)
    with pytest.raises(HttpResponseError, match="Failed to find metric"):
        metrics.query_resources(
            resource_ids=[endpoint_id(served)], metric_namespace=ENDPOINTS, metric_names=["Requests"], timespan=MINUTE
        )
    with pytest.raises(HttpResponseError, match="1 to 50"):
        requests(metrics, *[served] * 51, start=moment, end=moment)
