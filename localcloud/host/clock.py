"""The time that timers follow: the local cloud's, which can run fast and jump, or real time.

Given `--clock URL` it asks the local cloud about twice a second and goes on at the last known rate in between, also
while the cloud doesn't answer. Read by `timers` alone: messages, leases and time limits are the storage's and the
machine's, in real time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Session

log = logging.getLogger("host")

EVERY = 0.5  # seconds of real time between two readings, and between two looks at the clock while waiting


class HostClock:
    """Local time. `url`: answers {"now": ISO time, "rate": local seconds per real second}; None: real time."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self._reading = (datetime.now(UTC), 1.0, time.monotonic())
        self._session: Session | None = None

    def now(self) -> datetime:
        """The local time, in UTC."""
        if self.url is None:
            return datetime.now(UTC)
        base, rate, read_at = self._reading
        return base + timedelta(seconds=(time.monotonic() - read_at) * rate)

    def read(self) -> None:
        """Ask the local cloud. Raises requests' errors; blocks."""
        from requests import Session

        self._session = self._session or Session()
        response = self._session.get(self.url or "", timeout=5)
        response.raise_for_status()
        answer = response.json()
        # One assignment: this runs in a thread of its own.
        self._reading = (datetime.fromisoformat(answer["now"]), float(answer["rate"]), time.monotonic())

    async def follow(self) -> None:
        """Keep asking, until cancelled."""
        reached = True
        while True:
            await asyncio.sleep(EVERY)
            try:
                await asyncio.to_thread(self.read)
                reached = True
            except (OSError, ValueError, KeyError) as error:  # requests' errors are OSErrors
                if reached:
                    log.warning("The local cloud's clock doesn't answer; going on at its last rate: %s", error)
                reached = False

    async def until(self, moment: datetime) -> None:
        """Wait until the local time is `moment` or later, however it gets there."""
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(min(EVERY, left / self._reading[1]))
