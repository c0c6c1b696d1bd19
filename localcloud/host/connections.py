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
    from azure.storage.queue import QueueClient

HOST_STORAGE = "AzureWebJobsStorage"
HOST_CONTAINER = "azure-webjobs-hosts"


class Connections:
    """Makes clients; each identity has one credential, hence one token cache."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._credentials: dict[tuple[str, str], TokenCredential] = {}

    def queue(self, queue: str, *, connection: str, used_by: str) -> QueueClient:
        """A client that passes message texts as they are. Its calls block; they retry twice, a second apart."""
        from azure.storage.queue import LinearRetry, QueueClient

        return QueueClient(
            self._uri(connection, "queueServiceUri", used_by),
            queue,
            credential=self._credential(connection),
            retry_policy=LinearRetry(backoff=1, retry_total=2),
        )

    def host_container(self, *, used_by: str) -> ContainerClient:
        """The container in which the host keeps locks and the state of timers."""
        from azure.storage.blob import ContainerClient, LinearRetry

        return ContainerClient(
            self._uri(HOST_STORAGE, "blobServiceUri", used_by),
            HOST_CONTAINER,
            credential=self._credential(HOST_STORAGE),
            retry_policy=LinearRetry(backoff=1, retry_total=2),
        )

    def _uri(self, connection: str, kind: str, used_by: str) -> str:
        name = f"{connection}__{kind}"
        if value := self._environ.get(name):
            return value
        raise HostError(f"{used_by}: app setting {name} is missing")

    def _credential(self, connection: str) -> TokenCredential:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        kind = self._environ.get(f"{connection}__credential", "").lower()
        client_id = self._environ.get(f"{connection}__clientId", "")
        if (kind, client_id) not in self._credentials:
            self._credentials[kind, client_id] = (
                ManagedIdentityCredential(client_id=client_id or None)
                if kind == "managedidentity"
                else DefaultAzureCredential(**({"managed_identity_client_id": client_id} if client_id else {}))
            )
        return self._credentials[kind, client_id]
