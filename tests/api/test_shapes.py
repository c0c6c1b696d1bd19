"""The JSON that clients get, by example: what a record is like inside may change, and these may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from localcloud.stack import Stack
from shared.api import schema, views
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.base import Refusal
from shared.records.layout import PREPARED, STATE
from shared.records.line import TEARDOWN, Keep, Line, Newest, Orphan, Retiring, Standing
from shared.records.run import Ending, Waiting
from tests.kit.carried import AT, MINUTE, RUN
from tests.kit.paths import ROOT
from tests.kit.records import changed, serving
from tests.kit.settings import with_settings

RUN_VIEW: dict[str, Any] = {
    "version": 1,
    "run": {
        "id": "ID",
        "line": "LINE",
        "folder": "faq",
        "base_model": "Phi-4",
        "attempt": 4,
        "phase": "rolled_back",
        "since": "2026-11-01T10:01:00Z",
        "outcome": "was rolled back",
        "status": "parked: again and again",
        "hold": "quota",
        "parked": True,
        "by_people": True,
        "serves": False,
    },
    "serves": False,
    "line_serves": {"run": "rother", "deployment": "rother-1", "model": "m:1", "since": "2026-11-01T00:00:00Z"},
    "restores": {"run": "rolder", "instead_of": "rnewer", "rollback": True},
    "data": {
        "address": "hf://datasets/owner/chats@c0ffee",
        "prepared": "rolder/2",
        "rows": {"train": 5},
        "rejected": "no",
    },
    "plan": {
        "model_version": "2",
        "component_version": "5",
        "parameters": {"epochs": 2},
        "gpus": 8,
        "notes": ["retires soon"],
    },
    "job": "rfull-4",
    "model": "Phi-4-faq:1",
    "deployment": {
        "endpoint": "faq-1",
        "name": "rfull-4",
        "instances": 3,
        "size": "A100",
        "smoke": {"question": [], "expected": "a", "answer": "b", "passed": True, "why": "c"},
        "gate": {
            "score": "chrf",
            "rows": 9,
            "new": 50.0,
            "live": None,
            "metrics": {"loss": 1.0},
            "passed": True,
            "why": "d",
        },
        "asked": ["2026-11-01T10:00:00Z"],
        "approved_by": "ada",
    },
    "history": [{"at": "2026-11-01T10:00:00Z", "phase": "received", "what": "received"}],
    "report": None,
    "metrics": {},
}
LINE_VIEW: dict[str, Any] = {
    "id": "LINE",
    "folder": "faq",
    "base_model": "Phi-4",
    "endpoint": "faq-1",
    "state": "standing",
    "since": "2026-11-01T00:00:00Z",
    "serving": {"run": "rother", "deployment": "rother-1", "model": "m:1", "since": "2026-11-01T00:00:00Z"},
    "latest": {"run": "rother", "deployment": "rother-1", "model": "m:1", "since": "2026-11-01T00:00:00Z"},
    "previous": {"run": "rolder", "deployment": "rolder-1", "model": "m:0", "since": "2026-11-01T00:00:00Z"},
    "newest": "rnew",
    "rollout": "rnew",
    "retiring": [{"deployment": "rolder-1", "until": "2026-11-01T10:00:00Z", "orphan": False}],
    "orphans": ["rlost-1"],
    "pinned_by": "ada",
    "keep": {"until": "2126-11-01T10:00:00Z", "who": "bob", "why": "a demo"},
    "hours": "",
    "idle_since": "2026-11-01T10:00:00Z",
    "no_traffic_since": "2026-11-01T10:01:00Z",
    "missing_since": None,
    "refused": [
        {"what": "endpoint", "since": "2026-11-01T10:00:00Z", "why": "a policy"},
        {"what": "rolder-1", "since": "2026-11-01T10:00:00Z", "why": "a lock"},
    ],
    "price": {"per_hour": 3.67, "currency": "USD", "source": "setting", "as_of": None},
    "unpriced": "",
    "saved": 0.0,
    "verdict": None,
    "seen": "",
    "address": "https://faq-1.local/score",
    "endpoint_id": "/onlineEndpoints/faq-1",
}


@pytest.fixture(autouse=True)
def shown(cloud: Stack, key: str) -> Iterator[None]:
    """Azure shows endpoints, on each of which one deployment has all of the traffic."""
    traffic = {"faq-1": "rother-1", "mine": f"r{key}-1", "others": "rother-1", "back": "rback-1"}
    found = [
        {
            "name": name,
            "id": f"/onlineEndpoints/{name}",
            "location": "local",
            "properties": {
                "authMode": "Key",
                "provisioningState": "Succeeded",
                "scoringUri": f"https://{name}.local/score",
                "traffic": {deployment: 100},
            },
        }
        for name, deployment in traffic.items()
    ]
    listing = {"method": "GET", "path": "/onlineEndpoints$", "status": 200, "body": {"value": found}}
    cloud.control("POST", "/_local/faults", listing | {"count": None})
    yield
    cloud.control("DELETE", "/_local/faults")


def body(answer: tuple[int, bytes]) -> Any:
    status, found = answer
    assert status == 200
    return json.loads(found)


def made(app: App, key: str) -> tuple[str, str]:
    """A run and its line in which everything is set."""
    run, line = replace(RUN, id=f"r{key}", line=f"l{key}"), f"l{key}"
    assert app.runs.create(run)
    live = serving("rother")
    assert app.lines.create(
        Line(
            id=line,
            folder="faq",
            base_model="Phi-4",
            endpoint="faq-1",
            state=Standing(noticed=AT, no_traffic=AT + MINUTE),
            serving=live,
            latest=live,
            previous=serving("rolder", model="m:0"),
            newest=Newest(run="rnew", order=run.order),
            rollout="rnew",
            retiring=(Retiring(deployment="rolder-1", model="m:0", until=AT),),
            orphans=(Orphan(deployment="rlost-1", since=AT),),
            pinned_by="ada",
            keep=Keep(until=AT.replace(year=2126), who="bob", why="a demo"),
            refused={
                "rolder-1": Refusal(since=AT, at=AT + MINUTE, told=AT, why="a lock"),
                TEARDOWN: Refusal(since=AT, at=AT + MINUTE, told=AT, why="a policy"),
            },
        )
    )
    return run.id, line


def test_a_run(app: App, key: str) -> None:
    run, line = made(app, key)
    found = body(views.run(app, run))
    assert found.pop("metrics_problem"), "there is no such job"
    text = json.dumps(RUN_VIEW).replace('"ID"', f'"{run}"').replace('"LINE"', f'"{line}"')
    assert found == json.loads(text)


def test_a_run_in_the_list_is_as_it_is_by_itself(app: App, key: str) -> None:
    run, _ = made(app, key)
    found = [each for each in body(views.runs(app, {}))["runs"] if each["id"] == run]
    assert found == [body(views.run(app, run))["run"]]


def test_a_line(app: App, key: str) -> None:
    _, line = made(app, key)
    found = body(views.lines(with_settings(app, SERVING_PRICE_PER_HOUR=Decimal("3.67"))))
    (own,) = [each for each in found["lines"] if each["id"] == line]
    assert own == json.loads(json.dumps(LINE_VIEW).replace('"LINE"', f'"{line}"'))
    assert found["version"] == 1


def test_what_a_run_did_is_not_what_its_line_serves(app: App, key: str) -> None:
    """It went live; what serves now is another one's."""
    run = replace(RUN, id=f"r{key}", line=f"l{key}", phase=Phase.LIVE, parked=None, waiting=None)
    app.runs.create(run)
    mine, other = serving(run.id), serving("rother")
    line = Line(
        id=run.line, folder="faq", base_model="Phi-4", endpoint="mine", state=Standing(), serving=mine, latest=mine
    )
    app.lines.create(line)
    found = body(views.run(app, run.id))
    assert (found["run"]["outcome"], found["serves"]) == ("went live", True)
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(line, endpoint="others", serving=other), loaded.etag)
    found = body(views.run(app, run.id))
    assert (found["run"]["outcome"], found["serves"], found["line_serves"]["run"]) == ("went live", False, "rother")


def test_no_token_claim_or_etag_leaves(app: App, key: str) -> None:
    run, _ = made(app, key)
    loaded = app.runs.load(run)
    assert loaded
    text = b"".join(answer[1] for answer in (views.run(app, run), views.runs(app, {}), views.lines(app))).decode()
    assert "token" not in text
    assert "deploy_model" not in text
    assert loaded.etag not in text


def test_clients_can_decode_what_is_answered(app: App, key: str) -> None:
    run, _ = made(app, key)
    for answer, kind in (
        (views.run(app, run), schema.RunView),
        (views.runs(app, {}), schema.RunList),
        (views.lines(app), schema.LineList),
        (views.folders(app), schema.FolderList),
        (views.run(app, "rnone"), schema.Refused),
    ):
        msgspec.json.decode(answer[1], type=kind)


def test_the_example_of_the_page_is_one(app: App) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    found = msgspec.json.decode(example, type=schema.RunList)
    assert json.loads(msgspec.json.encode(found)) == json.loads(example), "it has all fields"


def test_a_run_that_is_about_to_end_says_so(app: App, key: str) -> None:
    ending = Ending(phase=Phase.CANCELLED, why="cancelled by ada")
    deleted = Waiting(why="the deployment, which is being deleted")
    run = replace(RUN, id=f"r{key}", phase=Phase.DEPLOYING, ending=ending, parked=None, waiting=deleted)
    app.runs.create(run)
    assert body(views.run(app, run.id))["run"]["status"] == (
        "ends as cancelled: cancelled by ada; waits: the deployment, which is being deleted"
    )


def test_what_serves_by_a_rollback_is_what_the_run_made_that_trained_it(app: App, key: str) -> None:
    run = changed(replace(RUN, id=f"r{key}", line=f"l{key}", phase=Phase.LIVE), model="m:7")
    app.runs.create(run)
    back = serving("rback", model="m:7")
    app.lines.create(
        Line(
            id=run.line, folder="faq", base_model="Phi-4", endpoint="back", state=Standing(), serving=back, latest=back
        )
    )
    assert body(views.run(app, run.id))["serves"]


def test_a_line_that_can_not_be_read_hides_no_run_of_it(app: App, key: str) -> None:
    run = replace(RUN, id=f"r{key}", line=f"l{key}")
    app.runs.create(run)
    app.cloud.blobs.write(STATE, layout.record(layout.LINES, run.line), b"{")
    assert body(views.run(app, run.id))["line_serves"] is None


def test_a_note_on_a_folder_that_somebody_broke_hides_no_other(app: App, key: str) -> None:
    app.cloud.blobs.write(STATE, layout.waiting(f"broken-{key}"), b"{")
    app.cloud.blobs.write(STATE, layout.waiting(f"half-{key}"), b'["test.jsonl"]')
    found = body(views.folders(app))["waiting"]
    assert found[f"half-{key}"] == ["test.jsonl"]
    for name in (f"broken-{key}", f"half-{key}"):
        app.cloud.blobs.delete(STATE, layout.waiting(name))


def test_answers_that_somebody_broke_are_told(app: App, key: str) -> None:
    run, _ = made(app, key)
    loaded = app.runs.load(run)
    assert loaded
    name = layout.answers(loaded.record.prepared)
    app.cloud.blobs.write(PREPARED, name, b'{"rows": 3}')
    status, answer = views.answers(app, run)
    app.cloud.blobs.delete(PREPARED, name)
    assert status == 409
    assert f"{PREPARED}/{name} can't be read: " in json.loads(answer)["error"]
