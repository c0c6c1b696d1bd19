"""What the tests of the local Azure ML service share: an SDK client, and one endpoint that really serves."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from azure.ai.ml.entities import ManagedOnlineEndpoint, OnlineRequestSettings, ProbeSettings
from starlette.testclient import TestClient

from localcloud.azureml.cloud import Cloud
from localcloud.stack import Stack
from tests.kit.azureml.alone import routes_of, service_in
from tests.kit.azureml.endpoints import DEPLOYED, SERVED, client, deployment, payload
from tests.kit.azureml.submitting import Submit, published, submitting
from tests.kit.clouds import pointed_at
from tests.kit.waiting import eventually


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """azure-ai-ml still calls datetime.utcnow()."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(r"ignore::DeprecationWarning:azure\.ai\.ml"))


@pytest.fixture
def ml(cloud_env: Stack) -> Any:
    """The SDK's client of the workspace."""
    return client()


@pytest.fixture(scope="session")
def served(cloud: Stack) -> str:
    """The name of an endpoint with all its traffic on one deployment, which answers."""
    with pointed_at(cloud):
        ml = client()
        endpoint = ManagedOnlineEndpoint(name=SERVED, description="a test", auth_mode="key", tags={"for": "tests"})
        ml.online_endpoints.begin_create_or_update(endpoint).result()
        blue = deployment(
            SERVED,
            DEPLOYED,
            liveness_probe=ProbeSettings(initial_delay=120),
            request_settings=OnlineRequestSettings(request_timeout_ms=20_000, max_concurrent_requests_per_instance=2),
        )
        ml.online_deployments.begin_create_or_update(blue).result()
        endpoint.traffic = {DEPLOYED: 100}
        ml.online_endpoints.begin_create_or_update(endpoint).result()
    return SERVED


@pytest.fixture
def http(cloud: Stack) -> Iterator[httpx.Client]:
    """A client that trusts the local cloud's certificates."""
    trusted = ssl.create_default_context(cafile=str(cloud.description.ca))
    with httpx.Client(verify=trusted, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def ask(ml: Any, served: str, http: httpx.Client) -> Any:
    """Ask the endpoint that serves, with its key."""
    uri = ml.online_endpoints.get(served).scoring_uri
    key = {"Authorization": f"Bearer {ml.online_endpoints.get_keys(served).primary_key}"}

    def ask(body: Any = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return http.post(uri, json=payload() if body is None else body, headers=key | sent)

    return ask


@pytest.fixture(scope="module")
def submit(cloud: Stack) -> Iterator[Submit]:
    """Submit a job: `submit(name, input=value, ...)`; data, model and cluster are there already."""
    with submitting(cloud) as submit:
        yield submit


@pytest.fixture
def name() -> str:
    """A job's."""
    return f"job-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def done(submit: Submit, cloud: Stack) -> str:
    """The name of a job that has completed; change nothing of it."""
    name = f"done-{uuid4().hex[:8]}"
    submit(name)
    eventually(lambda: (name, "Completed") in [(run, status) for _, run, status in published(cloud)], 60)
    return name


@pytest.fixture
def service(tmp_path: Path) -> Cloud:
    """What a route is given, without a server."""
    return service_in(tmp_path)


@pytest.fixture
def routes(service: Cloud) -> Iterator[TestClient]:
    """A client of all its routes, without a server."""
    with routes_of(service) as client:
        yield client
