"""What is somebody else's is never changed nor deleted, whatever tags it carries, and people hear that it is there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest

from localcloud.stack import Stack
from shared.api.recover import recover
from shared.line.kept import KEEP_TAG
from shared.records.layout import STATE
from shared.records.line import Standing
from tests.kit.ours import made_for
from tests.kit.waiting import eventually
from tests.kit.worlds.people import BY_HAND, DAY, DELETE, HOUR, deployed, given, pass_by, said
from tests.kit.worlds.stage import Stage
from tests.kit.worlds.world import World

pytestmark = pytest.mark.thorough


def tagged(stage: Stage, tags: dict[str, str]) -> None:
    """The endpoint has these tags and no others, by a person."""
    endpoints = stage.app.cloud.clients.ml.online_endpoints
    found = endpoints.get(stage.endpoint)
    found.tags = tags
    endpoints.begin_create_or_update(found)
    eventually(lambda: (seen := stage.app.cloud.endpoints.get(stage.endpoint)) and not seen.busy)


def idle(stage: Stage, done: Callable[[], object] = lambda: None, *, ticks: int = 4 * 20) -> None:
    """Nobody calls, and the cleanup sees that: until it is done, or for so many ticks.

    The local cloud measures in real time, and gives each minute that was jumped over what it has measured.
    """
    world, stage.world.sweeps = stage.world, False
    left = count(ticks, -1)

    def tick() -> object:
        world.clock.jump(timedelta(minutes=15))
        world.cleanup()
        stage.quiet()
        return done() or not next(left)

    eventually(tick, 60, every=0.2)  # the halves of the window have points of their own then


@pytest.fixture
def other(stack: Stack, stage: Stage) -> Iterator[Stage]:
    """Another installation in the same workspace, with a dataset folder of the same name."""
    world = World(stack, own="-other", **{"INSTALLATION": "another", **DELETE})
    yield replace(stage, world=world)
    errors = world.errors
    world.close()
    assert not errors


# Deployments on the endpoint -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["deployments", "endpoint"])
@pytest.mark.parametrize("kind", ["without a tag", "another installation's", "a copy"])
def test_a_teardown_takes_ours_and_leaves_and_names_what_is_not(stage: Stage, target: str, kind: str) -> None:
    live = stage.live()
    tags = {
        "without a tag": {},
        "another installation's": made_for(stage.line, BY_HAND) | {"droptune.installation": "another"},
        "a copy": made_for(stage.line, live.deployed.name),
    }[kind]
    deployed(stage, BY_HAND, tags)
    stage.world.change(**DELETE, CLEANUP_TARGET=target)
    idle(stage, lambda: stage.line.emptied)
    assert stage.standing() == {BY_HAND: "Succeeded"}
    assert stage.app.cloud.endpoints.get(stage.endpoint)
    assert stage.line.emptied
    assert not stage.line.removed
    assert said(stage, "Endpoint.OthersFound") == [
        f"deployment {BY_HAND}, which is somebody else's: it stays, and the endpoint with it"
    ]
    (notice,), (gone,) = said(stage, "Endpoint.IdleNotice"), said(stage, "Endpoint.TornDown")
    assert BY_HAND in notice
    assert BY_HAND in gone
    assert stage.made("deployments", method="DELETE") == [live.deployed.name]


def test_what_somebody_gave_traffic_beside_ours_keeps_it_and_ours_stays(stage: Stage) -> None:
    """Azure has 0 or 100 % of the traffic given away: to take ours away would change theirs."""
    live = stage.live()
    deployed(stage, BY_HAND)
    shares = {live.deployed.name: 70, BY_HAND: 30}
    given(stage, shares)
    stage.world.change(**DELETE)
    idle(stage)
    assert (stage.traffic(), set(stage.standing())) == (shares, set(shares))
    told = said(stage, "Endpoint.Kept")
    assert told
    assert all(
        f"deployment {BY_HAND}, which is somebody else's, has traffic: to give it none ends that" in each
        for each in told
    )
    given(stage, {live.deployed.name: 100})
    idle(stage, lambda: stage.line.emptied)
    assert stage.standing() == {BY_HAND: "Succeeded"}, "and that ends it"


def test_a_copy_of_ours_is_no_orphan(stage: Stage) -> None:
    live = stage.live()
    deployed(stage, BY_HAND, made_for(stage.line, live.deployed.name))
    deployed(stage, "r222222222222222-1", made_for(stage.line, "r333333333333333-1"))
    stage.world.change(CLEANUP_MODE="delete", ROLLOUT_GRACE=timedelta(0))
    pass_by(stage, 3 * HOUR)
    assert set(stage.standing()) == {live.deployed.name, BY_HAND, "r222222222222222-1"}
    assert said(stage, "Endpoint.OrphanFound") == []


def test_ours_is_known_by_tags_in_any_case(stage: Stage) -> None:
    live = stage.live()
    orphan = "r222222222222222-1"
    deployed(stage, orphan, {name.upper(): value for name, value in made_for(stage.line, orphan).items()})
    stage.world.change(CLEANUP_MODE="delete", ROLLOUT_GRACE=timedelta(0))
    pass_by(stage, 3 * HOUR)
    assert set(stage.standing()) == {live.deployed.name}
    assert said(stage, "Endpoint.OthersFound") == []


# The endpoint itself -------------------------------------------------------------------------------------------------


def test_an_endpoint_without_our_tags_is_not_touched_until_it_has_them_again(stage: Stage) -> None:
    live = stage.live()
    tags = dict(stage.app.cloud.endpoints.get(stage.endpoint).tags)  # type: ignore[union-attr]
    tagged(stage, {"team": "theirs"})
    stage.world.change(**DELETE)
    idle(stage)
    assert (stage.traffic(), set(stage.standing())) == ({live.deployed.name: 100}, {live.deployed.name})
    (told,) = said(stage, "Endpoint.OthersFound")
    assert f"droptune.line={stage.line_id}" in told
    run = stage.until(stage.version(), lambda run: run.waiting)
    assert run.waiting
    assert run.waiting.why == told
    assert stage.made("deployments") == []
    tagged(stage, tags)
    stage.until(run)
    assert stage.traffic() == {f"{run.id}-1": 100}


def test_an_endpoint_of_our_name_that_somebody_made_is_not_taken(stage: Stage) -> None:
    stage.app.cloud.endpoints.create(stage.endpoint, "theirs", {"team": "theirs"})
    eventually(lambda: (seen := stage.app.cloud.endpoints.get(stage.endpoint)) and not seen.busy)
    run = stage.until(stage.version(), lambda run: run.waiting)
    assert run.waiting
    assert f"endpoint {stage.endpoint} lacks the tags droptune.line={stage.line_id}" in run.waiting.why
    assert stage.made("deployments") == []


# Jobs ----------------------------------------------------------------------------------------------------------------


def test_a_copy_of_our_job_goes_on(stage: Stage) -> None:
    """As the SDK makes it: loaded, given another name, and submitted."""
    stage.pretend(job=40 * 3600)
    run = stage.until(stage.upload(), lambda run: run.attempt.job)
    jobs = stage.app.cloud.clients.ml.jobs
    theirs = copy.copy(jobs.get(run.attempt.job))
    theirs.name = f"copy-{stage.folder}"
    jobs.create_or_update(theirs, skip_validation=True)
    assert stage.app.cloud.jobs.get(theirs.name).tags["droptune.run"] == run.id  # type: ignore[union-attr]
    stage.world.until(lambda: stage.run(run).phase.ended, patience=timedelta(days=2))
    stage.world.until(lambda: stage.job_status(run) == "Canceled")
    assert jobs.get(theirs.name).status == "Running"
    jobs.begin_cancel(theirs.name)


# Two installations ---------------------------------------------------------------------------------------------------


def test_two_installations_in_one_workspace_leave_each_other_alone(stage: Stage, other: Stage) -> None:
    """The same folder, the same base model: names, traffic and deployments are apart."""
    stage.live()
    theirs = other.live()
    assert stage.endpoint != other.endpoint
    stage.world.change(**DELETE, CLEANUP_TARGET="endpoint")
    idle(stage, lambda: stage.line.removed)
    assert stage.app.cloud.endpoints.get(stage.endpoint) is None
    assert other.traffic() == {theirs.deployed.name: 100}
    assert other.standing() == {theirs.deployed.name: "Succeeded"}


def test_one_that_lost_its_state_gets_its_own_again_and_no_more(stage: Stage, other: Stage) -> None:
    ours, theirs = stage.live(), other.live()
    blobs = other.app.cloud.blobs
    for blob in list(blobs.list(STATE)):
        blobs.delete(STATE, blob.name)
    other.world.begin_anew(other.world.settings)
    other.world.see_the_time()
    pass_by(other, 2 * HOUR)
    assert [each["subject"] for each in other.cloud_events() if each["type"] == "Droptune.Record.Lost"] == [
        f"endpoints/{other.endpoint}"
    ]
    found = recover(other.app)
    said = [*found.rebuilt, *found.told]
    assert not [each for each in said if stage.endpoint in each or ours.id in each]
    assert [each for each in found.rebuilt if each.startswith(f"line {other.line_id}")]
    assert other.line.serving
    assert other.line.serving.deployment == theirs.deployed.name
    assert stage.traffic() == {ours.deployed.name: 100}


def test_a_workspace_whose_state_was_emptied_is_told_of_daily(stage: Stage) -> None:
    stage.live()
    stage.app.cloud.blobs.delete(STATE, f"standing/{stage.line_id}")
    stage.app.cloud.blobs.delete(STATE, f"lines/{stage.line_id}.json")
    pass_by(stage, 3 * DAY)
    told = [each for each in stage.cloud_events() if each["type"] == "Droptune.Record.Lost"]
    assert 3 <= len(told) <= 4
    assert {each["subject"] for each in told} == {f"endpoints/{stage.endpoint}"}
    assert "droptune recover" in told[0]["data"]["reason"]
    recover(stage.app)
    assert stage.line.serving
    before = len(told)
    pass_by(stage, 2 * DAY)
    assert len([each for each in stage.cloud_events() if each["type"] == "Droptune.Record.Lost"]) == before


# Kept ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["endpoint", "deployment", "pin"])
def test_what_is_kept_is_not_torn_down_and_says_daily_what_it_costs(stage: Stage, where: str) -> None:
    live = stage.live()
    line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
    if where == "pin":
        stage.app.lines.save(replace(line, pinned_by="ada"), etag)
    elif where == "endpoint":
        found = stage.app.cloud.endpoints.get(stage.endpoint)
        assert found
        tagged(stage, found.tags | {KEEP_TAG.title(): "demo"})
    else:
        deployments = stage.app.cloud.clients.ml.online_deployments
        its = deployments.get(live.deployed.name, stage.endpoint)
        its.tags = its.tags | {KEEP_TAG.upper(): "demo"}
        deployments.begin_create_or_update(its)
        stage.world.clock.jump(timedelta(minutes=1))
        eventually(lambda: stage.standing() == {live.deployed.name: "Succeeded"})
    stage.world.change(**DELETE, SERVING_PRICE_PER_HOUR=Decimal(2))
    idle(stage, ticks=4 * 27)
    assert stage.standing() == {live.deployed.name: "Succeeded"}
    assert isinstance(stage.line.state, Standing)
    told = said(stage, "Endpoint.Kept")
    assert len(told) == 2
    ends = {
        "pin": f"droptune unpin {stage.line_id}",
        "endpoint": "the endpoint has the tag",
        "deployment": "has the tag",
    }
    assert all("48.00 USD a day" in each and ends[where] in each for each in told)
