"""What owners notice when a version comes back, is pinned, or has no spare instances beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.api import line_commands, run_commands
from shared.app import wake
from shared.errors import NotFound, Permanent
from shared.lifecycle.phase import Phase
from tests.kit.worlds.stage import REPLACE, WHO, WRONG, Stage

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
    assert old.model in told
    again = line_commands.rollback(stage.app, stage.line_id, by="eve")
    assert told_run(stage, again) == told_run(stage, told), "asked twice, it is one"
    back = stage.until(stage.world.run(told_run(stage, told)))
    assert (back.phase, back.origin, back.deployment) == (Phase.LIVE, old.id, old.deployment)
    assert stage.made("deployments") == [new.deployment], "no other one was made"
    assert stage.traffic_was() == [{new.deployment: 100}, {old.deployment: 100}]
    assert stage.answers() == f"{stage.endpoint}/{old.deployment}"
    line = stage.line
    assert line.before
    assert (line.before.run, [each.deployment for each in line.leaving]) == (new.id, [new.deployment])
    assert [kind for kind, _ in stage.events()] == ["Endpoint.Live", "Endpoint.RolledBack"]
    assert [each["data"]["phase"] for each in stage.cloud_events()] == ["live", "live"]
    stage.at_rest()
    assert stage.standing() == {old.deployment: "Succeeded"}

    newer = stage.until(stage.version())
    assert newer.phase is Phase.LIVE, newer.reason
    assert stage.traffic() == {newer.deployment: 100}
    stage.at_rest()
    assert stage.standing() == {newer.deployment: "Succeeded"}


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
    assert back.phase is Phase.LIVE, back.reason
    assert stage.answers() == WRONG
    assert back.scores is None
    assert back.model == old.model
    assert stage.made("deployments") == [new.deployment, back.deployment]
    assert stage.traffic_was() == [{new.deployment: 100}, {back.deployment: 100}], "never without one that answers"
    stage.at_rest()
    assert stage.standing() == {back.deployment: "Succeeded"}


@pytest.mark.thorough
def test_a_rollback_that_fails_leaves_what_serves(stage: Stage) -> None:
    stage.live()
    new = stage.until(stage.version())
    stage.at_rest()
    stage.pretend(outcome="Failed")
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert back.phase is Phase.ROLLED_BACK
    assert stage.traffic_was() == [{new.deployment: 100}]
    assert stage.standing() == {new.deployment: "Succeeded"}
    stage.pretend()
    told = line_commands.rollback(stage.app, stage.line_id)
    again = stage.until(stage.world.run(back.id))
    assert back.id in told
    assert (again.phase, again.attempt) == (Phase.LIVE, 2)
    stage.at_rest()


@pytest.mark.thorough
def test_the_same_data_once_more_are_no_word_against_a_rollback(stage: Stage) -> None:
    old = stage.live()
    new = stage.until(stage.version())
    back = stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id)))
    stage.lose_messages()  # the upload comes first
    same = stage.until(stage.version(phase=Phase.RECEIVED, fingerprint=new.fingerprint))
    assert same.phase is Phase.UNCHANGED
    wake(stage.app, back)
    back = stage.until(back)
    assert back.phase is Phase.LIVE, back.reason
    assert stage.traffic() == {old.deployment: 100}
    stage.at_rest()


def test_what_was_torn_down_is_revived(stage: Stage) -> None:
    run = stage.live()
    stage.tear_down()
    assert stage.standing() == {}
    with pytest.raises((NotFound, Permanent)):
        stage.answers()
    revived = stage.until(stage.world.run(told_run(stage, line_commands.revive(stage.app, stage.folder, by="ada"))))
    assert (revived.phase, revived.model, revived.origin) == (Phase.LIVE, run.model, run.id)
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
    assert new.phase is Phase.LIVE, new.reason
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert (back.phase, back.model) == (Phase.LIVE, old.model)
    stage.at_rest()


# Pins ----------------------------------------------------------------------------------------------------------------


def test_a_pinned_line_keeps_what_it_serves_until_it_is_let_go(stage: Stage) -> None:
    old = stage.live()
    line_commands.pin(stage.app, stage.line_id, by="ada")
    run = stage.until(stage.version(), lambda run: run.held)
    assert (run.phase, run.held) == (Phase.REGISTERED, "pin")
    assert "ada" in run.waiting
    stage.quiet()
    assert stage.standing() == {old.deployment: "Succeeded"}, "what waits costs nothing"
    assert run.id in line_commands.unpin(stage.app, stage.line_id)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.reason
    assert stage.traffic() == {live.deployment: 100}


def test_a_pinned_line_is_rolled_back_all_the_same(stage: Stage) -> None:
    old = stage.live()
    new = stage.until(stage.version())
    line_commands.pin(stage.app, stage.line_id, by="ada")
    held = stage.until(stage.version(), lambda run: run.held)
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert back.phase is Phase.LIVE, back.reason
    assert stage.traffic_was() == [{new.deployment: 100}, {old.deployment: 100}]
    assert stage.run(held).phase is Phase.REGISTERED, "what waited for the pin waits on"


# Without spare instances ---------------------------------------------------------------------------------------------


def test_in_place_the_old_version_goes_first(stage: Stage) -> None:
    stage.pretend(WRONG)
    old = stage.live()
    run = stage.until(stage.version(promotion=REPLACE))
    assert run.phase is Phase.LIVE, run.reason
    both = [each for each in stage.history("deployments") if each["state"] in ("Deleted", "Creating")]
    names = [(each["name"].rpartition("/")[2], each["state"]) for each in both]
    assert names == [(old.deployment, "Deleted"), (run.deployment, "Creating")]
    assert stage.standing() == {run.deployment: "Succeeded"}
    assert stage.traffic() == {run.deployment: 100}
    line = stage.line
    assert line.serving
    assert line.before
    assert (line.serving.run, line.before.run, line.leaving) == (run.id, old.id, ())
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
    assert line.serving.model == old.model
    assert stage.traffic() == {line.serving.deployment: 100}
    assert stage.standing() == {line.serving.deployment: "Succeeded"}
    assert stage.answers()
    stage.at_rest()
    assert [kind for kind, _ in stage.events()] == ["Endpoint.Live", "Endpoint.RolledBack", "Endpoint.Revived"]
    back = stage.until(stage.world.run(told_run(stage, line_commands.rollback(stage.app, stage.line_id))))
    assert (back.phase, back.model) == (Phase.LIVE, first.model)


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
    assert (back.model, back.attempt) == (old.model, 2)
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
    stage.app.lines.save(replace(line, pinned="ada"), etag)
    newer = stage.version()
    assert stage.until(run).phase is Phase.ROLLED_BACK
    wake(stage.app, newer)
    stage.quiet()
    line = stage.line
    assert line.serving
    assert (line.serving.model, line.pinned) == (old.model, "ada")
    assert stage.run(newer).held == "pin"
    assert newer.deployment not in stage.made("deployments")
    line_commands.unpin(stage.app, stage.line_id)
    assert stage.until(newer).phase is Phase.LIVE
