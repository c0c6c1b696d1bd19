"""The safety net: uploads whose event was lost, runs whose timer was lost."""

import json
from base64 import b64decode
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.app import App
from shared.folders import DATASETS
from shared.lifecycle import Phase
from shared.records import CONTAINER, File, Run, Wake
from shared.sweep import WATERMARK, sweep
from tests.conftest import eventually

ROW = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'


@pytest.fixture
def folder() -> str:
    return f"lost-{uuid4().hex[:8]}"


def a_run(app: App, folder: str, phase: Phase, late: timedelta) -> Run:
    now = app.cloud.blobs.now()
    run = Run(
        id=f"r{uuid4().hex[:15]}",
        folder=folder,
        line="l1",
        base_model="Phi-4",
        uploaded=now,
        since=now,
        phase=phase,
        wake=Wake(token="t", due=now - late),
        train=File(name=f"{folder}/train.jsonl", etag="0x1"),
    )
    app.runs.create(run)
    return run


def woken(app: App) -> list[str]:
    """Runs named by the messages that wait in the queue `run-steps`."""
    queue = app.cloud.clients.queue_service.get_queue_client("run-steps")
    return [json.loads(b64decode(message.content))["run"] for message in queue.peek_messages(32)]


def test_an_upload_whose_event_was_lost_is_found(app: App, folder: str) -> None:
    sweep(app)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(app)
    assert [run.phase for run in app.runs.recent(100) if run.folder == folder] == [Phase.RECEIVED]


def test_what_was_there_before_the_installation_is_left_alone(app: App, folder: str) -> None:
    app.cloud.blobs.delete(CONTAINER, WATERMARK)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    written = app.cloud.blobs.head(DATASETS, f"{folder}/train.jsonl")
    assert written
    eventually(lambda: app.cloud.blobs.now() > written.last_modified + timedelta(seconds=1))
    sweep(app)
    sweep(app)
    assert [run for run in app.runs.recent(100) if run.folder == folder] == []


def test_an_overdue_run_is_woken_and_one_in_time_is_not(app: App, folder: str) -> None:
    app.cloud.clients.queue_service.get_queue_client("run-steps").clear_messages()
    overdue = a_run(app, folder, Phase.DEPLOYING, timedelta(minutes=5))
    in_time = a_run(app, folder, Phase.DEPLOYING, timedelta(seconds=5))
    sweep(app)
    assert overdue.id in woken(app)
    assert in_time.id not in woken(app)
    for run in (overdue, in_time):
        app.runs.retire(run.id)
