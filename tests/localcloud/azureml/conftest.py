"""What the tests of the local Azure ML service share: an SDK client, and one endpoint that really serves."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # azure-ai-ml uses what marshmallow 4 will remove, and says so on import
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import (
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        OnlineRequestSettings,
        ProbeSettings,
    )
from azure.identity import ManagedIdentityCredential

from localcloud.azureml.arm import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE
from localcloud.stack import Stack
from tests.conftest import pointed_at

MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
SERVED, DEPLOYED = "really-serves", "blue"
MESSAGES = [{"role": "user", "content": "How do I reset my password?"}]
INSTANCE = "Standard_DS3_v2"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """azure-ai-ml still calls datetime.utcnow()."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(r"ignore::DeprecationWarning:azure\.ai\.ml"))


def client() -> MLClient:
    """A client of the workspace, from the environment."""
    return MLClient(ManagedIdentityCredential(), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)


@pytest.fixture
def ml(cloud_env: Stack) -> Any:
    """The SDK's client of the workspace."""
    return client()


def deployment(endpoint: str, name: str, **more: Any) -> Any:
    """A deployment of the small base model."""
    given = {"model": MODEL, "instance_type": INSTANCE, "instance_count": 1} | more
    return ManagedOnlineDeployment(name=name, endpoint_name=endpoint, **given)


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


def payload(messages: Any = MESSAGES, **parameters: Any) -> dict[str, Any]:
    """A request; by default short and greedy."""
    given = parameters or {"do_sample": False, "max_new_tokens": 8}
    return {"input_data": {"input_string": [messages], "parameters": given}, "params": {}}


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
