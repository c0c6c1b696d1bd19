"""Records in real storage for the tests of what people ask for, and what can be seen of them afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from azure.ai.ml.entities import Model

from shared.app import App
from shared.records.base import Order
from shared.records.layout import PREPARE_QUEUE, STEPS_QUEUE
from shared.records.line import Line, Standing
from shared.records.run import File, Run, Source
from tests.kit.paths import ROOT
from tests.kit.records import NOW, changed

INDEX = """
import json, function_app
print(json.dumps([each.get_trigger().get_dict_repr() | {"function": each.get_function_name()}
    for each in function_app.app.get_functions()], default=lambda value: value.value))
"""


@pytest.fixture(scope="session")
def triggers() -> list[dict[str, Any]]:
    """The app's, as the host gets them."""
    done = subprocess.run([sys.executable, "-c", INDEX], cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def make_run(app: App, key: str, quiet: None) -> Callable[..., Run]:
    def make(name: str = "a", **changes: Any) -> Run:
        run = Run(
            id=f"r{key}{name}",
            line=f"l{key}",
            order=Order(uploaded=NOW),
            source=Source(
                folder=f"faq-{key}",
                base_model="Phi-4",
                train=(File(name=f"faq-{key}/train.jsonl", etag="0x1", size=1),),
            ),
            since=NOW,
        )
        run = changed(run, **changes)
        assert app.runs.create(run)
        return run

    return make


@pytest.fixture
def make_line(app: App, key: str, quiet: None) -> Callable[..., Line]:
    def make(name: str = "", **changes: Any) -> Line:
        line = Line(id=f"l{key}{name}", folder=f"faq-{key}", base_model="Phi-4", endpoint=f"faq-{key}{name}")
        state = {"state": Standing()} if changes.get("serving") else {}
        line = replace(line, **state | changes)
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


@pytest.fixture
def quiet(app: App) -> None:
    """Queues without what other tests sent: only 32 messages can be peeked at."""
    for queue in (STEPS_QUEUE, PREPARE_QUEUE):
        app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()
