"""Records in real blob storage: who is late loses, and what is active costs what is active."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.app import App
from shared.cloud.blobs import Blobs
from shared.dataset.spec.choices import Hub, Policy
from shared.errors import Conflict
from shared.lifecycle.phase import Phase
from shared.records.base import CLOCKS, Wake
from shared.records.layout import STATE
from shared.records.line import Line
from shared.records.run import HISTORY_LIMIT, Claim, Entry, File, Run, expired
from shared.records.store import Records, Runs

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class _Own(Runs):
    """Runs in a place where no other test's are."""

    def __init__(self, blobs: Blobs) -> None:
        own = f"own-{uuid4().hex[:8]}"
        Records.__init__(self, blobs, f"{own}/runs", Run, open_=f"{own}/active", over=f"{own}/ended")


@pytest.fixture
def alone(app: App) -> App:
    """What of all runs is shown first is not for chance to say: other tests leave runs behind, of any time."""
    return replace(app, runs=_Own(app.cloud.blobs))


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
    assert loaded.record == run


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
        assert loaded.record == run


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
    assert loaded.record.folder == "faq"


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
    assert loaded.record.reason == "mine"


def test_what_does_not_exist_is_none(app: App) -> None:
    assert app.runs.load("rnone") is None
    assert app.lines.load("lnone") is None


def changed(app: App, run: Run, **changes: object) -> Run:
    """The run, saved with these changes as the loop would."""
    loaded = app.runs.load(run.id)
    assert loaded
    after = replace(loaded.record, **changes)  # type: ignore[arg-type]
    app.runs.save(after, loaded.etag)
    return after


def is_active(app: App, run: Run) -> bool:
    return run.id in {run_id for run_id, _ in app.runs.active()}


def shown(app: App, limit: int = 100) -> list[str]:
    return [run.id for run in app.runs.recent(limit)]


def test_active_are_the_runs_that_have_not_ended(app: App) -> None:
    working, ended = a_run(), a_run(phase=Phase.REJECTED)
    app.runs.create(working)
    app.runs.create(ended)
    assert is_active(app, working)
    assert not is_active(app, ended)
    app.runs.retire(working.id)
    assert is_active(app, working), "it has not ended"
    changed(app, working, phase=Phase.FAILED)
    app.runs.retire(working.id)
    assert not app.runs.create(working), "as a repeated event would"
    assert not is_active(app, working)


def test_the_runs_that_ended_last_are_shown_behind_those_that_work_each_once(alone: App) -> None:
    now = alone.cloud.blobs.now()
    runs = [a_run(phase=Phase.FAILED, since=now - timedelta(minutes=minutes)) for minutes in (3, 1, 2)]
    working = a_run()
    for run in (*runs, working):
        alone.runs.create(run)
        alone.runs.retire(run.id)  # as whoever meets an ended run does
    first, second, third = runs[1], runs[2], runs[0]
    assert shown(alone) == [working.id, first.id, second.id, third.id]


def test_no_more_than_a_page_is_read(alone: App) -> None:
    now = alone.cloud.blobs.now()
    working = [a_run() for _ in range(5)]
    ended = [a_run(phase=Phase.FAILED, since=now + timedelta(seconds=number)) for number in range(5)]
    for run in (*working, *ended):
        alone.runs.create(run)
    with requests_of(alone) as counted:
        found = [run.id for run in alone.runs.recent(3)]
    assert len({run.id for run in working} & set(found[:3])) == 3
    assert found[3:] == [run.id for run in reversed(ended)][:3]
    assert counted.requests == 2 + 3 + 3, "two listings, three that work, three that ended"


def test_a_run_that_is_taken_up_again_works_and_is_shown_once_and_later_at_its_new_end(alone: App) -> None:
    now = alone.cloud.blobs.now()
    run, other = (a_run(phase=Phase.FAILED, since=now + timedelta(hours=1, seconds=number)) for number in range(2))
    for each in (run, other):
        alone.runs.create(each)
    loaded = alone.runs.load(run.id)
    assert loaded
    alone.runs.reopen(
        replace(loaded.record, phase=Phase.PREPARED, attempt=2, since=now + timedelta(hours=2)), loaded.etag
    )
    assert is_active(alone, run)
    assert shown(alone).count(run.id) == 1
    alone.runs.retire(run.id)  # by somebody who had read the older record
    assert is_active(alone, run)
    changed(alone, run, phase=Phase.LIVE, since=now + timedelta(hours=3))
    alone.runs.retire(run.id)
    alone.runs.retire(run.id)
    assert not is_active(alone, run)
    assert shown(alone) == [run.id, other.id]


@pytest.mark.parametrize("between", range(1, 4))
def test_a_run_that_is_taken_up_again_while_its_old_end_is_put_away_stays_active(app: App, between: int) -> None:
    """A person retries it just while the sweep retires it, behind each of the sweep's requests."""
    run = a_run(phase=Phase.FAILED)
    app.runs.create(run)
    app.cloud.blobs.write(STATE, f"active/{run.id}", b"")  # as a crash before the retirement leaves it

    def reopen() -> None:
        loaded = app.runs.load(run.id)
        assert loaded
        app.runs.reopen(replace(loaded.record, phase=Phase.PREPARED), loaded.etag)

    with behind_request(app, between, reopen):
        app.runs.retire(run.id)
    assert is_active(app, run)
    assert shown(app).count(run.id) == 1


@pytest.mark.parametrize("between", range(1, 3))
def test_a_run_whose_old_end_is_put_away_while_it_is_taken_up_again_stays_active(app: App, between: int) -> None:
    """The other way round: the sweep retires it behind each of the requests of the person who retries it."""
    run = a_run(phase=Phase.FAILED)
    app.runs.create(run)
    loaded = app.runs.load(run.id)
    assert loaded
    with behind_request(app, between, lambda: app.runs.retire(run.id)):
        app.runs.reopen(replace(loaded.record, phase=Phase.PREPARED), loaded.etag)
    assert is_active(app, run)


@contextmanager
def behind_request(app: App, number: int, act: Callable[[], None]) -> Iterator[None]:
    """Has somebody else act just behind so many requests of the block."""
    transport = app.cloud.clients.transport
    send, seen = transport.send, 0

    def let_somebody_in(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        answer = send(*arguments, **options)
        seen += 1
        if seen == number:
            act()
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "send", let_somebody_in)
        yield
    assert seen > number


def test_a_record_that_somebody_broke_does_not_hide_the_others(app: App) -> None:
    good, broken = (a_run(phase=Phase.FAILED, since=app.cloud.blobs.now()) for _ in range(2))
    for run in (good, broken):
        app.runs.create(run)
    app.cloud.blobs.write(STATE, f"runs/{broken.id}.json", b'{"id": 1}')
    assert good.id in shown(app)
    assert broken.id not in shown(app)
    app.cloud.blobs.delete(STATE, f"runs/{broken.id}.json")


def test_a_young_marker_without_a_record_stays(app: App) -> None:
    """Its maker is about to save the record."""
    run = a_run()
    app.cloud.blobs.write(STATE, f"active/{run.id}", b"")
    app.runs.retire(run.id)
    assert is_active(app, run)
    app.cloud.blobs.delete(STATE, f"active/{run.id}")


def a_line(**changes: object) -> Line:
    line = Line(id=f"l{uuid4().hex[:15]}", folder="faq", base_model="Phi-4", endpoint="faq-1")
    return replace(line, **changes)  # type: ignore[arg-type]


def relined(app: App, line: Line, **changes: object) -> Line:
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(loaded.record, **changes), loaded.etag)  # type: ignore[arg-type]
    loaded = app.lines.load(line.id)
    assert loaded
    return loaded.record


def test_a_line_stands_until_its_endpoint_is_removed_and_again_when_it_is_rolled_out_to(app: App) -> None:
    line = a_line()
    assert app.lines.create(line)
    assert line.id in app.lines.standing()
    relined(app, line, removed=app.cloud.blobs.now())
    assert line.id not in app.lines.standing()
    assert line.id in [each.id for each in app.lines.recent(100)], "it may be revived"
    assert relined(app, line, rollout="r1").removed is None
    assert line.id in app.lines.standing()
    assert [each.id for each in app.lines.recent(100)].count(line.id) == 1


def test_history_is_told_in_order_and_bounded() -> None:
    run = a_run()
    for number in range(HISTORY_LIMIT + 5):
        run = run.told(NOW, str(number))
    assert [entry.what for entry in run.history] == [str(n) for n in range(5, HISTORY_LIMIT + 5)]


def test_a_new_phase_begins_now_and_waits_for_nothing() -> None:
    run = a_run(waiting="the job").told(NOW + timedelta(hours=1), "on", phase=Phase.PREPARED)
    assert (run.phase, run.since, run.waiting) == (Phase.PREPARED, NOW + timedelta(hours=1), "")
    assert run.told(NOW + timedelta(hours=2), "same").since == NOW + timedelta(hours=1)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


DAY = 24 * 60
KNOWN: dict[str, dict[str, Any]] = {
    "its phase began": {},
    "its timer was due": {"wake": Wake(token="t", due=NOW + minutes(7))},
    "its claim ran out": {"wake": Wake(token="t", due=NOW), "claim": Claim(action="check", until=NOW + minutes(7))},
    "it was changed": {"history": (Entry(at=NOW + minutes(7), phase=Phase.CHECKING, what="check"),)},
    "it was parked": {"parked": "a bug", "parked_at": NOW + minutes(7)},
    "a person had it go on": {"resumed": NOW + minutes(7)},
}


@pytest.mark.parametrize("phase", [Phase.DEPLOYING, Phase.CHECKING])
@pytest.mark.parametrize("known", KNOWN)
def test_a_time_in_which_nobody_looked_is_none_of_its_phases_and_is_found_once(phase: Phase, known: str) -> None:
    run = a_run(phase=phase, **KNOWN[known])
    counted = NOW + minutes(7) - run.begun if KNOWN[known] else timedelta(0)
    soon, late = NOW + minutes(7 + 9), NOW + minutes(7 + DAY)
    assert run.taken_up(soon) == run or not KNOWN[known]
    taken = run.taken_up(late)
    assert late - taken.begun == counted
    assert (taken.since, taken.wake and taken.wake.token) == (run.since, run.wake.token if run.wake else "")
    assert taken.wake
    assert taken.wake.due < late, "it is not taken for a timer that is yet to come"
    assert taken.taken_up(late + minutes(9)) == taken, "a host that died made another one do it again"
    assert late + minutes(DAY) - taken.taken_up(late + minutes(DAY)).begun <= counted + CLOCKS


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": Phase.TRAINING},
        {"phase": Phase.CHECKING, "held": "approval"},
        {"phase": Phase.CHECKING, "wake": Wake(token="t", due=NOW + minutes(DAY + 1))},
        {"phase": Phase.CHECKING, "wake": Wake(token="t", due=NOW), "resumed": NOW + minutes(DAY)},
    ],
)
def test_a_time_in_which_nobody_was_to_look_is_left_as_it_is(changes: dict[str, Any]) -> None:
    run = a_run(**changes)
    assert run.taken_up(NOW + minutes(DAY)) == run


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3 * 60)), min_size=1))
def test_what_counts_of_its_phase_is_what_was_waited_for_between_looks(looks: list[tuple[int, int]]) -> None:
    """Each look is to come so many minutes after the one before, and comes so many minutes late."""
    run, now, counted = a_run(phase=Phase.CHECKING), NOW, 0
    for wait, late in looks:
        now += minutes(wait)
        run = replace(run, wake=Wake(token="t", due=now))
        now += minutes(late)
        run = run.taken_up(now)
        counted += wait + (late if late < 10 else 0)
        assert now - run.begun == minutes(counted)


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
    assert app.settings.storage.blob_uri == cloud_env.urls["blob"]
