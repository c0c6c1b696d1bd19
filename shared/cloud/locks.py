"""Locks on a resource, as people set them against accidents. Read before something is torn down.

Called by the cleanup, the teardown and a rollout that makes room. Who may not read them goes on: the refusal itself
comes all the same, only later.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from shared.cloud.clients import Clients
from shared.cloud.failures import translated
from shared.errors import Conflict, NotFound, Permanent, Transient

log = logging.getLogger("droptune.cloud.locks")
_PLACE = "/providers/Microsoft.Authorization/locks"


@dataclass(frozen=True, kw_only=True)
class Lock:
    """`level`: CanNotDelete, or ReadOnly, which allows nothing. `id` ends in the lock's name."""

    id: str
    level: str

    @property
    def scope(self) -> str:
        """Id of what is locked, with all below it."""
        return self.id[: self.id.lower().rfind(_PLACE.lower())]

    def __str__(self) -> str:
        return (
            f"lock {self.id.rpartition('/')[2]} ({self.level}) of {self.scope} forbids it. It is tried again by itself,"
            f" and works once the lock is deleted: az lock delete --ids {self.id}"
        )

    def holds(self, resource: str) -> bool:
        """Whether it forbids to delete the resource: it is on it, around it, or on something in it."""
        scope, asked = f"{self.scope}/".lower(), f"{resource}/".lower()
        return asked.startswith(scope) or scope.startswith(asked)


class Locks:
    """Locks of the resources of the workspace, and of what is around it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def on(self, resource: str) -> list[Lock]:
        """Locks at, above and below the resource with this id. Empty where they can't be read: that must stop nobody.

        Needs Microsoft.Authorization/locks/read.
        """
        from azure.core.rest import HttpRequest

        url = f"{self._clients.arm_url}{resource}{_PLACE}?api-version=2016-09-01"
        try:
            with translated(f"locks of {resource}"):
                answer = self._clients.arm.send_request(HttpRequest("GET", url))
                found = _locks(answer.json()) if answer.status_code == 200 else None
        except (Conflict, NotFound, Permanent, Transient, ValueError) as error:
            log.info("the locks of %s can't be read, and it goes on without: %s", resource, error)
            return []
        if found is None:
            log.info("the locks of %s can't be read (%d), and it goes on without", resource, answer.status_code)
        return found or []


def _locks(answer: Any) -> list[Lock]:
    """Raises ValueError for what is no list of locks."""
    try:
        return [Lock(id=str(each["id"]), level=str(each["properties"]["level"])) for each in answer["value"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no list of locks: {error!r}") from None


def lock_that_holds(locks: Collection[Lock], resource: str) -> Lock | None:
    """The first of the locks that forbids to delete the resource."""
    return next((each for each in locks if each.holds(resource) and each.level in ("CanNotDelete", "ReadOnly")), None)
