"""The SDK clients, made when first asked for, once a process and for all threads.

Importing azure.ai.ml costs two seconds and 100 MB, so nothing here is imported before it is used. All clients share one
connection pool, one credential (whose tokens azure-identity caches) and short retries: the queue tries again too.
Used by the other modules of this package alone.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shared.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core import PipelineClient
    from azure.core.pipeline.transport import RequestsTransport
    from azure.eventgrid._legacy import EventGridPublisherClient
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueServiceClient

RETRIES = 3
CONNECT_SECONDS = 10
READ_SECONDS = 60
TOPIC_SECONDS = 5
"""For the topic alone, to connect as well as to read: a run's turn waits for it."""
LONGEST_SLEEP = 3.0
CHUNK = 4 * 1024 * 1024


class _Once[T]:
    """A cached property that two threads can't both compute."""

    def __init__(self, make: Callable[[Clients], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, clients: Clients, owner: type | None = None) -> T:
        with clients.lock:
            if self._name not in clients.__dict__:
                clients.__dict__[self._name] = self._make(clients)
            made: T = clients.__dict__[self._name]  # found here directly from now on: this is no data descriptor
            return made


class Clients:
    """What the adapters send their requests with. `close` ends the connections; tokens are gone with the object."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()

    def tagged(self, own: Mapping[str, str] | None = None) -> dict[str, str]:
        """Tags of something that is made, or that is there: its `own`, and those of RESOURCE_TAGS that it has not.

        Azure takes no notice of the case of a name.
        """
        there = {name.casefold() for name in own or {}}
        given = {name: value for name, value in self.settings.resources.tags if name.casefold() not in there}
        return {**given, **(own or {})}

    @_Once
    def transport(self) -> RequestsTransport:
        """One pool of connections. Retries sleep in it, and never long: a long Retry-After is the run's to wait for."""
        from azure.core.pipeline.transport import RequestsTransport

        class Impatient(RequestsTransport):  # type: ignore[misc]  # azure.core exports it lazily, without a type
            def sleep(self, duration: float) -> None:
                super().sleep(min(duration, LONGEST_SLEEP))

        return Impatient(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)

    @_Once
    def credential(self) -> DefaultAzureCredential:
        """The app's managed identity; on a developer's machine whatever azure-identity finds."""
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential(managed_identity_client_id=self.settings.identity.client_id or None)

    @_Once
    def blob_service(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient, ExponentialRetry

        return BlobServiceClient(
            self.settings.storage.blob_uri,
            credential=self.credential,
            transport=self.transport,
            retry_policy=ExponentialRetry(
                initial_backoff=1, increment_base=2, retry_total=RETRIES, random_jitter_range=1
            ),
            max_single_get_size=CHUNK,
            max_chunk_get_size=CHUNK,
        )

    @_Once
    def queue_service(self) -> QueueServiceClient:
        from azure.storage.queue import ExponentialRetry, QueueServiceClient

        return QueueServiceClient(
            self.settings.storage.queue_uri,
            credential=self.credential,
            transport=self.transport,
            retry_policy=ExponentialRetry(
                initial_backoff=1, increment_base=2, retry_total=RETRIES, random_jitter_range=1
            ),
        )

    @_Once
    def ml(self) -> MLClient:
        """The workspace's client. Its long-running operations are started, never polled: nobody waits for them.

        Ask for it before importing anything else of azure.ai.ml: see `_ml_client`.
        """
        client = self._ml_client(*self.settings.workspace.scope)
        _start_only(client.compute, "_operation")
        _start_only(client.online_endpoints, "_online_operation")
        _start_only(client.online_deployments, "_online_deployment")
        _start_only(client.jobs, "_operation_2023_02_preview")
        return client

    @_Once
    def registry(self) -> MLClient:
        """The client of the registry that holds base models and the fine-tune component."""
        return self._ml_client(registry_name=self.settings.training.registry)

    def _ml_client(self, *scope: str, **options: str) -> MLClient:
        try:
            from azure.ai.ml import MLClient
        except Exception:
            # Outside the public cloud the import asks for the cloud's metadata. When that fails, the halves of the
            # package that it leaves behind would make every later import fail too.
            for name in [name for name in sys.modules if name.startswith("azure.ai.ml")]:
                del sys.modules[name]
            raise
        # It writes to stderr by a handler of its own, as a notebook likes it; what is wrong comes as an exception.
        logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
        return MLClient(
            self.credential,
            *scope,
            **options,
            transport=self.transport,
            retry_total=RETRIES,
            show_progress=False,
            enable_telemetry=False,
        )

    @_Once
    def metrics_url(self) -> str:
        """Azure Monitor's endpoint of the region for many resources at once, without a slash at the end."""
        given = self.settings.metrics.endpoint.rstrip("/")
        if given and "://" not in given:
            return f"https://{given}"
        return given or f"https://{self.settings.workspace.location}.metrics.monitor.azure.com"

    @_Once
    def metrics(self) -> PipelineClient[Any, Any]:
        """Plain HTTP with the app's token for Azure Monitor's metrics. Only ever sent to `metrics_url`."""
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy

        token = BearerTokenCredentialPolicy(self.credential, f"{self.settings.metrics.audience.rstrip('/')}/.default")
        return PipelineClient(
            self.metrics_url, policies=[RetryPolicy(retry_total=RETRIES), token], transport=self.transport
        )

    @_Once
    def topic(self) -> EventGridPublisherClient | None:
        """The publisher of lifecycle events, or None where no topic is set.

        It asks once: an event that the topic did not take is kept, and sent again later.
        """
        if not self.settings.events.topic_endpoint:
            return None
        # azure-eventgrid 4.22's public class makes one of these for a custom topic, and drops all options on the way:
        # transport and retries.
        from azure.eventgrid._legacy import EventGridPublisherClient

        def hurry(request: Any) -> None:  # what `send` is given would go into the event
            request.context.options |= {"connection_timeout": TOPIC_SECONDS, "read_timeout": TOPIC_SECONDS}

        return EventGridPublisherClient(
            self.settings.events.topic_endpoint,
            self.credential,
            transport=self.transport,
            retry_total=0,
            raw_request_hook=hurry,
        )

    @_Once
    def arm_url(self) -> str:
        """Azure Resource Manager's address in this cloud, without a slash at the end."""
        from azure.ai.ml._azure_environments import _get_base_url_from_metadata

        url: str = _get_base_url_from_metadata()
        return url

    @_Once
    def mlflow_url(self) -> str:
        """The workspace's MLflow server."""
        found = str(self.ml.workspaces.get(self.settings.workspace.name).mlflow_tracking_uri)
        return found.replace("azureml://", "https://", 1).rstrip("/")

    @_Once
    def arm(self) -> PipelineClient[Any, Any]:
        """Plain HTTP with the app's token for Resource Manager, which the workspace's MLflow takes too.

        For the few things that azure-ai-ml has no method for. Only ever sent to `arm_url` and `mlflow_url`.
        """
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy

        token = BearerTokenCredentialPolicy(self.credential, f"{self.arm_url}/.default")
        return PipelineClient(
            self.arm_url, policies=[RetryPolicy(retry_total=RETRIES), token], transport=self.transport
        )

    @_Once
    def http(self) -> PipelineClient[Any, Any]:
        """Plain HTTP on the same connections and retries, for scoring; the request brings its own key."""
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import RetryPolicy

        return PipelineClient("", policies=[RetryPolicy(retry_total=1)], transport=self.transport)

    def close(self) -> None:
        """Closes the connections and the credential. The object is of no use afterwards."""
        for name in ("transport", "credential"):
            made = self.__dict__.get(name)
            if made is not None:
                made.close()


def plain(value: object) -> str:
    """The text of a state or code, which the SDKs give as enums here and as strings there; empty for None."""
    return "" if value is None else str(getattr(value, "value", value))


_STATES = {
    name.lower(): name
    for name in (
        *("NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing", "CancelRequested"),
        *("Completed", "Failed", "Canceled", "NotResponding", "Paused"),
        *("Creating", "Updating", "Scaling", "Deleting", "Succeeded"),
    )
}


def state(value: object) -> str:
    """A status of a job or a provisioning state as the app spells it, whatever its case: Azure's services differ."""
    text = plain(value)
    return _STATES.get(text.lower().replace("cancelled", "canceled"), text)


class _StartOnly:
    """A group of REST operations whose `begin_*` sends its request and lets go.

    azure-ai-ml starts a thread for each long-running operation, which polls for up to hours and prints dots; its public
    methods offer no way to turn that off, its REST layer does: `polling=False`.
    """

    def __init__(self, operations: Any) -> None:
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._operations, name)
        if not name.startswith("begin_"):
            return found

        def begin(*args: Any, **kwargs: Any) -> Any:
            return found(*args, **{**kwargs, "polling": False})

        return begin


def _start_only(group: Any, attribute: str) -> None:
    setattr(group, attribute, _StartOnly(getattr(group, attribute)))
