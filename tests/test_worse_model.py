"""A worse model never reaches users: a client that calls all the time, over a bad rollout, a good one and the way back.

Real processes throughout, as in test_whole_way.py: three models are trained on the same questions, the second one on
shuffled answers. The client is as plain as a user's: HTTPS with the endpoint's key, and nothing is tried twice.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from examples.make_facts import facts, make
from localcloud.stack import Stack
from shared.api import line_commands
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED, STATE
from shared.records.run import Run
from shared.serving.payload import answer_of, conversation_of, expected_of, scoring_payload
from shared.settings import Settings
from tests.kit import clouds
from tests.kit.clouds import pointed_at
from tests.kit.rows import jsonl
from tests.kit.runs import recent
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.timeout(900)]

FOLDER = "known-facts"
GRACE, LATE = 600, 120
"""Seconds. Queues keep real time: after a jump of the clock it is the cleanup that notices the end of the grace."""
SETTINGS = {
    **clouds.SETTINGS,
    "LOCAL_FUNCTION_KEY": "worse-model",
    "SETTLE_TIME": "PT2S",
    "POLL_INTERVAL": "PT1S",
    "ROLLOUT_GRACE": f"PT{GRACE}S",
    "SWEEP_SCHEDULE": "*/30 * * * * *",
    "CLEANUP_SCHEDULE": "0 * * * * *",
}
SPEC = b"""train: train.jsonl
test: test.jsonl
parameters: {max_steps: 90, learning_rate: 0.003}
gate: {rows: 20, score: exact, min_score: 90, max_drop: 5, metrics: {eval_loss: {most: 0.1}}}
"""
EVERY = 8
"""Of the facts each so manieth is learned: those are few enough to be learned in seconds, and of every relation."""

type Row = dict[str, Any]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "state", settings=SETTINGS)
    stack.start()
    with pointed_at(stack):
        yield stack
    stack.stop()


@pytest.fixture
def app(stack: Stack) -> Iterator[App]:
    made = App.of(Settings.read(stack.environment))
    yield made
    made.cloud.close()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the client: what it was answered and by which deployment, or how it failed."""

    right: bool = False
    answer: str = ""
    deployment: str = ""
    failure: str = ""


class Client(threading.Thread):
    """Asks the endpoint one known question after the other until it is stopped, and notes each call."""

    def __init__(self, uri: str, key: str, rows: Sequence[Row]) -> None:
        super().__init__(name="client", daemon=True)
        self.calls: list[Call] = []
        self._uri, self._key, self._rows = urlsplit(uri), key, rows
        self._stopped = threading.Event()

    def run(self) -> None:
        line = http.client.HTTPSConnection(self._uri.netloc, timeout=60, context=ssl.create_default_context())
        for row in itertools.cycle(self._rows):
            try:
                self.calls.append(self._call(line, row))
            except Exception as error:
                self.calls.append(Call(failure=repr(error)))
                line.close()
            if self._stopped.is_set():
                break
        line.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _call(self, line: http.client.HTTPSConnection, row: Row) -> Call:
        body = json.dumps(scoring_payload(conversation_of(row), greedy=True))
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        line.request("POST", self._uri.path, body, headers)
        response = line.getresponse()
        text = response.read()
        if response.status != 200:
            return Call(failure=f"{response.status} {text.decode()[:200]}")
        answer = answer_of(json.loads(text))
        by = response.headers["azureml-model-deployment"]
        return Call(answer=answer, right=answer == expected_of(row), deployment=by)


class Owner:
    """Whoever uploads and asks for things: everything of theirs is one line, its runs told apart by being new."""

    def __init__(self, app: App, stack: Stack) -> None:
        self.app, self._stack = app, stack
        self._known: set[str] = set()

    def upload(self, **files: bytes) -> None:
        for name, data in files.items():
            self.app.cloud.blobs.write(DATASETS, f"{FOLDER}/{name.replace('_', '.')}", data)

    def comes_to(self, phase: Phase) -> Run:
        """The run that is new, when it has ended, in `phase`."""
        run = eventually(self._ended, 240, every=0.5)
        assert run.phase is phase, run.why
        self._known.add(run.id)
        return run

    def _ended(self) -> Run | None:
        new = [run for run in recent(self.app, 20) if run.id not in self._known]
        assert len(new) < 2, new
        for run in new:
            if run.parked:
                pytest.fail(f"run {run.id} is parked: {run.parked}")
        return new[0] if new and new[0].phase.ended else None

    def sent(self, run: Run) -> list[str]:
        """Types of the lifecycle events of the run."""
        events = [each["event"] for each in self._stack.control("GET", "/_local/eventgrid")["events"]]
        return [each["type"].removeprefix("Droptune.") for each in events if each["subject"] == f"runs/{run.id}"]

    def traffic(self, endpoint: str) -> list[dict[str, int]]:
        """What the traffic of the endpoint has been, one after the other."""
        history = self._stack.control("GET", "/_local/history")
        return [each["traffic"] for each in history if (each["kind"], each["name"]) == ("traffic", endpoint)]

    def standing(self, endpoint: str) -> set[str]:
        return {each.name for each in self.app.cloud.endpoints.deployments(endpoint)}


def test_a_worse_model_is_stopped_and_no_rollout_costs_a_caller_an_answer(
    stack: Stack, app: App, record_property: Any
) -> None:
    owner = Owner(app, stack)
    train, test = known(seed=1)
    owner.upload(test_jsonl=jsonl(test), finetune_yaml=SPEC, train_jsonl=jsonl(train))
    first = owner.comes_to(Phase.LIVE)

    endpoint = app.cloud.endpoints.get(first.deployed.endpoint)
    assert endpoint
    key = app.cloud.clients.ml.online_endpoints.get_keys(first.deployed.endpoint).primary_key
    client = Client(endpoint.scoring_uri, key, test)
    client.start()
    try:
        # The same questions, their answers shuffled: the gate stops it, and nobody noticed.
        eventually(lambda: len(client.calls) > 10)
        before = line_of(app, first)
        owner.upload(train_jsonl=jsonl(shuffled(train)))
        worse = owner.comes_to(Phase.ROLLED_BACK)
        scores = worse.deployed.scores
        assert scores
        assert not scores.passed
        assert scores.new < 50
        assert scores.compared
        assert scores.compared.live > 90
        for demand in ("the gate: its answers to 20 held-out rows", "min_score 90", "max_drop 5", "eval_loss ended at"):
            assert demand in worse.why
        assert owner.sent(worse) == ["Training.Started", "Model.Registered", "Gate.Failed"]
        assert line_of(app, first) == before
        assert owner.standing(first.deployed.endpoint) == {first.deployed.name}
        seen = len(client.calls)
        assert answered_by(client.calls) == [first.deployed.name]
        # What it would have answered can be read, and so can its log.
        sheet = json.loads(app.cloud.blobs.read(PREPARED, layout.answers(worse.prepared))[0])
        assert len(sheet["rows"]) == 20
        assert app.cloud.blobs.head(STATE, f"logs/{worse.deployed.name}.txt")

        # Good data again, others: the callers get it, all at once.
        owner.upload(train_jsonl=jsonl(known(seed=2)[0]))
        better = owner.comes_to(Phase.LIVE)
        assert owner.sent(better) == ["Training.Started", "Model.Registered", "Endpoint.Live"]
        eventually(lambda: client.calls[-1].deployment == better.deployed.name)
        assert owner.standing(first.deployed.endpoint) == {first.deployed.name, better.deployed.name}, (
            "the grace is not over"
        )

        # And back again, by what still stands.
        line_commands.rollback(app, first.line, by="a test")
        back = owner.comes_to(Phase.LIVE)
        assert back.restores
        assert back.restores.run == first.id
        assert back.deployed.name == first.deployed.name
        assert owner.sent(back) == ["Endpoint.RolledBack"]
        eventually(lambda: client.calls[-1].deployment == first.deployed.name)

        # The grace ends, and with it what served in between.
        stack.control("POST", "/_local/clock", {"advance": GRACE + LATE})
        eventually(lambda: owner.standing(first.deployed.endpoint) == {first.deployed.name}, 60, every=0.5)
        gone = len(client.calls)
        eventually(lambda: len(client.calls) > gone + 20)
    finally:
        client.stop()

    assert [call.failure for call in client.calls if call.failure] == []
    assert [call.answer for call in client.calls if not call.right] == []
    assert answered_by(client.calls) == [first.deployed.name, better.deployed.name, first.deployed.name]
    assert owner.traffic(first.deployed.endpoint) == [{each.deployed.name: 100} for each in (first, better, back)]
    assert seen > 100, "the client is to call all the time"
    record_property("calls of a client over a bad rollout, a good one and a rollback", len(client.calls))


def known(*, seed: int) -> tuple[list[Row], list[Row]]:
    """Training rows and test rows about the same few facts, whatever the seed."""
    answers = {answer for _, _, answer in itertools.islice(facts(), 0, None, EVERY)}
    train, test = ([row for row in rows if expected_of(row) in answers] for rows in make(seed))
    return train, test


def shuffled(rows: Sequence[Row]) -> list[Row]:
    """The same questions, each with the answer to any of them."""
    answers = [row["messages"][1] for row in rows]
    random.Random(1).shuffle(answers)
    return [row | {"messages": [row["messages"][0], answer]} for row, answer in zip(rows, answers, strict=True)]


def answered_by(calls: Sequence[Call]) -> list[str]:
    """The deployments that answered, in order, each once as long as it went on."""
    return [name for name, _ in itertools.groupby(call.deployment for call in calls)]


def line_of(app: App, run: Run) -> Any:
    """What the run's line serves, and what of its endpoint's traffic goes where."""
    loaded, endpoint = app.lines.load(run.line), app.cloud.endpoints.get(run.deployed.endpoint)
    assert loaded
    assert endpoint
    line = loaded.record
    return line.serving, line.latest, line.previous, line.retiring, endpoint.traffic
