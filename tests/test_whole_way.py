"""The whole way of the product, for real: an upload is trained, served, asked, and torn down, across two crashes.

Real processes throughout: Azurite, the cloud server, the Functions host with Microsoft's worker library, a training
job, a deployment. The training set is small, so that this takes a minute; `make demo` shows a model that has learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from examples.make_facts import make, write_rows
from localcloud.stack import Stack
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.records.line import Line
from shared.records.run import Run
from shared.serving.payload import answer_of, conversation_of, scoring_payload
from shared.settings import Settings
from tests.kit import clouds
from tests.kit.clouds import pointed_at
from tests.kit.runs import faults_of, recent
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SETTINGS = {
    **clouds.SETTINGS,
    "LOCAL_FUNCTION_KEY": "whole-way",
    "SETTLE_TIME": "PT2S",
    "POLL_INTERVAL": "PT1S",
    "IDLE_WINDOW": "PT10M",
    "IDLE_GRACE": "PT5M",
    "ENDPOINT_MINIMUM_AGE": "PT5M",
    "SWEEP_SCHEDULE": "*/30 * * * * *",
    "UPLOADS_SWEEP": "PT1M",
    "CLEANUP_SCHEDULE": "0 * * * * *",
}
SPEC = b"train: train.jsonl\ntest: test.jsonl\nparameters: {num_train_epochs: 1, max_steps: 25}\n"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "state", settings=SETTINGS)
    stack.start()
    with pointed_at(stack):
        yield stack
    stack.stop()


def test_from_an_upload_to_an_answering_endpoint_and_away_again(stack: Stack, tmp_path: Path) -> None:
    app = App.of(Settings.read(stack.environment))
    children = psutil.Process().children(recursive=True)

    # Bad rows are named, and nothing is launched on them.
    app.cloud.blobs.write(DATASETS, "broken/train.jsonl", b'{"messages": []}\nnot json\n')
    rejected = eventually(lambda: run_in(app, "broken", Phase.REJECTED), 60)
    assert faults_of(app, rejected) == 2
    assert not list(app.cloud.jobs.active())

    # A good upload, its events delivered twice.
    stack.control("POST", "/_local/eventgrid", {"topic": "storage", "deliver": 2})
    train, test = make()
    for name, rows in (("train.jsonl", train), ("test.jsonl", test)):
        write_rows(tmp_path / name, rows)
        app.cloud.blobs.write(DATASETS, f"facts/{name}", (tmp_path / name).read_bytes())
    app.cloud.blobs.write(DATASETS, "facts/finetune.yaml", SPEC)

    # The host crashes in mid-training, and again in mid-deploying.
    metrics = app.cloud.metrics
    eventually(lambda: (run := run_in(app, "facts", Phase.TRAINING)) and metrics.job_metrics(run.attempt.job), 90)
    stack.kill_host()
    stack.start_host()
    eventually(lambda: run_in(app, "facts", Phase.DEPLOYING), 120)
    stack.kill_host()
    stack.start_host()
    live = eventually(lambda: run_in(app, "facts", Phase.LIVE), 120)

    # One job, one model, one deployment with all the traffic, and it answers.
    made = effects(stack)
    assert [made.count(kind) for kind in ("jobs", "models", "onlineEndpoints", "deployments")] == [1, 1, 1, 1]
    endpoint = app.cloud.endpoints.get(live.deployed.endpoint)
    assert endpoint
    assert endpoint.traffic == {live.deployed.name: 100}
    payload = scoring_payload(conversation_of(test[0]), greedy=True)
    answer = answer_of(app.cloud.endpoints.score(live.deployed.endpoint, payload))
    assert answer
    losses = app.cloud.metrics.job_metrics(live.attempt.job)["eval_loss"]
    assert losses[-1][1] < losses[0][1]

    # Nobody calls: notice, then the deployments go and the endpoint stays.
    stack.control("POST", "/_local/clock", {"rate": 120})
    emptied = eventually(lambda: emptied_line(app, live), 90)
    assert emptied.serving is None
    left = app.cloud.endpoints.get(live.deployed.endpoint)
    assert left
    assert left.scoring_uri == endpoint.scoring_uri
    assert app.cloud.endpoints.deployments(live.deployed.endpoint) == []

    # Nothing but loopback was contacted.
    assert stack.control("GET", "/_local/denied") == []
    for process in children:
        if process.is_running():
            assert all(
                c.raddr.ip.startswith("127.") or c.raddr.ip == "::1" for c in process.net_connections() if c.raddr
            )


def run_in(app: App, folder: str, phase: Phase) -> Run | None:
    """The folder's run that is in that phase; fails when one ended badly."""
    for run in recent(app, 20):
        if run.source.folder == folder and run.phase is phase:
            return run
        if (run.source.folder == folder and run.phase in (Phase.FAILED, Phase.ROLLED_BACK)) or run.parked:
            pytest.fail(f"{run.source.folder}: {run.phase}: {run.why or run.parked}")
    return None


def emptied_line(app: App, run: Run) -> Line | None:
    loaded = app.lines.load(run.line)
    return loaded.record if loaded and loaded.record.emptied else None


def effects(stack: Stack) -> list[str]:
    """Kinds of what was made in Azure ML, one a resource."""
    ledger = stack.control("GET", "/_local/ledger")
    made = {(e["kind"], e["name"]) for e in ledger if "kind" in e and e["method"] == "PUT" and e["status"] < 300}
    return [kind for kind, _ in made]
