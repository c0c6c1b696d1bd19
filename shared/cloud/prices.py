"""Azure's public price list: what an hour of a VM size costs in the workspace's region.

One address, no login, nothing of ours but the size, the region and the currency in it. Called by the tick of the
cleanup alone (line/prices.py), which must not wait for it: 5 seconds in all, 1 MB in all, and whatever goes wrong is a
line in the log. [D] learn.microsoft.com/rest/api/cost-management/retail-prices: pages, filter, currencyCode.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

from shared.cloud.clients import Clients
from shared.cloud.failures import translated
from shared.errors import Permanent, Transient

log = logging.getLogger("droptune.cloud.prices")

SECONDS = 5.0
MOST_BYTES = 1024 * 1024
_PORTS = {"http": 80, "https": 443}


class PriceList:
    """The list at PRICE_API."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._asking: threading.Thread | None = None

    def items(self, sizes: Iterable[str]) -> dict[str, list[Any]]:
        """All items that the list has for each of `sizes`, as JSON says them; raises nothing.

        A size is missing where the answer did not come whole within SECONDS and MOST_BYTES, which are for all of them.
        """
        if self._asking and self._asking.is_alive():  # it drips, and ends at its next look at the time
            log.warning("prices are not asked again: the last answer of %s still goes on", self._address)
            return {}
        found = dict[str, list[Any]]()
        # A thread, for no time-out of a socket ends an answer that comes byte by byte.
        work = threading.Thread(
            target=self._ask_all, args=(tuple(sizes), found, time.monotonic() + SECONDS), name="prices", daemon=True
        )
        self._asking = work
        work.start()
        work.join(SECONDS)
        if work.is_alive():
            log.warning("prices are not known: %s did not answer within %.0f s", self._address, SECONDS)
        return found.copy()

    @property
    def _address(self) -> str:
        return self._clients.settings.prices.address

    def _ask_all(self, sizes: tuple[str, ...], found: dict[str, list[Any]], end: float) -> None:
        budget = _Budget(end)
        for size in sizes:
            try:
                items = [item for page in self._pages(size, budget) for item in page]
            except (Transient, Permanent) as error:
                log.warning("price of %s is not known: %s", size, error)
            except Exception:
                log.exception("price of %s is not known", size)
            else:
                found[size] = items
            if budget.spent:
                return

    def _pages(self, size: str, budget: _Budget) -> Iterator[list[Any]]:
        settings = self._clients.settings
        wanted = {
            "serviceName": "Virtual Machines",
            "armRegionName": settings.workspace.location,
            "armSkuName": size,
            "priceType": "Consumption",
        }
        asked = " and ".join(f"{key} eq '{value.replace("'", "''")}'" for key, value in wanted.items())
        link = (
            f"{self._address}/api/retail/prices?currencyCode={quote(f"'{settings.prices.currency}'")}"
            f"&$filter={quote(asked)}"
        )
        while link:
            if _origin(link) != _origin(self._address):
                raise Permanent(f"{self._address} names a next page elsewhere: {link[:200]!r} is not asked")
            answer = _object(self._read(link, budget))
            if not isinstance(items := answer.get("Items"), list):
                raise Permanent(f"the answer of {self._address} has no list of items")
            yield items
            link = answer.get("NextPageLink") or ""
            if not isinstance(link, str):
                raise Permanent(f"the answer of {self._address} names no address as its next page")

    def _read(self, link: str, budget: _Budget) -> bytes:
        from azure.core.rest import HttpRequest

        left, data = budget.seconds_left(), bytearray()
        request = HttpRequest("GET", link, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
        with translated(f"price list at {self._address}"):
            answer = self._clients.http.send_request(
                request, stream=True, retry_total=0, connection_timeout=left, read_timeout=left
            )
            with answer:
                if answer.status_code != 200:  # a redirect, too: nobody else is asked
                    raise Transient(f"{self._address} answers {answer.status_code}")
                for chunk in answer.iter_bytes():
                    budget.take(len(chunk))
                    data += chunk
        return bytes(data)


class _Budget:
    """What is left of time, by the monotonic clock, and of bytes. What uses up either gets Transient."""

    def __init__(self, end: float) -> None:
        self._end, self._bytes = end, MOST_BYTES

    @property
    def spent(self) -> bool:
        return self._bytes < 0 or time.monotonic() >= self._end

    def seconds_left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise Transient(f"no whole answer within {SECONDS:.0f} s")
        return left

    def take(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise Transient(f"the answer is longer than {MOST_BYTES // 1024**2} MB")
        self.seconds_left()


def _origin(address: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; Azure's links to next pages name a port that its address leaves out. Raises Permanent."""
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise Permanent(f"{address[:200]!r} is no address") from None
    return parts.scheme, parts.netloc.rpartition(":")[0] if parts.port else parts.netloc, port


def _object(data: bytes) -> dict[str, Any]:
    """Numbers come as Decimal, as they are written. Raises Permanent."""
    try:
        found = json.loads(data, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Permanent("the answer is no JSON object")
    return found
