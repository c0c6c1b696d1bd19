"""Blobs that come without an event and look old, as some do in Azure: undeleted ones, renamed ones, some copies.

Azurite has none of them. What is deleted from `datasets` is copied aside first, and comes back by Undelete Blob, the
real call, within the life of the server. A rename is that of an account with a hierarchical namespace; its own protocol
is not spoken here, so tests ask for it at `/_local/blobs`, and there for a copy that keeps dates. The date stays, and
the ETag is a new one, since Azurite gives it. The storage proxy calls `keep` and `undelete`, and tells the dates.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.clock import LocalClock
from localcloud.storage import Storage

KEPT_OF = "datasets"
"""The container of which deleted blobs are kept, as the account's soft delete would."""
_ASIDE = "deleted-blobs"


class OldBlobs:
    """Brings blobs with old dates. `dates`: local times of changes, by the ETags that Azurite gave, without quotes."""

    def __init__(self, storage: Storage, clock: LocalClock) -> None:
        self._storage, self._clock = storage, clock
        self._deleted: dict[str, datetime] = {}
        self.dates: dict[bytes, datetime] = {}

    async def keep(self, path: str) -> None:
        """Copies a blob aside that is about to be deleted; `path`: percent-encoded, in the account.

        An archived one can't be copied, and does not come back.
        """
        if not path.startswith(f"{KEPT_OF}/") or (date := await self._date(path)) is None:
            return
        await self._storage.make_container(_ASIDE)
        with suppress(OSError):
            await self._storage.copy(path, f"{_ASIDE}/{quote(path, safe='')}")
            self._deleted[path] = date

    async def undelete(self, path: str) -> bool:
        """Brings a deleted blob back as it was. False where there is none."""
        date = self._deleted.get(path)
        if date is None:
            return False
        if await self._date(path) is None:
            await self._bring(f"{_ASIDE}/{quote(path, safe='')}", path, date)
        del self._deleted[path]
        return True

    async def copy(self, source: str, target: str) -> bool:
        """Copies a blob and its date. False where there is none."""
        date = await self._date(source)
        if date is None:
            return False
        await self._bring(source, target, date)
        return True

    def routes(self) -> list[Route]:
        """POST `/_local/blobs` {"rename": "datasets/a/train.jsonl", "to": "datasets/b/train.jsonl"}, or `copy`."""
        return [Route("/_local/blobs", self._route, methods=["POST"])]

    async def _route(self, request: Request) -> Response:
        wanted = await request.json()
        source = quote(wanted["rename"] if "rename" in wanted else wanted["copy"])
        try:
            done = await self.copy(source, quote(wanted["to"]))
        except OSError as error:  # it is archived
            return JSONResponse({"error": str(error)}, status_code=409)
        if "rename" in wanted:
            await self._storage.delete(source)
        return JSONResponse({"done": done}, status_code=200 if done else 404)

    async def _bring(self, source: str, target: str, date: datetime) -> None:
        etag = await self._storage.copy(source, target)
        self.dates[etag.strip('"').encode()] = date

    async def _date(self, path: str) -> datetime | None:
        """When the blob changed last, in whole seconds of local time; None where there is none."""
        found = await self._storage.properties(path)
        if found is None:
            return None
        known = self.dates.get(found["etag"].strip('"').encode())
        return known or self._clock.then(parsedate_to_datetime(found["last-modified"]))
