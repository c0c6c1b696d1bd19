"""Event Grid: topics, filters, delivery into storage queues, retries and dead letters.

The storage proxy and the local Azure ML service publish system events here; azure-eventgrid's publisher posts
CloudEvents to the custom topic. Delivery is at least once and in no order, as Azure documents it. What waits for a
retry is kept in memory: a crash of the cloud server loses it, one of the losses that the app's sweep has to survive.
Sources: learn.microsoft.com/azure/event-grid, event-schema, delivery-and-retry and event-filtering.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.clock import LocalClock

log = logging.getLogger(__name__)

type Json = dict[str, Any]

RETRIES = tuple(timedelta(seconds=s) for s in (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200))
"""Waits between attempts; the next would pass the 24 hours that an event is kept."""
REMEMBERED = 1000
GRACE = 0.5
"""Seconds that first deliveries have to finish when Event Grid is closed."""
_STORAGE_WHOLE = ("PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit")


class Undeliverable(Exception):
    """Trying again is useless: the queue doesn't exist, or refuses what it was given."""


class Destination(Protocol):
    """The storage account that subscriptions deliver to (localcloud/storage.py)."""

    async def put_message(self, queue: str, text: str) -> None:
        """Append a message. Raises Undeliverable, or anything else for a failure that may pass."""

    async def put_blob(self, container: str, name: str, data: bytes) -> None:
        """Write a blob."""


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """Which events of a topic go to which queue. Filters left empty let everything through."""

    name: str
    topic: str
    queue: str
    event_types: tuple[str, ...] = ()
    subject_begins_with: str = ""
    advanced: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """StringIn filters: a dotted key (`data.api`) and the values it may have. Case is ignored, as Event Grid does."""

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether the event passes every filter."""
        kind = event.get("eventType") or event.get("type")
        if self.event_types and kind not in self.event_types:
            return False
        if not str(event.get("subject", "")).lower().startswith(self.subject_begins_with.lower()):
            return False
        return all(_string_in(event, key, values) for key, values in self.advanced)


SUBSCRIPTIONS = (
    Subscription(
        name="dataset-events",
        topic="storage",
        queue="dataset-events",
        event_types=("Microsoft.Storage.BlobCreated",),
        subject_begins_with="/blobServices/default/containers/datasets/blobs/",
        advanced=(("data.api", _STORAGE_WHOLE),),
    ),
    Subscription(
        name="job-events",
        topic="azureml",
        queue="job-events",
        event_types=(
            "Microsoft.MachineLearningServices.RunCompleted",
            "Microsoft.MachineLearningServices.RunStatusChanged",
        ),
    ),
)
"""What the Bicep makes too."""


class EventGrid:
    """Topics by name: `storage` and `azureml` (Event Grid schema), `lifecycle` (CloudEvents 1.0)."""

    def __init__(
        self,
        clock: LocalClock,
        deliver: Destination,
        *,
        topics: Mapping[str, str],
        subscriptions: Sequence[Subscription] = SUBSCRIPTIONS,
    ) -> None:
        """`topics`: name -> resource id."""
        self._clock, self._destination, self._topics = clock, deliver, dict(topics)
        self._subscriptions = tuple(subscriptions)
        self._counts = {topic: Counter[str]() for topic in topics}
        self._copies: dict[str, int] = {}
        self._recent: deque[Json] = deque(maxlen=REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._first: set[asyncio.Task[None]] = set()

    async def publish(self, topic: str, events: list[Json]) -> None:
        """Accept events; delivery goes on in the background. Raises KeyError for an unknown topic.

        Events of a system topic need eventType, subject and data; what else the schema has is filled in.
        """
        now = self._clock.now()
        for event in events:
            if "specversion" not in event:
                event = _envelope(event, self._topics[topic], now)
            self._counts[topic]["published"] += 1
            copies = self._copies.get(topic, 1)
            self._counts[topic]["lost" if copies == 0 else "accepted"] += 1
            self._recent.append({"topic": topic, "at": now.isoformat(), "event": event})
            for subscription in self._subscriptions:
                if subscription.topic == topic and subscription.wants(event):
                    for _ in range(copies):
                        self._start(subscription, event, now)

    def counts(self, topic: str) -> Mapping[str, int]:
        """How many events were published, accepted, lost (on request), delivered, retried, dead_lettered so far."""
        return self._counts[topic]

    def _start(self, subscription: Subscription, event: Json, published: datetime) -> None:
        task = asyncio.create_task(self._deliver(subscription, event, published))
        for tasks in (self._tasks, self._first):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _deliver(self, subscription: Subscription, event: Json, published: datetime) -> None:
        text = base64.b64encode(json.dumps(event).encode()).decode()
        counts = self._counts[subscription.topic]
        reason, outcome, attempts = "MaxDeliveryAttemptsExceeded", "", 0
        for wait in (*RETRIES, None):
            attempts += 1
            try:
                await self._destination.put_message(subscription.queue, text)
            except Undeliverable as error:
                reason, outcome = "UndeliverableDueToClientError", str(error)
                break
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
                if wait is not None:
                    log.warning("%s: delivery %d failed (%s), again in %s", subscription.name, attempts, outcome, wait)
                    counts["retried"] += 1
                    if task := asyncio.current_task():
                        self._first.discard(task)
                    await self._clock.sleep(wait)
            else:
                counts["delivered"] += 1
                return
        await self._bury(subscription, event, published, reason=reason, outcome=outcome, attempts=attempts)

    async def _bury(
        self, subscription: Subscription, event: Json, published: datetime, *, reason: str, outcome: str, attempts: int
    ) -> None:
        now = self._clock.now()
        letter = event | {
            "deadLetterReason": reason,
            "deliveryAttempts": attempts,
            "lastDeliveryOutcome": outcome,
            "publishTime": published.isoformat(),
            "lastDeliveryAttemptTime": now.isoformat(),
        }
        hour = f"{now.year}/{now.month}/{now.day}/{now.hour}"
        name = f"{subscription.topic}/{subscription.name.upper()}/{hour}/{uuid.uuid4()}.json"
        self._counts[subscription.topic]["dead_lettered"] += 1
        try:
            await self._destination.put_blob("deadletter", name, json.dumps([letter]).encode())
        except Exception:
            log.exception("%s: a dead letter could not be written: %s", subscription.name, json.dumps(letter))

    async def close(self) -> None:
        """Let first deliveries finish for GRACE seconds, then stop; what waits for a retry is gone."""
        if self._first:
            await asyncio.wait(self._first, timeout=GRACE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def routes(self) -> list[Route]:
        """The custom topics' `POST /eventgrid/topics/NAME/api/events`, and the control route.

        GET `/_local/eventgrid` -> {topics: {NAME: counts}, deliver: {NAME: times}, events: the last ones}. POST
        {"topic": NAME, "deliver": N} delivers every event of the topic N times from now on: 0 loses them, 1 is normal.
        """
        return [
            Route("/eventgrid/topics/{topic}/api/events", self._receive, methods=["POST"]),
            Route("/_local/eventgrid", self._control, methods=["GET", "POST"]),
        ]

    async def _receive(self, request: Request) -> Response:
        topic = request.path_params["topic"]
        if topic not in self._topics:
            return _refused(404, "ResourceNotFound", f"There is no topic {topic}.")
        try:
            events = await request.json()
        except ValueError as error:
            return _refused(400, "BadRequest", f"The body is not JSON: {error}")
        events = events if isinstance(events, list) else [events]
        for event in events:
            if not isinstance(event, dict):
                return _refused(400, "BadRequest", "An event is a JSON object.")
            needed = {"id", "source", "type"} if event.get("specversion") == "1.0" else {"id", "subject", "eventType"}
            if missing := sorted(key for key in needed if not event.get(key)):
                return _refused(400, "BadRequest", f"An event lacks {', '.join(missing)}.")
        await self.publish(topic, events)
        return Response(status_code=200)

    async def _control(self, request: Request) -> Response:
        if request.method == "POST":
            wanted = await request.json()
            topic, copies = wanted.get("topic"), wanted.get("deliver")
            if topic not in self._topics or not isinstance(copies, int) or copies < 0:
                known = ", ".join(self._topics)
                return _refused(400, "BadRequest", f'{{"topic": one of {known}, "deliver": 0 or more}} is needed.')
            self._copies[topic] = copies
        counts = {topic: dict(counter) for topic, counter in self._counts.items()}
        return JSONResponse({"topics": counts, "deliver": self._copies, "events": list(self._recent)})


def _envelope(event: Json, topic: str, now: datetime) -> Json:
    filled = {"id": str(uuid.uuid4()), "topic": topic, "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    return {**filled, "dataVersion": "", "metadataVersion": "1", **event}


def _string_in(event: Mapping[str, Any], key: str, values: tuple[str, ...]) -> bool:
    found: Any = event
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return isinstance(found, str) and found.lower() in {value.lower() for value in values}


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
