"""The data of jobs: where an `azureml://` or blob address points, and the way of blobs to files and back.

The service uses storage with the account's key (Shared Key, as a datastore with AccountKey credentials does), through
the same proxy as everybody. Called by runner.py and commands.py; submission.py checks addresses with locate().
"""

import base64
import hashlib
import hmac
import re
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

import httpx

from localcloud.azureml.arm import WORKSPACE_ID, user_error
from localcloud.azureml.cloud import Cloud, StorageAccess
from localcloud.azureml.workspace import DATASTORES

_DATASTORE = re.compile(r"azureml://(?:subscriptions/.+/workspaces/[^/]+/)?datastores/([^/]+)/paths/(.+)")
_DATA_ASSET = re.compile(
    r"(?:azureml:)?" + re.escape(WORKSPACE_ID) + r"/data/([^/]+)/versions/([^/]+)|azureml:([^/:]+):([^/:]+)"
)
_VERSION = "2025-05-05"
_PIECE = 4 * 1024 * 1024


class BlobMissing(Exception):
    """The blob isn't there; the message says which."""


def locate(cloud: Cloud, uri: str) -> tuple[str, str]:
    """(container, blob) of a datastore path, a blob's https address or a data asset. Raises ArmError 400 otherwise."""
    if asset := _DATA_ASSET.fullmatch(uri):
        name, version = asset[1] or asset[3], asset[2] or asset[4]
        document = cloud.store.get("data", f"{name}/{version}")
        if document is None:
            raise user_error(f"Data asset {name}:{version} does not exist.")
        return locate(cloud, document["properties"]["dataUri"])
    if found := _DATASTORE.fullmatch(uri):
        if found[1] not in DATASTORES:
            raise user_error(f"Datastore {found[1]} in {uri} does not exist; there are {', '.join(DATASTORES)}.")
        return DATASTORES[found[1]], found[2].strip("/")
    if uri.startswith(cloud.storage.blob_url + "/"):
        container, _, blob = unquote(urlsplit(uri).path).removeprefix(f"/{cloud.storage.account}/").partition("/")
        return container, blob
    raise user_error(f"{uri} is neither a datastore path, nor a data asset, nor in the workspace's storage account.")


async def download(storage: StorageAccess, container: str, blob: str, target: Path) -> None:
    """Stream a blob into a file. Raises BlobMissing, or httpx.HTTPError when storage can't be reached."""
    async with _client(storage) as client:
        answer = await client.send(_signed(storage, "GET", f"{container}/{blob}"), stream=True)
        async with aclosing(answer):
            if answer.status_code == 404:
                raise BlobMissing(f"{container}/{blob} does not exist in storage account {storage.account}")
            answer.raise_for_status()
            with target.open("wb") as file:
                async for chunk in answer.aiter_bytes(_PIECE):
                    file.write(chunk)


async def names(storage: StorageAccess, container: str, prefix: str) -> list[str]:
    """The blobs whose names start with `prefix`. Raises httpx.HTTPError."""
    found: list[str] = []
    marker = ""
    async with _client(storage) as client:
        while True:
            query = {"comp": "list", "prefix": prefix, "restype": "container"} | ({"marker": marker} if marker else {})
            answer = await client.send(_signed(storage, "GET", container, query=query))
            answer.raise_for_status()
            listed = ElementTree.fromstring(answer.content)  # noqa: S314 - the storage service's own answer
            found += [str(name.text) for name in listed.iterfind("Blobs/Blob/Name")]
            marker = listed.findtext("NextMarker") or ""
            if not marker:
                return found


async def upload(storage: StorageAccess, source: Path, container: str, blob: str) -> None:
    """Write a file as a block blob, which is there whole or not at all. Raises httpx.HTTPError."""
    path = f"{container}/{blob}"
    ids: list[str] = []
    async with _client(storage) as client:
        with source.open("rb") as file:
            while piece := file.read(_PIECE):
                ids.append(base64.b64encode(f"{len(ids):08d}".encode()).decode())
                query = {"blockid": ids[-1], "comp": "block"}
                (await client.send(_signed(storage, "PUT", path, query=query, body=piece))).raise_for_status()
        listed = "".join(f"<Latest>{block}</Latest>" for block in ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        (await client.send(_signed(storage, "PUT", path, query={"comp": "blocklist"}, body=body))).raise_for_status()


def _client(storage: StorageAccess) -> httpx.AsyncClient:
    trust = ssl.create_default_context(cafile=storage.ca)
    return httpx.AsyncClient(verify=trust, trust_env=False, timeout=60)


def _signed(
    storage: StorageAccess, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes = b""
) -> httpx.Request:
    """A request with the account's key (Shared Key). `path` is below the account, not quoted."""
    quoted = quote(f"/{storage.account}/{path}")
    date = formatdate(usegmt=True)
    length = str(len(body)) if body else ""
    canonical = f"/{storage.account}{quoted}" + "".join(
        f"\n{key}:{value}" for key, value in sorted((query or {}).items())
    )
    signed = f"{method}\n\n\n{length}" + "\n" * 9 + f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n{canonical}"
    digest = hmac.new(base64.b64decode(storage.key), signed.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": _VERSION,
        "Authorization": f"SharedKey {storage.account}:{base64.b64encode(digest).decode()}",
    }
    url = storage.blob_url.removesuffix(f"/{storage.account}") + quoted + (f"?{urlencode(query)}" if query else "")
    return httpx.Request(method, url, headers=headers, content=body)
