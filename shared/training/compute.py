"""Whether a compute cluster can be used for a job, how many GPUs its nodes have, and whether there is quota.

Called when a run is planned, and each time that a planned run is looked at; the quota also before it deploys.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from shared.errors import Permanent
from shared.settings import Settings
from shared.training.base_model import SizeRule

SIZES_TOLD = 20
RESERVE = 1.2
"""Azure ML wants quota for so much of what a deployment asks for: it needs the rest for upgrades and recovery."""
UNRESERVED = frozenset(
    f"standard_{name}"
    for name in (
        "nc24ads_a100_v4",
        "nc48ads_a100_v4",
        "nc96ads_a100_v4",
        "nc40ads_h100_v5",
        "nc80adis_h100_v5",
        "nd96amsr_a100_v4",
        "nd96asr_v4",
        "nd40rs_v2",
        "nd96is_h100_v5",
        "nd96isr_h100_v5",
    )
)
"""Sizes without that reserve: column "Skip 20% Reservation" of Azure ML's "Managed online endpoints SKU list"."""


class Cluster(Protocol):
    """A compute as the workspace shows it; states are Azure's provisioning states."""

    @property
    def name(self) -> str:
        """The compute's name."""

    @property
    def size(self) -> str:
        """Its VM size, empty if it has none."""

    @property
    def provisioning_state(self) -> str:
        """Creating, Updating, Succeeded, Failed, Deleting..."""

    @property
    def why(self) -> str:
        """The reason of a failure, if known."""

    @property
    def identities(self) -> tuple[str, ...]:
        """Resource ids of its user-assigned identities."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """The workspace that has the clusters, and the identity that their jobs are to run as (a resource id)."""

    resource_group: str
    workspace: str
    identity: str

    @classmethod
    def of(cls, settings: Settings) -> Site:
        """As the settings name them."""
        return cls(
            resource_group=settings.workspace.resource_group,
            workspace=settings.workspace.name,
            identity=settings.training.identity,
        )

    def options(self, others: Iterable[str] = ()) -> str:
        """The same, as options of `az ml compute`; `others`: identities that a cluster has, and is to keep."""
        identities = ",".join((self.identity, *others))
        return (
            f"--resource-group {self.resource_group} --workspace-name {self.workspace} --identity-type user_assigned "
            f"--user-assigned-identities {identities}"
        )


class VmSize(Protocol):
    """A VM size of the workspace's list."""

    @property
    def name(self) -> str:
        """As in Standard_NC24ads_A100_v4."""

    @property
    def gpus(self) -> int:
        """GPUs of one node."""


def size_of(cluster: Cluster | None, wanted: str) -> str:
    """The size that jobs run on: the cluster's own, or the one that it is to be made with."""
    return cluster.size if cluster else wanted


def absent(name: str, size: str, nodes: int, site: Site) -> str:
    """That there is no cluster of that name, and how to make it, for `nodes` nodes at most."""
    return (
        f"compute {name} does not exist: make it, then droptune retry: az ml compute create --type AmlCompute --name "
        f"{name} --size {size} --min-instances 0 --max-instances {nodes} {site.options()}. Or set CREATE_CLUSTERS=true"
    )


def several_identities(compute: Cluster, site: Site) -> str:
    """What to tell of a cluster with more identities than the one that jobs are to run as; "" if it has no others.

    Azure ML takes the first one, and does not tell which that is.
    """
    if len(compute.identities) < 2:
        return ""
    return (
        f"compute {compute.name} has {len(compute.identities)} identities; its jobs run as the first one, which has "
        f"to be {site.identity}"
    )


def unusable(compute: Cluster, allowed: SizeRule | None, site: Site) -> str | None:
    """Why no job can run on `compute`, and what to do; None if one can. `allowed` is None where any size will do.

    A cluster that is still being made is fine: a job waits for it.
    """
    if compute.provisioning_state.lower() == "failed":
        why = f" ({compute.why})" if compute.why else ""
        return (
            f"the provisioning of compute {compute.name} failed{why}: delete it if nobody's jobs run on it, or name "
            "another one in the settings, then droptune retry"
        )
    if allowed and not allowed.allows(compute.size):
        return (
            f"compute {compute.name} is of the size {compute.size or 'unknown'}, which the base model does not allow. "
            f"It allows {allowed}. Name another compute in FINETUNE_COMPUTE"
        )
    if site.identity.lower() not in (each.lower() for each in compute.identities):
        command = f"az ml compute update --name {compute.name} {site.options(compute.identities)}"
        return (
            f"compute {compute.name} does not have the identity {site.identity} (TRAINING_IDENTITY_ID), so that its "
            f"jobs could not read the data: {command}, then droptune retry"
        )
    return None


def gpus_per_node(size: str, sizes: Iterable[VmSize]) -> int:
    """GPUs of a node of this size, by the workspace's list. Raises Permanent for an unknown size, or one without."""
    listed = list(sizes)
    found = next((each for each in listed if each.name.lower() == size.lower()), None)
    if found and found.gpus > 0:
        return found.gpus
    problem = "has no GPU" if found else "is not a size of the workspace's region"
    raise Permanent(f"VM size {size} {problem}. Sizes with GPUs: {_told(size, listed)}. Set FINETUNE_SIZE.")


def _told(size: str, listed: list[VmSize]) -> str:
    """The sizes with GPUs, those with a similar name first, no more than a person reads."""
    names = {each.name.lower(): each.name for each in listed if each.gpus > 0}
    close = difflib.get_close_matches(size.lower(), names, n=5)
    order = [*close, *sorted(names.keys() - set(close))]
    rest = len(order) - SIZES_TOLD
    return ", ".join(names[key] for key in order[:SIZES_TOLD]) + (f" and {rest} more" if rest > 0 else "") or "none"


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """vCPUs that the subscription may use in a region, of one family or of all (`of`), and those in use."""

    of: str
    limit: int
    used: int


def instances_counted(size: str, instances: int) -> int:
    """Instances that a deployment of so many needs quota for, as whole ones: `ceil(1.2 x instances)` for most sizes.

    By Azure ML's "Virtual machine quota allocation for deployment". Not verified against the service: whether the
    reserve of deployments that are there already is in the usage that it tells.
    """
    if size.lower() in UNRESERVED:
        return instances
    return math.ceil(round(RESERVE * instances, 6))  # 1.2 x 5 is 6, not a hair more


def lacking(allowances: Iterable[Allowance], size: str, vcpus: int, machines: int, wanted: str) -> str:
    """What quota is missing for `machines` more of `size`, of `vcpus` each, and what to do; "" if none is.

    `wanted` says what they are for, as in `2 nodes of cluster gpu`. Without an allowance there is no objection: the
    service decides when it is asked.
    """
    needed = machines * vcpus
    for allowance in allowances:
        free = max(0, allowance.limit - allowance.used)
        if needed <= free:
            continue
        said = f"quota: {wanted} ({size}) take {needed} vCPUs of {allowance.of}, of which {free} of {allowance.limit}"
        if needed > allowance.limit:
            return f"{said} are free, so they never fit: ask for more quota in Azure ML studio, or for a smaller size"
        return f"{said} are free: stop jobs or delete deployments of that family, or ask for more in Azure ML studio"
    return ""
