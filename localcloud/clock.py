"""The local cloud's time, which can run faster than real time and jump ahead.

Timers, event times, retries, metrics and the storage service's Date header follow it; tokens and TLS keep real time.
The cloud server owns the one clock and offers it at `/_local/clock`; the Functions host reads it from there. It lives
on in the state folder: through a crash at its rate, while the cloud is stopped at real time's.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_KEPT = 1000
"""Changes of the rate, and jumps, that are remembered."""
_LAST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""A jump past this would leave a time that can't be told."""


class LocalClock:
    """Local time runs at a rate from where it was when that was set. `path` keeps it over restarts, None in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._changed = asyncio.Event()
        self._local = self._real = time.time()
        self._rate = 1.0
        self._past: list[tuple[float, float, float]] = []
        if path is not None and path.exists():
            saved = json.loads(path.read_text())
            self._local, self._real, self._rate = saved["local"], saved["real"], saved["rate"]
            self._past = [(real, local, rate) for real, local, rate in saved["past"]]
            if saved["closed"]:
                rate, self._rate = self._rate, 1.0
                self._rebase()
                self._rate = rate
            self._save(closed=False)  # from here on a crash counts as one, not as the pause before this start

    @property
    def rate(self) -> float:
        """Local seconds in a real one."""
        return self._rate

    def now(self) -> datetime:
        """Local time, aware, in UTC."""
        return datetime.fromtimestamp(self._at(time.time()), UTC)

    @property
    def moved(self) -> bool:
        """Whether local time ever was another than real time."""
        return bool(self._past) or self._rate != 1.0

    def then(self, real: datetime) -> datetime:
        """What the local time was at that real time. Whole seconds, as storage tells them, stay whole seconds."""
        at = real.timestamp()
        for since, local, rate in ((self._real, self._local, self._rate), *reversed(self._past)):
            if at >= since:
                return datetime.fromtimestamp(local + (at - since) * rate, UTC)
        return real

    def changed_in(self, second: datetime) -> bool:
        """Whether it jumped, or got another rate, since that real second began: it was different times then."""
        return self.moved and self._real > second.timestamp()

    def real(self, delta: timedelta) -> float:
        """Seconds of real time that a local duration takes at today's rate."""
        return max(0.0, delta.total_seconds() / self._rate)

    def set_rate(self, rate: float) -> None:
        """Run at `rate` from now on. Raises ValueError unless it is a number more than zero."""
        if not 0 < rate < math.inf:
            raise ValueError(f"the clock's rate must be a number more than 0, not {rate}")
        self._rebase()
        self._rate = rate
        self._notify()

    def advance(self, delta: timedelta) -> None:
        """Jump ahead. Raises ValueError for a step back (local time never runs backwards) or past the year 9000."""
        if delta < timedelta(0):
            raise ValueError(f"the clock can't go back: {delta.total_seconds()} seconds")
        if self._at(time.time()) + delta.total_seconds() > _LAST:
            raise ValueError(f"the clock can't go past the year 9000: {delta.days} days")
        self._rebase()
        self._local += delta.total_seconds()
        self._notify()

    async def sleep(self, delta: timedelta) -> None:
        """Wait for a local duration; a new rate or a jump shortens the wait."""
        until = self.now() + delta
        while (left := until - self.now()) > timedelta(0):
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), self.real(left))
            except TimeoutError:
                continue

    def close(self) -> None:
        """Save for a pause: until the next start local time passes like real time."""
        self._rebase()
        self._save(closed=True)

    def _at(self, real: float) -> float:
        return self._local + (real - self._real) * self._rate

    def _rebase(self) -> None:
        now = time.time()
        self._past = [*self._past, (self._real, self._local, self._rate)][-_KEPT:]
        self._local, self._real = self._at(now), now

    def _notify(self) -> None:
        self._save(closed=False)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _save(self, *, closed: bool) -> None:
        if self._path is None:
            return
        now = {"local": self._local, "real": self._real, "rate": self._rate}
        saved = {**now, "past": self._past, "closed": closed}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(saved))
        temporary.replace(self._path)

    def routes(self) -> list[Route]:
        """GET `/_local/clock` -> {now, rate}; POST {"rate": 60} or {"advance": seconds} changes it first."""
        return [Route("/_local/clock", self._route, methods=["GET", "POST"])]

    async def _route(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                wanted = await request.json()
                if (step := wanted.get("advance")) is not None:
                    self.advance(timedelta(seconds=float(step)))
                if (rate := wanted.get("rate")) is not None:
                    self.set_rate(float(rate))
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                return JSONResponse({"error": {"code": "InvalidClock", "message": str(error)}}, status_code=400)
        return JSONResponse({"now": self.now().isoformat(), "rate": self._rate})
