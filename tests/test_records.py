"""Records in real blob storage: who is late loses, and what is active costs what is active."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.dataset.spec import Hub, Policy
from shared.errors import Conflict
from shared.lifecycle import Phase
from shared.records import HISTORY_LIMIT, Claim, File, Line, Run, Wake, expired

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def a_run(**changes: object) -> Run:
    run = Run(
        id=f"r{uuid4().hex[:15]}",
        folder="faq",
        line="l1",
        base_model="Phi-4",
        uploaded=NOW,
        since=NOW,
        train=File(name="faq/train.jsonl", etag="0x1"),
    )
    return replace(run, **changes)  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was_saved(app: App) -> None:
    run = a_run(claim=Claim(action="train", until=NOW), wake=Wake(token="t", due=NOW), rows={"train": 3}).told(
        NOW, "new"
    )
    assert app.runs.create(run)
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded[0] == run


def test_what_a_run_needs_of_its_spec_is_kept(app: App) -> None:
    hub = Hub(name="owner/chats", config="en", splits={"train": "train_sft", "test": "test_sft"}, percent=0.5)
    policy = Policy(on_bad_rows="drop", max_bad_percent=0.1, min_rows=50, test_percent=20, seed=3)
    for run in (
        a_run(train=None, hub=hub, hub_commit="c0ffee", policy=policy),
        a_run(train=File(name="faq/train.csv", etag="0x1", size=5_000_000_000)),
    ):
        assert app.runs.create(run)
        loaded = app.runs.load(run.id)
        assert loaded
        assert loaded[0] == run


def test_a_record_of_an_older_version_is_read() -> None:
    """As one was written before runs knew a policy, a source and the sizes of files."""
    old = b"""{"id":"r1","folder":"faq","line":"l1","base_model":"Phi-4","uploaded":"2026-11-01T00:00:00Z","ordinal":0,
    "train":{"name":"faq/train.jsonl","etag":"0x1"},"validation":null,"test":{"name":"faq/test.jsonl","etag":"0x2"},
    "spec":null,"parameters":{"num_train_epochs":1},"attempt":1,"phase":"training","since":"2026-11-01T00:00:00Z",
    "ending":null,"reason":"","waiting":"the job","parked":"","parked_at":null,"crashes":0,"claim":null,"wake":null,
    "notes":[],"rows":{"train":9},"fingerprint":"f","faults":0,"pinned":null,"job":"r1-1","model":"","endpoint":"",
    "deployment":"","checks":{},"passed":null,"history":[]}"""
    run = msgspec.json.decode(old, type=Run)
    assert (run.policy, run.hub, run.hub_commit) == (Policy(), None, "")
    assert run.files == (File(name="faq/train.jsonl", etag="0x1"), File(name="faq/test.jsonl", etag="0x2"))
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_what_a_run_is_trained_on_can_be_told() -> None:
    assert a_run().data == "datasets/faq/train.jsonl"
    hub = Hub(name="owner/chats", revision="v2")
    assert a_run(train=None, hub=hub).data == "hf://datasets/owner/chats@v2"
    assert a_run(train=None, hub=hub, hub_commit="c0ffee").data == "hf://datasets/owner/chats@c0ffee"
    assert a_run(train=None, hub=hub).files == ()


def test_a_run_is_made_once(app: App) -> None:
    run = a_run()
    assert app.runs.create(run)
    assert not app.runs.create(replace(run, folder="other"))
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded[0].folder == "faq"


def test_of_two_who_read_the_same_record_the_second_to_save_loses(app: App) -> None:
    run = a_run()
    app.runs.create(run)
    loaded = app.runs.load(run.id)
    assert loaded
    first, etag = loaded
    app.runs.save(replace(first, reason="mine"), etag)
    with pytest.raises(Conflict):
        app.runs.save(replace(first, reason="theirs"), etag)
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded[0].reason == "mine"


def test_what_does_not_exist_is_none(app: App) -> None:
    assert app.runs.load("rnone") is None
    assert app.lines.load("lnone") is None


def test_active_are_the_runs_that_were_made_and_not_retired(app: App) -> None:
    working, ended = a_run(), a_run(phase=Phase.REJECTED)
    app.runs.create(working)
    app.runs.create(ended)
    active = {run_id for run_id, _ in app.runs.active()}
    assert working.id in active
    assert ended.id not in active
    app.runs.retire(working.id)
    assert not app.runs.create(working), "as a repeated event would"
    assert working.id not in {run_id for run_id, _ in app.runs.active()}


def test_lines_are_listed_by_their_ids(app: App) -> None:
    line = Line(id=f"l{uuid4().hex[:15]}", folder="faq", base_model="Phi-4", endpoint="faq-1")
    assert app.lines.create(line)
    assert line.id in app.lines.ids()


def test_history_is_told_in_order_and_bounded() -> None:
    run = a_run()
    for number in range(HISTORY_LIMIT + 5):
        run = run.told(NOW, str(number))
    assert [entry.what for entry in run.history] == [str(n) for n in range(5, HISTORY_LIMIT + 5)]


def test_a_new_phase_begins_now_and_waits_for_nothing() -> None:
    run = a_run(waiting="the job").told(NOW + timedelta(hours=1), "on", phase=Phase.PREPARED)
    assert (run.phase, run.since, run.waiting) == (Phase.PREPARED, NOW + timedelta(hours=1), "")
    assert run.told(NOW + timedelta(hours=2), "same").since == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("claim", "wake", "late"),
    [(None, None, False), (61, None, True), (59, None, False), (None, 61, True), (59, 300, False)],
)
def test_overdue_is_the_claim_or_else_the_timer_that_ran_out(claim: int | None, wake: int | None, late: bool) -> None:
    def ago(seconds: int) -> datetime:
        return NOW - timedelta(seconds=seconds)

    run = a_run(
        claim=Claim(action="train", until=ago(claim)) if claim else None,
        wake=Wake(token="t", due=ago(wake)) if wake else None,
    )
    assert expired(run, NOW, timedelta(minutes=1)) is late


def test_the_app_reads_its_settings_from_the_environment(cloud_env: Stack, app: App) -> None:
    assert app.settings.blob_uri == cloud_env.urls["blob"]
