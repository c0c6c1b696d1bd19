"""One message's turn at a run: whose save counts, how long a claim lasts, and what becomes of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.errors import Conflict
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records.base import Notice
from shared.records.run import Ending, Run, Waiting
from shared.run import turn as turns
from shared.run.turn import Turn
from tests.kit.carried import EMPTY
from tests.kit.records import events_of, run_of
from tests.kit.waiting import eventually


@pytest.fixture
def make_run(app: App, key: str) -> Callable[..., Run]:
    def make(**changes: object) -> Run:
        run = replace(EMPTY, id=f"r{key}", line=f"l{key}", **changes)  # type: ignore[arg-type]
        assert app.runs.create(run)
        return run

    return make


def begun(app: App, run: Run) -> Turn:
    loaded = app.runs.load(run.id)
    assert loaded
    return Turn(app, *loaded)


def test_who_was_slower_changes_nothing(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run()
    slow, fast = begun(app, run), begun(app, run)
    fast.save(replace(fast.run, waiting=Waiting(why="a free slot")))
    with pytest.raises(Conflict):
        slow.save(replace(slow.run, phase=Phase.TRAINING))
    assert run_of(app, run) == fast.run


def test_who_lost_the_claim_changes_nothing(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run()
    slow = begun(app, run)
    with pytest.raises(Conflict), slow.claimed(Action.SUBMIT_JOB):  # noqa: PT012 - what is lost is lost in there
        held = run_of(app, run)
        assert held.claim
        taken = replace(held, claim=replace(held.claim, holder="somebody else"))
        app.runs.save(taken, app.runs.load(run.id).etag, before=held)  # type: ignore[union-attr]
        slow.save(replace(slow.run, phase=Phase.TRAINING))
    assert run_of(app, run) == taken


def test_a_cancellation_is_joined_to_what_the_claim_s_holder_has_done(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.PREPARED)
    turn = begun(app, run)
    with turn.claimed(Action.SUBMIT_JOB):
        held = run_of(app, run)
        loaded = app.runs.load(run.id)
        assert loaded
        ended = held.noted(run.since, "cancelled by ada")
        app.runs.save(replace(ended, ending=Ending(phase=Phase.CANCELLED, why="ada")), loaded.etag, before=held)
    turn.save(turn.run.in_attempt(job="j").noted(run.since, "submitted the job", claim=None))
    found = run_of(app, run)
    assert (found.attempt.job, found.why) == ("j", "ada"), "neither is lost"
    assert [entry.what for entry in found.history] == ["cancelled by ada", "submitted the job"]


def test_a_claim_is_kept_alive_for_as_long_as_the_work_lasts(
    app: App, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "RENEWED", timedelta(milliseconds=50))
    run = make_run()
    turn = begun(app, run)
    with turn.claimed(Action.SUBMIT_JOB):
        first = run_of(app, run).claim
        assert first
        assert first.until - app.cloud.blobs.now() <= timedelta(minutes=3, seconds=5), (
            "who died keeps nobody out for long"
        )
        assert eventually(lambda: (claim := run_of(app, run).claim) and claim.until > first.until)
    last = run_of(app, run).claim
    assert last
    assert last.holder == first.holder


def test_a_claim_is_renewed_well_before_it_runs_out() -> None:
    assert turns.RENEWED * 2 < turns.CLAIM


def test_events_that_a_crash_left_are_sent_once_and_forgotten(
    app: App, make_run: Callable[..., Run], cloud: Stack
) -> None:
    run = make_run()
    notice = Notice(id=f"{run.id}-Run.Parked-1", type="Droptune.Run.Parked", at=app.cloud.blobs.now(), why="w")
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(replace(run, outbox=(notice,)), loaded.etag, before=run)  # and died
    turn = begun(app, run)
    turn.close()
    assert run_of(app, run).outbox == ()
    begun(app, run).close()
    assert [event["id"] for event in events_of(cloud, run)] == [notice.id]


def test_an_event_is_in_the_record_before_it_is_sent(app: App, make_run: Callable[..., Run], cloud: Stack) -> None:
    """So that a crash between the two loses none."""
    run = make_run(phase=Phase.PREPARED)
    turn = begun(app, run)
    cloud.control("POST", "/_local/faults", {"method": "POST", "path": "/api/events", "status": 503, "count": None})
    try:
        turn.save(turn.run.noted(app.cloud.blobs.now(), "submitted the job", phase=Phase.TRAINING))
    finally:
        cloud.control("DELETE", "/_local/faults")
        vars(app.cloud).pop("topic", None)  # it would send nothing for others either, for a while
    assert [notice.type for notice in run_of(app, run).outbox] == ["Droptune.Training.Started"]
