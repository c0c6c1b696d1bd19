"""Whether Azure ML's quota has room for the nodes of a job, or for the instances of a deployment.

Called by the looks at a run (run/observe.py), before a run trains and before it deploys: one call of the service each.
Doubt is no objection. What the service does not tell, or can't tell now, it decides itself when it is asked for the
machines, and its refusal for want of quota is a Transient too (see failures.py).
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from typing import Any

from shared.cloud.clients import Clients
from shared.cloud.computes import Compute, Computes, Size
from shared.cloud.failures import translated
from shared.errors import NotFound, Permanent, Transient
from shared.training.compute import Allowance, instances_counted, lacking

log = logging.getLogger("droptune.cloud.quota")

TOTAL = "TotalDedicatedCores"
_ROLE = "a role with */read on the subscription (Monitoring Reader)"


class Quota:
    """The subscription's quota for Azure ML in the workspace's region, which is not that of virtual machines."""

    def __init__(self, clients: Clients, computes: Computes) -> None:
        self._clients = clients
        self._computes = computes
        self._sizes: dict[str, Size] = {}
        self._lock = threading.Lock()

    def for_training(self, size: str, nodes: int, compute: Compute | None) -> str:
        """What quota is missing for a job on `nodes` nodes of `compute`, or of a cluster of `size` that is yet to come.

        "" if none is, or nobody knows. Nodes that the cluster has need no more quota, idle or not: a job whose nodes
        are at work for another one stands in the cluster's queue.
        """
        there = compute.nodes if compute else 0
        size = compute.size if compute and compute.size else size
        return self._lacking(size, nodes - there, f"{_counted(nodes - there, 'more node')} to train on")

    def for_serving(self, size: str, instances: int) -> str:
        """What quota is missing for a new deployment of `instances` of `size`; "" if none is, or nobody knows."""
        counted = instances_counted(size, instances)
        spare = f" and {counted - instances} in reserve for upgrades" if counted > instances else ""
        return self._lacking(size, counted, f"{_counted(instances, 'instance')} to serve with{spare}")

    def most_nodes(self, size: str) -> int | None:
        """Nodes of `size` that the subscription's limits allow, whatever is in use; None if nobody knows.

        A cluster whose largest number of nodes is above that is not made: its provisioning fails.
        """
        try:
            found = self._size(size)
            allowances = self.allowances(found.family) if found else []
        except (NotFound, Permanent, Transient) as error:
            log.warning("quota for %s can't be read, so the service is asked without: %s", size, error)
            return None
        return min((each.limit // found.vcpus for each in allowances if found), default=None)

    def allowances(self, family: str) -> list[Allowance]:
        """What the subscription may use of `family`, and of all families together. Empty where that is not told.

        The service tells of dedicated and of low-priority machines under the same name; a limit below 0 is none, and
        a usage that is null means that it does not know. `family` is spelled with and without spaces.
        [S] `Usage` in azure-ai-ml: what it reads stands under the service's own names.
        """
        location = self._clients.settings.workspace.location
        with translated(f"quota in {location}", role=_ROLE):
            usages = [vars(usage) for usage in self._clients.ml.compute.list_usage(location=location)]
        names = {_bare(family): family, _bare(TOTAL): f"all families in {location}"}
        found = [(names.get(_bare((usage.get("name") or {}).get("value") or "")), usage) for usage in usages]
        return [
            Allowance(of=of, limit=int(usage["limit"]), used=int(usage["currentValue"]))
            for of, usage in found
            if of and _counts(usage)
        ]

    def _lacking(self, name: str, machines: int, wanted: str) -> str:
        if machines <= 0:
            return ""
        try:
            size = self._size(name)
            return lacking(self.allowances(size.family), size.name, size.vcpus, machines, wanted) if size else ""
        except (NotFound, Permanent, Transient) as error:
            log.warning("quota for %s can't be read, so the service is asked without: %s", name, error)
            return ""

    def _size(self, name: str) -> Size | None:
        """From the region's list, which is read once a process; None for one that it doesn't have."""
        with self._lock:
            if not self._sizes:
                self._sizes = {size.name.lower(): size for size in self._computes.sizes()}
        return self._sizes.get(name.lower())


def _counts(usage: Mapping[str, Any]) -> bool:
    """Whether it is a limit of the subscription on dedicated machines. Those of workspaces are not looked at."""
    kind = f"{usage.get('type')} {usage.get('id')}".lower()
    known = usage.get("currentValue") is not None and usage.get("limit") is not None
    return known and usage["limit"] >= 0 and "lowpriority" not in kind and "/workspaces/" not in kind


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
