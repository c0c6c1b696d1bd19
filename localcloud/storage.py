"""The few storage calls that the local cloud makes itself, straight to Azurite, with a token of its own identity.

localcloud/server.py makes the containers and queues through it, Event Grid delivers through it, and the storage proxy
asks it for what a request doesn't say. Plain HTTP calls: an SDK would cost the server half a second of its start.
"""

from __future__ import annotations

import ssl
from email.utils import formatdate
from urllib.parse import quote
from xml.sax.saxutils import escape

import httpx

from localcloud.environment import ACCOUNT, Description
from localcloud.eventgrid import Undeliverable
from localcloud.identity import Identity

CONTAINERS = ("datasets", "prepared", "state", "deadletter", "azure-webjobs-hosts", "azureml-blobstore")
QUEUES = tuple(
    f"{name}{end}" for name in ("dataset-events", "prepare", "job-events", "run-steps") for end in ("", "-poison")
)


class Storage:
    """The account, past the proxy: nothing done here raises an event."""

    def __init__(self, description: Description, identity: Identity) -> None:
        self._identity = identity
        self._ports = description.ports
        trust = ssl.create_default_context(cafile=str(description.ca))
        self._http = httpx.AsyncClient(verify=trust, trust_env=False, timeout=30)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def make_resources(self) -> None:
        """Make the containers and queues that the Bicep would have made; those that exist stay as they are."""
        for container in CONTAINERS:
            await self.make_container(container)
        for queue in QUEUES:
            await self._call("PUT", "queue", queue, accept=(201, 204, 409))

    async def put_message(self, queue: str, text: str) -> None:
        """Append a message to a queue. Raises Undeliverable when the queue is missing or refuses it."""
        body = f"<QueueMessage><MessageText>{escape(text)}</MessageText></QueueMessage>".encode()
        answer = await self._call("POST", "queue", f"{queue}/messages", body=body, accept=(201, 400, 403, 404, 413))
        if answer.status_code != 201:
            raise Undeliverable(f"queue {queue}: {answer.status_code} {answer.headers.get('x-ms-error-code', '')}")

    async def put_blob(self, container: str, name: str, data: bytes) -> None:
        """Write a block blob."""
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "application/json"}
        await self._call("PUT", "blob", f"{container}/{quote(name)}", body=data, headers=headers, accept=(201,))

    async def make_container(self, name: str) -> None:
        """Make a container, unless it is there."""
        await self._call("PUT", "blob", f"{name}?restype=container", accept=(201, 409))

    async def copy(self, source: str, target: str) -> str:
        """Copy a blob, each by its percent-encoded path in the account. Returns the copy's ETag."""
        url = f"https://localhost:{self._ports['azurite_blob']}/{ACCOUNT}/{source}"
        answer = await self._call("PUT", "blob", target, headers={"x-ms-copy-source": url}, accept=(202,))
        return str(answer.headers["etag"])

    async def delete(self, path: str) -> None:
        """Delete a blob by its percent-encoded path in the account; one that is gone is fine."""
        await self._call("DELETE", "blob", path, accept=(202, 404))

    async def properties(self, path: str) -> httpx.Headers | None:
        """A blob's headers by its percent-encoded path in the account; None when it is gone."""
        answer = await self._call("HEAD", "blob", path, accept=(200, 404))
        return answer.headers if answer.status_code == 200 else None

    async def _call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        accept: tuple[int, ...],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        token, _ = self._identity.token("https://storage.azure.com")
        always = {
            "authorization": f"Bearer {token}",
            "x-ms-version": "2025-05-05",
            "x-ms-date": formatdate(usegmt=True),
        }
        url = f"https://localhost:{self._ports[f'azurite_{service}']}/{ACCOUNT}/{path}"
        answer = await self._http.request(method, url, content=body, headers=always | (headers or {}))
        if answer.status_code not in accept:
            raise OSError(f"Azurite answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer
