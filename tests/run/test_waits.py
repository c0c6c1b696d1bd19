"""How long a run may wait: who hears of it, and when it is given up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.lifecycle.again import Scarce
from shared.lifecycle.phase import WORK, Hold, Phase
from shared.line.waits import Need, counted, kept_needs, tell
from shared.records.base import Order, Wake
from shared.records.layout import NEEDS, STATE
from shared.records.mark import mark_of
from shared.records.run import Approval, Attempt, Deployed, Ending, Run, Source, Waiting
from shared.run.waits import DAY, ENDS_WITHIN, given_up, is_long, is_up_to_people, limit_of, needs_of, usual
from shared.sweep import sweep
from tests.kit.clouds import forget, later
from tests.kit.records import events_of

HOUR = timedelta(hours=1)


@pytest.fixture
def app(app: App) -> Iterator[App]:
    """With nothing of others that works, and nothing that people heard of."""
    forget(app)
    app.cloud.blobs.delete(STATE, NEEDS)
    yield app
    forget(app)
    app.cloud.blobs.delete(STATE, NEEDS)


def a_run(app: App, phase: Phase, age: timedelta, hold: Hold = "", why: str = "its turn") -> Run:
    now = app.cloud.blobs.now()
    return Run(
        id=f"r{uuid4().hex[:15]}",
        line="none",
        order=Order(uploaded=now),
        source=Source(folder="none", base_model="Phi-4"),
        since=now - age,
        phase=phase,
        attempt=Attempt(deployed=Deployed(endpoint="none", name="none")),
        waiting=Waiting(why=why, hold=hold),
        wake=Wake(token="t", due=now + 30 * DAY),
    )


def waiting(app: App) -> list[str]:
    """The runs that wait for a person; messages of other tests may wait as well."""
    return [need.run for need, _ in kept_needs(app) if need.run]


@pytest.mark.parametrize(
    "phase", [pytest.param(each, marks=() if each is Phase.REGISTERED else pytest.mark.thorough) for each in WORK]
)
def test_whatever_it_waits_for_people_hear_of_it_once_it_is_longer_than_usual_and_daily(
    app: App, cloud: Stack, phase: Phase
) -> None:
    soon = a_run(app, phase, usual(app.settings, phase) - HOUR)
    late = a_run(app, phase, usual(app.settings, phase) + HOUR)
    assert app.runs.create(soon)
    assert app.runs.create(late)
    sweep(app)
    sweep(app)
    assert not events_of(cloud, late), "its end may come"
    later(app, cloud, ENDS_WITHIN)
    sweep(app)
    sweep(app)

    def told() -> list[str]:
        return [each["data"]["reason"] for each in events_of(cloud, late) if each["type"] == "Droptune.Run.Waiting"]

    assert len(told()) == 1, "once a day"
    assert f"is {phase} since" in told()[0]
    assert "its turn" in told()[0]
    assert not events_of(cloud, soon)
    assert waiting(app) == [late.id]
    assert counted(app) == len(list(kept_needs(app)))
    later(app, cloud, DAY)
    sweep(app)
    sweep(app)
    assert len(told()) == 2


@pytest.mark.parametrize("hold", ["pin", "endpoint"])
def test_what_only_a_person_ends_is_told_at_once(app: App, cloud: Stack, hold: Hold) -> None:
    run = a_run(app, Phase.REGISTERED, HOUR, hold)
    assert app.runs.create(run)
    sweep(app)
    assert [each["type"] for each in events_of(cloud, run)] == ["Droptune.Run.Waiting"]
    assert is_up_to_people(mark_of(run))
    app.cloud.blobs.delete(STATE, f"active/{run.id}")
    sweep(app)
    assert waiting(app) == []


@pytest.mark.parametrize("ending", [None, Ending(phase=Phase.CANCELLED, why="cancelled by ada")])
def test_who_is_ending_already_is_not_told_to_cancel(app: App, ending: Ending | None) -> None:
    run = replace(a_run(app, Phase.CHECKING, 2 * DAY), ending=ending)
    assert app.runs.create(run)
    found, now = list(app.runs.open()), app.cloud.blobs.now()
    [need] = needs_of(app, found, {run.id: mark_of(run)}, now)
    assert ("droptune cancel" in need.why) == (ending is None)


@pytest.mark.parametrize("phase", WORK)
def test_a_phase_has_an_end_of_its_own_or_costs_nothing_or_has_the_job_s(app: App, phase: Phase) -> None:
    limit = limit_of(app.settings, phase)
    assert (limit is None) == (phase in (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING))
    for age in (HOUR, 30 * DAY):
        run = a_run(app, phase, age)
        ending = given_up(app, run, "a bug")
        assert bool(ending) == (limit is not None and age > limit)
        if ending:
            assert "droptune retry" in ending.why
            assert ending.why.endswith("that was a bug")
            assert ending.phase.ended
            assert given_up(app, replace(run, ending=ending), "a bug") is None, "an end is decided once"
        assert given_up(app, run, "an approval", "approval") is None


def test_a_deployment_that_is_made_again_for_want_of_machines_has_its_time_anew(app: App) -> None:
    now = app.cloud.blobs.now()
    scarce = Scarce(times=7, since=now - 20 * HOUR, at=now - 2 * HOUR, why="none")
    run = a_run(app, Phase.DEPLOYING, 20 * HOUR).in_attempt(scarce=scarce)
    assert given_up(app, run, "machines") is None
    assert given_up(app, run.in_attempt(scarce=replace(scarce, at=now - 4 * HOUR)), "it")
    registered = replace(run, phase=Phase.REGISTERED, since=now - 15 * DAY)
    assert given_up(app, registered, "quota"), "that one's limit counts all of its tries"


def test_who_waits_for_an_approval_is_given_up_by_that_limit_alone(app: App) -> None:
    run = a_run(app, Phase.CHECKING, 3 * DAY)
    asked = run.in_deployed(approval=Approval(asked=(app.cloud.blobs.now(),)))
    assert given_up(app, asked, "the endpoint, which is out of reach") is None
    assert given_up(app, asked.in_deployed(approval=Approval(by="ada")), "the endpoint") == Ending(
        phase=Phase.ROLLED_BACK,
        why="it did not serve within MAX_CHECKING_HOURS: see to what it waited for, then droptune retry, which does "
        "not train again; that was the endpoint",
    )
    assert not is_long(app.settings, mark_of(replace(run, phase=Phase.LIVE)), app.cloud.blobs.now())


@pytest.mark.parametrize("data", [b"", b"[]", b'{"told": 7}'])
def test_what_people_heard_of_is_told_once_more_where_that_is_broken(app: App, data: bytes) -> None:
    app.cloud.blobs.write(STATE, NEEDS, data)
    need = Need(key="a b", event="Run.Waiting", subject="runs/a", why="b")
    tell(app, {"runs": [need]}, app.cloud.blobs.now())
    assert counted(app) == 1
    tell(app, {"lines": []}, app.cloud.blobs.now())
    assert counted(app) == 1, "each source says all of its own, and nothing of others"
    tell(app, {"runs": []}, app.cloud.blobs.now())
    assert counted(app) == 0


def test_what_takes_long_is_told_once_it_has(app: App) -> None:
    now = app.cloud.blobs.now()
    need = Need(key="a b", event="", subject="lines/a", why="b", after=DAY)
    for at, known in ((now, 0), (now + DAY - HOUR, 0), (now + DAY, 1)):
        tell(app, {"cleanup": [need]}, at)
        assert counted(app) == known
