"""Records in real storage for the tests of what people ask for, and what can be seen of them afterwards."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from azure.ai.ml.entities import Model

from shared.app import App
from shared.records.layout import PREPARE_QUEUE, STEPS_QUEUE
from shared.records.line import Line, Serving
from shared.records.run import File, Run

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def key() -> str:
    """Part of all names of a test."""
    return uuid4().hex[:10]


@pytest.fixture
def make_run(app: App, key: str) -> Callable[..., Run]:
    def make(name: str = "a", **changes: Any) -> Run:
        run = Run(
            id=f"r{key}{name}",
            folder=f"faq-{key}",
            line=f"l{key}",
            base_model="Phi-4",
            uploaded=NOW,
            since=NOW,
            train=File(name=f"faq-{key}/train.jsonl", etag="0x1"),
        )
        run = replace(run, **changes)
        assert app.runs.create(run)
        return run

    return make


@pytest.fixture
def make_line(app: App, key: str) -> Callable[..., Line]:
    def make(name: str = "", **changes: Any) -> Line:
        line = Line(id=f"l{key}{name}", folder=f"faq-{key}", base_model="Phi-4", endpoint=f"faq-{key}{name}")
        line = replace(line, **changes)
        assert app.lines.create(line)
        return line

    return make


@pytest.fixture
def model(app: App, key: str) -> str:
    """A model that is registered."""
    made = Model(
        name=f"m-{key}", version=f"r{key}a-1", path="azureml://datastores/prepared/paths/x", type="mlflow_model"
    )
    app.cloud.clients.ml.models.create_or_update(made)
    return f"m-{key}:r{key}a-1"


def serving(run: str, model: str = "m:1", **changes: Any) -> Serving:
    base = Serving(run=run, deployment=f"{run}-1", model=model, fingerprint="f", since=NOW, uploaded=NOW)
    return replace(base, **changes)


def run_of(app: App, run: str | Run) -> Run:
    loaded = app.runs.load(run if isinstance(run, str) else run.id)
    assert loaded
    return loaded.record


def etag_of(app: App, run_id: str) -> str:
    loaded = app.runs.load(run_id)
    assert loaded
    return loaded.etag


def line_of(app: App, line: Line) -> Line:
    loaded = app.lines.load(line.id)
    assert loaded
    return loaded.record


def woken(app: App, run: str | Run, queue: str = STEPS_QUEUE) -> int:
    """How often the run was woken by nobody's timer."""
    wanted = {"run": run if isinstance(run, str) else run.id, "token": None}
    client = app.cloud.clients.queue_service.get_queue_client(queue)
    return sum(json.loads(base64.b64decode(each.content)) == wanted for each in client.peek_messages(32))


@pytest.fixture(autouse=True)
def quiet(app: App) -> None:
    """Queues without what other tests sent: only 32 messages can be peeked at."""
    for queue in (STEPS_QUEUE, PREPARE_QUEUE):
        app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()


def new_run(app: App, told: str) -> Run:
    """The run that an answer names."""
    return run_of(app, next(word for word in told.split() if len(word) == 16 and word.startswith("r")))
