"""Clients for the storage that a binding's `connection` names.

Identity-based connections only, with the settings that the real host reads: `<connection>__queueServiceUri`,
`__blobServiceUri`, `__credential`, `__clientId`. Account keys and connection strings are left out on purpose: the app
must not need them. Called by `__main__` for listeners, outputs and the host's own container.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from localcloud.host.settings import HostError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient, QueueServiceClient

HOST_STORAGE = "AzureWebJobsStorage"
HOST_CONTAINER = "azure-webjobs-hosts"


class Connections:
    """Makes clients. Those of one connection share its HTTP connections and its token."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._queues: dict[str, QueueServiceClient] = {}
        self._container: ContainerClient | None = None

    def queue(self, queue: str, *, connection: str, used_by: str) -> QueueClient:
        """A client that passes message texts as they are. Its calls block; they retry twice, a second apart."""
        from azure.storage.queue import LinearRetry, QueueServiceClient

        if connection not in self._queues:
            self._queues[connection] = QueueServiceClient(
                self._uri(connection, "queueServiceUri", used_by),
                credential=self._credential(connection),
                retry_policy=LinearRetry(backoff=1, retry_total=2),
            )
        return self._queues[connection].get_queue_client(queue)

    def host_container(self, *, used_by: str) -> ContainerClient:
        """The container in which the host keeps locks and the state of timers."""
        from azure.storage.blob import ContainerClient, LinearRetry

        if self._container is None:
            self._container = ContainerClient(
                self._uri(HOST_STORAGE, "blobServiceUri", used_by),
                HOST_CONTAINER,
                credential=self._credential(HOST_STORAGE),
                retry_policy=LinearRetry(backoff=1, retry_total=2),
            )
        return self._container

    def _uri(self, connection: str, kind: str, used_by: str) -> str:
        name = f"{connection}__{kind}"
        if value := self._environ.get(name):
            return value
        raise HostError(f"{used_by}: app setting {name} is missing")

    def _credential(self, connection: str) -> TokenCredential:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        client_id = self._environ.get(f"{connection}__clientId") or None
        if self._environ.get(f"{connection}__credential", "").lower() == "managedidentity":
            return ManagedIdentityCredential(client_id=client_id)
        return DefaultAzureCredential(**({"managed_identity_client_id": client_id} if client_id else {}))


def one_line(error: BaseException) -> str:
    """What a storage error says first; the rest repeats the request."""
    return (str(error).splitlines() or [type(error).__name__])[0]
