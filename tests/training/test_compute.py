"""Computes that can't be used, and GPUs of sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Permanent
from shared.training.base_model import DENIED, SizeRule
from shared.training.compute import (
    SIZES_TOLD,
    Allowance,
    Site,
    absent,
    gpus_per_node,
    instances_counted,
    lacking,
    several_identities,
    unusable,
)

A100 = "Standard_NC24ads_A100_v4"
RULE = SizeRule(source="tag", allowed=(A100,))


TRAINING = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-train"
SITE = Site(resource_group="g", workspace="w", identity=TRAINING)


@dataclass(frozen=True, kw_only=True)
class Compute:
    name: str = "gpu-cluster"
    size: str = A100
    provisioning_state: str = "Succeeded"
    why: str = ""
    identities: tuple[str, ...] = (TRAINING,)


@dataclass(frozen=True)
class Size:
    name: str
    gpus: int


SIZES = [Size(A100, 1), Size("Standard_NC48ads_A100_v4", 2), Size("Standard_ND96asr_v4", 8), Size("Standard_D13_v2", 0)]


@pytest.mark.parametrize("state", ["Succeeded", "Creating", "Updating", "Resizing"])
def test_a_compute_that_can_be_used(state: str) -> None:
    assert unusable(Compute(provisioning_state=state), RULE, SITE) is None
    assert unusable(Compute(size=A100.upper(), provisioning_state=state), RULE, SITE) is None
    assert unusable(Compute(size="Standard_D13_v2", provisioning_state=state), None, SITE) is None


def test_a_failed_compute() -> None:
    assert "the provisioning of compute gpu-cluster failed: delete it" in str(
        unusable(Compute(provisioning_state="failed"), None, SITE)
    )
    assert "failed (QuotaExceeded)" in str(
        unusable(Compute(provisioning_state="Failed", why="QuotaExceeded"), RULE, SITE)
    )


def test_a_cluster_without_the_identity_that_jobs_run_as_is_refused_with_the_command() -> None:
    for others in ((), (f"{TRAINING}-other",)):
        told = unusable(Compute(identities=others), RULE, SITE)
        assert told
        assert "az ml compute update --name gpu-cluster --resource-group g --workspace-name w" in told
        assert f"--user-assigned-identities {','.join((TRAINING, *others))}, then" in told, "others keep what they have"
    assert unusable(Compute(identities=(TRAINING.upper(),)), RULE, SITE) is None


def test_several_identities_are_told_and_not_refused() -> None:
    both = Compute(identities=(f"{TRAINING}-other", TRAINING))
    assert unusable(both, RULE, SITE) is None
    assert "2 identities" in several_identities(both, SITE)
    assert TRAINING in several_identities(both, SITE)
    assert several_identities(Compute(), SITE) == several_identities(Compute(identities=()), SITE) == ""


def test_what_is_said_of_a_cluster_that_is_not_there_makes_it() -> None:
    told = absent("gpu-cluster", A100, 6, SITE)
    assert f"az ml compute create --type AmlCompute --name gpu-cluster --size {A100} --min-instances 0" in told
    assert f"--max-instances 6 {SITE.options()}" in told


def test_a_size_that_the_model_does_not_allow() -> None:
    told = unusable(Compute(size="Standard_NC6"), RULE, SITE)
    assert told
    assert "gpu-cluster is of the size Standard_NC6" in told
    assert A100 in told
    assert unusable(Compute(size="STANDARD_NC24R"), SizeRule(source="", denied=DENIED), SITE)
    assert "of the size unknown" in str(unusable(Compute(size=""), RULE, SITE))


def test_gpus_are_looked_up() -> None:
    assert gpus_per_node(A100, SIZES) == 1
    assert gpus_per_node("STANDARD_nd96asr_V4", SIZES) == 8


def test_an_unknown_size_names_those_there_are_the_closest_first() -> None:
    told = r"Standard_NC48ads_v4 is not a size .*: Standard_NC48ads_A100_v4, .*Standard_ND96asr_v4\. Set FINETUNE_SIZE"
    with pytest.raises(Permanent, match=told):
        gpus_per_node("Standard_NC48ads_v4", SIZES)


def test_a_size_without_a_gpu() -> None:
    with pytest.raises(Permanent, match=r"Standard_D13_v2 has no GPU\. Sizes with GPUs: .*Standard_NC"):
        gpus_per_node("Standard_D13_v2", SIZES)
    with pytest.raises(Permanent, match="Sizes with GPUs: none"):
        gpus_per_node("Standard_D13_v2", SIZES[3:])


def test_no_more_sizes_are_named_than_a_person_reads() -> None:
    with pytest.raises(Permanent, match=f"and {200 - SIZES_TOLD} more") as told:
        gpus_per_node("other", [Size(f"Standard_G{number}", 1) for number in range(200)])
    assert len(re.findall("Standard_G", str(told.value))) == SIZES_TOLD


FREE = Allowance(of="standardNCADSA100v4Family", limit=96, used=48)


def test_quota_that_suffices_is_no_objection() -> None:
    assert lacking([FREE], A100, 24, 2, "2 nodes") == ""
    assert lacking([], A100, 24, 1000, "1000 nodes") == ""


def test_quota_that_is_in_use_may_be_freed() -> None:
    told = lacking([FREE], A100, 24, 3, "3 nodes")
    assert told == (
        f"quota: 3 nodes ({A100}) take 72 vCPUs of standardNCADSA100v4Family, of which 48 of 96 are free: "
        "stop jobs or delete deployments of that family, or ask for more in Azure ML studio"
    )


def test_quota_that_never_suffices_has_to_be_raised() -> None:
    assert "48 of 96 are free, so they never fit: ask for more quota" in lacking([FREE], A100, 24, 5, "5 nodes")


def test_more_in_use_than_allowed_is_none_free() -> None:
    assert "0 of 24 are free" in lacking([Allowance(of="f", limit=24, used=48)], A100, 24, 1, "1 node")


@given(st.lists(st.builds(Allowance, of=st.just("f"), limit=st.integers(0, 99), used=st.integers(0, 99))))
def test_every_allowance_has_to_have_room(allowances: list[Allowance]) -> None:
    objects = any(each.used + 3 * 8 > each.limit for each in allowances)
    assert (lacking(allowances, A100, 8, 3, "3 nodes") != "") is objects


@given(st.integers(1, 1000))
def test_the_reserve_is_a_fifth_in_whole_instances(instances: int) -> None:
    counted = instances_counted("Standard_DS3_v2", instances)
    assert counted * 5 >= instances * 6 > (counted - 1) * 5
    assert instances_counted("STANDARD_NC24ADS_A100_V4", instances) == instances
