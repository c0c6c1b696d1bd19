"""Clusters, sizes and quota through the real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.ai.ml.entities import AmlCompute
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from localcloud.stack import Stack

A100, FAMILY = "Standard_NC24ads_A100_v4", "standardNCADSA100v4Family"


@pytest.fixture
def limits(cloud: Stack) -> Iterator[Any]:
    """Change limits of families; they are put back."""
    before = cloud.control("POST", "/_local/quota", {})
    yield lambda **changed: cloud.control("POST", "/_local/quota", changed)
    cloud.control("POST", "/_local/quota", before)


def cluster(name: str, size: str = A100, **more: Any) -> Any:
    return AmlCompute(name=name, size=size, **({"min_instances": 0, "max_instances": 1} | more))


def test_a_cluster_s_life(ml: Any) -> None:
    made = ml.compute.begin_create_or_update(
        cluster("life", "STANDARD_nc24ADS_a100_v4", max_instances=2, idle_time_before_scale_down=120, tags={"a": "b"})
    ).result()
    assert (made.provisioning_state, made.location) == ("Succeeded", "westeurope")
    found = ml.compute.get("LIFE")
    assert (found.size, found.max_instances, found.idle_time_before_scale_down) == (A100.upper(), 2, 120)
    assert found.tags == {"a": "b"}
    assert "life" in [each.name for each in ml.compute.list()]
    ml.compute.begin_delete("life").result()
    with pytest.raises(ResourceNotFoundError, match="Compute life was not found"):
        ml.compute.get("life")


def test_a_cluster_beyond_the_quota_fails_and_stays(ml: Any) -> None:
    poller = ml.compute.begin_create_or_update(cluster("greedy", "Standard_ND40rs_v2"))
    with pytest.raises(HttpResponseError, match="ClusterCoreQuotaReached"):
        poller.result()
    found = ml.compute.get("greedy")
    assert (found.provisioning_state, found.provisioning_errors) == ("Failed", "ClusterCoreQuotaReached")
    ml.compute.begin_delete("greedy").result()


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (cluster("ok", "Standard_Nonsense"), "'Standard_Nonsense' is not available"),
        (cluster("bad_name"), "Compute name 'bad_name'"),
        (cluster("n" * 25), "2 to 24 letters"),
    ],
)
def test_what_can_t_be_a_cluster_is_refused(ml: Any, compute: Any, message: str) -> None:
    with pytest.raises(HttpResponseError, match=message):
        ml.compute.begin_create_or_update(compute)


def test_sizes_have_gpus(ml: Any) -> None:
    sizes = {size.name: size for size in ml.compute.list_sizes()}
    gpus = {
        "Standard_NC24ads_A100_v4": 1,
        "Standard_NC48ads_A100_v4": 2,
        "Standard_ND96asr_v4": 8,
        "Standard_DS3_v2": 0,
    }
    assert {name: sizes[name].gpus for name in gpus} == gpus
    # The SDK's own names for these stay empty in 1.35.2; the wire's names are there as attributes.
    assert (sizes[A100].vCPUs, sizes[A100].memoryGB, sizes[A100].family) == (24, 220, FAMILY)


def test_quota_by_family(ml: Any, limits: Any) -> None:
    limits(**{FAMILY: 48})
    (usage,) = [usage for usage in ml.compute.list_usage() if usage.name["value"] == FAMILY]
    assert (usage.limit, usage.unit) == (48, "Count")
    assert usage.currentValue >= 0
    assert usage.name["localizedValue"] == "Standard NCADSA100v4 Family Cluster Dedicated vCPUs"
    with pytest.raises(HttpResponseError, match="72 vCPUs"):
        ml.compute.begin_create_or_update(cluster("three", max_instances=3)).result()
