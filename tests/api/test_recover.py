"""Records that were lost, made again over the local cloud: what goes on, what is told, and what is left as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from localcloud.stack import Stack
from shared.api import line_commands, run_commands
from shared.api.recover import recover
from shared.api.schema import Recovered
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.base import VERSION
from shared.records.layout import STATE
from shared.records.line import Line
from shared.records.run import Run
from shared.run import slots
from tests.kit.clouds import forget
from tests.kit.loop import driven, received
from tests.kit.records import line_of, run_of
from tests.kit.rows import chats
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually

pytestmark = pytest.mark.thorough

HOUR = 3600


@pytest.fixture
def quick(app: App) -> App:
    """The app without waits, with computes that only this module's jobs use."""
    return with_settings(
        app,
        SETTLE_TIME=timedelta(0),
        POLL_INTERVAL=timedelta(seconds=1),
        FINETUNE_COMPUTE="gpu-recover",
        PREPROCESS_COMPUTE="cpu-recover",
        MAX_ACTIVE_JOBS=1000,
        MAX_JOBS_PER_DAY=1000,
    )


@pytest.fixture
def folder(app: App) -> Iterator[str]:
    """A dataset of the test's own; in the end nothing of it takes quota from others."""
    name = f"lost-{uuid4().hex[:8]}"
    yield name
    for job in app.cloud.jobs.active():
        if job.tags.get("droptune.dataset") == name:
            app.cloud.jobs.cancel(job.name)
    for endpoint in app.cloud.endpoints.list():
        if endpoint.tags.get("droptune.dataset") == name:
            app.cloud.endpoints.delete(endpoint.name)
    forget(app)


@pytest.fixture(autouse=True)
def pretended(cloud: Stack) -> Iterator[None]:
    """Jobs and deployments pretend, and are done at once unless a test says otherwise."""
    cloud.control("POST", "/_local/pretend", {"jobs": {}, "deployments": {}})
    yield
    cloud.control("DELETE", "/_local/pretend")


def pretend(cloud: Stack, **rules: Any) -> None:
    cloud.control("DELETE", "/_local/pretend")
    cloud.control("POST", "/_local/pretend", {"jobs": {}, "deployments": {}} | rules)


def lose(app: App, *records: Run | Line) -> None:
    """As if somebody had emptied the container."""
    for record in records:
        kinds = ("runs", "active") if isinstance(record, Run) else ("lines", "standing")
        app.cloud.blobs.delete(STATE, f"{kinds[0]}/{record.id}.json")
        app.cloud.blobs.delete(STATE, f"{kinds[1]}/{record.id}")


def of(found: Recovered, key: str) -> list[str]:
    """What is said of that run or line: other tests have left something too."""
    return [each for each in (*found.rebuilt, *found.told) if key in each]


def jobs(cloud: Stack, run: Run) -> int:
    ledger = cloud.control("GET", "/_local/ledger")
    return sum(1 for e in ledger if e.get("kind") == "jobs" and e["method"] == "PUT" and e["name"].startswith(run.id))


def live(app: App, run: Run) -> Run:
    return driven(app, run, lambda now: now.phase is Phase.LIVE)


def submitted(app: App, folder: str, data: bytes = b"") -> Run:
    return driven(app, received(app, folder, data), lambda now: now.phase is Phase.TRAINING)


def test_what_serves_is_known_again(quick: App, folder: str) -> None:
    run = live(quick, received(quick, folder))
    line = line_of(quick, run)
    lose(quick, run, line)
    said = recover(quick)
    assert len(of(said, f"run {run.id}")) == 1
    found, back = run_of(quick, run.id), line_of(quick, run)
    assert (found.phase, found.attempt.model) == (Phase.LIVE, run.attempt.model)
    assert found.deployed.endpoint == run.deployed.endpoint
    assert (found.source, found.attempt.fingerprint, found.order) == (run.source, run.attempt.fingerprint, run.order)
    assert line.serving
    assert back.serving == back.latest == replace(line.serving, since=back.serving.since if back.serving else run.since)
    assert (back.folder, back.base_model, back.endpoint) == (line.folder, line.base_model, line.endpoint)
    assert line.id in quick.lines.standing()
    assert not of(recover(quick), f"run {run.id}"), "it may be asked for again"
    assert run_of(quick, run.id) == found

    loaded = quick.lines.load(line.id)
    assert loaded
    pinned = replace(back, pinned_by="ada")
    quick.lines.save(pinned, loaded.etag)
    lose(quick, run)
    recover(quick)
    assert line_of(quick, run) == pinned, "a record that is there is not written over"
    assert run_of(quick, run.id).phase is Phase.LIVE
    lose(quick, line)
    found = run_of(quick, run.id)
    recover(quick)
    assert line_of(quick, run).serving
    assert run_of(quick, run.id) == found


def test_what_went_live_is_not_trained_again(quick: App, folder: str, cloud: Stack) -> None:
    run = live(quick, received(quick, folder))
    note = f"trained/{run.line}/{run.attempt.fingerprint}.json"
    kept, _ = quick.cloud.blobs.read(STATE, note)
    lose(quick, run, line_of(quick, run))
    quick.cloud.blobs.delete(STATE, note)
    assert any("not trained again" in each for each in of(recover(quick), f"run {run.id}"))
    same = driven(quick, received(quick, folder), lambda now: now.phase.ended)
    assert same.id != run.id
    assert same.phase is Phase.UNCHANGED
    assert f"run {run.id} made {run.attempt.model} of the same data" in same.why
    assert jobs(cloud, same) == 0

    quick.cloud.blobs.delete(STATE, note)
    recover(quick)
    assert quick.cloud.blobs.read(STATE, note)[0] == kept, "its record was there, and that was not"
    other = kept.replace(run.id.encode(), b"another")
    quick.cloud.blobs.write(STATE, note, other)
    assert not of(recover(quick), f"run {run.id}")
    assert quick.cloud.blobs.read(STATE, note)[0] == other, "what is remembered is not written over"


def test_what_went_live_and_was_torn_down_is_not_trained_again(quick: App, folder: str) -> None:
    run = live(quick, received(quick, folder))
    quick.cloud.endpoints.set_traffic(run.deployed.endpoint, {})
    eventually(lambda: (found := quick.cloud.endpoints.get(run.deployed.endpoint)) and found.state == "Succeeded")
    quick.cloud.endpoints.remove_deployment(run.deployed.endpoint, run.deployed.name)
    eventually(lambda: quick.cloud.endpoints.deployments(run.deployed.endpoint) == [])
    lose(quick, run)
    quick.cloud.blobs.delete(STATE, f"trained/{run.line}/{run.attempt.fingerprint}.json")
    recover(quick)
    found = run_of(quick, run.id)
    assert (found.phase, found.attempt.model) == (Phase.LIVE, run.attempt.model)
    assert found.attempt.fingerprint == run.attempt.fingerprint
    assert driven(quick, received(quick, folder), lambda now: now.phase.ended).phase is Phase.UNCHANGED


def test_a_run_goes_on_from_its_job_and_trains_once(quick: App, folder: str, cloud: Stack) -> None:
    pretend(cloud, jobs={"seconds": HOUR})
    run = submitted(quick, folder)
    lose(quick, run, line_of(quick, run))
    recover(quick)
    found = run_of(quick, run.id)
    assert (found.phase, found.attempt.job, found.prepared) == (Phase.TRAINING, run.attempt.job, run.prepared)
    assert found.source.address == run.source.address
    assert run.id in set(quick.runs.active())
    cloud.control("POST", f"/_local/jobs/{run.attempt.job}", {"status": "Completed"})
    lose(quick, run)
    recover(quick)
    assert run_of(quick, run.id).phase is Phase.TRAINING
    ended = live(quick, run)
    assert "made again" in ended.history[0].what
    assert jobs(cloud, run) == 1


def test_a_run_whose_job_runs_has_a_slot_whatever_the_limits_say(quick: App, folder: str, cloud: Stack) -> None:
    pretend(cloud, jobs={"seconds": HOUR})
    run = submitted(quick, folder)
    full = with_settings(quick, MAX_ACTIVE_JOBS=0)
    lose(quick, run)
    slots.free(quick, run.id)  # as the sweep does where there is no record
    recover(full)
    assert slots.look(full, run.id).granted
    slots.free(quick, run.id)
    recover(full)
    assert slots.look(full, run.id).granted, "it died between the record and the slot"


def test_a_run_goes_on_from_its_deployment(quick: App, folder: str, cloud: Stack) -> None:
    pretend(cloud, deployments={"seconds": HOUR})
    run = driven(quick, received(quick, folder), lambda now: now.phase is Phase.DEPLOYING)
    lose(quick, run, line_of(quick, run))
    recover(quick)
    found = run_of(quick, run.id)
    assert (found.phase, found.deployed.name) == (Phase.DEPLOYING, run.deployed.name)
    assert found.attempt.model == run.attempt.model
    assert line_of(quick, run).rollout == run.id
    cloud.control("POST", "/_local/clock", {"advance": HOUR})
    assert live(quick, run).deployed.name == run.deployed.name
    assert line_of(quick, run).rollout == ""


def test_what_stands_beside_what_serves_asks_before_it_serves(quick: App, folder: str, cloud: Stack) -> None:
    old = live(quick, received(quick, folder))
    pretend(cloud, deployments={"seconds": HOUR})
    new = driven(quick, received(quick, folder, chats(21)), lambda now: now.phase is Phase.DEPLOYING)
    lose(quick, old, new, line_of(quick, old))
    said = recover(quick)
    line = line_of(quick, old)
    assert line.serving
    assert (line.serving.run, line.rollout) == (old.id, new.id)
    assert any("droptune approve" in each for each in of(said, new.id))
    cloud.control("POST", "/_local/clock", {"advance": HOUR})
    driven(quick, new, lambda now: now.hold == "approval")
    run_commands.approve(quick, new.id, by="ada")
    live(quick, new)


def test_what_served_before_keeps_its_grace_and_then_goes(quick: App, folder: str) -> None:
    old = live(quick, received(quick, folder))
    new = live(quick, received(quick, folder, chats(21)))
    lose(quick, old, new, line_of(quick, old))
    recover(quick)
    line = line_of(quick, new)
    assert line.serving
    assert line.serving.run == new.id
    assert [each.deployment for each in line.retiring] == [old.deployed.name]
    assert line.wake
    assert (run_of(quick, old.id).phase, run_of(quick, new.id).phase) == (Phase.LIVE, Phase.LIVE)


def test_a_model_that_nothing_serves_waits_for_a_person(quick: App, folder: str) -> None:
    old = live(quick, received(quick, folder))
    line_commands.pin(quick, old.line)
    run = driven(quick, received(quick, folder, chats(21)), lambda now: now.hold == "pin")
    lose(quick, old, run, line_of(quick, run))
    recover(quick)
    found = run_of(quick, run.id)
    assert found.phase is Phase.CANCELLED
    assert "droptune retry" in found.why
    run_commands.retry(quick, run.id)
    assert live(quick, run).attempt.model == run.attempt.model


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
def test_a_job_that_failed_makes_a_run_that_failed(quick: App, folder: str, cloud: Stack, status: str) -> None:
    pretend(cloud, jobs={"seconds": HOUR})
    run = submitted(quick, folder)
    cloud.control("POST", f"/_local/jobs/{run.attempt.job}", {"status": status})
    lose(quick, run)
    recover(quick)
    found = run_of(quick, run.id)
    assert found.phase is Phase.FAILED
    assert f"its job ended as {status}" in found.why


def test_of_two_the_older_is_superseded(quick: App, folder: str, cloud: Stack) -> None:
    pretend(cloud, jobs={"seconds": HOUR})
    old = submitted(quick, folder)
    cloud.control("POST", f"/_local/jobs/{old.attempt.job}", {"status": "Completed"})
    new = submitted(quick, folder, chats(21))
    lose(quick, old, new, line_of(quick, old))
    recover(quick)
    assert run_of(quick, old.id).phase is Phase.SUPERSEDED
    assert new.id in run_of(quick, old.id).why
    assert run_of(quick, new.id).phase is Phase.TRAINING


def test_a_run_that_lost_its_marker_is_found_by_the_sweep_again(quick: App, folder: str, cloud: Stack) -> None:
    pretend(cloud, jobs={"seconds": HOUR})
    run = submitted(quick, folder)
    quick.cloud.blobs.delete(STATE, f"active/{run.id}")
    recover(quick)
    assert run.id in set(quick.runs.active())
    assert run_of(quick, run.id) == run


def test_what_can_not_be_made_again_is_told(quick: App, folder: str) -> None:
    run = received(quick, folder)
    lose(quick, run)
    tags = {"droptune.line": f"l{folder}", "droptune.installation": quick.settings.storage.installation}
    quick.cloud.endpoints.create(folder, tags=tags)
    eventually(lambda: (found := quick.cloud.endpoints.get(folder)) and found.state == "Succeeded")
    said = of(recover(quick), folder)
    assert any("train.jsonl has no run: upload it again" in each for each in said)
    assert any(f"endpoint {folder} is of line l{folder}, whose record is lost" in each for each in said)
    assert quick.runs.load(run.id) is None, "nothing is trained on a doubt"
    assert quick.lines.load(f"l{folder}") is None


def test_what_a_newer_app_wrote_is_told_and_left_as_it_is(quick: App, folder: str, cloud: Stack) -> None:
    pretend(cloud, deployments={"seconds": HOUR})
    run = driven(quick, received(quick, folder), lambda now: now.phase is Phase.DEPLOYING)
    line, newer = line_of(quick, run), VERSION + 1
    records: dict[str, Run | Line] = {f"runs/{run.id}.json": run, f"lines/{line.id}.json": line}
    written = {name: msgspec.json.encode(replace(record, version=newer)) for name, record in records.items()}
    for name, data in written.items():
        quick.cloud.blobs.write(STATE, name, data)
    said = recover(quick)
    for record in (run, line):
        assert not [each for each in said.rebuilt if record.id in each]
        assert any(f"{record.id}.json can't be read: it is of version {newer}" in each for each in said.told)
    assert {name: quick.cloud.blobs.read(STATE, name)[0] for name in written} == written
    lose(quick, run, line)
