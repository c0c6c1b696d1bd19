"""What owners notice when a version comes back, is pinned, or has no spare instances beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared import naming
from shared.api import line_commands, run_commands
from shared.app import wake
from shared.errors import NotFound, Permanent
from shared.lifecycle.phase import Phase
from shared.records.run import Data
from tests.kit.worlds.stage import REPLACE, WHO, WRONG, Stage, waits_for

# Ways back -----------------------------------------------------------------------------------------------------------


def told_run(stage: Stage, told: str) -> str:
    """The run that an answer to a command names."""
    return told.split()[1]


def test_a_rollback_within_the_grace_takes_the_deployment_that_still_stands(stage: Stage) -> None:
    """And the way forward again is an upload."""
    stage.pretend(WHO)
    old = stage.live()
    new = stage.until(stage.version())
    told = line_commands.rollback(stage.app, stage.line_id, by="ada")
    assert old.attempt.model in told
    again = line_commands.rollback(stage.app, stage.line_id, by="eve")
    assert told_run(stage, again) == told_run(stage, told), "asked twice, it is one"
    back = stage.until(stage.world.run(told_run(stage, told)))
    assert back.restores
    assert (back.phase, back.restores.run, back.deployed.name) == (Phase.LIVE, old.id, old.deployed.name)
    assert stage.made("deployments") == [new.deployed.name], "no other one was made"
    assert stage.traffic_was() == [{new.deployed.name: 100}, {old.deployed.name: 100}]
    assert stage.answers() == f"{stage.endpoint}/{old.deployed.name}"
    line = stage.line
    assert line.previous
    assert (line.previous.run, [each.deployment for each in line.retiring]) == (new.id, [new.deployed.name])
    assert [kind for kind, _ in stage.events()] == ["Endpoint.Live", "Endpoint.RolledBack"]
    assert [each["data"]["phase"] for each in stage.cloud_events()] == ["live", "live"]
    stage.at_rest()
    assert stage.standing() == {old.deployed.name: "Succeeded"}

    newer = stage.until(stage.version())
    assert newer.phase is Phase.LIVE, newer.why
    assert stage.traffic() == {newer.deployed.name: 100}
    stage.at_rest()
    assert stage.standing() == {newer.deployed.name: "Succeeded"}


@pytest.mark.thorough
def test_a_rollback_after_the_grace_deploys_the_old_model_anew(stage: Stage) -> None:
    """It is asked nothing by the gate: a person wants it as it is, however it answers."""
    stage.pretend(WRONG)
    old = stage.live()
    stage.pretend()
    new = stage.until(stage.version())
    stage.at_rest()
    stage.pretend(WRONG)
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.endpoint))))
    assert back.phase is Phase.LIVE, back.why
    assert stage.answers() == WRONG
    assert back.deployed.scores is None
    assert back.attempt.model == old.attempt.model
    assert stage.made("deployments") == [new.deployed.name, back.deployed.name]
    assert stage.traffic_was() == [{new.deployed.name: 100}, {back.deployed.name: 100}], (
        "never without one that answers"
    )
    stage.at_rest()
    assert stage.standing() == {back.deployed.name: "Succeeded"}


@pytest.mark.thorough
def test_a_rollback_that_fails_leaves_what_serves(stage: Stage) -> None:
    stage.live()
    new = stage.until(stage.version())
    stage.at_rest()
    stage.pretend(outcome="Failed")
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert back.phase is Phase.ROLLED_BACK
    assert stage.traffic_was() == [{new.deployed.name: 100}]
    assert stage.standing() == {new.deployed.name: "Succeeded"}
    stage.pretend()
    told = line_commands.rollback(stage.app, stage.line_id)
    again = stage.until(stage.world.run(back.id))
    assert back.id in told
    assert (again.phase, again.attempt.number) == (Phase.LIVE, 2)
    stage.at_rest()


@pytest.mark.thorough
def test_the_same_data_once_more_are_no_word_against_a_rollback(stage: Stage) -> None:
    old = stage.live()
    new = stage.until(stage.version())
    back = stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id)))
    stage.lose_messages()  # the upload comes first
    same = stage.until(stage.version(phase=Phase.RECEIVED, data=Data(fingerprint=new.attempt.fingerprint)))
    assert same.phase is Phase.UNCHANGED
    wake(stage.app, back)
    back = stage.until(back)
    assert back.phase is Phase.LIVE, back.why
    assert stage.traffic() == {old.deployed.name: 100}
    stage.at_rest()


def test_what_was_torn_down_is_revived(stage: Stage) -> None:
    run = stage.live()
    stage.tear_down()
    assert stage.standing() == {}
    with pytest.raises((NotFound, Permanent)):
        stage.answers()
    revived = stage.until(stage.world.run(told_run(stage, line_commands.revive(stage.app, stage.folder, by="ada"))))
    assert revived.restores
    assert (revived.phase, revived.attempt.model, revived.restores.run) == (Phase.LIVE, run.attempt.model, run.id)
    assert stage.answers()
    assert [kind for kind, _ in stage.events()][-1] == "Endpoint.Revived"
    line = stage.line
    assert line.serving
    assert (line.serving.run, line.emptied) == (revived.id, None)
    stage.at_rest()


@pytest.mark.thorough
def test_what_was_torn_down_can_be_rolled_back_to(stage: Stage) -> None:
    stage.live()
    old = stage.until(stage.version())
    stage.at_rest()
    stage.tear_down()
    new = stage.until(stage.version())
    assert new.phase is Phase.LIVE, new.why
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert (back.phase, back.attempt.model) == (Phase.LIVE, old.attempt.model)
    stage.at_rest()


# Pins ----------------------------------------------------------------------------------------------------------------


def test_a_pinned_line_keeps_what_it_serves_until_it_is_let_go(stage: Stage) -> None:
    old = stage.live()
    line_commands.pin(stage.app, stage.line_id, by="ada")
    run = stage.until(stage.version(), lambda run: run.hold)
    assert (run.phase, run.hold) == (Phase.REGISTERED, "pin")
    assert "ada" in waits_for(run)
    stage.quiet()
    assert stage.standing() == {old.deployed.name: "Succeeded"}, "what waits costs nothing"
    assert run.id in line_commands.unpin(stage.app, stage.line_id)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert stage.traffic() == {live.deployed.name: 100}


def test_a_pinned_line_is_rolled_back_all_the_same(stage: Stage) -> None:
    old = stage.live()
    new = stage.until(stage.version())
    line_commands.pin(stage.app, stage.line_id, by="ada")
    held = stage.until(stage.version(), lambda run: run.hold)
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert back.phase is Phase.LIVE, back.why
    assert stage.traffic_was() == [{new.deployed.name: 100}, {old.deployed.name: 100}]
    assert stage.run(held).phase is Phase.REGISTERED, "what waited for the pin waits on"


# Without spare instances ---------------------------------------------------------------------------------------------


def test_in_place_the_old_version_goes_first(stage: Stage) -> None:
    stage.pretend(WRONG)
    old = stage.live()
    run = stage.until(stage.version(promotion=REPLACE))
    assert run.phase is Phase.LIVE, run.why
    both = [each for each in stage.history("deployments") if each["state"] in ("Deleted", "Creating")]
    names = [(each["name"].rpartition("/")[2], each["state"]) for each in both]
    assert names == [(old.deployed.name, "Deleted"), (run.deployed.name, "Creating")]
    assert stage.standing() == {run.deployed.name: "Succeeded"}
    assert stage.traffic() == {run.deployed.name: 100}
    line = stage.line
    assert line.serving
    assert line.previous
    assert (line.serving.run, line.previous.run, line.retiring) == (run.id, old.id, ())
    stage.at_rest()


def test_in_place_what_served_comes_back_when_the_new_version_fails(stage: Stage) -> None:
    """And what served before it can be rolled back to, as it could have been all the time."""
    first = stage.live()
    old = stage.until(stage.version())
    stage.at_rest()
    stage.pretend(outcome="Failed", count=1)
    stage.pretend_too()
    run = stage.until(stage.version(promotion=REPLACE))
    assert run.phase is Phase.ROLLED_BACK
    stage.quiet()
    line = stage.line
    assert line.serving
    assert line.serving.model == old.attempt.model
    assert stage.traffic() == {line.serving.deployment: 100}
    assert stage.standing() == {line.serving.deployment: "Succeeded"}
    assert stage.answers()
    stage.at_rest()
    assert [kind for kind, _ in stage.events()] == ["Endpoint.Live", "Endpoint.RolledBack", "Endpoint.Revived"]
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert (back.phase, back.attempt.model) == (Phase.LIVE, first.attempt.model)


def test_in_place_what_served_is_brought_back_as_often_as_the_new_version_fails(stage: Stage) -> None:
    """The first time that fails as well, so that nothing serves; the person who tries again has not heard of it."""
    old = stage.live()
    stage.pretend(outcome="Failed", count=3)
    stage.pretend_too()
    run = stage.until(stage.version(promotion=REPLACE))
    stage.quiet()
    assert stage.line.serving is None
    run_commands.retry(stage.app, run.id)
    assert stage.until(run).phase is Phase.ROLLED_BACK
    stage.quiet()
    line = stage.line
    assert line.serving
    back = stage.world.run(line.serving.run)
    assert (back.attempt.model, back.attempt.number) == (old.attempt.model, 2)
    assert [each.what for each in back.history if "brought back" in each.what], "and of both attempts it tells"
    assert len({each.what for each in back.history}) > 5
    assert stage.traffic() == {line.serving.deployment: 100}
    assert stage.standing() == {line.serving.deployment: "Succeeded"}
    stage.at_rest()


@pytest.mark.thorough
def test_in_place_a_pinned_version_comes_back_before_anything_that_waits_for_the_pin(stage: Stage) -> None:
    """Somebody pins the line just before what it serves is taken away."""
    old = stage.live()
    stage.pretend(outcome="Failed", count=1)
    stage.pretend_too()
    run = stage.until(stage.version(promotion=REPLACE), lambda run: run.phase is Phase.DEPLOYING)
    line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
    stage.app.lines.save(replace(line, pinned_by="ada"), etag)
    newer = stage.version()
    assert stage.until(run).phase is Phase.ROLLED_BACK
    wake(stage.app, newer)
    stage.quiet()
    line = stage.line
    assert line.serving
    assert (line.serving.model, line.pinned_by) == (old.attempt.model, "ada")
    assert stage.run(newer).hold == "pin"
    assert naming.deployment_name(newer.id, 1) not in stage.made("deployments")
    line_commands.unpin(stage.app, stage.line_id)
    assert stage.until(newer).phase is Phase.LIVE
