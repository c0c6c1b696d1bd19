"""Records in real blob storage: who is late loses, and what is active costs what is active."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.api import requests, schema, views
from shared.api.access import Caller
from shared.app import App
from shared.cloud.blobs import BlobInfo, Blobs
from shared.dataset.spec.choices import Hub, Policy
from shared.errors import Conflict
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Hold, Phase
from shared.records import layout
from shared.records.base import CLOCKS, VERSION, Notice, Order, Wake
from shared.records.layout import STATE
from shared.records.line import Line, Removed
from shared.records.mark import Mark, mark_in, mark_of
from shared.records.run import (
    HISTORY_LIMIT,
    PARKED,
    Approval,
    Claim,
    Deployed,
    Ending,
    Entry,
    File,
    Parked,
    Run,
    Source,
    Waiting,
)
from shared.records.store import UNDER_WAY, Runs, Unreadable, decoded
from shared.run.loop import advance
from shared.run.turn import Turn
from shared.sweep import sweep
from tests.kit.any_run import runs
from tests.kit.carried import RUN
from tests.kit.clouds import later
from tests.kit.own_runs import OwnRuns
from tests.kit.records import changed
from tests.kit.settings import with_settings

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def alone(app: App) -> App:
    """What of all runs is shown first is not for chance to say: other tests leave runs behind, of any time."""
    return replace(app, runs=OwnRuns(app.cloud.blobs))


def record_of(app: App, run: Run | str) -> str:
    """The blob of the run's record."""
    return app.runs._name(run if isinstance(run, str) else run.id)


def marker_of(app: App, run: Run | str) -> str:
    """The blob beside it."""
    return layout.marker(app.runs._open, run if isinstance(run, str) else run.id)


TRAIN = File(name="faq/train.jsonl", etag="0x1", size=1)


def a_run(**changes: object) -> Run:
    run = Run(
        id=f"r{uuid4().hex[:15]}",
        line="l1",
        order=Order(uploaded=NOW),
        source=Source(folder="faq", base_model="Phi-4", train=(TRAIN,)),
        since=NOW,
    )
    return changed(run, **changes)


def test_a_record_comes_back_as_it_was_saved(app: App) -> None:
    run = replace(RUN, id=a_run().id)
    assert app.runs.create(run)
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded.record == run


def test_what_a_run_needs_of_its_spec_is_kept(app: App) -> None:
    hub = Hub(name="owner/chats", config="en", splits={"train": "train_sft", "test": "test_sft"}, percent=0.5)
    policy = Policy(on_bad_rows="drop", max_bad_percent=0.1, min_rows=50, test_percent=20, seed=3)
    for run in (
        a_run(train=(), hub=hub, hub_commit="c0ffee", policy=policy),
        a_run(train=(File(name="faq/train.csv", etag="0x1", size=5_000_000_000),)),
    ):
        assert app.runs.create(run)
        loaded = app.runs.load(run.id)
        assert loaded
        assert loaded.record == run


def test_a_record_that_was_written_before_a_field_was_thought_of_is_read() -> None:
    """Of the same version: all that has a default may be missing, in each part."""
    old = b"""{"version":1,"id":"r1","line":"l1","order":{"uploaded":"2026-11-01T00:00:00Z"},
    "source":{"folder":"faq","base_model":"Phi-4","train":[{"name":"faq/train.jsonl","etag":"0x1","size":1}],
    "test":[{"name":"faq/test.jsonl","etag":"0x2","size":2}],"parameters":{"num_train_epochs":1}},"phase":"training",
    "since":"2026-11-01T00:00:00Z","attempt":{"data":{"fingerprint":"f","rows":{"train":9}},"job":"r1-1"},
    "waiting":{"why":"the job"}}"""
    run = decoded(old, Run, "r1")
    assert (run.source.policy, run.source.hub, run.source.hub_commit) == (Policy(), None, "")
    assert run.source.files == (TRAIN, File(name="faq/test.jsonl", etag="0x2", size=2))
    assert (run.attempt.number, run.attempt.fingerprint, run.hold, run.outbox) == (1, "f", "", ())
    assert decoded(msgspec.json.encode(run), Run, "r1") == run


def test_what_a_run_is_trained_on_can_be_told() -> None:
    assert a_run().source.address == "datasets/faq/train.jsonl"
    hub = Hub(name="owner/chats", revision="v2")
    assert a_run(train=(), hub=hub).source.address == "hf://datasets/owner/chats@v2"
    assert a_run(train=(), hub=hub, hub_commit="c0ffee").source.address == "hf://datasets/owner/chats@c0ffee"
    assert a_run(train=(), hub=hub).source.files == ()


def test_a_run_is_made_once(app: App) -> None:
    run = a_run()
    assert app.runs.create(run)
    assert not app.runs.create(changed(run, folder="other"))
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded.record.source.folder == "faq"


def test_of_two_intakes_of_one_upload_the_first_makes_the_run(app: App) -> None:
    """Both have seen that there is none; the second must not write over what has become of it since."""
    run = a_run()
    further = replace(run, phase=Phase.PREPARED)

    def other() -> None:
        assert app.runs.create(further)

    with behind_request(app, 2, other):
        assert not app.runs.create(run)
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded.record == further


def test_of_two_who_read_the_same_record_the_second_to_save_loses(app: App) -> None:
    run = a_run()
    app.runs.create(run)
    loaded = app.runs.load(run.id)
    assert loaded
    first, etag = loaded
    mine, theirs = (replace(first, ending=Ending(phase=Phase.FAILED, why=who)) for who in ("mine", "theirs"))
    app.runs.save(mine, etag, before=first)
    with pytest.raises(Conflict):
        app.runs.save(theirs, etag, before=first)
    loaded = app.runs.load(run.id)
    assert loaded
    assert loaded.record.why == "mine"


def test_what_does_not_exist_is_none(app: App) -> None:
    assert app.runs.load("rnone") is None
    assert app.lines.load("lnone") is None


def saved(app: App, run: Run, **changes: object) -> Run:
    """The run, saved with these changes as the loop would."""
    loaded = app.runs.load(run.id)
    assert loaded
    after = changed(loaded.record, **changes)
    app.runs.save(after, loaded.etag, before=loaded.record)
    return after


def is_active(app: App, run: Run) -> bool:
    return run.id in set(app.runs.active())


def shown(app: App, limit: int = 100) -> list[str]:
    marks, _ = app.runs.summaries(limit)
    return [mark.id for mark in marks]


def test_active_are_the_runs_that_have_not_ended(app: App) -> None:
    working, ended = a_run(), a_run(phase=Phase.REJECTED)
    app.runs.create(working)
    app.runs.create(ended)
    assert is_active(app, working)
    assert not is_active(app, ended)
    app.runs.retire(working.id)
    assert is_active(app, working), "it has not ended"
    saved(app, working, phase=Phase.FAILED)
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


def test_no_more_than_a_page_is_shown_and_no_record_is_read(alone: App) -> None:
    now = alone.cloud.blobs.now()
    working = [a_run(since=now + timedelta(seconds=number)) for number in range(5)]
    ended = [a_run(phase=Phase.FAILED, since=now + timedelta(seconds=number)) for number in range(5)]
    for run in (*working, *ended):
        alone.runs.create(run)
    with requests_of(alone) as counted:
        found = shown(alone, 3)
    assert found[:3] == [run.id for run in reversed(working)][:3]
    assert found[3:] == [run.id for run in reversed(ended)][:3]
    assert counted.requests == 2, "two listings, however many there are"
    assert [mark_of(run) for run in reversed(working)][:3] == alone.runs.summaries(3)[0][:3]


def test_a_run_that_is_taken_up_again_works_and_is_shown_once_and_later_at_its_new_end(alone: App) -> None:
    now = alone.cloud.blobs.now()
    run, other = (a_run(phase=Phase.FAILED, since=now + timedelta(hours=1, seconds=number)) for number in range(2))
    for each in (run, other):
        alone.runs.create(each)
    loaded = alone.runs.load(run.id)
    assert loaded
    again = changed(loaded.record, phase=Phase.PREPARED, number=2, since=now + timedelta(hours=2))
    alone.runs.reopen(again, loaded.etag)
    assert is_active(alone, run)
    assert shown(alone).count(run.id) == 1
    alone.runs.retire(run.id)  # by somebody who had read the older record
    assert is_active(alone, run)
    saved(alone, run, phase=Phase.LIVE, since=now + timedelta(hours=3))
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
def behind_request(app: App, number: int, act: Callable[[], object]) -> Iterator[None]:
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


def test_a_record_that_somebody_broke_does_not_hide_the_others(alone: App) -> None:
    """Where a listing says nothing of it, so that the record is read; else it is shown as it was."""
    good, broken = (a_run(phase=Phase.FAILED, since=alone.cloud.blobs.now()) for _ in range(2))
    working, stuck = a_run(), a_run()
    for run in (good, broken, working, stuck):
        alone.runs.create(run)
    for run in (broken, stuck):
        alone.cloud.blobs.write(STATE, record_of(alone, run), b'{"id": 1}')
    assert set(shown(alone)) == {good.id, broken.id, working.id, stuck.id}
    for prefix in (layout.marker(alone.runs._open), layout.entry(alone.runs._over)):
        for blob in list(alone.cloud.blobs.list(STATE, prefix)):
            alone.cloud.blobs.write(STATE, blob.name, b"")
    with requests_of(alone) as counted:
        assert shown(alone) == [working.id, good.id]
    assert counted.requests == 2 + 4


def test_a_young_marker_without_a_record_stays(app: App) -> None:
    """Its maker is about to save the record."""
    run = a_run()
    app.cloud.blobs.write(STATE, f"active/{run.id}", b"")
    app.runs.retire(run.id)
    assert is_active(app, run)
    app.cloud.blobs.delete(STATE, f"active/{run.id}")


# Marks ---------------------------------------------------------------------------------------------------------------


def marked(app: App, run: Run | str) -> Mark:
    """What a listing says of the run."""
    marker = app.cloud.blobs.head(STATE, marker_of(app, run))
    assert marker
    mark = mark_in(marker.metadata)
    assert mark
    return mark


def waiting(hold: Hold = "", why: str = "something") -> Waiting:
    return Waiting(why=why, hold=hold)


CHECKED = Deployed(endpoint="e", name="d")
SEEN: dict[str, dict[str, Any]] = {
    "another phase": {"phase": Phase.PREPARED, "since": NOW + timedelta(minutes=1)},
    "another attempt": {"number": 2},
    "what it waits for": {"waiting": waiting()},
    "that it is held": {"waiting": waiting("slot")},
    "that it is parked": {"parked": Parked(at=NOW, why="a bug"), "wake": None},
    "that it ends": {"ending": Ending(phase=Phase.CANCELLED, why="cancelled by ada")},
}


@pytest.mark.parametrize("what", SEEN)
def test_a_mark_changes_with_what_people_see(alone: App, what: str) -> None:
    run = a_run(wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    assert alone.runs.summaries(9) == ([mark_of(run)], [])
    with requests_of(alone) as counted:
        after = saved(alone, run, **SEEN[what])
    assert counted.requests == 4, "it is read, its marker looked at, saved and marked"
    assert mark_of(after) != mark_of(run)
    assert alone.runs.summaries(9) == ([mark_of(after)], [])


@pytest.mark.parametrize(
    "changes",
    [
        {"crashes": 1},
        {"history": (Entry(at=NOW, phase=Phase.RECEIVED, what="received"),)},
        {"wake": Wake(token="u", due=NOW + timedelta(minutes=5))},
        {"claim": Claim(action=Action.PREPARE_DATA, until=NOW + timedelta(minutes=3))},
    ],
)
def test_what_nobody_sees_costs_one_write(alone: App, cloud: Stack, changes: dict[str, Any]) -> None:
    """The sweep looks too early by that mark, once, and puts it right then."""
    run = a_run(wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    with requests_of(alone) as counted:
        after = saved(alone, run, **changes)
    assert counted.requests == 2, "it is read and saved"
    assert alone.runs.summaries(9) == ([mark_of(run)], [])
    (found,) = alone.runs.open()
    later(alone, cloud, UNDER_WAY)
    alone.runs.remark(found, mark_of(after).metadata())
    assert marked(alone, run) == mark_of(after)
    (found,) = alone.runs.open()
    with requests_of(alone) as counted:
        alone.runs.remark(found, mark_of(after).metadata())
    assert counted.requests == 0, "what is right already costs nothing"


def test_a_mark_is_not_put_right_over_what_somebody_said_meanwhile(alone: App, cloud: Stack) -> None:
    run = a_run(wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    (found,) = alone.runs.open()
    later(alone, cloud, UNDER_WAY)
    after = saved(alone, run, ending=Ending(phase=Phase.CANCELLED, why="cancelled by ada"))
    alone.runs.remark(found, mark_of(replace(run, wake=None, waiting=waiting("slot"))).metadata())
    assert marked(alone, run) == mark_of(after)


def test_what_is_too_long_for_a_mark_is_read_from_the_record(alone: App) -> None:
    working, ended = a_run(folder="f" * 6000), a_run(folder="g" * 6000, phase=Phase.FAILED)
    for run in (working, ended):
        alone.runs.create(run)
    assert alone.runs.summaries(9) == ([mark_of(working), mark_of(ended)], [])


class Died(BaseException):
    """A host's last word."""


def is_as_alert(mark: Mark, run: Run) -> bool:
    """Whether the sweep looks, by the mark, no later than by the record; never is latest."""
    due = mark_of(run).due
    return due is None or (mark.due is not None and mark.due <= due)


STATES: dict[str, dict[str, Any]] = {
    "has a timer": {"wake": Wake(token="t", due=NOW + timedelta(minutes=5))},
    "has a timer that is due later": {"wake": Wake(token="t", due=NOW + timedelta(hours=5))},
    "is worked on": {"claim": Claim(action=Action.SUBMIT_JOB, until=NOW + timedelta(minutes=3))},
    "waits for a slot": {"waiting": waiting("slot")},
    "waits for a person": {"phase": Phase.CHECKING, "deployed": CHECKED, "waiting": waiting("approval")},
    "was approved": {
        "phase": Phase.CHECKING,
        "deployed": replace(CHECKED, approval=Approval(by="ada")),
        "waiting": waiting("approval"),
    },
    "is cancelled": {"waiting": waiting("pin"), "ending": Ending(phase=Phase.CANCELLED, why="cancelled by ada")},
    "has something to send": {"waiting": waiting("pin"), "outbox": (Notice(id="n", type="t", at=NOW),)},
    "is parked": {"parked": Parked(at=NOW, why="a bug")},
    "trains": {"phase": Phase.TRAINING, "since": NOW + timedelta(minutes=1), "waiting": waiting()},
    "has ended": {"phase": Phase.FAILED, "since": NOW + timedelta(minutes=2)},
}


@pytest.mark.parametrize("dies_at", [1, 2, 3])
@pytest.mark.parametrize("second", STATES)
@pytest.mark.parametrize("first", ["has a timer", "waits for a slot", "is parked"])
def test_a_host_that_dies_while_it_saves_leaves_a_mark_as_alert_as_the_record(
    alone: App, first: str, second: str, dies_at: int
) -> None:
    """Before the first of its requests, between the two, or behind them."""
    run = a_run(**STATES[first])
    alone.runs.create(run)
    loaded = alone.runs.load(run.id)
    assert loaded
    after = changed(a_run(), id=run.id, **STATES[second])
    with dying(alone, at_request=dies_at), suppress(Died):
        alone.runs.save(after, loaded.etag, before=run)
    found = alone.runs.load(run.id)
    assert found
    assert found.record in (run, after)
    assert is_as_alert(marked(alone, run), found.record)
    if found.record == run and marked(alone, run) != mark_of(run):
        assert mark_of(after).is_sooner(mark_of(run)), "the mark comes first only where the sweep has to look sooner"


@contextmanager
def dying(app: App, *, at_request: int) -> Iterator[None]:
    """Has the host die instead of sending that request of the block."""
    transport = app.cloud.clients.transport
    send, left = transport.send, at_request

    def die_or_send(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Died
        return send(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "send", die_or_send)
        yield


class _Paper:
    """Blobs in memory, of a host that dies at its next write but `left`."""

    def __init__(self) -> None:
        self.left = 99
        self.written: dict[str, tuple[bytes, Mapping[str, str]]] = {}

    def write(
        self,
        _container: str,
        name: str,
        data: bytes,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        if self.left == 0:
            raise Died
        self.left -= 1
        self.written[name] = (data, metadata or {})
        return "etag"

    def head(self, _container: str, name: str) -> BlobInfo | None:
        if name not in self.written:
            return None
        return BlobInfo(name=name, etag="etag", size=0, last_modified=NOW)


@given(runs(), runs(), st.integers(0, 2))
def test_the_same_of_any_two_runs(before: Run, after: Run, writes: int) -> None:
    paper, after = _Paper(), replace(after, id=before.id)
    store = Runs(cast(Blobs, paper))
    store.save(before, "etag")
    paper.left = writes
    with suppress(Died):
        store.save(after, "etag", before=before)
    record = decoded(paper.written[f"runs/{before.id}.json"][0], Run, before.id)
    mark = mark_in(paper.written[f"active/{before.id}"][1])
    assert mark
    assert is_as_alert(mark, record)
    if writes == 2:
        assert record == after
        assert replace(mark, due=None) == replace(mark_of(after), due=None)


def test_a_save_whose_answer_was_lost_is_shown_all_the_same(alone: App, cloud: Stack) -> None:
    """Azure has done it; it is tried once more, and meets its own ETag."""
    run = a_run(wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    loaded = alone.runs.load(run.id)
    assert loaded
    turn = Turn(alone, *loaded)
    lost = {"service": "blob", "method": "PUT", "path": f"/{run.id}.json$", "moment": "after", "status": 500}
    cloud.control("POST", "/_local/faults", lost)
    try:
        turn.save(turn.run.noted(NOW, "submitted the job", phase=Phase.TRAINING))
    finally:
        cloud.control("DELETE", "/_local/faults")
    found = alone.runs.load(run.id)
    assert found
    assert found.record.phase is Phase.TRAINING
    assert marked(alone, run) == mark_of(found.record)


def test_who_loses_leaves_the_mark_of_who_was_faster(alone: App) -> None:
    run = a_run(wake=Wake(token="t", due=NOW + timedelta(hours=5)))
    alone.runs.create(run)
    loaded = alone.runs.load(run.id)
    assert loaded
    faster = saved(alone, run, **STATES["is worked on"])
    slower = replace(run, wake=Wake(token="u", due=NOW + timedelta(hours=1)))
    with pytest.raises(Conflict):
        alone.runs.save(slower, loaded.etag, before=run)
    assert marked(alone, run) == mark_of(faster)


def test_who_marks_late_leaves_the_mark_of_who_has_changed_it_since(alone: App) -> None:
    """Somebody cancels it between another one's save and his mark."""
    run = a_run(wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    loaded = alone.runs.load(run.id)
    assert loaded
    with behind_request(alone, 2, lambda: saved(alone, run, **STATES["is cancelled"])):
        alone.runs.save(changed(run, wake=None, waiting=waiting("slot")), loaded.etag, before=run)
    found = alone.runs.load(run.id)
    assert found
    assert found.record.ending
    assert is_as_alert(marked(alone, run), found.record)


# What can't be read --------------------------------------------------------------------------------------------------

NEWER = VERSION + 1


def newer(run: Run) -> bytes:
    """The run's record as a newer app writes it: with a part that nobody here knows, and another one changed."""
    fields = msgspec.to_builtins(run) | {"version": NEWER, "budget": {"gpu_hours": 3}, "attempt": [1, 2, 3]}
    return msgspec.json.encode(fields)


@pytest.fixture
def one_newer(alone: App) -> Iterator[tuple[App, Run, bytes]]:
    """A run that works, whose record a newer app has written, under the marker of this one."""
    run = a_run(phase=Phase.PREPARED, wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    alone.cloud.blobs.write(STATE, record_of(alone, run), newer(run))
    yield alone, run, newer(run)
    assert alone.cloud.blobs.read(STATE, record_of(alone, run))[0] == newer(run), "it is never rewritten"


def test_a_record_of_a_newer_version_says_so(one_newer: tuple[App, Run, bytes]) -> None:
    app, run, _ = one_newer
    with pytest.raises(Unreadable, match=f"{run.id}.json can't be read: it is of version {NEWER}") as error:
        app.runs.load(run.id)
    assert error.value.version == NEWER
    assert not isinstance(error.value, msgspec.MsgspecError)
    with pytest.raises(Unreadable):
        app.runs.create(run)


@pytest.mark.parametrize(
    ("data", "version"), [(b"{", 0), (b"[]", 0), (b'{"version":1,"id":1}', 1), (b'{"version":"1"}', 0), (b"{}", 0)]
)
def test_a_record_that_somebody_broke_is_no_newer_one(alone: App, data: bytes, version: int) -> None:
    run = a_run()
    alone.cloud.blobs.write(STATE, record_of(alone, run), data)
    with pytest.raises(Unreadable, match=f"{run.id}.json can't be read") as error:
        alone.runs.load(run.id)
    assert error.value.version == version


def test_one_that_is_newer_in_nothing_but_its_number_is_not_read(alone: App) -> None:
    """What it means may have changed, whatever it looks like."""
    run = a_run()
    alone.cloud.blobs.write(STATE, record_of(alone, run), msgspec.json.encode(replace(run, version=NEWER)))
    with pytest.raises(Unreadable, match=f"version {NEWER}"):
        alone.runs.load(run.id)


@pytest.mark.parametrize("token", [None, "t"])
def test_a_turn_leaves_a_newer_record_alone(one_newer: tuple[App, Run, bytes], token: str | None) -> None:
    """The message comes again, and may meet the newer app then."""
    app, run, _ = one_newer
    with pytest.raises(Unreadable, match=f"version {NEWER}"):
        advance(app, run.id, token)


@pytest.mark.parametrize("command", ["retry", "cancel", "approve"])
def test_a_command_leaves_a_newer_record_alone(one_newer: tuple[App, Run, bytes], command: str) -> None:
    app, run, _ = one_newer
    status, body = requests.on_run(app, command, run.id, b"", Caller("ada", proven=True))
    assert status == 409
    assert f"version {NEWER}" in body.decode()


def runs_listed(app: App) -> schema.RunList:
    status, body = views.runs(app, {})
    assert status == 200
    return msgspec.json.decode(body, type=schema.RunList)


def test_a_sweep_leaves_a_newer_record_alone_and_has_it_shown(one_newer: tuple[App, Run, bytes], cloud: Stack) -> None:
    app, run, _ = one_newer
    later(app, cloud, UNDER_WAY)
    listed = runs_listed(app)
    assert ([each.id for each in listed.runs], listed.unreadable) == ([run.id], []), "as the marker has it"
    app = with_settings(app, UPLOADS_SWEEP=timedelta(days=1))
    for _ in range(2):
        sweep(app)
        listed = runs_listed(app)
        assert run.id not in [each.id for each in listed.runs]  # what other tests uploaded may be found, too
        (unreadable,) = listed.unreadable
        assert (unreadable.id, unreadable.version) == (run.id, NEWER)
        assert "newer app" in unreadable.why
    status, body = views.run(app, run.id)
    assert status == 409
    assert f"version {NEWER}" in body.decode()


def test_a_sweep_has_a_broken_record_shown_as_that(alone: App, cloud: Stack) -> None:
    run = a_run(wake=Wake(token="t", due=NOW))
    alone.runs.create(run)
    alone.cloud.blobs.write(STATE, record_of(alone, run), b"{")
    later(alone, cloud, UNDER_WAY)
    sweep(with_settings(alone, UPLOADS_SWEEP=timedelta(days=1)))
    (unreadable,) = runs_listed(alone).unreadable
    assert (unreadable.id, unreadable.version) == (run.id, 0)
    assert "newer" not in unreadable.why
    assert "broken" in unreadable.why


def test_what_a_newer_app_has_marked_is_shown_as_that_at_once(alone: App) -> None:
    working, ended, known = a_run(), a_run(phase=Phase.FAILED), a_run()
    for run in (working, ended, known):
        alone.runs.create(run)
    for prefix in (layout.marker(alone.runs._open, working.id), layout.entry(alone.runs._over)):
        for blob in list(alone.cloud.blobs.list(STATE, prefix)):
            metadata = {"version": str(NEWER), "run": "bm8ganNvbg==", "mood": "fine"}
            alone.cloud.blobs.write(STATE, blob.name, b"", metadata=metadata)
    pages = max(1, -(-len(alone.cloud.endpoints.list()) // 10))  # of endpoints, as other tests have left them
    with requests_of(alone) as counted:
        listed = runs_listed(alone)
    assert counted.requests == 2 + pages, "two listings of records, one of endpoints"
    assert [each.id for each in listed.runs] == [known.id]
    assert {(each.id, each.version) for each in listed.unreadable} == {(working.id, NEWER), (ended.id, NEWER)}


def test_a_line_of_a_newer_version_is_shown_as_that_and_hides_no_other(app: App) -> None:
    line, other = a_line(), a_line()
    for each in (line, other):
        app.lines.create(each)
    name = layout.record(layout.LINES, line.id)
    data = msgspec.json.encode(msgspec.to_builtins(line) | {"version": NEWER, "state": {"type": "asleep"}})
    app.cloud.blobs.write(STATE, name, data)
    try:
        status, body = views.lines(app)
        listed = msgspec.json.decode(body, type=schema.LineList)
        assert status == 200
        assert other.id in [each.id for each in listed.lines]
        (unreadable,) = (each for each in listed.unreadable if each.id == line.id)
        assert unreadable.version == NEWER
        assert f"version {NEWER}" in unreadable.why
        for command in ("pin", "unpin", "rollback", "revive"):
            status, body = requests.on_line(app, command, line.id, b"", Caller("ada", proven=True))
            assert status == 409
            assert f"version {NEWER}" in body.decode()
        assert app.cloud.blobs.read(STATE, name)[0] == data
    finally:
        app.cloud.blobs.delete(STATE, name)
        app.cloud.blobs.delete(STATE, layout.marker(layout.STANDING_LINES, line.id))


# Lines ---------------------------------------------------------------------------------------------------------------


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


def lines_shown(app: App) -> list[str]:
    found, _ = app.lines.recent(100)
    return [line.id for line in found]


def test_a_line_stands_until_its_endpoint_is_removed_and_again_when_it_is_rolled_out_to(app: App) -> None:
    line = a_line()
    assert app.lines.create(line)
    assert line.id in app.lines.standing()
    now = app.cloud.blobs.now()
    relined(app, line, state=Removed(since=now, emptied=now - timedelta(days=1)))
    assert line.id not in app.lines.standing()
    assert line.id in lines_shown(app), "it may be revived"
    again = relined(app, line, rollout="r1")
    assert (again.removed, again.emptied) == (None, now - timedelta(days=1))
    assert line.id in app.lines.standing()
    assert lines_shown(app).count(line.id) == 1


def test_history_is_kept_in_order_and_bounded() -> None:
    run = a_run()
    for number in range(HISTORY_LIMIT + 5):
        run = run.noted(NOW, str(number))
    assert [entry.what for entry in run.history] == [str(n) for n in range(5, HISTORY_LIMIT + 5)]


def test_a_new_phase_begins_now_and_waits_for_nothing() -> None:
    run = a_run(waiting=Waiting(why="the job")).noted(NOW + timedelta(hours=1), "on", phase=Phase.PREPARED)
    assert (run.phase, run.since, run.waiting) == (Phase.PREPARED, NOW + timedelta(hours=1), None)
    assert run.noted(NOW + timedelta(hours=2), "same").since == NOW + timedelta(hours=1)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


DAY = 24 * 60
KNOWN: dict[str, dict[str, Any]] = {
    "its phase began": {},
    "its timer was due": {"wake": Wake(token="t", due=NOW + minutes(7))},
    "its claim ran out": {
        "wake": Wake(token="t", due=NOW),
        "claim": Claim(action=Action.SMOKE_TEST, until=NOW + minutes(7)),
    },
    "it was changed": {"history": (Entry(at=NOW + minutes(7), phase=Phase.CHECKING, what=Action.SMOKE_TEST.done),)},
    "it was parked": {"parked": Parked(at=NOW + minutes(7), why="a bug")},
    "a person had it go on": {"resumed": NOW + minutes(7)},
}


@pytest.mark.parametrize("phase", [Phase.DEPLOYING, Phase.CHECKING])
@pytest.mark.parametrize("known", KNOWN)
def test_a_time_in_which_nobody_looked_is_none_of_its_phases_and_is_found_once(phase: Phase, known: str) -> None:
    run = a_run(phase=phase, **KNOWN[known])
    rests = PARKED if run.parked else timedelta(0)  # that it is left alone for so long is nobody's standstill
    counted = NOW + minutes(7) + rests - run.begun if KNOWN[known] else timedelta(0)
    soon, late = NOW + minutes(7 + 9) + rests, NOW + minutes(7 + DAY)
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
        {"phase": Phase.CHECKING, "waiting": Waiting(why="an approval", hold="approval")},
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


SAID = Deployed(endpoint="e", name="d", approval=Approval(by="ada"))
ASKED = Deployed(endpoint="e", name="d", approval=Approval(asked=(NOW,)))


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, 0),
        ({"wake": Wake(token="t", due=NOW + minutes(5))}, 5),
        ({"claim": Claim(action=Action.SUBMIT_JOB, until=NOW + minutes(3))}, 3),
        ({"claim": Claim(action=Action.SUBMIT_JOB, until=NOW + minutes(3)), "wake": Wake(token="t", due=NOW)}, 3),
        ({"parked": Parked(at=NOW, why="a bug")}, 60),
        ({"parked": Parked(at=NOW, why="a bug"), "wake": Wake(token="t", due=NOW)}, 60),
        ({"waiting": Waiting(why="its turn", hold="slot")}, None),
        ({"waiting": Waiting(why="its turn", hold="slot"), "wake": Wake(token="t", due=NOW + minutes(5))}, 5),
        ({"waiting": Waiting(why="unpin", hold="pin")}, None),
        ({"waiting": Waiting(why="approve", hold="approval"), "deployed": ASKED}, None),
        ({"waiting": Waiting(why="approve", hold="approval"), "deployed": SAID}, 0),
        ({"waiting": Waiting(why="unpin", hold="pin"), "ending": Ending(phase=Phase.CANCELLED, why="ada")}, 0),
        ({"waiting": Waiting(why="unpin", hold="pin"), "outbox": (Notice(id="n", type="t", at=NOW),)}, 0),
        ({"waiting": Waiting(why="the job to end")}, 0),
    ],
)
def test_when_the_sweep_has_to_look_at_a_run(changes: dict[str, Any], due: int | None) -> None:
    """When its claim or its timer should be over, an hour after it was parked; or else at once, unless it is held."""
    run = changed(a_run(since=NOW), **changes)
    assert mark_of(run).due == (None if due is None else NOW + minutes(due))


def test_the_app_reads_its_settings_from_the_environment(cloud_env: Stack, app: App) -> None:
    assert app.settings.storage.blob_uri == cloud_env.urls["blob"]
