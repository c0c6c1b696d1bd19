"""Timer triggers: schedules, missed occurrences, and one host at a time.

The host that holds a timer's lease runs it; what ran last is kept in a blob, so that a host which starts later notices
a missed occurrence and runs the function once, as past due. Names and forms of both blobs are the real host's. Made by
`__main__`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from localcloud.host.clock import HostClock
from localcloud.host.connections import one_line
from localcloud.host.invocations import Invocations
from localcloud.host.lease import Lease
from localcloud.host.settings import HostError
from localcloud.host.worker import Function

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

log = logging.getLogger("host")

NEVER = datetime(1, 1, 1, tzinfo=UTC)


class Schedule:
    """A NCRONTAB expression in UTC: six fields, seconds first; a day has to fit day of month and day of week."""

    def __init__(self, expression: str, *, function: str) -> None:
        from croniter import croniter

        self.expression = expression
        self._croniter = croniter
        try:
            fields = len(expression.split())
            self.after(datetime.now(UTC))
        except (ValueError, KeyError) as error:
            raise HostError(
                f"function {function}: its schedule {expression!r} is no NCRONTAB expression: {error}"
            ) from None
        if fields != 6:
            raise HostError(
                f"function {function}: its schedule {expression!r} has {fields} fields, but NCRONTAB has six, "
                "seconds first (a TimeSpan, which Azure knows in a dedicated plan only, is not supported)"
            )

    def after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment`."""
        following: datetime = self._croniter(self.expression, moment, second_at_beginning=True, day_or=False).get_next(
            datetime
        )
        return following

    @property
    def frequent(self) -> bool:
        """Whether it occurs more than once in a minute; the host keeps no record of such a timer unless told to."""
        first = self.after(datetime.now(UTC))
        return self.after(first) - first < timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What the status blob says. `last` is NEVER before the first run."""

    last: datetime
    next: datetime
    updated: datetime

    def to_json(self) -> dict[str, str]:
        """As the host writes it, for the blob and for the app's TimerRequest.schedule_status."""
        moments = {"Last": self.last, "Next": self.next, "LastUpdated": self.updated}
        return {name: moment.isoformat() for name, moment in moments.items()}

    @classmethod
    def from_json(cls, text: bytes) -> Status:
        """Raises ValueError or KeyError when it isn't a status."""
        document = json.loads(text)
        last, following, updated = (datetime.fromisoformat(document[name]) for name in ("Last", "Next", "LastUpdated"))
        return cls(last=last, next=following, updated=updated)


class TimerListener:
    """Runs one function by its schedule."""

    def __init__(
        self,
        function: Function,
        schedule: Schedule,
        container: ContainerClient,
        *,
        host_id: str,
        clock: HostClock,
        invocations: Invocations,
    ) -> None:
        monitor = function.trigger.get("useMonitor")
        self._function = function
        self._schedule = schedule
        self._clock = clock
        self._invocations = invocations
        self._run_on_startup = bool(function.trigger.get("runOnStartup"))
        self._lease = Lease(container, f"locks/{host_id}/Host.Functions.{function.name}.Listener")
        self._status_blob: BlobClient | None = None
        if monitor or (monitor is None and not schedule.frequent):
            self._status_blob = container.get_blob_client(f"timers/{host_id}/Host.Functions.{function.name}/status")
        self.processing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow the schedule whenever this host holds the lease, until cancelled."""
        while True:
            await self._lease.acquire()
            following = asyncio.create_task(self._follow())
            keeping = asyncio.create_task(self._lease.keep())
            try:
                await asyncio.wait({following, keeping}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():  # storage doesn't answer
                    error = following.exception() or RuntimeError("it ended")
                    log.error("Timer 'Functions.%s' starts over: %s", self._function.name, one_line(error))
                    await self._lease.release()
                    await asyncio.sleep(1)
            finally:
                following.cancel()
                keeping.cancel()

    async def release(self) -> None:
        """Let another host have the timer at once. For the time after `run` was cancelled."""
        await self._lease.release()

    async def _follow(self) -> None:
        if self.processing:  # from before the lease was lost
            await asyncio.wait(self.processing)
        last = self._clock.now()
        status = await self._read()
        past_due = status is not None and status.next <= last
        if past_due or self._run_on_startup:
            self._run_on_startup = False
            await self._fire(last, past_due=past_due)
        while True:  # a run that outlasts the next occurrence is followed by one run at once, however many it missed
            due = self._schedule.after(last)
            await self._clock.until(due)
            last = max(due, self._clock.now())
            await self._fire(last, past_due=False)

    async def _fire(self, now: datetime, *, past_due: bool) -> None:
        task = asyncio.create_task(self._occur(now, past_due=past_due))
        self.processing.add(task)
        task.add_done_callback(self.processing.discard)
        await asyncio.shield(task)  # losing the lease or stopping the host doesn't cut it off

    async def _occur(self, now: datetime, *, past_due: bool) -> None:
        data = timer_data(await self._read(), past_due=past_due)
        await self._invocations.run(self._function, data, {}, reason=f"Timer fired at {now.isoformat()}")
        await self._write(Status(last=now, next=self._schedule.after(now), updated=self._clock.now()))

    async def _read(self) -> Status | None:
        """What is recorded, corrected when it belongs to another schedule; None without a record of this timer."""
        from azure.core.exceptions import ResourceNotFoundError

        blob = self._status_blob
        if blob is None:
            return None
        try:
            status = Status.from_json(await asyncio.to_thread(lambda: blob.download_blob().readall()))
            if status.next == self._schedule.after(status.updated if status.last == NEVER else status.last):
                return status
        except (ResourceNotFoundError, ValueError, KeyError):
            pass
        now = self._clock.now()
        status = Status(last=NEVER, next=self._schedule.after(now), updated=now)
        await self._write(status)
        return status

    async def _write(self, status: Status) -> None:
        blob = self._status_blob
        if blob is not None:
            await asyncio.to_thread(lambda: blob.upload_blob(json.dumps(status.to_json()), overwrite=True))


def timer_data(status: Status | None, *, past_due: bool) -> dict[str, Any]:
    """A timer's trigger value, as the worker gets it."""
    document = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": status and status.to_json(),
        "IsPastDue": past_due,
    }
    return {"json": json.dumps(document)}
