"""What crosses a run's way: uploads of the same second, crashes and people between two of its steps.

On records in real storage, step by step; tests/rollouts and tests/chaos drive whole ways.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from itertools import chain, repeat
from typing import Any

import pytest

from localcloud.stack import Stack
from shared import naming
from shared.api import run_commands
from shared.app import App
from shared.intake.arrivals import look_into
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import RolloutSeen
from shared.line.access import held_by
from shared.messages import park
from shared.records.base import Order, Wake
from shared.records.layout import DATASETS
from shared.records.line import Empty, Line, Newest, Retiring, Serving, Standing, TearingDown
from shared.records.run import Data, Deployed, Ending, Restores, Run, Source
from shared.run import slots, turn
from shared.run.actions import ACTIONS
from shared.run.ending import release
from shared.run.loop import advance
from shared.run.observe import OBSERVE
from shared.run.slots import free_slot
from shared.serving.gate import Promotion
from tests.kit.loop import driven
from tests.kit.records import changed, etag_of, events_of, line_of, run_of, woken
from tests.kit.rows import chats
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually


def a_run(app: App, key: str, phase: Phase, **changes: Any) -> Run:
    now = app.cloud.blobs.now()
    order, source = Order(uploaded=now), Source(folder=f"faq-{key}", base_model="Phi-4")
    run = Run(id=f"r{key}", line=f"l{key}", order=order, source=source, phase=phase, since=now)
    run = changed(run, **changes)
    assert app.runs.create(run)
    return run


def a_line(app: App, key: str, **changes: Any) -> Line:
    line = Line(id=f"l{key}", folder=f"faq-{key}", base_model="Phi-4", endpoint=f"faq-{key}")
    if "serving" in changes:
        line = replace(line, state=Standing())
    line = replace(line, **changes)
    assert app.lines.create(line)
    return line


def serving(app: App, run: str, model: str) -> Serving:
    now = app.cloud.blobs.now()
    return Serving(run=run, deployment=f"{run}-1", model=model, fingerprint="f", since=now, order=Order(uploaded=now))


def test_runs_of_a_line_and_of_the_same_moment_leave_each_other_alone(app: App, key: str) -> None:
    """As of a file that is replaced by another within the second by which storage tells times."""
    names = {"FINETUNE_COMPUTE": f"g{key}", "PREPROCESS_COMPUTE": f"c{key}"}
    busy, folder = with_settings(app, SETTLE_TIME=timedelta(0), MAX_ACTIVE_JOBS=0, **names), f"faq-{key}"
    taken, at = [], app.cloud.blobs.now()
    try:
        for name in ("one", "other"):
            app.cloud.blobs.write(DATASETS, f"{folder}/{name}.jsonl", chats(20 + len(name)))
            look_into(busy, folder)
            [run_id] = datasets_of(read_folder(busy, folder))
            app.runs.save(replace(run_of(app, run_id), order=Order(uploaded=at)), etag_of(app, run_id))
            taken.append(driven(busy, run_of(app, run_id), lambda r: r.hold == "slot"))
            app.cloud.blobs.delete(DATASETS, f"{folder}/{name}.jsonl")
        one, two = taken
        assert one.order == two.order
        before = (woken(app, one), woken(app, two))
        for run in (one, two):
            advance(busy, run.id, None)
        assert (woken(app, one), woken(app, two)) == before
        assert run_of(busy, one.id).hold == run_of(busy, two.id).hold == "slot"
    finally:
        for run in taken:
            slots.free(app, run.id)
            app.cloud.blobs.delete("state", f"active/{run.id}")


def test_a_deployment_that_is_taken_again_is_not_lost_by_a_crash(app: App, key: str) -> None:
    """It dies after the line was saved and before the run was: what serves again must not be forgotten, nor doubled."""
    now = app.cloud.blobs.now()
    restores = Restores(run="r1", instead_of="r2", rollback=True)
    run = a_run(app, key, Phase.REGISTERED, restores=restores, model="m:1", data=Data(fingerprint="f"))
    old = Retiring(deployment="r1-1", model="m:1", until=now + timedelta(minutes=5))
    other = Retiring(deployment="r0-1", model="m:0", until=now + timedelta(minutes=5))
    a_line(app, key, retiring=(old, other), serving=serving(app, "r2", "m:2"))
    ACTIONS[Action.DEPLOY_MODEL](app, run)
    redone = ACTIONS[Action.DEPLOY_MODEL](app, run)
    assert redone.deployed.name == "r1-1"
    ACTIONS[Action.START_SERVING](app, redone)
    assert [each.deployment for each in line_of(app, f"l{key}").retiring] == ["r0-1", "r2-1"]
    app.cloud.blobs.delete("state", f"active/{run.id}")


@pytest.mark.parametrize(("phase", "told"), [(Phase.TRAINING, "the job"), (Phase.DEPLOYING, "the deployment")])
def test_an_end_waits_until_what_was_just_made_can_be_seen(app: App, key: str, phase: Phase, told: str) -> None:
    """Azure answers 404 for what it has just made: it would stay, and cost money, if that were believed."""
    name = naming.job_name(f"r{key}", 1)
    deployed, ending = Deployed(endpoint=f"faq-{key}", name=name), Ending(phase=Phase.CANCELLED, why="by ann")
    run = a_run(app, key, phase, job=name, deployed=deployed, ending=ending)
    a_line(app, key, rollout=run.id)
    advance(app, run.id, None)
    waiting = run_of(app, run.id)
    assert waiting.phase is phase
    assert waiting.waiting
    assert told in waiting.waiting.why
    assert waiting.wake
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(replace(waiting, since=run.since - timedelta(minutes=6)), loaded.etag)
    advance(app, run.id, None)
    assert run_of(app, run.id).phase is Phase.CANCELLED


def test_a_cancellation_during_long_work_is_in_the_history(app: App, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim's renewal meets it first, then the work's outcome is saved over it."""
    monkeypatch.setattr(turn, "RENEWED", timedelta(milliseconds=50))
    settled = with_settings(app, SETTLE_TIME=timedelta(0))
    app.cloud.blobs.write(DATASETS, f"faq-{key}/train.jsonl", chats(20))
    look_into(settled, f"faq-{key}")
    (run_id,) = datasets_of(read_folder(app, f"faq-{key}"))
    prepare = ACTIONS[Action.PREPARE_DATA]

    def long(app: App, run: Run) -> Run:
        run_commands.cancel(app, run.id, by="ann")
        cancelled = run_of(app, run.id).claim
        eventually(lambda: run_of(app, run.id).claim != cancelled)
        return prepare(app, run)

    monkeypatch.setitem(ACTIONS, Action.PREPARE_DATA, long)
    advance(settled, run_id, None)
    ended = run_of(app, run_id)
    assert ended.phase is Phase.CANCELLED
    told = [each.what for each in ended.history]
    assert told[-3:] == ["cancelled by ann", Action.PREPARE_DATA.done, "cancelled by ann"]


def test_a_poisoned_message_parks_its_run_although_somebody_changes_that_meanwhile(
    app: App, cloud: Stack, key: str
) -> None:
    """Nobody gets that message again: a run that was not parked would be where nobody looks."""
    run = a_run(app, key, Phase.CHECKING)
    slow = {"service": "blob", "method": "PUT", "path": f"/{run.id}.json$", "moment": "delay", "delay": 3}
    cloud.control("POST", "/_local/faults", slow)
    body = json.dumps({"run": run.id, "token": None}).encode()
    worker = threading.Thread(target=park, args=(app, "run-steps", key, body))
    worker.start()
    try:
        eventually(lambda: cloud.control("GET", "/_local/faults")[0]["taken"])  # from here on it is on its way
        loaded = app.runs.load(run.id)
        assert loaded
        app.runs.save(changed(loaded.record, model="somebody:1"), loaded.etag)
    finally:
        worker.join()
        cloud.control("DELETE", "/_local/faults")
    after = run_of(app, run.id)
    assert after.parked
    assert f"poison/run-steps/{key}" in after.parked.why
    assert after.attempt.model == "somebody:1"
    assert [event["type"] for event in events_of(cloud, run)] == ["Droptune.Run.Parked"]
    app.cloud.blobs.delete("state", f"active/{run.id}")


def test_a_pin_does_not_stop_a_rollout_that_has_begun(app: App, key: str) -> None:
    """It holds the line's place: were it to wait for the pin, no rollback could begin, and what retires would stay."""
    run = a_run(app, key, Phase.REGISTERED, model="m:2")
    line = a_line(app, key, pinned_by="ann", serving=serving(app, "r1", "m:1"))
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, RolloutSeen)
    assert seen.pinned_by == "ann"
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(line, rollout=run.id), loaded.etag)
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, RolloutSeen)
    assert seen.pinned_by == ""
    app.cloud.blobs.delete("state", f"active/{run.id}")


def test_a_pin_keeps_nothing_where_nothing_serves(app: App, key: str) -> None:
    """What it was pinned to was torn down: new versions would wait for ever."""
    run = a_run(app, key, Phase.REGISTERED, model="m:2")
    a_line(app, key, pinned_by="ann", state=Empty(since=app.cloud.blobs.now()))
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, RolloutSeen)
    assert seen.pinned_by == ""
    app.cloud.blobs.delete("state", f"active/{run.id}")


def test_a_rollback_without_spare_instances_that_fails_brings_back_what_it_took_away(app: App, key: str) -> None:
    promotion = Promotion(strategy="replace")
    restores = Restores(run="r1", instead_of="r2", rollback=True)
    ending = Ending(phase=Phase.FAILED, why="no instances")
    run = a_run(app, key, Phase.REGISTERED, restores=restores, model="m:1", promotion=promotion, ending=ending)
    bad = serving(app, "r2", "m:2")
    a_line(app, key, rollout=run.id, latest=bad, displaced=bad)
    assert release(app, run) == ""
    back = [
        each
        for each in app.runs.active()
        if (found := run_of(app, each)).line == run.line and each != run.id and found.attempt.model == "m:2"
    ]
    assert len(back) == 1
    assert line_of(app, f"l{key}").rollout == back[0], "nothing that waited comes between"
    # Its own failure brings nothing back: the same model would go round in circles.
    again = run_of(app, back[0])
    assert release(app, replace(again, ending=ending)) == ""
    assert [each for each in app.runs.active() if run_of(app, each).line == run.line] == sorted([run.id, again.id])
    for each in (run, again):
        app.cloud.blobs.delete("state", f"active/{each.id}")


def test_a_timer_that_came_is_over_although_the_clock_goes_back(
    app: App, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage service has many clocks: were the old timer taken for a live one, only the sweep would help."""
    now = app.cloud.blobs.now()
    run = a_run(app, key, Phase.REGISTERED, model="m:1", wake=Wake(token="old", due=now))
    a_line(app, key, state=TearingDown(whole=False))
    clocks = chain([now], repeat(now - timedelta(seconds=2)))
    monkeypatch.setattr(type(app.cloud.blobs), "now", lambda _: next(clocks))
    advance(app, run.id, "old")
    timer = run_of(app, run.id).wake
    assert timer
    assert timer.token != "old"
    app.cloud.blobs.delete("state", f"active/{run.id}")


@pytest.mark.parametrize(("phase", "times"), [(Phase.TRAINING, 1), (Phase.FAILED, 0)])
def test_who_is_newest_wakes_the_one_before_if_there_is_anything_left_for_it_to_do(
    app: App, key: str, phase: Phase, times: int
) -> None:
    before = a_run(app, f"{key}b", phase)
    run = a_run(app, key, Phase.PREPARED)
    a_line(app, key, newest=Newest(run=before.id, order=Order(uploaded=run.order.uploaded - timedelta(hours=1))))
    ACTIONS[Action.BECOME_NEWEST](app, run)
    assert line_of(app, f"l{key}").newest == Newest(run=run.id, order=run.order)
    assert woken(app, before) == times
    for each in (before, run):
        app.cloud.blobs.delete("state", f"active/{each.id}")


def test_a_record_that_somebody_broke_stops_no_other_run(app: App, key: str) -> None:
    """It waits for a slot, and is the one that trains: who frees the slot, or comes after it, goes on all the same."""
    run = a_run(app, key, Phase.PREPARED)
    before = Newest(run=f"b{key}", order=Order(uploaded=run.order.uploaded - timedelta(hours=1)))
    line = a_line(app, key, newest=before, rollout=before.run)
    app.cloud.blobs.write("state", f"runs/{before.run}.json", b"{")
    slots.take(with_settings(app, MAX_ACTIVE_JOBS=0), before.run)
    free_slot(app, run)
    assert ACTIONS[Action.BECOME_NEWEST](app, run) == run
    newest = line_of(app, f"l{key}").newest
    assert newest
    assert newest.run == run.id
    assert "can't be read" in held_by(app, line, run), "what it has on the endpoint is not known"
    slots.free(app, before.run)
    for blob in (f"runs/{before.run}.json", f"active/{run.id}"):
        app.cloud.blobs.delete("state", blob)
