"""Azure, as the rest of the app sees it: adapters over the real SDKs, a module for each kind of resource.

`Cloud` holds them all. Nothing is imported or connected before it is used, so that a trigger that needs storage alone
doesn't pay for Azure ML. What comes out are plain dataclasses and the four errors of shared/errors.py.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from shared.cloud.clients import Clients
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.cloud.blobs import Blobs
    from shared.cloud.computes import Computes
    from shared.cloud.endpoints import Endpoints
    from shared.cloud.jobs import Jobs
    from shared.cloud.locks import Locks
    from shared.cloud.metrics import Metrics
    from shared.cloud.models import Models
    from shared.cloud.prices import PriceList
    from shared.cloud.queues import Queues
    from shared.cloud.quota import Quota
    from shared.cloud.registry import Registry
    from shared.cloud.topic import Topic


class Cloud:
    """The effects, each built when it is first used. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients = Clients(settings)

    @cached_property
    def blobs(self) -> Blobs:
        from shared.cloud.blobs import Blobs

        return Blobs(self.clients)

    @cached_property
    def queues(self) -> Queues:
        from shared.cloud.queues import Queues

        return Queues(self.clients)

    @cached_property
    def registry(self) -> Registry:
        from shared.cloud.registry import Registry

        return Registry(self.clients)

    @cached_property
    def jobs(self) -> Jobs:
        from shared.cloud.jobs import Jobs

        return Jobs(self.clients, self.registry)

    @cached_property
    def computes(self) -> Computes:
        from shared.cloud.computes import Computes

        return Computes(self.clients)

    @cached_property
    def quota(self) -> Quota:
        from shared.cloud.quota import Quota

        return Quota(self.clients, self.computes)

    @cached_property
    def models(self) -> Models:
        from shared.cloud.models import Models

        return Models(self.clients)

    @cached_property
    def endpoints(self) -> Endpoints:
        from shared.cloud.endpoints import Endpoints

        return Endpoints(self.clients)

    @cached_property
    def locks(self) -> Locks:
        from shared.cloud.locks import Locks

        return Locks(self.clients)

    @cached_property
    def metrics(self) -> Metrics:
        from shared.cloud.metrics import Metrics

        return Metrics(self.clients)

    @cached_property
    def prices(self) -> PriceList:
        from shared.cloud.prices import PriceList

        return PriceList(self.clients)

    @cached_property
    def topic(self) -> Topic:
        from shared.cloud.topic import Topic

        return Topic(self.clients, self.blobs)

    def close(self) -> None:
        """Closes the connections."""
        self.clients.close()
