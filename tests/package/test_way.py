"""The packaged app does its work: an upload becomes an answering endpoint, with nothing of this repository in the app.

The host runs with Microsoft's worker library from outside the package; training and serving are the local cloud's, real
and small. The whole way of the sources is longer: two crashes, and the teardown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.make_facts import make, write_rows
from localcloud import guard
from localcloud.environment import app_environment, child_environment
from localcloud.stack import Stack
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.records.run import Run
from shared.serving.payload import answer_of, conversation_of, scoring_payload
from shared.settings import Settings
from tests.kit.clouds import pointed_at
from tests.kit.package.outside import Azure, state
from tests.kit.runs import faults_of, recent
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

SETTINGS = {"SETTLE_TIME": "PT2S", "POLL_INTERVAL": "PT1S", "SWEEP_SCHEDULE": "*/30 * * * * *"}
SPEC = b"train: train.jsonl\ntest: test.jsonl\nparameters: {num_train_epochs: 1, max_steps: 10}\n"
ENDS = {Phase.REJECTED, Phase.LIVE, Phase.FAILED, Phase.ROLLED_BACK}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """The local cloud without a host."""
    stack = Stack(tmp_path / "state", settings=SETTINGS)
    stack.start(host=False)
    with pointed_at(stack):
        yield stack
    stack.stop()


@contextmanager
def hosted(azure: Azure, stack: Stack) -> Iterator[Path]:
    """The host, running the package in a Python that knows nothing else. Gives its log."""
    description, log = stack.description, stack.log("host")
    clock = f"{description.management_url}/_local/clock"
    command = ["-m", "localcloud.host", "--app", str(azure.app), "--port", str(description.ports["host"])]
    settings = app_environment(description) | SETTINGS | {"LOCAL_FUNCTION_KEY": description.function_key}
    running = guard.spawn(
        [*azure.python, *command, "--clock", clock],
        env=azure.environment(child_environment(description, settings)),
        cwd=azure.scratch,
        log=log,
    )
    try:
        eventually(lambda: running.poll() is not None or "\nready " in f"\n{log.read_text()}", 60)
        assert running.poll() is None, log.read_text()[-3000:]
        yield log
    finally:
        guard.stop(running)


def ended(app: App, folder: str) -> Run | None:
    return next((run for run in recent(app, 20) if run.source.folder == folder and run.phase in ENDS), None)


def test_an_upload_becomes_an_answering_endpoint(azure: Azure, stack: Stack, tmp_path: Path) -> None:
    app = App.of(Settings.read(stack.environment))
    before = state(azure.app)
    train, test = make()
    with hosted(azure, stack) as log:
        app.cloud.blobs.write(DATASETS, "broken/train.jsonl", b'{"messages": []}\nnot json\n')
        for name, rows in (("train.jsonl", train), ("test.jsonl", test)):
            write_rows(tmp_path / name, rows)
            app.cloud.blobs.write(DATASETS, f"facts/{name}", (tmp_path / name).read_bytes())
        app.cloud.blobs.write(DATASETS, "facts/finetune.yaml", SPEC)
        rejected = eventually(lambda: ended(app, "broken"), 120)
        assert (rejected.phase, faults_of(app, rejected)) == (Phase.REJECTED, 2)
        live = eventually(lambda: ended(app, "facts"), 400)
        assert live.phase is Phase.LIVE, live.why
        payload = scoring_payload(conversation_of(test[0]), greedy=True)
        assert answer_of(app.cloud.endpoints.score(live.deployed.endpoint, payload))
        assert "Traceback" not in log.read_text()
    assert state(azure.app) == before
    assert stack.control("GET", "/_local/denied") == []
    app.cloud.close()
