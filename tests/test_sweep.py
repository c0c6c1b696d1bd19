"""The safety net: uploads whose event was lost or became a dead letter, runs whose timer was lost, what it costs."""

import json
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared import naming
from shared.app import App
from shared.counters import ignored_so_far
from shared.lifecycle.phase import ENDED, Phase
from shared.records.base import Notice, Wake
from shared.records.layout import DATASETS, DEAD_LETTERS, STATE, WATERMARK
from shared.records.run import File, Run
from shared.run import slots
from shared.sweep import Watermark, sweep
from tests.kit.clouds import forget
from tests.kit.jobs import submitted
from tests.kit.rows import ROW
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually


@pytest.fixture
def app(app: App) -> Iterator[App]:
    """One that lists the datasets at each sweep, over a cloud in which nothing else is active."""
    forget(app)
    for queue in ("run-steps", "prepare"):
        app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()
    yield with_settings(app, UPLOADS_SWEEP=timedelta(0))
    forget(app)


def a_run(app: App, folder: str, phase: Phase, late: timedelta | None = None, **changes: Any) -> Run:
    """A run that came to its phase a while ago, whose timer should have come `late` ago; None: it has none."""
    now = app.cloud.blobs.now()
    run = Run(
        id=f"r{uuid4().hex[:15]}",
        folder=folder,
        line="l1",
        base_model="Phi-4",
        uploaded=now,
        since=now - timedelta(minutes=10),
        phase=phase,
        wake=None if late is None else Wake(token="t", due=now - late),
        train=File(name=f"{folder}/train.jsonl", etag="0x1"),
    )
    run = replace(run, **changes)
    app.runs.create(run)
    return run


def woken(app: App) -> list[str]:
    """Runs named by the messages that wait in the queue `run-steps`, which are taken out of it."""
    queue = app.cloud.clients.queue_service.get_queue_client("run-steps")
    found = [json.loads(b64decode(message.content))["run"] for message in queue.peek_messages(32)]
    queue.clear_messages()
    return found


def reviewed(app: App, ago: timedelta) -> None:
    """Has the last review of those who wait for people be so long ago."""
    now = app.cloud.blobs.now()
    mark = Watermark(installed=now, swept=now, reviewed=now - ago)
    app.cloud.blobs.write(STATE, WATERMARK, msgspec.json.encode(mark))


def runs_of(app: App, folder: str) -> list[Run]:
    return [run for run in app.runs.recent(100) if run.folder == folder]


def test_an_upload_whose_event_was_lost_is_found(app: App, folder: str) -> None:
    sweep(app)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(app)
    assert [run.phase for run in runs_of(app, folder)] == [Phase.RECEIVED]


def test_the_datasets_are_listed_only_so_often(app: App, folder: str) -> None:
    sweep(app)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(with_settings(app, UPLOADS_SWEEP=timedelta(hours=1)))
    assert runs_of(app, folder) == []
    sweep(app)
    assert runs_of(app, folder)


def test_what_was_there_before_the_installation_is_left_alone(app: App, folder: str) -> None:
    app.cloud.blobs.delete(STATE, WATERMARK)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    written = app.cloud.blobs.head(DATASETS, f"{folder}/train.jsonl")
    assert written
    eventually(lambda: app.cloud.blobs.now() > written.last_modified + timedelta(seconds=1))
    sweep(app)
    sweep(app)
    assert [run for run in app.runs.recent(100) if run.folder == folder] == []


def test_an_overdue_run_is_woken_and_one_in_time_is_not(app: App, folder: str) -> None:
    overdue = a_run(app, folder, Phase.DEPLOYING, timedelta(minutes=5))
    in_time = a_run(app, folder, Phase.DEPLOYING, timedelta(seconds=5))
    sweep(app)
    found = woken(app)
    assert overdue.id in found
    assert in_time.id not in found


def test_where_many_messages_wait_none_is_added_and_nothing_is_lost(app: App, folder: str) -> None:
    """Hosts are behind: whoever is overdue has a message there, and each tick would find more of them overdue."""
    late = a_run(app, folder, Phase.DEPLOYING, timedelta(minutes=5))
    new = a_run(app, folder, Phase.RECEIVED, timedelta(minutes=5))
    queue = app.cloud.clients.queue_service.get_queue_client("run-steps")
    for _ in range(32):
        app.cloud.queues.send("run-steps", {"run": "another", "token": None})
    sweep(app)
    assert queue.get_queue_properties().approximate_message_count == 32
    prepare = app.cloud.clients.queue_service.get_queue_client("prepare")
    assert [json.loads(b64decode(each.content))["run"] for each in prepare.receive_messages()] == [new.id]
    queue.delete_message(next(queue.receive_messages()))
    sweep(app)
    assert late.id in woken(app), "hosts have caught up"


def test_a_job_is_looked_at_each_time_for_its_event_may_be_lost(app: App, folder: str) -> None:
    run = a_run(app, folder, Phase.TRAINING)
    for _ in range(2):
        sweep(app)
        assert woken(app) == [run.id]


def test_who_waits_for_a_person_is_left_alone_but_for_a_review_once_an_hour(app: App, folder: str) -> None:
    waiting = {
        a_run(app, folder, Phase.CHECKING, held="approval").id,
        a_run(app, folder, Phase.REGISTERED, held="pin").id,
    }
    reviewed(app, timedelta(minutes=59))
    sweep(app)
    assert woken(app) == []
    reviewed(app, timedelta(minutes=61))
    sweep(app)
    assert set(woken(app)) == waiting
    sweep(app)
    assert woken(app) == []


def test_what_is_still_to_be_told_of_a_run_is_not_left_to_the_review(app: App, folder: str) -> None:
    """The topic was down when it began to wait for a person."""
    reviewed(app, timedelta(minutes=5))
    notice = Notice(id="n", type="Droptune.Run.ApprovalNeeded", at=app.cloud.blobs.now())
    run = a_run(app, folder, Phase.CHECKING, held="approval", untold=(notice,))
    sweep(app)
    assert woken(app) == [run.id]


def test_a_person_s_answer_is_not_lost_with_its_message(app: App, folder: str) -> None:
    approved = a_run(app, folder, Phase.CHECKING, held="approval", approved="me")
    cancelled = a_run(app, folder, Phase.REGISTERED, held="pin", ending=Phase.CANCELLED)
    reviewed(app, timedelta(0))
    sweep(app)
    assert set(woken(app)) == {approved.id, cancelled.id}


def test_of_those_who_wait_for_a_slot_it_wakes_whose_turn_it_is(app: App, folder: str) -> None:
    one = with_settings(app, MAX_ACTIVE_JOBS=1)
    reviewed(one, timedelta(0))
    holder = a_run(one, folder, Phase.PREPARED, -timedelta(hours=1))
    assert slots.take(one, holder.id).held
    first, second = (a_run(one, folder, Phase.PREPARED, held="slot") for _ in range(2))
    for run in (first, second):
        assert not slots.take(one, run.id).held
    sweep(one)
    assert woken(one) == []
    loaded = one.runs.load(holder.id)
    assert loaded
    one.runs.save(replace(loaded.record, phase=Phase.FAILED), loaded.etag)  # and dies before it gives its slot back
    one.runs.retire(holder.id)
    sweep(one)
    assert woken(one) == [first.id]


def test_a_job_that_no_run_waits_for_is_cancelled_by_the_hourly_review(app: App, folder: str, cloud: Stack) -> None:
    cloud.control("POST", "/_local/pretend", {"jobs": {"seconds": 3600}})
    ended, retried = a_run(app, folder, Phase.FAILED), a_run(app, folder, Phase.RECEIVED, attempt=2)
    training, broken, lost = a_run(app, folder, Phase.TRAINING), f"r{uuid4().hex[:15]}", f"r{uuid4().hex[:15]}"
    app.cloud.blobs.write(STATE, f"runs/{broken}.json", b"{")
    jobs = {run: submitted(app, run) for run in (ended.id, retried.id, training.id, broken, lost)}

    def running() -> set[str]:
        views = {run: app.cloud.jobs.get(job) for run, job in jobs.items()}
        return {run for run, view in views.items() if view and view.status not in (*ENDED, "CancelRequested")}

    try:
        reviewed(app, timedelta(minutes=59))
        sweep(app)
        assert running() == set(jobs), "the jobs are not looked through at each tick"
        reviewed(app, timedelta(minutes=61))
        sweep(app)
        assert running() == {training.id, broken, lost}, "what is left of a run that is lost is for `recover`"
        reviewed(app, timedelta(minutes=61))
        submitted_by = app.cloud.blobs.now()
        eventually(lambda: app.cloud.blobs.now() - submitted_by > timedelta(seconds=1))  # the sweep drops fractions
        sweep(with_settings(app, MAX_TRAINING_HOURS=0))
        assert running() == {training.id, broken}, "but no longer than a run may train"
    finally:
        for job in jobs.values():
            app.cloud.jobs.cancel(job)
        cloud.control("DELETE", "/_local/pretend")


def a_letter(app: App, *events: object, name: str = "") -> str:
    """Puts a dead letter where Event Grid puts them."""
    name = name or f"storage/DATASETS/2026/11/22/17/{uuid4()}.json"
    app.cloud.blobs.write(DEAD_LETTERS, name, json.dumps(events).encode())
    return name


def created(folder: str) -> dict[str, Any]:
    path = f"{folder}/train.jsonl"
    return {
        "id": uuid4().hex,
        "eventType": "Microsoft.Storage.BlobCreated",
        "subject": f"/blobServices/default/containers/{DATASETS}/blobs/{path}",
        "data": {"api": "PutBlob", "url": f"https://a.blob.core.windows.net/{DATASETS}/{path}", "contentLength": 9},
        "deadLetterReason": "MaxDeliveryAttemptsExceeded",
    }


def finished(run: Run) -> dict[str, Any]:
    return {
        "id": uuid4().hex,
        "type": "Microsoft.MachineLearningServices.RunCompleted",
        "specversion": "1.0",
        "source": "/workspace",
        "subject": "experiments/e/runs/r",
        "data": {"runId": naming.job_name(run.id, 1), "runType": "azureml.PipelineRun"},
        "deadletterreason": "MaxDeliveryAttemptsExceeded",
    }


def test_what_event_grid_could_not_deliver_is_done_from_its_dead_letters(app: App, folder: str) -> None:
    once = with_settings(app, UPLOADS_SWEEP=timedelta(days=1))
    sweep(once)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    run = a_run(app, folder + "-2", Phase.PREPARED, -timedelta(hours=1))
    letters = [a_letter(app, created(folder)), a_letter(app, finished(run))]
    sweep(once)
    assert [run.phase for run in runs_of(app, folder)] == [Phase.RECEIVED]
    assert woken(app) == [run.id]
    assert not [letter for letter in letters if app.cloud.blobs.head(DEAD_LETTERS, letter)]


@pytest.mark.parametrize("event", [{"type": "Droptune.Run.Failed"}, {"eventType": "Microsoft.Storage.BlobCreated"}, 7])
def test_a_dead_letter_that_can_t_be_read_is_kept_and_counted_once_and_holds_no_other_up(
    app: App, folder: str, event: object
) -> None:
    sweep(app)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    once = with_settings(app, UPLOADS_SWEEP=timedelta(days=1))
    letter = a_letter(app, event, created(folder))
    before = ignored_so_far["dead_letter"]
    for _ in range(2):
        sweep(once)
    assert runs_of(app, folder)
    assert ignored_so_far["dead_letter"] == before + 1
    assert json.loads(app.cloud.blobs.read(STATE, f"poison/{DEAD_LETTERS}/{letter}")[0])[0] == event
    assert app.cloud.blobs.head(DEAD_LETTERS, letter) is None


@pytest.mark.thorough
def test_it_costs_what_is_active_however_much_has_ended(app: App, folder: str) -> None:
    rarely = with_settings(app, UPLOADS_SWEEP=timedelta(days=1))
    for _ in range(20):
        a_run(app, folder, Phase.TRAINING)
    sweep(rarely)
    woken(app)  # with more of them waiting it would not add any
    with requests_of(app) as before:
        sweep(rarely)
    woken(app)
    now = app.cloud.blobs.now()

    def finish(number: int) -> None:
        if number < 60:
            app.cloud.blobs.write(DATASETS, f"{folder}-{number}/train.jsonl", ROW)
            a_run(app, folder, Phase.LIVE, since=now + number * timedelta(minutes=1))  # the newest of all on the page
        else:  # without what a page shows, which takes more writes
            app.cloud.blobs.write(STATE, f"runs/r{uuid4().hex[:15]}.json", b"{}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(finish, range(300)))
    with requests_of(app) as after:
        sweep(rarely)
    assert before.requests >= 40, "a look at each run and a message for each"
    assert after.requests == before.requests
    assert after.bytes == pytest.approx(before.bytes, rel=0.01)
    assert len(app.runs.recent(50)) == 20 + 50
    with requests_of(app) as page:
        app.runs.recent(50)
    assert page.requests == 2 + 20 + 50
