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
from shared.api import views
from shared.api.schema import RunList
from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.errors import Transient
from shared.lifecycle.action import Action
from shared.lifecycle.phase import ENDED, Hold, Phase
from shared.lifecycle.slots import TICK, Limits, Slots, place
from shared.line import seats
from shared.line.unreadable import unreadable
from shared.logs import ignored_so_far
from shared.records import layout
from shared.records.base import Notice, Order, Wake
from shared.records.layout import DATASETS, DEAD_LETTERS, LISTING, STATE, WATERMARK
from shared.records.run import Approval, Data, Deployed, Ending, File, Parked, Plan, Run, Source, Waiting
from shared.records.store import UNDER_WAY
from shared.run import slots
from shared.sweep import Watermark, sweep
from tests.kit.clouds import forget, later
from tests.kit.jobs import LINE, submitted
from tests.kit.own_runs import OwnRuns
from tests.kit.records import changed
from tests.kit.rows import ROW
from tests.kit.runs import recent
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


CHECKED = Deployed(endpoint="e", name="d")


def held(hold: Hold) -> Waiting:
    return Waiting(why="something", hold=hold)


def a_run(app: App, folder: str, phase: Phase, late: timedelta | None = None, **changes: Any) -> Run:
    """A run that came to its phase a while ago, whose timer should have come `late` ago; None: it has none."""
    now = app.cloud.blobs.now()
    run = Run(
        id=f"r{uuid4().hex[:15]}",
        line=LINE,
        installation=app.settings.storage.installation,
        order=Order(uploaded=now),
        source=Source(
            folder=folder, base_model="Phi-4", train=(File(name=f"{folder}/train.jsonl", etag="0x1", size=1),)
        ),
        since=now - timedelta(minutes=10),
        phase=phase,
        wake=None if late is None else Wake(token="t", due=now - late),
    )
    run = changed(run, **changes)
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
    return [run for run in recent(app, 100) if run.source.folder == folder]


def test_an_upload_whose_event_was_lost_is_found(app: App, folder: str) -> None:
    sweep(app)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(app)
    assert [run.phase for run in runs_of(app, folder)] == [Phase.RECEIVED]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"installed": "yesterday"}', b"\xff"])
def test_a_watermark_that_is_broken_is_made_anew_kept_and_told(app: App, cloud: Stack, data: bytes) -> None:
    before = len(told_of_records(cloud))
    app.cloud.blobs.write(STATE, WATERMARK, data)
    for _ in range(2):
        sweep(app)
    assert watermark(app).swept
    [event] = told_of_records(cloud)[before:]
    assert event["subject"] == "records/watermark.json"
    reason = event["data"]["reason"]
    assert "state/watermark.json could not be read, and was made anew at 20" in reason
    assert app.cloud.blobs.read(STATE, layout.damaged(WATERMARK))[0] == data
    assert reason in list(unreadable(app))
    assert reason in [need["what"] for need in json.loads(views.status(app)[1])["needs"]]
    app.cloud.blobs.delete(STATE, layout.damaged(WATERMARK))


def told_of_records(cloud: Stack) -> list[dict[str, Any]]:
    told = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
    return [each for each in told if each.get("type") == "Droptune.Record.Unreadable"]


def test_an_upload_that_yields_no_run_is_told(app: App, cloud: Stack, folder: str) -> None:
    quick = with_settings(app, SETTLE_TIME=timedelta(0))
    sweep(quick)
    app.cloud.blobs.write(DATASETS, f"{folder}/2026/train.jsonl", ROW)
    for _ in range(2):
        sweep(quick)
    told = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
    [reason] = [each["data"]["reason"] for each in told if each.get("subject") == f"datasets/{folder}"]
    assert reason.startswith(f"{folder}/2026/train.jsonl yields no run: it is not directly in the folder")


def test_the_datasets_are_listed_only_so_often(app: App, folder: str) -> None:
    sweep(app)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(with_settings(app, UPLOADS_SWEEP=timedelta(hours=1)))
    assert runs_of(app, folder) == []
    sweep(app)
    assert runs_of(app, folder)


def test_what_was_there_before_the_installation_is_left_alone(app: App, folder: str) -> None:
    app.cloud.blobs.delete(STATE, WATERMARK)
    app.cloud.blobs.delete(STATE, LISTING)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    written = app.cloud.blobs.head(DATASETS, f"{folder}/train.jsonl")
    assert written
    eventually(lambda: app.cloud.blobs.now() > written.last_modified + timedelta(seconds=1))
    sweep(app)
    sweep(app)
    assert runs_of(app, folder) == []


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
        a_run(app, folder, Phase.CHECKING, deployed=CHECKED, waiting=held("approval")).id,
        a_run(app, folder, Phase.REGISTERED, waiting=held("pin")).id,
    }
    reviewed(app, timedelta(minutes=59))
    sweep(app)
    assert woken(app) == []
    reviewed(app, timedelta(minutes=61))
    sweep(app)
    assert set(woken(app)) == waiting
    sweep(app)
    assert woken(app) == []


def test_what_is_still_to_be_sent_of_a_run_is_not_left_to_the_review(app: App, folder: str) -> None:
    """The topic was down when it began to wait for a person."""
    reviewed(app, timedelta(minutes=5))
    notice = Notice(id="n", type="Droptune.Run.ApprovalNeeded", at=app.cloud.blobs.now())
    run = a_run(app, folder, Phase.CHECKING, deployed=CHECKED, waiting=held("approval"), outbox=(notice,))
    sweep(app)
    assert woken(app) == [run.id]


def test_a_person_s_answer_is_not_lost_with_its_message(app: App, folder: str) -> None:
    by_me = replace(CHECKED, approval=Approval(by="me"))
    approved = a_run(app, folder, Phase.CHECKING, deployed=by_me, waiting=held("approval"))
    ending = Ending(phase=Phase.CANCELLED, why="cancelled by me")
    cancelled = a_run(app, folder, Phase.REGISTERED, waiting=held("pin"), ending=ending)
    reviewed(app, timedelta(0))
    sweep(app)
    assert set(woken(app)) == {approved.id, cancelled.id}


def test_who_waits_for_a_seat_with_a_model_is_looked_at_for_its_limit(app: App, folder: str) -> None:
    none = with_settings(app, MAX_LIVE_ENDPOINTS=0)
    waiting = {phase: a_run(none, folder, phase, waiting=held("seat")) for phase in (Phase.PREPARED, Phase.REGISTERED)}
    for run in waiting.values():
        assert not seats.take(none, run).granted
    reviewed(none, timedelta(minutes=59))
    sweep(none)
    assert woken(none) == []
    reviewed(none, timedelta(minutes=61))
    sweep(none)
    assert woken(none) == [waiting[Phase.REGISTERED].id]
    for run in waiting.values():
        seats.leave(none, run)


def test_of_those_who_wait_for_a_slot_it_wakes_whose_turn_it_is(app: App, folder: str) -> None:
    one = with_settings(app, MAX_ACTIVE_JOBS=1)
    reviewed(one, timedelta(0))
    holder = a_run(one, folder, Phase.PREPARED, -timedelta(hours=1))
    assert slots.take(one, holder.id).granted
    first, second = (a_run(one, folder, Phase.PREPARED, waiting=held("slot")) for _ in range(2))
    for run in (first, second):
        assert not slots.take(one, run.id).granted
    sweep(one)
    assert woken(one) == []
    loaded = one.runs.load(holder.id)
    assert loaded
    failed = replace(loaded.record, phase=Phase.FAILED)
    one.runs.save(failed, loaded.etag, before=loaded.record)  # and dies before it gives its slot back
    one.runs.retire(holder.id)
    sweep(one)
    assert woken(one) == [first.id]


def test_a_job_that_no_run_waits_for_is_cancelled_by_the_hourly_review(app: App, folder: str, cloud: Stack) -> None:
    cloud.control("POST", "/_local/pretend", {"jobs": {"seconds": 3600}})
    ended, retried = a_run(app, folder, Phase.FAILED), a_run(app, folder, Phase.RECEIVED, number=2)
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
    with requests_of(app) as page:
        marks, _ = app.runs.summaries(50)
    assert len(marks) == 20 + 50
    assert page.requests == 2


# With many that wait -------------------------------------------------------------------------------------------------

LIMITS = Limits(active=2, day=1000)


def open_runs(app: App, many: int) -> list[Run]:
    """Two runs that train, and others that wait for a slot, as the app has them once nothing happens any more."""
    now = app.cloud.blobs.now()
    holding = {f"r{number:04d}aaaaaaaaaaa": now - timedelta(hours=2) for number in range(2)}
    waiting = {f"r{number:04d}aaaaaaaaaaa": now - timedelta(hours=1) + number * TICK for number in range(2, many)}
    state = Slots(holding=holding, waiting=waiting, started=tuple(holding.values()))
    app.cloud.blobs.write(STATE, layout.SLOTS, msgspec.json.encode(state))
    found = []
    for number, key in enumerate([*holding, *waiting]):
        folder, since = f"faq-{number}", now - timedelta(hours=1)
        run = Run(
            id=key,
            line=f"l{number}",
            order=Order(uploaded=since),
            source=Source(
                folder=folder, base_model="Phi-4", train=(File(name=f"{folder}/train.jsonl", etag="0x1", size=99),)
            ),
            since=since,
        ).noted(since, f"received {folder}/train.jsonl")
        run = run.noted(since, Action.PREPARE_DATA.done).noted(since, "on to prepared", phase=Phase.PREPARED)
        run = run.noted(since, Action.RESOLVE_PLAN.done).noted(since, Action.TAKE_SLOT.done)
        plan = Plan(
            model_id="azureml://registries/azureml/models/Phi-4/versions/1",
            model_version="1",
            component_id="azureml://registries/azureml/components/chat_completion_finetune/versions/1",
            component_version="1",
            parameters={"num_train_epochs": 3},
            gpus=1,
        )
        run = run.in_attempt(data=Data(fingerprint=f"{number:016x}", rows={"train": 80, "test": 10}), plan=plan)
        if key in holding:
            run = run.noted(since, Action.SUBMIT_JOB.done, phase=Phase.TRAINING).in_attempt(job=naming.job_name(key, 1))
            run = replace(run, waiting=Waiting(why="the job to end"))
        else:
            run = replace(run, waiting=Waiting(why=place(state, key, LIMITS, now).why, hold="slot"))
        found.append(replace(run, outbox=()))
    return found


@pytest.mark.parametrize("many", [30, pytest.param(1000, marks=pytest.mark.thorough)])
def test_a_tick_and_the_page_cost_the_same_however_many_runs_are_open(app: App, many: int) -> None:
    app = with_settings(
        replace(app, runs=OwnRuns(app.cloud.blobs)),
        UPLOADS_SWEEP=timedelta(days=1),
        MAX_ACTIVE_JOBS=LIMITS.active,
        MAX_JOBS_PER_DAY=LIMITS.day,
    )
    working = open_runs(app, many)

    def write(run: Run) -> None:
        """As `create` does, which looks first whether there is one."""
        app.runs._mark(run)
        app.cloud.blobs.write(STATE, app.runs._name(run.id), msgspec.json.encode(run))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, working))
    reviewed(app, timedelta(minutes=5))
    with requests_of(app) as tick:
        sweep(app)
    assert woken(app) == [run.id for run in working[:2]], "their jobs' events may be lost"
    assert tick.requests <= 10
    with requests_of(app) as page:
        status, body = views.runs(app, {})
    assert (status, len(msgspec.json.decode(body, type=RunList).runs)) == (200, min(many, 50))
    assert page.requests <= 5


def test_a_mark_that_has_the_sweep_look_too_early_is_put_right_the_first_time(
    app: App, folder: str, cloud: Stack
) -> None:
    rarely = with_settings(app, UPLOADS_SWEEP=timedelta(days=1))
    sweep(rarely)  # which makes slots.json
    run = a_run(rarely, folder, Phase.PREPARED, timedelta(minutes=5))
    loaded = rarely.runs.load(run.id)
    assert loaded
    postponed = replace(run, wake=Wake(token="u", due=rarely.cloud.blobs.now() + timedelta(hours=1)))
    rarely.runs.save(postponed, loaded.etag, before=run)
    later(rarely, cloud, UNDER_WAY)
    reviewed(rarely, timedelta(0))
    with requests_of(rarely) as first:
        sweep(rarely)
    with requests_of(rarely) as second:
        sweep(rarely)
    assert woken(rarely) == []
    assert first.requests - second.requests == 2, "it is read, and its mark written"


# Time that passes, and storage that fails ----------------------------------------------------------------------------


def watermark(app: App) -> Watermark:
    return msgspec.json.decode(app.cloud.blobs.read(STATE, WATERMARK)[0], type=Watermark)


def test_a_file_that_was_committed_late_is_found_although_it_is_older_than_the_last_listing(
    app: App, folder: str
) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    written = app.cloud.blobs.head(DATASETS, f"{folder}/train.jsonl")
    assert written
    eventually(lambda: app.cloud.blobs.now() > written.last_modified + timedelta(seconds=2))
    now = app.cloud.blobs.now().replace(microsecond=0)
    mark = Watermark(installed=now - timedelta(days=1), swept=now, reviewed=now)
    app.cloud.blobs.write(STATE, WATERMARK, msgspec.json.encode(mark))
    sweep(app)
    assert runs_of(app, folder)


@pytest.fixture
def no_folder_can_be_listed(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Storage fails when a folder is looked into, and not before."""
    listed = app.cloud.blobs.list

    def fails(container: str, prefix: str = "", **more: Any) -> Iterator[BlobInfo]:
        if container == DATASETS and prefix:
            raise Transient("storage is down")
        return listed(container, prefix, **more)

    with monkeypatch.context() as patch:
        patch.setattr(app.cloud.blobs, "list", fails)
        yield


def test_a_folder_that_could_not_be_looked_into_is_not_taken_for_done(
    app: App, folder: str, no_folder_can_be_listed: None
) -> None:
    now = app.cloud.blobs.now()
    before = Watermark(installed=now - timedelta(days=1), swept=now - timedelta(hours=2), reviewed=now)
    app.cloud.blobs.write(STATE, WATERMARK, msgspec.json.encode(before))
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(app)
    assert watermark(app).swept == before.swept, "the next listing goes back as far"


def test_a_dead_letter_met_while_storage_fails_waits_for_the_next_sweep(
    app: App, folder: str, no_folder_can_be_listed: None
) -> None:
    letter, before = a_letter(app, created(folder)), ignored_so_far["dead_letter"]
    sweep(with_settings(app, UPLOADS_SWEEP=timedelta(days=1)))
    assert app.cloud.blobs.head(DEAD_LETTERS, letter)
    assert app.cloud.blobs.head(STATE, layout.poisoned(DEAD_LETTERS, letter)) is None
    assert ignored_so_far["dead_letter"] == before


def test_a_parked_run_is_tried_once_an_hour_and_no_oftener(app: App, folder: str) -> None:
    now = app.cloud.blobs.now()
    timer = Wake(token="t", due=now - timedelta(hours=3))
    young = Parked(at=now - timedelta(minutes=50), why="a bug")
    old = Parked(at=now - timedelta(minutes=62), why="a bug")
    a_run(app, folder, Phase.CHECKING, parked=young, wake=timer)
    tried = a_run(app, folder, Phase.CHECKING, parked=old, wake=timer)
    sweep(app)
    assert woken(app) == [tried.id]


def test_a_mark_whose_save_is_yet_to_come_is_left_as_it_is(app: App, folder: str) -> None:
    """Somebody cancels a run that is held: the mark says so already, the record does not, and then the host dies."""
    rarely = with_settings(app, UPLOADS_SWEEP=timedelta(days=1))
    run = a_run(rarely, folder, Phase.REGISTERED, waiting=held("pin"))
    rarely.runs._mark(replace(run, ending=Ending(phase=Phase.CANCELLED, why="cancelled by ada")))
    (before,) = rarely.runs.open()
    sweep(rarely)
    (after,) = rarely.runs.open()
    assert after == before


def test_a_watermark_that_somebody_broke_stops_no_sweep(app: App, folder: str) -> None:
    app.cloud.blobs.write(STATE, WATERMARK, b"{")
    overdue = a_run(app, folder, Phase.DEPLOYING, timedelta(minutes=5))
    sweep(app)
    assert woken(app) == [overdue.id]
    assert watermark(app).reviewed, "it is made anew"
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep(app)
    assert runs_of(app, folder)
