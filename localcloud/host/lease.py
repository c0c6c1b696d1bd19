"""A lock that one host holds at a time: a lease on an empty blob, as the Functions host's singletons are.

A host that dies loses it after 15 seconds, the shortest lease that Azure gives. Used by `timers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.storage.blob import BlobLeaseClient, ContainerClient

from localcloud.host.connections import one_line

log = logging.getLogger("host")

PERIOD = 15  # seconds
RENEW_EVERY = 5.0  # seconds
TRY_EVERY = 2.0  # seconds


class Lease:
    """The lock named by a blob in `container`."""

    def __init__(self, container: ContainerClient, name: str) -> None:
        self._container = container
        self._name = name
        self._held: BlobLeaseClient | None = None
        self._renewed = 0.0

    async def acquire(self) -> None:
        """Wait until it is ours. Storage that doesn't answer is waited for as well."""
        from azure.core.exceptions import AzureError

        said = ""
        while True:
            asked, why = time.monotonic(), "another host holds it"
            try:
                self._held = await asyncio.to_thread(self._take)
            except AzureError as error:
                why = one_line(error)
            if self._held:
                self._renewed = asked
                return
            if why != said:
                log.info("Lock %s is waited for: %s", self._name, why)
                said = why
            await asyncio.sleep(TRY_EVERY)

    async def keep(self) -> None:
        """Renew it until it is lost; then return."""
        from azure.core.exceptions import AzureError, HttpResponseError

        while held := self._held:
            await asyncio.sleep(RENEW_EVERY)
            asked = time.monotonic()
            try:
                await asyncio.to_thread(held.renew)
                self._renewed = asked
            except AzureError as error:
                taken = isinstance(error, HttpResponseError) and error.status_code in (404, 409, 412)
                if taken or time.monotonic() - self._renewed > PERIOD - RENEW_EVERY:
                    log.warning("Lock %s is lost: %s", self._name, one_line(error))
                    self._held = None

    async def release(self) -> None:
        """Give it back, if it is held."""
        from azure.core.exceptions import AzureError

        held, self._held = self._held, None
        if held:
            try:
                await asyncio.to_thread(held.release)
            except AzureError as error:
                log.debug("Lock %s is not given back: %s", self._name, one_line(error))

    def _take(self) -> BlobLeaseClient | None:
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        blob = self._container.get_blob_client(self._name)
        try:
            return blob.acquire_lease(PERIOD)
        except ResourceNotFoundError:
            pass
        except ResourceExistsError:  # 409: leased
            return None
        with contextlib.suppress(ResourceExistsError):
            self._container.create_container()
        try:
            blob.upload_blob(b"")
            return blob.acquire_lease(PERIOD)
        except ResourceExistsError:  # another host made it at the same time
            return None
