"""Compute clusters and sizes over the real SDK."""

from __future__ import annotations

import threading

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.errors import Permanent, Transient
from tests.kit.waiting import eventually


def test_a_cluster_is_made_without_waiting_and_then_found(azure: Cloud, cloud: Stack, unique: str) -> None:
    assert azure.computes.get(unique) is None
    before = set(threading.enumerate())
    azure.computes.create(unique, "Standard_NC24ads_A100_v4", 2, azure.settings.training.identity)
    assert set(threading.enumerate()) == before, "something polls"
    azure.computes.create(unique, "Standard_NC24ads_A100_v4", 2, azure.settings.training.identity)

    def made() -> bool:
        found = azure.computes.get(unique)
        assert found is not None
        assert found.name == unique
        assert found.size.lower() == "standard_nc24ads_a100_v4"
        assert found.nodes == 0
        assert found.identities == (azure.settings.training.identity,)
        return found.provisioning_state == "Succeeded"

    eventually(made)


def test_sizes_tell_gpus_cores_and_memory(azure: Cloud) -> None:
    sizes = {size.name: size for size in azure.computes.sizes()}
    gpu, cpu = sizes["Standard_NC24ads_A100_v4"], sizes["Standard_D13_v2"]
    assert (gpu.gpus, gpu.vcpus, gpu.memory_gb) == (1, 24, 220.0)
    assert gpu.family == "standardNCADSA100v4Family"
    assert cpu.gpus == 0
    assert cpu.vcpus > 0
    assert cpu.memory_gb > 0


def test_an_unknown_size_is_refused_in_the_services_words(azure: Cloud, unique: str) -> None:
    with pytest.raises(Permanent, match=f"compute {unique}"):
        azure.computes.create(unique, "Standard_Imaginary_v9", 1, azure.settings.training.identity)


@pytest.mark.parametrize(("status", "headers", "seconds"), [(429, {"Retry-After": "200"}, 200), (503, {}, 30)])
def test_a_busy_service_is_worth_coming_back_to(
    azure: Cloud, cloud: Stack, unique: str, status: int, headers: dict[str, str], seconds: int
) -> None:
    azure.clients.transport.sleep = lambda _: None  # the waits between retries alone
    fault = {"method": "GET", "path": f"/computes/{unique}$", "status": status, "headers": headers, "count": 50}
    cloud.control("POST", "/_local/faults", fault)
    try:
        with pytest.raises(Transient, match=f"compute {unique} .*{status}") as caught:
            azure.computes.get(unique)
    finally:
        cloud.control("DELETE", "/_local/faults")
    assert caught.value.after.total_seconds() == seconds


def test_a_role_that_is_missing_is_named(azure: Cloud, cloud: Stack, unique: str) -> None:
    cloud.control("POST", "/_local/faults", {"method": "GET", "path": f"/computes/{unique}$", "status": 403})
    with pytest.raises(Transient, match="AzureML Data Scientist on the workspace"):
        azure.computes.get(unique)


@pytest.mark.parametrize("spelled", ["succeeded", "SUCCEEDED"])
def test_a_state_counts_in_any_case(azure: Cloud, cloud: Stack, unique: str, spelled: str) -> None:
    shown = {"computeType": "AmlCompute", "provisioningState": spelled, "properties": {"vmSize": "STANDARD_D13_V2"}}
    body = {"id": f"/computes/{unique}", "name": unique, "location": "westeurope", "properties": shown}
    fault = {"method": "GET", "path": f"/computes/{unique}$", "status": 200, "body": body, "count": 1}
    cloud.control("POST", "/_local/faults", fault)
    found = azure.computes.get(unique)
    assert found
    assert found.provisioning_state == "Succeeded"
    assert found.identities == ()
