"""A teardown that a lock, a policy or a deny assignment refuses: callers keep their answers, and people are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.line import cap
from shared.line.cleanup import cleanup
from shared.line.teardown import tend
from shared.records.base import FRESH, Order
from shared.records.layout import DELETIONS, STATE
from shared.records.line import TEARDOWN, Empty, Line, Removed, Retiring, Serving, Standing, TearingDown
from tests.kit.azureml import MODEL
from tests.kit.azureml.rules import ruled, unreadable
from tests.kit.clouds import later
from tests.kit.ours import HERE, made_for, of_line
from tests.kit.records import events_of, line_of
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually
from tests.kit.worlds.wire import HostDied

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

QUICK = ("a lock of the deployment", False)
"""What is tried for every change."""


@pytest.fixture
def app(app: App) -> App:
    """What serves is too young for its metrics to be asked: they are measured in real time, and these tests jump."""
    return with_settings(app, IDLE_WINDOW=timedelta(days=30))


@pytest.fixture
def make_line(app: App, cloud: Stack) -> Iterator[MakeLine]:
    """Makes an endpoint whose deployments have this traffic, those of 0 % as well; its line says that r1-1 serves."""
    app.cloud.blobs.delete(STATE, DELETIONS)
    cloud.control("POST", "/_local/pretend", {"deployments": {"match": "^lock-"}})
    made: list[Line] = []

    def make(traffic: dict[str, int] | None = None, **fields: Any) -> Line:
        name = f"lock-{uuid4().hex[:8]}"
        line = Line(id=name, folder=name, base_model="Phi-4", endpoint=name, installation=HERE, state=Standing())
        app.cloud.endpoints.create(name, tags=of_line(line))
        settled(app, name)
        for each in traffic or {}:
            app.cloud.endpoints.deploy(name, each, MODEL, "Standard_DS3_v2", 1, made_for(line, each))
            made_of(app, name, each)
            settled(app, name)
        if traffic and any(traffic.values()):
            app.cloud.endpoints.set_traffic(name, traffic)
            settled(app, name)
        at = app.cloud.blobs.now()
        serving = Serving(run="r1", deployment="r1-1", model="m:1", fingerprint="f", since=at, order=Order(uploaded=at))
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


def goes(app: App, line: Line, *, whole: bool = False) -> None:
    """The cleanup has marked it."""
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(loaded.record, state=TearingDown(whole=whole)), loaded.etag)


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


@pytest.mark.parametrize(
    ("which", "blind"),
    [
        pytest.param(which, blind, marks=() if (which, blind) == QUICK else pytest.mark.thorough)
        for which in RULES
        for blind in (False, True)
    ],
)
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


@pytest.mark.thorough
def test_a_split_of_the_traffic_goes_back_as_it_was(app: App, cloud: Stack, make_line: MakeLine) -> None:
    line = make_line({"r1-1": 60, "r2-1": 40})
    goes(app, line)
    with ruled(cloud.control, "lock"), unreadable(cloud.control):
        tended(app, line, lambda: not line_of(app, line).is_going)
        settled(app, line.endpoint)
        assert traffic_was(cloud, line)[-2:] == [{}, {"r1-1": 60, "r2-1": 40}]


@pytest.mark.thorough
def test_what_is_locked_but_serves_nobody_stops_no_teardown_and_goes_once_it_may(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    until = app.cloud.blobs.now() + DAY
    line = make_line({"r1-1": 100, "r0-1": 0}, retiring=(Retiring(deployment="r0-1", model="m:0", until=until),))
    goes(app, line)
    with ruled(cloud.control, "lock", scope=f"onlineEndpoints/{line.endpoint}/deployments/r0-1"):
        tended(app, line, lambda: not line_of(app, line).is_going)
        assert standing(app, line) == {"r0-1"}
        after = line_of(app, line)
        assert isinstance(after.state, Empty)
        assert set(after.refused) == {"r0-1"}
        assert after.wake
        tend(app, line.id, None)  # sends what waits in the outbox
        assert [kind for kind, _ in told(cloud, line)] == ["TornDown", "DeleteRefused"]
        assert "deployment r0-1 can't be deleted, and still costs" in told(cloud, line)[1][1]
        shown = next(each for each in json.loads(views.lines(app)[1])["lines"] if each["id"] == line.id)
        assert [each["what"] for each in shown["refused"]] == ["r0-1"]
        assert shown["saved"] == 0
        later(app, cloud, DAY)
        tend(app, line.id, None)
        assert [kind for kind, _ in told(cloud, line)] == ["TornDown", "DeleteRefused", "DeleteRefused"]
    tended(app, line, lambda: not line_of(app, line).retiring)
    assert standing(app, line) == set()
    assert line_of(app, line).refused == {}


@pytest.mark.thorough
@pytest.mark.parametrize("blind", [False, True])
def test_what_is_refused_takes_no_deletion_from_others(
    app: App, cloud: Stack, make_line: MakeLine, blind: bool
) -> None:
    """Where the locks can be read none is taken, else it is given back."""
    long_ago = app.cloud.blobs.now() - 40 * DAY
    locked = make_line(state=Empty(since=long_ago))
    capped = with_settings(app, CLEANUP_MAX_DELETIONS=1)
    with ExitStack() as stack:
        if blind:
            stack.enter_context(unreadable(cloud.control))
        stack.enter_context(ruled(cloud.control, "lock", scope=f"onlineEndpoints/{locked.endpoint}"))

        cleanup(capped)
        tended(app, locked, lambda: not line_of(app, locked).is_going)
        assert isinstance(line_of(app, locked).state, Empty)
        assert [kind for kind, _ in told(cloud, locked)] == ["DeleteRefused"]
        free = make_line(state=Empty(since=long_ago))

        def tick() -> object:
            cleanup(capped)
            for line in (locked, free):
                tend(app, line.id, None)
            return line_of(app, free).removed

        eventually(tick)
    app.cloud.blobs.delete(STATE, DELETIONS)
    cleanup(capped)
    tended(app, locked, lambda: line_of(app, locked).removed)


@pytest.mark.thorough
def test_whoever_wants_it_after_all_keeps_it(app: App, cloud: Stack, make_line: MakeLine) -> None:
    line = make_line({"r1-1": 100})
    goes(app, line)
    with ruled(cloud.control, "lock"):
        tended(app, line, lambda: not line_of(app, line).is_going)
        endpoints = app.cloud.clients.ml.online_endpoints
        found = endpoints.get(line.endpoint)
        found.tags = found.tags | {"droptune.keep": "yes"}
        endpoints.begin_create_or_update(found)
        settled(app, line.endpoint)
        cleanup(app)
    assert line_of(app, line).refused == {}
    assert [kind for kind, _ in told(cloud, line)] == ["DeleteRefused", "Kept", "NoticeWithdrawn"]
    cleanup(app)
    assert not line_of(app, line).is_going
    assert traffic(app, line) == {"r1-1": 100}


@pytest.mark.thorough
def test_a_whole_endpoint_that_is_refused_keeps_all_and_goes_once_it_may(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line, whole = make_line({"r1-1": 100}), with_settings(app, CLEANUP_TARGET="endpoint")
    goes(app, line, whole=True)
    with ruled(cloud.control, "denyAssignment", actions="/delete$"):
        tended(app, line, lambda: not line_of(app, line).is_going)
        for _ in range(2):
            cleanup(whole)
            tend(app, line.id, None)
        assert traffic_was(cloud, line)[-1] == {"r1-1": 100}
        assert len(told(cloud, line)) == 1
    cleanup(whole)
    tended(app, line, lambda: line_of(app, line).removed)
    eventually(lambda: app.cloud.endpoints.get(line.endpoint) is None)


@pytest.mark.thorough
def test_traffic_that_can_not_be_given_back_is_told_and_the_teardown_ends_with_the_lock(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    """Somebody locks it after its traffic was taken away, and before it is deleted."""
    line = make_line({"r1-1": 100})
    goes(app, line)
    tended(app, line, lambda: not traffic(app, line))
    settled(app, line.endpoint)
    with ruled(cloud.control, "lock", level="ReadOnly"):
        tended(app, line, lambda: len(told(cloud, line)) == 2)
        assert [kind for kind, _ in told(cloud, line)] == ["DeleteRefused", "TrafficRefused"]
        assert "works once the lock is deleted" in told(cloud, line)[1][1]
        assert line_of(app, line).is_going
    tended(app, line, lambda: not line_of(app, line).is_going)
    assert standing(app, line) == set()
    assert line_of(app, line).refused == {}


@pytest.mark.thorough
def test_a_host_that_dies_after_a_refusal_takes_no_traffic_away_again(
    app: App, cloud: Stack, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make_line({"r1-1": 100})
    goes(app, line)

    def dies(*_: object) -> None:
        raise HostDied

    with ruled(cloud.control, "denyAssignment", actions="/delete$"):
        with monkeypatch.context() as patch:
            patch.setattr(cap, "give_back", dies)  # the traffic is back, and the line does not say so yet
            with pytest.raises(HostDied):
                tended(app, line, lambda: False)
        settled(app, line.endpoint)
        tended(app, line, lambda: not line_of(app, line).is_going)
        assert traffic_was(cloud, line)[-2:] == [{}, {"r1-1": 100}]
        assert len(told(cloud, line)) == 1


@pytest.mark.thorough
def test_what_somebody_deletes_by_hand_after_all_leaves_its_address_for_as_long_as_any(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line({"r1-1": 100})
    goes(app, line)
    with ruled(cloud.control, "lock"):
        tended(app, line, lambda: not line_of(app, line).is_going)
    later(app, cloud, FRESH)
    app.cloud.endpoints.set_traffic(line.endpoint, {})
    settled(app, line.endpoint)
    app.cloud.endpoints.remove_deployment(line.endpoint, "r1-1")
    eventually(lambda: not standing(app, line))
    report = with_settings(app, CLEANUP_MODE="report")  # else it would be torn down before it is missed
    cleanup(report)
    later(app, cloud, FRESH)
    cleanup(report)
    assert isinstance(line_of(app, line).state, Empty)
    assert line_of(app, line).refused == {}
    cleanup(app)
    assert not line_of(app, line).is_going


@pytest.mark.thorough
def test_a_refusal_that_nobody_knows_the_rule_of_costs_a_minute_of_traffic_a_day_and_is_told(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line({"r1-1": 100})
    goes(app, line)
    before = len(traffic_was(cloud, line))
    odd = {"method": "DELETE", "path": f"/{line.endpoint}/deployments/r1-1$", "status": 400, "count": None}
    cloud.control("POST", "/_local/faults", odd | {"message": "The deployment is odd."})
    tended(app, line, lambda: not line_of(app, line).is_going)
    settled(app, line.endpoint)
    away = [{}, {"r1-1": 100}]
    assert traffic_was(cloud, line)[before:] == away
    ((kind, why),) = told(cloud, line)
    assert kind == "DeleteRefused"
    assert "The deployment is odd." in why
    assert "ends once somebody has done it: az ml online-endpoint delete" in why
    for _ in range(3):
        later(app, cloud, timedelta(hours=1))
        cleanup(app)
        tend(app, line.id, None)
    assert traffic_was(cloud, line)[before:] == away
    later(app, cloud, DAY)
    cleanup(app)
    tended(app, line, lambda: not line_of(app, line).is_going)
    settled(app, line.endpoint)
    assert traffic_was(cloud, line)[before:] == away * 2
    assert len(told(cloud, line)) == 2
    cloud.control("DELETE", "/_local/faults")
    later(app, cloud, DAY)
    cleanup(app)
    tended(app, line, lambda: not line_of(app, line).is_going)
    assert standing(app, line) == set()
