"""What owners notice when records are lost in the middle of a rollback."""

from __future__ import annotations

import pytest

from shared.api import line_commands, run_commands
from shared.api.recover import recover
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import ACTIVE_RUNS, LINES, RUNS, STANDING_LINES, STATE
from shared.records.run import Data
from tests.kit.carried import lost
from tests.kit.worlds.stage import Stage


@pytest.mark.thorough
def test_a_recovered_rollback_is_not_superseded_by_the_run_that_it_replaces(stage: Stage) -> None:
    """Not even when that run's data come once more: its record says instead of whom it is to serve."""
    app = stage.app
    old = stage.live()
    new = stage.until(stage.version())
    stage.at_rest()
    told = line_commands.rollback(app, stage.line_id, by="ada")
    back = stage.until(stage.world.run(told.split()[1]), lambda run: run.phase is Phase.DEPLOYING)
    stage.lose_messages()
    same = stage.until(stage.version(phase=Phase.RECEIVED, data=Data(fingerprint=new.attempt.fingerprint)))
    assert same.phase is Phase.UNCHANGED
    assert stage.line.serving
    assert stage.line.serving.order > back.order, "what serves is newer now"

    app.cloud.blobs.delete(STATE, layout.record(RUNS, back.id))
    app.cloud.blobs.delete(STATE, layout.marker(ACTIVE_RUNS, back.id))
    done = recover(app)
    assert any(back.id in each for each in done.rebuilt)
    again = stage.run(back)
    dropped = {
        "phase": "it goes on from its deployment",
        "since": "it is looked at anew from now on",
        "waiting": "the next look says it",
        "wake": "it is woken at once",
        "claim": "nobody works on it",
        "history": "Azure does not know it",
        "outbox": "what was not sent can't be known any more",
        "attempt.plan": "a model is deployed again without it",
        "attempt.job": "the job is that of the run which trained the model",
        "attempt.deployed.smoke": "it is asked once more",
        "attempt.deployed.scores": "a rollback has none",
        "attempt.deployed.approval": "nobody knows whether it was to serve: a person says so",
        "attempt.resumed": "its time begins anew",
    }
    missing = lost(back, again)
    assert {path for path in missing if not path.startswith("attempt.plan")} <= set(dropped)
    assert again.restores == back.restores
    assert again.needs_approval

    assert stage.until(back, lambda run: run.hold == "approval")
    assert stage.traffic() == {new.deployed.name: 100}, "not before somebody says so"
    run_commands.approve(app, back.id, by="ada")
    ended = stage.until(back)
    assert ended.phase is Phase.LIVE, ended.why
    assert ended.attempt.model == old.attempt.model
    assert stage.traffic() == {ended.deployed.name: 100}
    stage.at_rest()


@pytest.mark.thorough
def test_of_a_line_all_comes_back_that_somebody_can_know(stage: Stage) -> None:
    app = stage.app
    stage.live()
    new = stage.until(stage.version())
    stage.at_rest()
    line_commands.pin(app, stage.line_id, by="ada")
    before = stage.line
    app.cloud.blobs.delete(STATE, layout.record(LINES, before.id))
    app.cloud.blobs.delete(STATE, layout.marker(STANDING_LINES, before.id))
    done = recover(app)
    assert any("whether it was pinned" in each for each in done.told)
    after = stage.line
    assert lost(before, after) == {
        "pinned_by",  # nobody knows it, which is said
        *(f"previous.{field}" for field in ("run", "deployment", "model", "fingerprint", "since", "order.uploaded")),
        "previous.order.ordinal",
        "serving.since",  # since when is not to be seen: idleness is counted anew, which keeps it longer
        "latest.since",
    }
    assert after.serving
    assert (after.serving.run, after.serving.model) == (new.id, new.attempt.model)
