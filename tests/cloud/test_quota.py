"""Quota over the real SDK: what is free of a VM family, and that doubt is no objection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.cloud.computes import Compute
from shared.training.compute import Allowance

A100, A100_FAMILY = "Standard_NC24ads_A100_v4", "standardNCADSA100v4Family"
T4, T4_FAMILY = "Standard_NC4as_T4_v3", "standardNCASv3_T4Family"


@pytest.fixture
def limited(cloud: Stack) -> Iterator[Callable[[str, int], None]]:
    """Sets a family's limit for the length of a test."""
    before = cloud.control("POST", "/_local/quota", {})

    def limit(family: str, vcpus: int) -> None:
        cloud.control("POST", "/_local/quota", {family: vcpus})

    yield limit
    cloud.control("POST", "/_local/quota", before)


@pytest.fixture
def calls(azure: Cloud) -> list[str]:
    """The paths of all requests that go out."""
    sent: list[str] = []
    send = azure.clients.transport.send

    def noted(request: Any, **options: Any) -> Any:
        sent.append(request.url.partition("?")[0].rpartition("/")[2])
        return send(request, **options)

    azure.clients.transport.send = noted
    return sent


def test_a_family_tells_its_limit_and_its_use(azure: Cloud, limited: Callable[[str, int], None]) -> None:
    limited(T4_FAMILY, 16)
    assert azure.quota.allowances(T4_FAMILY) == [Allowance(of=T4_FAMILY, limit=16, used=0)]
    assert azure.quota.allowances("standard NCASv3_T4 Family") == [
        Allowance(of="standard NCASv3_T4 Family", limit=16, used=0)
    ]
    assert azure.quota.allowances("standardUnheardOfFamily") == []


def test_a_job_waits_for_quota_and_says_of_what(azure: Cloud, limited: Callable[[str, int], None]) -> None:
    limited(A100_FAMILY, 48)
    assert azure.quota.for_training(A100, 2, None) == ""
    told = azure.quota.for_training(A100.upper(), 3, None)
    assert told.startswith(
        f"quota: 3 more nodes to train on ({A100}) take 72 vCPUs of {A100_FAMILY}, of which 48 of 48 are free"
    )
    assert "ask for more quota" in told


def test_the_largest_cluster_is_what_the_limit_allows(azure: Cloud, limited: Callable[[str, int], None]) -> None:
    limited(A100_FAMILY, 49)
    assert azure.quota.most_nodes(A100.upper()) == 2
    limited(A100_FAMILY, 0)
    assert azure.quota.most_nodes(A100) == 0
    assert azure.quota.most_nodes("Standard_Imaginary_v9") is None


def test_nodes_that_a_cluster_has_need_no_more_quota(azure: Cloud, limited: Callable[[str, int], None]) -> None:
    limited(A100_FAMILY, 24)
    cluster = Compute(name="gpu", size=A100, provisioning_state="Succeeded", nodes=2)
    assert azure.quota.for_training(T4, 2, cluster) == ""
    assert azure.quota.for_training(T4, 3, cluster) == ""
    assert azure.quota.for_training(T4, 4, cluster).startswith("quota: 2 more nodes")


def test_most_sizes_need_an_instance_to_spare_for_a_deployment(
    azure: Cloud, limited: Callable[[str, int], None]
) -> None:
    limited(T4_FAMILY, 4)
    told = azure.quota.for_serving(T4, 1)
    assert told.startswith(
        f"quota: 1 instance to serve with and 1 in reserve for upgrades ({T4}) take 8 vCPUs of {T4_FAMILY}, "
        "of which 4 of 4 are free"
    )
    limited(T4_FAMILY, 8)
    assert azure.quota.for_serving(T4, 1) == ""
    limited(A100_FAMILY, 24)
    assert azure.quota.for_serving(A100, 1) == ""


def test_a_look_asks_the_service_once(azure: Cloud, calls: list[str]) -> None:
    azure.quota.for_training(A100, 1, None)
    calls.clear()
    azure.quota.for_training(A100, 1, None)
    azure.quota.for_serving(T4, 1)
    assert calls == ["usages", "usages"]
    cluster = Compute(name="gpu", size=A100, provisioning_state="Succeeded", nodes=1)
    assert azure.quota.for_training(A100, 1, cluster) == ""
    assert calls == ["usages", "usages"], "there is nothing to ask for"


@pytest.mark.parametrize("what", ["usages", "vmSizes"])
@pytest.mark.parametrize("status", [400, 403, 404, 503])
def test_what_can_not_be_read_is_no_objection(
    azure: Cloud, cloud: Stack, limited: Callable[[str, int], None], what: str, status: int
) -> None:
    limited(A100_FAMILY, 0)
    azure.clients.transport.sleep = lambda _: None  # the waits between retries alone
    azure.quota.allowances(A100_FAMILY)
    cloud.control("POST", "/_local/faults", {"method": "GET", "path": f"/{what}$", "status": status, "count": 50})
    try:
        assert azure.quota.for_serving(A100, 1) == ""
    finally:
        cloud.control("DELETE", "/_local/faults")
    assert azure.quota.for_serving(A100, 1) != "", "it is asked again"


def test_a_size_that_the_region_does_not_list_is_no_objection(azure: Cloud) -> None:
    assert azure.quota.for_training("Standard_Imaginary_v9", 1, None) == ""
    assert azure.quota.for_serving("Standard_Imaginary_v9", 1) == ""


def usage(name: str, kind: str, used: int | None, limit: int | None, where: str = "locations/l") -> SimpleNamespace:
    return SimpleNamespace(
        id=f"/subscriptions/s/providers/Microsoft.MachineLearningServices/{where}/usages/{name}",
        type=f"Microsoft.MachineLearningServices/{kind}/usages",
        name={"value": name, "localizedValue": name},
        currentValue=used,
        limit=limit,
    )


def test_of_what_the_service_tells_dedicated_machines_of_the_subscription_count(
    azure: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure's answer has rows that the local cloud's has not, so this one is made up of what is told of it."""
    dedicated, low = "vmFamily/dedicatedCores", "vmFamily/lowPriorityCores"
    rows = [
        usage("TotalDedicatedCores", "totalDedicatedCores", 10, 40),
        usage("TotalLowPriorityCores", "totalLowPriorityCores", 0, 0),
        usage(A100_FAMILY, low, 0, -1),
        usage(A100_FAMILY, low, 0, 500),
        usage(A100_FAMILY, dedicated, 48, 96),
        usage(A100_FAMILY, dedicated, 0, 0, "workspaces/other"),
        usage(T4_FAMILY, dedicated, None, 6),
    ]
    monkeypatch.setattr(azure.clients.ml.compute, "list_usage", lambda **_: iter(rows))
    everything = Allowance(of=f"all families in {azure.settings.workspace.location}", limit=40, used=10)
    assert azure.quota.allowances(A100_FAMILY) == [everything, Allowance(of=A100_FAMILY, limit=96, used=48)]
    assert azure.quota.allowances(T4_FAMILY) == [everything]
    assert azure.quota.for_training(A100, 1, None) == ""
    assert "48 vCPUs of all families" in azure.quota.for_training(A100, 2, None)
    rows[4].limit = -1
    assert azure.quota.allowances(A100_FAMILY) == [everything]
