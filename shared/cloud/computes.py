"""Compute clusters that jobs run on, and the VM sizes that the region has.

Called when a run is planned: the sizes tell how many GPUs a node has, the clusters are adopted or made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import naming
from shared.cloud.clients import Clients, plain, state
from shared.cloud.failures import asked, translated
from shared.errors import NotFound

_ROLE = "AzureML Data Scientist on the workspace; to make a cluster AzureML Compute Operator, too"


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A cluster. `provisioning_state` is Azure's: Creating, Updating, Succeeded, Failed, Deleting.

    `size` is empty for a compute that is no AmlCompute; `why` is the first provisioning error's code, if there is one.
    `nodes`: those that it has now, at work or idle. `identities`: resource ids of its user-assigned identities, as
    which its jobs read and write data.
    """

    name: str
    size: str
    provisioning_state: str
    why: str = ""
    nodes: int = 0
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Size:
    """A VM size of the workspace's region. `family` is what its quota is counted by."""

    name: str
    gpus: int
    vcpus: int
    memory_gb: float
    family: str


class Computes:
    """The computes of the workspace."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._where = f"workspace {clients.settings.workspace.name}"

    def get(self, name: str) -> Compute | None:
        """The compute of that name, or None.

        Asks the layer below azure-ai-ml's `compute.get`, whose entity leaves out how many nodes there are.
        """
        workspace = self._clients.settings.workspace
        try:
            with translated(f"compute {name} in {self._where}", role=_ROLE):
                asked(naming.COMPUTE, name)
                found = self._clients.ml.compute._operation.get(workspace.resource_group, workspace.name, name)
        except NotFound:
            return None
        return _compute(found.as_dict())

    def create(self, name: str, size: str, max_nodes: int, identity_id: str) -> None:
        """Asks for a cluster of 0 to `max_nodes` nodes whose jobs run as the user-assigned identity `identity_id`.

        Returns once Azure has taken the request; `get` shows how it goes. Asking twice for the same one is harmless.
        """
        with translated(f"creating compute {name} ({size}) in {self._where}", role=_ROLE):
            asked(naming.COMPUTE, name)
            computes = self._clients.ml.compute
            from azure.ai.ml.entities import AmlCompute, IdentityConfiguration, ManagedIdentityConfiguration

            cluster = AmlCompute(
                name=name,
                size=size,
                min_instances=0,
                max_instances=max_nodes,
                tags=self._clients.tagged(),
                location=self._clients.settings.workspace.location,
                identity=IdentityConfiguration(
                    type="user_assigned",
                    user_assigned_identities=[ManagedIdentityConfiguration(resource_id=identity_id)],
                ),
            )
            computes.begin_create_or_update(cluster)

    def sizes(self) -> list[Size]:
        """The sizes that the region offers to Azure ML, whether or not there is quota for them."""
        location = self._clients.settings.workspace.location
        with translated(f"VM sizes of {location}", role="a role with */read on the subscription (Monitoring Reader)"):
            found = self._clients.ml.compute.list_sizes(location=location)
        return [_size(vars(size)) for size in found]


def _compute(document: Mapping[str, Any]) -> Compute:
    """From the service's JSON: [S] ComputeResource, AmlComputeProperties in azure-ai-ml's arm_ml_service models."""
    properties = document["properties"]
    of_kind = properties.get("properties") or {}
    errors: list[dict[str, Any]] = properties.get("provisioningErrors") or []
    return Compute(
        name=document["name"],
        size=of_kind.get("vmSize") or "",
        provisioning_state=state(properties.get("provisioningState")),
        why=plain((errors[0].get("error") or {}).get("code")) if errors else "",
        nodes=int(of_kind.get("currentNodeCount") or 0),
        identities=tuple((document.get("identity") or {}).get("userAssignedIdentities") or ()),
    )


def _size(fields: Mapping[str, Any]) -> Size:
    """azure-ai-ml 1.35.2 leaves its own `v_cp_us` and `memory_gb` empty and keeps the service's names beside them."""
    return Size(
        name=fields["name"],
        gpus=int(fields.get("gpus") or 0),
        vcpus=int(fields.get("vCPUs") or fields.get("v_cp_us") or 0),
        memory_gb=float(fields.get("memoryGB") or fields.get("memory_gb") or 0),
        family=fields.get("family") or "",
    )
