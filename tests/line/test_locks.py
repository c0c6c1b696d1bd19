"""A teardown that a lock, a policy or a deny assignment refuses: callers keep their answers, and people are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.line.cleanup import cleanup
from shared.line.teardown import tend
from shared.records.base import Order
from shared.records.layout import DELETIONS, STATE
from shared.records.line import TEARDOWN, Line, Removed, Serving, Standing, TearingDown
from tests.kit.azureml import MODEL
from tests.kit.azureml.rules import ruled, unreadable
from tests.kit.clouds import later
from tests.kit.records import events_of, line_of
from tests.kit.waiting import eventually

DAY = timedelta(days=1)
MakeLine = Callable[..., Line]
RULES: dict[str, dict[str, Any]] = {
    "a lock of the group": {"kind": "lock"},
    "a lock of the deployment": {"kind": "lock", "scope": "onlineEndpoints/{endpoint}/deployments/r1-1"},
    "a lock that allows nothing": {"kind": "lock", "level": "ReadOnly"},
    "a policy": {"kind": "policy", "effect": "denyAction", "types": "onlineEndpoints(/deployments)?"},
    "a deny assignment": {"kind": "denyAssignment", "actions": "/delete$"},
}
ENDS = {
    "lock": "works once the lock is deleted: az lock",
    "policy": "works once policy assignment keep",
    "denyAssignment": "works once the deny assignment is gone",
}


@pytest.fixture
def make_line(app: App, cloud: Stack) -> Iterator[MakeLine]:
    """Makes an endpoint whose deployments have this traffic, those of 0 % as well; its line says that r1-1 serves."""
    app.cloud.blobs.delete(STATE, DELETIONS)
    cloud.control("POST", "/_local/pretend", {"deployments": {"match": "^lock-"}})
    made: list[Line] = []

    def make(traffic: dict[str, int] | None = None, **fields: Any) -> Line:
        name = f"lock-{uuid4().hex[:8]}"
        app.cloud.endpoints.create(name, tags={"droptune.line": name})
        settled(app, name)
        for each in traffic or {}:
            app.cloud.endpoints.deploy(name, each, MODEL, "Standard_DS3_v2", 1, {"droptune.run": each[:-2]})
            made_of(app, name, each)
            settled(app, name)
        if traffic and any(traffic.values()):
            app.cloud.endpoints.set_traffic(name, traffic)
            settled(app, name)
        at = app.cloud.blobs.now()
        serving = Serving(run="r1", deployment="r1-1", model="m:1", fingerprint="f", since=at, order=Order(uploaded=at))
        line = Line(id=name, folder=name, base_model="Phi-4", endpoint=name, state=Standing())
        line = replace(line, serving=serving if traffic and traffic.get("r1-1") else None, latest=serving)
        line = replace(line, **fields)
        app.lines.create(line)
        made.append(line)
        return line

    yield make
    for route in ("rules", "pretend", "faults"):
        cloud.control("DELETE", f"/_local/{route}")
    for line in made:
        app.cloud.endpoints.delete(line.endpoint)
        loaded = app.lines.load(line.id)
        assert loaded
        app.lines.save(replace(loaded.record, rollout="", state=Removed(since=app.cloud.blobs.now())), loaded.etag)


def made_of(app: App, endpoint: str, name: str) -> None:
    eventually(lambda: (found := app.cloud.endpoints.deployment(endpoint, name)) and found.state == "Succeeded")


def settled(app: App, endpoint: str) -> None:
    eventually(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")


def goes(app: App, line: Line, **fields: Any) -> None:
    """The cleanup has marked it."""
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(loaded.record, state=TearingDown(whole=False), **fields), loaded.etag)


def tended(app: App, line: Line, done: Callable[[], Any]) -> None:
    def step() -> Any:
        tend(app, line.id, None)
        return done()

    eventually(step)


def traffic(app: App, line: Line) -> dict[str, int]:
    found = app.cloud.endpoints.get(line.endpoint)
    return found.traffic if found else {}


def traffic_was(cloud: Stack, line: Line) -> list[dict[str, int]]:
    told = cloud.control("GET", "/_local/history")
    return [each["traffic"] for each in told if each["kind"] == "traffic" and each["name"] == line.endpoint]


def standing(app: App, line: Line) -> set[str]:
    return {each.name for each in app.cloud.endpoints.deployments(line.endpoint)}


def told(cloud: Stack, line: Line) -> list[tuple[str, str]]:
    return [(each["type"].rpartition(".")[2], each["data"]["reason"]) for each in events_of(cloud, line)]


def refuse(cloud: Stack, stack: ExitStack, line: Line, which: str) -> str:
    """The rule holds; what the sentence is to say ends it."""
    fields = dict(RULES[which])
    if "scope" in fields:
        fields["scope"] = fields["scope"].format(endpoint=line.endpoint)
    kind = fields.pop("kind")
    stack.enter_context(ruled(cloud.control, kind, **fields))
    return ENDS[kind]


@pytest.mark.parametrize("blind", [False, True], ids=["locks can be read", "locks can't be read"])
@pytest.mark.parametrize("which", RULES)
def test_a_refused_teardown_is_told_daily_and_goes_on_by_itself_without_touching_the_traffic_again(
    app: App, cloud: Stack, make_line: MakeLine, which: str, blind: bool
) -> None:
    line = make_line({"r1-1": 100})
    goes(app, line)
    before = len(traffic_was(cloud, line))
    with ExitStack() as stack:
        if blind:
            stack.enter_context(unreadable(cloud.control))
        ends = refuse(cloud, stack, line, which)
        tended(app, line, lambda: not line_of(app, line).is_going)
        settled(app, line.endpoint)
        assert traffic(app, line) == {"r1-1": 100}
        sees = "lock" in which and not blind
        away = [] if sees or "nothing" in which else [{}, {"r1-1": 100}]
        assert traffic_was(cloud, line)[before:] == away
        assert [kind for kind, _ in told(cloud, line)] == ["DeleteRefused"]
        assert ends in told(cloud, line)[0][1]
        assert TEARDOWN in line_of(app, line).refused
        for _ in range(3):  # tried again, and nobody is told more than once a day; the traffic is left alone
            cleanup(app)
            tend(app, line.id, None)
        assert traffic_was(cloud, line)[before:] == away
        assert len(told(cloud, line)) == 1
        later(app, cloud, DAY)
        cleanup(app)
        tended(app, line, lambda: not line_of(app, line).is_going)
        assert [kind for kind, _ in told(cloud, line)] == ["DeleteRefused"] * 2
        assert line_of(app, line).serving == line.serving
    cleanup(app)
    tended(app, line, lambda: not line_of(app, line).is_going)
    assert standing(app, line) == set()
    after = line_of(app, line)
    assert (after.refused, after.taken, after.serving) == ({}, {}, None)
    assert told(cloud, line)[2:] == [("TornDown", "the endpoint stays, empty")]
