"""Filters, delivery into real queues, retries, dead letters, and azure-eventgrid's own publisher."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient
from starlette.applications import Starlette

from localcloud.clock import LocalClock
from localcloud.eventgrid import RETRIES, SUBSCRIPTIONS, EventGrid, Subscription, Undeliverable
from localcloud.stack import Stack, StackError
from tests.kit.waiting import eventually

DATASETS, JOBS = SUBSCRIPTIONS
RUN = {"runId": "r", "runType": "azureml.PipelineRun"}
BEGIN = "/blobServices/default/containers"


def created(subject: str, api: str = "PutBlob") -> dict[str, Any]:
    return {"eventType": "Microsoft.Storage.BlobCreated", "subject": subject, "data": {"api": api}}


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (created(f"{BEGIN}/datasets/blobs/a/train.jsonl"), True),
        (created(f"{BEGIN}/DATASETS/blobs/a", "putblocklist"), True),
        (created(f"{BEGIN}/datasets/blobs/a", "CreateFile"), False),
        (created(f"{BEGIN}/datasets2/blobs/a"), False),
        ({**created(f"{BEGIN}/datasets/blobs/a"), "eventType": "Microsoft.Storage.BlobDeleted"}, False),
        ({**created(f"{BEGIN}/datasets/blobs/a"), "data": None}, False),
    ],
)
def test_the_datasets_filter(event: dict[str, Any], wanted: bool) -> None:
    assert DATASETS.wants(event) is wanted


def test_steps_of_a_job_are_delivered_too_and_so_is_what_tells_no_kind() -> None:
    kind = "Microsoft.MachineLearningServices.RunStatusChanged"
    of_step = {"eventType": kind, "data": RUN | {"runType": "azureml.StepRun"}}
    assert JOBS.wants({"eventType": kind, "data": RUN})
    assert JOBS.wants(of_step)
    assert JOBS.wants({"eventType": kind, "data": {"runId": "r"}})


def test_a_subscription_without_filters_wants_everything() -> None:
    assert Subscription(name="all", topic="storage", queue="q").wants({"type": "anything"})


class Account:
    """A storage account that fails as it is told, to watch the schedule without waiting hours for it."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.blobs: list[tuple[str, str, list[dict[str, Any]]]] = []
        self.settled = asyncio.Event()

    async def put_message(self, queue: str, text: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.messages.append((queue, json.loads(base64.b64decode(text))))
        self.settled.set()

    async def put_blob(self, container: str, name: str, data: bytes) -> None:
        self.blobs.append((container, name, json.loads(data)))
        self.settled.set()


def publish(account: Account) -> dict[str, int]:
    """Publish one event that JOBS wants, and wait, on a clock that makes a day pass in a moment. Returns the counts."""

    async def scenario() -> dict[str, int]:
        clock = LocalClock()
        clock.set_rate(10_000_000)
        grid = EventGrid(clock, account, topics={"azureml": "/workspace"})
        event = {"eventType": JOBS.event_types[0], "subject": "experiments/e/runs/r", "data": RUN}
        await grid.publish("azureml", [event])
        async with asyncio.timeout(10):
            await account.settled.wait()
        await grid.close()
        return dict(grid.counts("azureml"))

    return asyncio.run(scenario())


def test_a_failed_delivery_is_tried_again() -> None:
    account = Account(OSError("busy"), OSError("busy"))
    counts = publish(account)
    assert counts == {"published": 1, "accepted": 1, "retried": 2, "delivered": 1}
    [(queue, event)] = account.messages
    assert queue == "job-events"
    assert event["topic"] == "/workspace"
    assert event["metadataVersion"] == "1"
    assert EventGridEvent.from_json(json.dumps(event)).data == RUN


def test_after_the_last_attempt_it_is_a_dead_letter() -> None:
    account = Account(*[OSError("busy")] * 100)
    counts = publish(account)
    assert counts["retried"] == len(RETRIES)
    [(container, name, [letter])] = account.blobs
    assert container == "deadletter"
    assert name.startswith("azureml/JOB-EVENTS/")
    assert letter["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"
    assert letter["deliveryAttempts"] == len(RETRIES) + 1
    assert letter["data"] == RUN


def test_a_missing_queue_is_a_dead_letter_at_once() -> None:
    account = Account(Undeliverable("queue job-events: 404"))
    counts = publish(account)
    assert counts == {"published": 1, "accepted": 1, "dead_lettered": 1}
    assert account.blobs[0][2][0]["lastDeliveryOutcome"] == "queue job-events: 404"


@pytest.mark.parametrize(
    ("wanted", "arrived"),
    [
        ({"lose": 2}, ["2", "3"]),
        ({"double": 1}, ["0", "0", "1", "2", "3"]),
        ({"delay": 1, "seconds": 600}, ["1", "2", "3", "0"]),
        ({"shuffle": 3}, ["2", "1", "0", "3"]),
        ({"shuffle": 3, "seed": 1}, ["1", "0", "2", "3"]),
        ({"shuffle": 9, "seconds": 60}, ["3", "2", "1", "0"]),
        ({"lose": 1, "match": "runs/[23]$"}, ["0", "1", "3"]),
        ({"lose": 1, "match": "RunCompleted"}, ["0", "1", "2", "3"]),
    ],
)
def test_the_next_events_are_disturbed_as_asked(wanted: dict[str, Any], arrived: list[str]) -> None:
    """Four events that a subscription wants, between others that none does: those don't count."""
    account = Account()

    async def scenario() -> None:
        clock = LocalClock()
        grid = EventGrid(clock, account, topics={"azureml": "/workspace"})
        app = Starlette(routes=grid.routes())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            answer = await http.post("/_local/eventgrid", json={"topic": "azureml"} | wanted)
            assert answer.status_code == 200, answer.text
        for number in range(4):
            other = {"eventType": "Microsoft.MachineLearningServices.ModelRegistered", "subject": f"runs/{number}"}
            event = {"eventType": JOBS.event_types[1], "subject": f"experiments/e/runs/{number}", "data": RUN}
            await grid.publish("azureml", [other, event])
        for _ in range(2):  # what waits asks the clock first
            await asyncio.sleep(0.01)
            clock.advance(timedelta(seconds=700))
        await asyncio.sleep(0.01)
        await grid.close()

    asyncio.run(scenario())
    assert [event["subject"].rpartition("/")[2] for _, event in account.messages] == arrived


@pytest.fixture
def uploads(cloud_env: Stack) -> Iterator[Callable[[], str]]:
    """Uploads a blob of its own into `datasets` at each call; returns the event's subject."""
    with (
        DefaultAzureCredential() as credential,
        BlobServiceClient(cloud_env.urls["blob"], credential=credential) as service,
    ):

        def upload() -> str:
            name = f"{uuid.uuid4()}/train.jsonl"
            service.get_blob_client("datasets", name).upload_blob(b"{}")
            return f"{BEGIN}/datasets/blobs/{name}"

        yield upload


@pytest.fixture
def received(cloud_env: Stack) -> Iterator[Callable[[str], int]]:
    """How many messages about a subject have come into `dataset-events` so far. Takes them out."""
    seen: list[str] = []
    with (
        DefaultAzureCredential() as credential,
        QueueClient(cloud_env.urls["queue"], "dataset-events", credential=credential) as queue,
    ):

        def count(subject: str) -> int:
            for message in queue.receive_messages(messages_per_page=32):
                event = EventGridEvent.from_json(base64.b64decode(message.content))
                seen.append(event.subject)
                queue.delete_message(message)
            return seen.count(subject)

        yield count


def test_an_upload_arrives_in_the_queue(uploads: Callable[[], str], received: Callable[[str], int]) -> None:
    subject = uploads()
    assert eventually(lambda: received(subject)) == 1


def test_events_are_repeated_or_lost_on_request(
    cloud_env: Stack, uploads: Callable[[], str], received: Callable[[str], int]
) -> None:
    def deliver(times: int) -> str:
        cloud_env.control("POST", "/_local/eventgrid", {"topic": "storage", "deliver": times})
        subject = uploads()
        eventually(lambda: subject in events(cloud_env))
        return subject

    try:
        twice, never = deliver(2), deliver(0)
    finally:
        cloud_env.control("POST", "/_local/eventgrid", {"topic": "storage", "deliver": 1})
    once = deliver(1)
    eventually(lambda: received(once))
    eventually(lambda: received(twice) == 2)
    assert received(never) == 0


def events(cloud: Stack) -> list[str]:
    recent = cloud.control("GET", "/_local/eventgrid")["events"]
    return [entry["event"].get("subject") for entry in recent]


@pytest.mark.parametrize(
    "wanted",
    [
        {"topic": "none", "deliver": 1},
        {"topic": "storage", "deliver": -1},
        {},
        {"topic": "storage", "lose": 1, "double": 1},
        {"topic": "storage", "delay": 1, "seconds": "soon"},
        {"topic": "storage", "lose": 1, "match": "("},
    ],
)
def test_control_refuses_nonsense(cloud: Stack, wanted: dict[str, Any]) -> None:
    with pytest.raises(StackError, match="400"):
        cloud.control("POST", "/_local/eventgrid", wanted)


def test_the_publisher_sends_cloud_events(cloud_env: Stack) -> None:
    subject = str(uuid.uuid4())
    event = CloudEvent(source="/droptune", type="Droptune.RunLive", subject=subject, data={"run": "r"})
    with (
        DefaultAzureCredential() as credential,
        EventGridPublisherClient(cloud_env.environment["EVENTS_TOPIC_ENDPOINT"], credential) as publisher,
    ):
        publisher.send([event])
    recent = cloud_env.control("GET", "/_local/eventgrid")["events"]
    [entry] = [entry for entry in recent if entry["event"].get("subject") == subject]
    assert entry["topic"] == "lifecycle"
    assert CloudEvent.from_dict(entry["event"]).data == {"run": "r"}


def test_the_publisher_hears_of_a_missing_topic_and_of_a_bad_event(cloud_env: Stack) -> None:
    endpoint = cloud_env.environment["EVENTS_TOPIC_ENDPOINT"]
    with DefaultAzureCredential() as credential:
        good: CloudEvent[dict[str, str]] = CloudEvent(source="/droptune", type="Droptune.RunLive", data={})
        with (
            EventGridPublisherClient(endpoint.replace("lifecycle", "missing"), credential) as publisher,
            pytest.raises(ResourceNotFoundError, match="Resource not found"),
        ):
            publisher.send(good)
        with (
            EventGridPublisherClient(endpoint, credential) as publisher,
            pytest.raises(HttpResponseError, match="lacks subject"),
        ):
            publisher.send({"id": "1", "eventType": "t", "data": {}})
