"""Reading data for a training job: where an `azureml://` or blob address points, and the download of one blob.

The service reads storage with the account's key (Shared Key, as a datastore with AccountKey credentials does), through
the same proxy as everybody. Called by runner.py; submission.py checks addresses with locate().
"""

import base64
import hashlib
import hmac
import re
import ssl
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx

from localcloud.azureml.core import WORKSPACE_ID, Cloud, StorageAccess, user_error
from localcloud.azureml.workspace import DATASTORES

_DATASTORE = re.compile(r"azureml://(?:subscriptions/.+/workspaces/[^/]+/)?datastores/([^/]+)/paths/(.+)")
_DATA_ASSET = re.compile(
    r"(?:azureml:)?" + re.escape(WORKSPACE_ID) + r"/data/([^/]+)/versions/([^/]+)|azureml:([^/:]+):([^/:]+)"
)
_VERSION = "2025-05-05"


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
    path = quote(f"/{storage.account}/{container}/{blob}")
    date = formatdate(usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": _VERSION}
    signed = "GET" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n/{storage.account}{path}"
    digest = hmac.new(base64.b64decode(storage.key), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {storage.account}:{base64.b64encode(digest).decode()}"
    trust = ssl.create_default_context(cafile=storage.ca)
    url = storage.blob_url.removesuffix(f"/{storage.account}") + path
    async with (
        httpx.AsyncClient(verify=trust, trust_env=False, timeout=60) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        if answer.status_code == 404:
            raise BlobMissing(f"{container}/{blob} does not exist in storage account {storage.account}")
        answer.raise_for_status()
        with target.open("wb") as file:
            async for chunk in answer.aiter_bytes(1 << 20):
                file.write(chunk)
