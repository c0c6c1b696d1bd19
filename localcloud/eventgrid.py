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
import random
import re
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
HELD = 60.0
"""Local seconds after which events that a shuffle holds are delivered, however few they are."""
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


@dataclass(kw_only=True)
class Disturbance:
    """What is asked for the next `count` events of a topic: they are lost, doubled, delayed, or delivered shuffled.

    Only events count that a subscription wants, and in whose type or subject `match`, a regular expression, is found.
    A shuffle holds the events until it has them all, for at most `seconds`, and delivers them backwards, or in the
    order that `seed` gives.
    """

    topic: str
    what: str
    count: int
    match: str = ""
    seconds: float = HELD
    """Local time; for delay and shuffle."""
    seed: int | None = None
    held: list[tuple[Json, datetime]] = field(default_factory=list, init=False)
    """With the times at which they were published."""

    def matches(self, topic: str, event: Json) -> bool:
        """Whether it is about this event."""
        named = f"{event.get('eventType') or event.get('type')} {event.get('subject')}"
        return self.topic == topic and self.count > 0 and re.search(self.match, named) is not None

    def order(self) -> list[tuple[Json, datetime]]:
        """The events that it holds, in the order in which they go out."""
        events, self.held = self.held[::-1], []
        if self.seed is not None:
            random.Random(self.seed).shuffle(events)  # noqa: S311 - no secret
        return events


DISTURBANCES = ("lose", "double", "delay", "shuffle")


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
        self._disturbances: list[Disturbance] = []
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
            wanted = any(each.topic == topic and each.wants(event) for each in self._subscriptions)
            asked = next((each for each in self._disturbances if wanted and each.matches(topic, event)), None)
            if asked:
                asked.count -= 1
                copies *= {"lose": 0, "double": 2}.get(asked.what, 1)
            self._counts[topic]["lost" if copies == 0 else "accepted"] += 1
            self._recent.append({"topic": topic, "at": now.isoformat(), "event": event})
            if asked and asked.what == "delay":
                self._later(asked.seconds, self._distribute, topic, event, copies, now)
            elif asked and asked.what == "shuffle":
                if not asked.held:
                    self._later(asked.seconds, self._release, asked)
                asked.held.append((event, now))
                if asked.count == 0:
                    self._release(asked)
            else:
                self._distribute(topic, event, copies, now)

    def counts(self, topic: str) -> Mapping[str, int]:
        """How many events were published, accepted, lost (on request), delivered, retried, dead_lettered so far."""
        return self._counts[topic]

    def _distribute(self, topic: str, event: Json, copies: int, published: datetime) -> None:
        for subscription in self._subscriptions:
            if subscription.topic == topic and subscription.wants(event):
                for _ in range(copies):
                    self._start(subscription, event, published)

    def _release(self, shuffle: Disturbance) -> None:
        shuffle.count = 0
        for event, published in shuffle.order():
            self._distribute(shuffle.topic, event, self._copies.get(shuffle.topic, 1), published)

    def _later(self, seconds: float, work: Callable[..., None], *arguments: Any) -> None:
        """Do it after so many local seconds; a crash of the server loses it, as it does a retry."""

        async def wait() -> None:
            await self._clock.sleep(timedelta(seconds=seconds))
            work(*arguments)

        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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

        GET `/_local/eventgrid` -> {topics: {NAME: counts}, deliver: {NAME: times}, disturbances, events: the last
        ones}. POST {"topic": NAME, "deliver": N} delivers every event of the topic N times from now on: 0 loses them, 1
        is normal. POST {"topic": NAME, "lose": N}, or double, delay, shuffle (with "match", "seconds", "seed") is about
        the next N events alone; the first that matches takes an event. DELETE ends all of it, and delivers what a
        shuffle holds.
        """
        return [
            Route("/eventgrid/topics/{topic}/api/events", self._receive, methods=["POST"]),
            Route("/_local/eventgrid", self._control, methods=["GET", "POST", "DELETE"]),
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
        if request.method == "DELETE":
            self._copies.clear()
            for each in self._disturbances:
                self._release(each)
            self._disturbances.clear()
            return Response(status_code=204)
        if request.method == "POST" and (problem := self._disturb(await request.json())):
            return _refused(400, "BadRequest", problem)
        counts = {topic: dict(counter) for topic, counter in self._counts.items()}
        disturbances = [asdict(each) | {"held": len(each.held)} for each in self._disturbances]
        told = {"topics": counts, "deliver": self._copies, "disturbances": disturbances, "events": list(self._recent)}
        return JSONResponse(told)

    def _disturb(self, wanted: Json) -> str | None:
        """Take in what a POST asks for. Returns what is wrong with it."""
        topic, number = wanted.get("topic"), ("deliver", *DISTURBANCES)
        asked = [name for name in number if name in wanted]
        known = f'{{"topic": one of {", ".join(self._topics)}, and one of {", ".join(number)}: 0 or more}} is needed.'
        if topic not in self._topics or len(asked) != 1:
            return known
        count = wanted[asked[0]]
        seconds, seed, match = wanted.get("seconds", HELD), wanted.get("seed"), wanted.get("match", "")
        try:
            re.compile(match)
        except (re.error, TypeError) as error:
            return f"match {match!r} is no regular expression: {error}"
        if not isinstance(count, int) or count < 0:
            return known
        if not isinstance(seconds, int | float) or seconds < 0 or not isinstance(seed, int | None):
            return "seconds is a number from 0, seed a whole number."
        if asked == ["deliver"]:
            self._copies[topic] = count
        else:
            made = Disturbance(topic=topic, what=asked[0], count=count, match=match, seconds=seconds, seed=seed)
            self._disturbances = [each for each in self._disturbances if each.count > 0 or each.held] + [made]
        return None


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
