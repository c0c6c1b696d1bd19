"""Locks are read where they may be, and stop nobody where they may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud.azureml.arm import SUBSCRIPTION_ID, WORKSPACE_ID
from localcloud.azureml.rules import GROUP_ID
from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.cloud.locks import Lock, lock_that_holds
from tests.kit.azureml.rules import ruled

ENDPOINT = f"{WORKSPACE_ID}/onlineEndpoints/e-1"
DEPLOYMENT = f"{ENDPOINT}/deployments/d-1"


@pytest.fixture(autouse=True)
def _no_rules(cloud: Stack) -> Iterator[None]:
    yield
    cloud.control("DELETE", "/_local/rules")


@pytest.mark.parametrize("scope", [SUBSCRIPTION_ID, GROUP_ID, WORKSPACE_ID, ENDPOINT, ENDPOINT.upper(), DEPLOYMENT])
def test_a_lock_is_read_wherever_it_is_set(azure: Cloud, cloud: Stack, scope: str) -> None:
    with ruled(cloud.control, "lock", scope=scope):
        found = azure.locks.on(ENDPOINT)
    assert [(each.level, each.scope.lower()) for each in found] == [("CanNotDelete", scope.lower())]
    lock = lock_that_holds(found, DEPLOYMENT)
    assert lock
    assert "lock keep (CanNotDelete)" in str(lock)
    assert f"works once the lock is deleted: az lock delete --ids {lock.id}" in str(lock)
    assert azure.locks.on(ENDPOINT) == []


@pytest.mark.parametrize("scope", [f"{ENDPOINT}0", f"{ENDPOINT}/deployments/d-10", f"{GROUP_ID}-2"])
def test_a_lock_on_something_else_holds_nothing(azure: Cloud, cloud: Stack, scope: str) -> None:
    with ruled(cloud.control, "lock", scope=scope):
        assert lock_that_holds(azure.locks.on(ENDPOINT), DEPLOYMENT) is None


def test_a_lock_below_holds_what_is_around_it() -> None:
    lock = Lock(id=f"{DEPLOYMENT}/providers/Microsoft.Authorization/locks/keep", level="CanNotDelete")
    assert lock_that_holds([lock], ENDPOINT) == lock
    assert lock_that_holds([Lock(id=lock.id, level="NotSpecified")], ENDPOINT) is None


@pytest.mark.parametrize("body", [{}, {"value": [{"id": "/x"}]}, {"value": 3}, {"value": [{"id": 1, "properties": 2}]}])
def test_what_is_no_list_of_locks_stops_nobody(azure: Cloud, cloud: Stack, body: object) -> None:
    fault = {"method": "GET", "path": "/locks$", "status": 200, "body": body}
    cloud.control("POST", "/_local/faults", fault)
    assert azure.locks.on(ENDPOINT) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_who_may_not_read_them_goes_on(azure: Cloud, cloud: Stack, status: int) -> None:
    cloud.control("POST", "/_local/faults", {"method": "GET", "path": "/locks$", "status": status, "count": None})
    with ruled(cloud.control, "lock"):
        assert azure.locks.on(ENDPOINT) == []
