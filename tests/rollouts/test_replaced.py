"""Somebody else's things under our own names: what stands there is not ours again because of the name.

A deployment that somebody made anew in the place of ours, or took the tags off; an endpoint that was copied with all
that is on it; and traffic that somebody gives away while a teardown or a rollback begins.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.api import line_commands, run_commands
from shared.api.recover import recover
from shared.app import wake
from shared.errors import Permanent
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import ACTIVE_RUNS, LINES, RUNS, STANDING_LINES, STATE
from shared.records.line import Line, Standing, TearingDown
from shared.records.run import Run
from shared.records.tags import tags_of, tags_of_line
from tests.kit.waiting import eventually
from tests.kit.worlds.people import (
    BY_HAND,
    DAY,
    DELETE,
    deployed,
    given,
    held,
    instances,
    pass_by,
    ready,
    said,
    scale,
    told,
)
from tests.kit.worlds.stage import BASE_MODEL, MANUAL, REPLACE, Stage, waits_for

pytestmark = pytest.mark.thorough


def made_anew(stage: Stage, name: str) -> None:
    """Somebody deletes ours, and deploys something of his own under the same name."""
    stage.app.cloud.endpoints.remove_deployment(stage.endpoint, name)
    stage.world.clock.jump(timedelta(minutes=1))
    eventually(lambda: name not in stage.standing())
    deployed(stage, name)


def tagged(stage: Stage, name: str, tags: dict[str, str]) -> None:
    """It has these tags, by a person."""
    deployments = stage.app.cloud.clients.ml.online_deployments
    found = deployments.get(name, stage.endpoint)
    found.tags = tags
    deployments.begin_create_or_update(found)
    stage.world.clock.jump(timedelta(minutes=1))
    ready(stage)


def asked_for(stage: Stage, answer: str) -> Run:
    """The run that a command has made."""
    return stage.world.run(next(word for word in answer.split() if word in stage.world.known))


def going(stage: Stage) -> Line:
    """The cleanup has marked it, and nobody has come to it yet."""
    line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
    marked = replace(line, state=TearingDown(whole=False, emptied=line.emptied))
    stage.app.lines.save(marked, etag)
    return marked


# Deployments ---------------------------------------------------------------------------------------------------------


def test_a_version_that_somebody_made_anew_gets_neither_traffic_nor_instances(stage: Stage) -> None:
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    made_anew(stage, run.deployed.name)
    scale(stage, live.deployed.name, 3)
    run_commands.approve(stage.app, run.id, by="ada")
    waits = stage.until(run, held)
    assert f"deployment {run.deployed.name} lacks the tags droptune.run={run.id}" in waits_for(waits)
    assert stage.traffic() == {live.deployed.name: 100}
    assert instances(stage, run.deployed.name)[0] == 1
    tagged(stage, run.deployed.name, tags_of(stage.run(run)))
    done = stage.until(run)
    assert done.phase is Phase.LIVE, "and that ends it"
    stage.at_rest()


def test_one_that_never_is_ours_again_is_left_where_it_is(stage: Stage) -> None:
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    made_anew(stage, run.deployed.name)
    run_commands.approve(stage.app, run.id, by="ada")
    stage.world.until(lambda: stage.run(run).phase.ended, patience=DAY)
    assert stage.run(run).phase is Phase.ROLLED_BACK
    assert "lacks the tags" in stage.run(run).why
    assert stage.standing().keys() == {live.deployed.name, run.deployed.name}
    stage.at_rest()


def test_a_rollback_takes_up_no_deployment_that_somebody_made_anew(stage: Stage) -> None:
    old = stage.live()
    new = stage.until(stage.version())
    made_anew(stage, old.deployed.name)
    back = asked_for(stage, line_commands.rollback(stage.app, stage.line_id, by="ada"))
    stage.until(back, held)
    assert stage.traffic() == {new.deployed.name: 100}
    run_commands.cancel(stage.app, back.id, by="ada")
    stage.until(back)
    assert old.deployed.name in stage.standing()


@pytest.mark.parametrize("asked", [False, True])
def test_what_serves_and_is_not_ours_any_more_keeps_its_traffic(stage: Stage, asked: bool) -> None:
    stage.live()
    live = stage.until(stage.version())
    stage.at_rest()
    tagged(stage, live.deployed.name, {})
    run = asked_for(stage, line_commands.rollback(stage.app, stage.line_id, by="ada")) if asked else stage.version()
    waits = stage.until(run, held)
    assert f"deployment {live.deployed.name} lacks the tags droptune.run={live.id}" in waits_for(waits)
    assert set(stage.made("deployments")) == {live.deployed.name}, "nothing new is paid for"
    assert stage.traffic() == {live.deployed.name: 100}
    tagged(stage, live.deployed.name, tags_of(stage.run(live)))
    assert stage.until(run).phase is Phase.LIVE, "and that ends it"


# Traffic -------------------------------------------------------------------------------------------------------------


def test_a_rollback_that_would_make_room_first_waits_for_the_traffic_of_others(stage: Stage) -> None:
    stage.until(stage.version(promotion=REPLACE))
    stage.at_rest()
    live = stage.until(stage.version(promotion=REPLACE))
    stage.at_rest()
    deployed(stage, BY_HAND)
    shares = {live.deployed.name: 70, BY_HAND: 30}
    given(stage, shares)
    back = stage.until(asked_for(stage, line_commands.rollback(stage.app, stage.line_id, by="ada")), held)
    assert f"give {live.deployed.name} all of it" in waits_for(back)
    assert stage.traffic() == shares
    given(stage, {live.deployed.name: 100})
    done = stage.until(back)
    assert done.phase is Phase.LIVE, told(done)
    assert stage.traffic() == {done.deployed.name: 100}


def test_a_teardown_that_others_traffic_stops_is_over_and_what_it_costs_is_told(stage: Stage) -> None:
    """A teardown that waited would take down, weeks later, what is used again by then."""
    live = stage.live()
    deployed(stage, BY_HAND)
    shares = {live.deployed.name: 70, BY_HAND: 30}
    stage.world.change(**DELETE)
    line = going(stage)
    given(stage, shares)
    wake(stage.app, line)
    pass_by(stage, 2 * DAY)
    assert isinstance(stage.line.state, Standing)
    assert stage.traffic() == shares
    assert len(said(stage, "Endpoint.Kept")) == 2
    given(stage, {live.deployed.name: 100})
    stage.world.clock.jump(timedelta(minutes=15))
    stage.world.cleanup()
    stage.quiet()
    assert live.deployed.name in stage.standing(), "people have had no notice"


def test_a_line_that_is_being_torn_down_is_not_said_to_be_pinned(stage: Stage) -> None:
    stage.live()
    going(stage)
    with pytest.raises(Permanent, match=f"is being torn down: droptune revive {stage.line_id}"):
        line_commands.pin(stage.app, stage.line_id, by="ada")
    stage.tear_down()


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_a_copy_of_our_endpoint_with_all_that_is_on_it_is_taken_for_nothing_of_ours(stage: Stage) -> None:
    """Names of deployments are unique on their endpoint only: on the copy they stand under ours, with our tags."""
    app, name = stage.app, f"copy-{stage.folder}"
    tags = tags_of_line(
        Line(
            id=stage.line_id,
            folder=stage.folder,
            base_model=BASE_MODEL,
            endpoint=stage.endpoint,
            installation=stage.installation,
        )
    )
    app.cloud.endpoints.create(name, "", tags)  # the first to be listed
    eventually(lambda: (found := app.cloud.endpoints.get(name)) and not found.busy)
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    stage.lose_messages()
    model = app.cloud.models.get(*live.attempt.model.rpartition(":")[::2])
    assert model
    for each in (live, run):
        app.cloud.endpoints.deploy(name, each.deployed.name, model.id, "Standard_DS3_v2", 1, tags_of(each))
    stage.world.clock.jump(timedelta(minutes=1))
    eventually(lambda: {each.state for each in app.cloud.endpoints.deployments(name)} == {"Succeeded"})
    app.cloud.endpoints.set_traffic(name, {live.deployed.name: 100})
    for path in (
        *(layout.record(RUNS, each.id) for each in (live, run)),
        layout.marker(ACTIVE_RUNS, run.id),
        layout.record(LINES, stage.line_id),
        layout.marker(STANDING_LINES, stage.line_id),
    ):
        app.cloud.blobs.delete(STATE, path)
    done = recover(app)
    assert f"deployment {run.deployed.name} of endpoint {name} is somebody else's: it is left alone" in done.told
    assert stage.run(run).deployed.endpoint == stage.run(live).deployed.endpoint == stage.endpoint
    stage.until(run, lambda run: run.hold == "approval")
    run_commands.approve(app, run.id, by="ada")
    assert stage.until(run).phase is Phase.LIVE
    copied = app.cloud.endpoints.get(name)
    assert copied
    assert copied.traffic == {live.deployed.name: 100}
    assert stage.traffic() == {run.deployed.name: 100}
