"""What every end of a run lets go, and whom it leaves serving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.base import Order
from shared.records.layout import STEPS_QUEUE
from shared.records.line import Empty, Line, Newest, NotMade, Retiring, Standing
from shared.records.run import Data, Deployed, Ending, Run
from shared.run import slots
from shared.run.ending import release
from shared.serving.gate import Promotion
from tests.kit.azureml import MODEL
from tests.kit.carried import EMPTY
from tests.kit.clouds import forget
from tests.kit.ours import HERE, made_for, of_line
from tests.kit.records import NOW, changed, line_of, run_of, serving, woken
from tests.kit.waiting import eventually


def bare(key: str) -> Line:
    """The line of a test's run, before anything happened to it."""
    return Line(id=f"l{key}", folder="faq", base_model="Phi-4", endpoint=f"end-{key}", installation=HERE)


@pytest.fixture
def make(app: App, key: str) -> Iterator[Callable[..., tuple[Run, Line]]]:
    """Makes a run that ends, and its line, which it has."""
    forget(app)

    def made(phase: Phase, ends: Phase = Phase.FAILED, *, line: dict[str, Any] | None = None, **run: Any) -> Any:
        ending = changed(
            EMPTY,
            id=f"r{key}",
            line=f"l{key}",
            installation=HERE,
            order=Order(uploaded=NOW),
            phase=phase,
            since=NOW,
            ending=Ending(phase=ends, why="w"),
            **run,
        )
        assert app.runs.create(ending)
        fields = {"rollout": ending.id} | (line or {})
        its = replace(bare(key), **fields)
        assert app.lines.create(its)
        return ending, its

    yield made
    forget(app)


def test_its_place_among_those_that_train_is_free(app: App, make: Callable[..., tuple[Run, Line]]) -> None:
    run, _ = make(Phase.PREPARED)
    slots.take(app, run.id)
    assert slots.look(app, run.id).granted
    assert release(app, run) == ""
    assert not slots.look(app, run.id).granted


@pytest.mark.parametrize("ends", [Phase.FAILED, Phase.CANCELLED, Phase.LIVE])
def test_what_fails_does_not_stay_the_newest_in_the_way_of_older_ones(
    app: App, make: Callable[..., tuple[Run, Line]], ends: Phase
) -> None:
    run, line = make(Phase.CHECKING, ends)
    loaded = app.lines.load(line.id)
    assert loaded
    newest = Newest(run=run.id, order=run.order)
    app.lines.save(replace(line, newest=newest), loaded.etag)
    assert release(app, run) == ""
    assert line_of(app, line).newest == (newest if ends is Phase.LIVE else None)


def test_the_folder_of_one_that_was_superseded_is_looked_into_once(
    app: App, make: Callable[..., tuple[Run, Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, line = make(Phase.PREPARED, Phase.SUPERSEDED, folder="once")
    sent, transport = list[str](), app.cloud.clients.transport
    send = transport.send

    def noted(request: Any, **more: Any) -> Any:
        sent.append(request.url)
        return send(request, **more)

    monkeypatch.setattr(transport, "send", noted)
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(line, newest=Newest(run=run.id, order=run.order), rollout=""), loaded.etag)
    assert release(app, run) == ""
    assert line_of(app, line).newest is None
    looks = [each for each in sent if "datasets" in each]
    assert len(looks) == 1, "\n".join(sent)


@pytest.mark.parametrize(("fingerprint", "taken"), [("f", True), ("other", False)])
def test_data_that_come_again_make_what_serves_the_newest(
    app: App, make: Callable[..., tuple[Run, Line]], fingerprint: str, taken: bool
) -> None:
    older = serving("r1", order=Order(uploaded=NOW - timedelta(days=1)))
    fields = {"state": Standing(), "serving": older, "latest": older, "rollout": ""}
    run, line = make(Phase.RECEIVED, Phase.UNCHANGED, line=fields, data=Data(fingerprint=fingerprint))
    assert release(app, run) == ""
    now = line_of(app, line)
    assert now.serving
    assert now.serving.order == (run.order if taken else older.order)
    assert now.latest == now.serving


def test_the_grace_of_what_retires_ends_with_the_first_that_is_due(
    app: App, make: Callable[..., tuple[Run, Line]]
) -> None:
    now = app.cloud.blobs.now()
    due = [now + timedelta(hours=2), now + timedelta(hours=1)]
    retiring = tuple(Retiring(deployment=f"d{at:%H}", model="m:0", until=at) for at in due)
    run, line = make(Phase.CHECKING, Phase.LIVE)
    loaded = app.lines.load(line.id)
    assert loaded
    mine = serving(run.id)
    app.lines.save(replace(line, state=Standing(), serving=mine, latest=mine, retiring=retiring), loaded.etag)
    assert release(app, run) == ""
    after = line_of(app, line)
    assert after.wake
    assert after.wake.due == min(due)
    assert after.rollout == ""


def test_the_newest_version_that_waits_for_the_line_is_woken(
    app: App, make: Callable[..., tuple[Run, Line]], key: str
) -> None:
    waits = replace(EMPTY, id=f"r{key}next", line=f"l{key}", order=Order(uploaded=NOW + timedelta(1)))
    assert app.runs.create(replace(waits, phase=Phase.REGISTERED))
    run, _ = make(Phase.CHECKING, line={"newest": Newest(run=waits.id, order=waits.order)})
    app.cloud.clients.queue_service.get_queue_client(STEPS_QUEUE).clear_messages()
    assert release(app, run) == ""
    assert woken(app, waits) == 1


def test_a_line_that_never_served_is_empty_from_then_on(app: App, make: Callable[..., tuple[Run, Line]]) -> None:
    run, line = make(Phase.REGISTERED)
    assert line.state == NotMade()
    assert release(app, run) == ""
    after = line_of(app, line)
    assert isinstance(after.state, Empty)
    assert after.rollout == ""


@pytest.mark.parametrize(
    ("strategy", "latest", "displaced", "back"),
    [
        ("replace", "m:0", "m:0", True),
        ("blue_green", "m:0", "m:0", False),
        ("replace", "m:1", "m:1", False),
        ("replace", "m:0", None, False),
    ],
    ids=["what it took away", "it took nothing away", "what can't be brought back", "torn down before"],
)
def test_what_a_failed_replacement_took_away_comes_back(
    app: App, make: Callable[..., tuple[Run, Line]], strategy: Any, latest: str, displaced: str | None, back: bool
) -> None:
    """But not what was tried and could not be: that would begin again and again."""
    served = serving("r0", model=latest, order=Order(uploaded=NOW - timedelta(days=1)))
    fields = {"state": Empty(since=NOW), "latest": served, "displaced": served if displaced else None}
    promotion = Promotion(strategy=strategy)
    run, line = make(Phase.CHECKING, Phase.ROLLED_BACK, line=fields, promotion=promotion, model="m:1")
    assert release(app, run) == ""
    after = line_of(app, line)
    assert bool(after.rollout) is back
    if back:
        restoring = run_of(app, after.rollout)
        assert restoring.restores
        assert (restoring.attempt.model, restoring.phase) == (latest, Phase.REGISTERED)


def test_nobody_loses_the_traffic_while_what_served_before_is_being_updated(
    app: App, make: Callable[..., tuple[Run, Line]], cloud: Stack, key: str
) -> None:
    name = f"end-{key}"
    cloud.control("POST", "/_local/pretend", {"deployments": {"seconds": 0, "match": f"^{name}/"}})
    app.cloud.endpoints.create(name, tags=of_line(bare(key)))

    def settled() -> bool:
        found = app.cloud.endpoints.get(name)
        return found is not None and found.state == "Succeeded"

    eventually(settled)
    for deployment in ("old-1", "new-1"):
        app.cloud.endpoints.deploy(name, deployment, MODEL, "Standard_DS3_v2", 1, made_for(bare(key), deployment))
        eventually(settled)
    app.cloud.endpoints.set_traffic(name, {"new-1": 100})
    eventually(settled)
    old = serving("r0", order=Order(uploaded=NOW - timedelta(days=1)))
    old = replace(old, deployment="old-1")
    fields = {"state": Standing(), "serving": old, "latest": old}
    run, _ = make(
        Phase.CHECKING, Phase.ROLLED_BACK, line=fields, deployed=Deployed(endpoint=name, name="new-1"), model="m:1"
    )
    found = app.cloud.endpoints.deployment(name, "old-1")
    assert found
    path = f"/onlineEndpoints/{name}/deployments/old-1$"
    shown = {
        "provisioningState": "Updating",
        "endpointComputeType": "Managed",
        "model": MODEL,
        "instanceType": "Standard_DS3_v2",
        "scaleSettings": {"scaleType": "Default"},
    }
    there = app.cloud.endpoints.get(name)
    assert there
    body = {
        "id": f"{there.id}/deployments/old-1",
        "name": "old-1",
        "location": "westeurope",
        "tags": {},
        "sku": {"name": "Default", "capacity": 1},
        "properties": shown,
    }
    cloud.control("POST", "/_local/faults", {"method": "GET", "path": path, "status": 200, "count": None, "body": body})
    try:
        assert release(app, run) == "deployment old-1, which served before and is Updating"
        shown_ = app.cloud.endpoints.get(name)
        assert shown_
        assert shown_.traffic == {"new-1": 100}
    finally:
        cloud.control("DELETE", "/_local/faults")
    assert release(app, run) == "the deployment, which is being taken out of the traffic"
    eventually(settled)
    back = app.cloud.endpoints.get(name)
    assert back
    assert back.traffic.get("old-1") == 100
    cloud.control("DELETE", "/_local/pretend")
    app.cloud.endpoints.delete(name)
