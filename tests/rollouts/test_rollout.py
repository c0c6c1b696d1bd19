"""What callers and owners notice when a version replaces another: traffic, grace, gate, approval."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.api import run_commands
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.line.cleanup import cleanup
from shared.records.layout import PREPARED, STATE
from shared.serving.gate import Bounds, Gate, Promotion
from shared.serving.smoke import Answered
from tests.kit.worlds.stage import GRACE, LOSS, MANUAL, QUOTA, RIGHT, WHO, WRONG, Stage, waits_for

# One after the other -------------------------------------------------------------------------------------------------


def test_what_served_stays_for_the_grace_without_traffic_and_then_goes(stage: Stage) -> None:
    stage.pretend(WHO)
    old = stage.live()
    new = stage.until(stage.version())
    assert new.phase is Phase.LIVE, new.why
    assert stage.traffic_was() == [{new.deployed.name: 100}], "all at once, and once"
    assert stage.answers() == f"{stage.endpoint}/{new.deployed.name}"
    assert set(stage.standing()) == {old.deployed.name, new.deployed.name}
    line = stage.line
    assert line.serving
    assert line.previous
    assert (line.serving.run, line.previous.run, line.rollout) == (new.id, old.id, "")
    assert [(each.deployment, each.until - line.serving.since) for each in line.retiring] == [
        (old.deployed.name, GRACE)
    ]
    stage.at_rest()
    assert stage.standing() == {new.deployed.name: "Succeeded"}
    assert stage.line.retiring == ()
    assert stage.now() >= line.retiring[0].until
    assert stage.line.previous == line.previous, "it can be rolled back to all the same"
    assert stage.answers() == f"{stage.endpoint}/{new.deployed.name}"


def test_the_cleanup_ends_the_grace_where_the_lines_timer_was_lost(stage: Stage) -> None:
    old = stage.live()
    new = stage.until(stage.version())
    stage.lose_messages()
    stage.world.clock.jump(GRACE - timedelta(minutes=2))
    stage.world.cleanup()
    stage.quiet()
    assert set(stage.standing()) == {old.deployed.name, new.deployed.name}, "not before its time"
    stage.world.clock.jump(timedelta(minutes=4))
    stage.world.cleanup()
    stage.at_rest()
    assert stage.standing() == {new.deployed.name: "Succeeded"}


def test_a_lost_answer_leaves_nothing_of_the_grace_to_the_cleanup(stage: Stage) -> None:
    """The record has a timer then, whose message was never sent."""
    stage.live()
    new = stage.until(stage.version())
    lost = {"service": "blob", "moment": "after", "status": 500, "method": "PUT", "path": f"/lines/{stage.line_id}"}
    stage.world.control("POST", "/_local/faults", {**lost, "skip": 1})
    stage.at_rest()
    assert stage.standing() == {new.deployed.name: "Succeeded"}
    assert stage.line.retiring == ()


@pytest.mark.thorough
def test_a_third_version_does_not_wait_for_the_first_ones_grace(stage: Stage) -> None:
    first = stage.live()
    second = stage.until(stage.version())
    third = stage.until(stage.version())
    assert third.phase is Phase.LIVE, third.why
    assert set(stage.standing()) == {second.deployed.name, third.deployed.name}, f"{first.deployed.name} made room"
    stage.at_rest()
    assert stage.standing() == {third.deployed.name: "Succeeded"}
    line = stage.line
    assert line.previous
    assert line.previous.run == second.id


def test_a_version_waits_for_quota_says_so_and_is_deployed_once_there_is_some(stage: Stage) -> None:
    """The service, which would refuse it, is not even asked."""
    old = stage.live()
    stage.world.control("POST", "/_local/quota", dict.fromkeys(QUOTA, 0))
    try:
        run = stage.until(stage.version(), lambda run: run.waiting)
        assert run.phase is Phase.REGISTERED
        assert waits_for(run).startswith("quota: 1 instance to serve with")
        assert "of which 0 of 0 are free" in waits_for(run)
        stage.world.clock.jump(timedelta(hours=1))
        stage.quiet_but_jobs()
        assert stage.run(run).waiting == run.waiting
        ledger = stage.world.control("GET", "/_local/ledger")
        assert not [each for each in ledger if each.get("kind") == "deployments" and each["method"] == "PUT"]
        assert stage.standing() == {old.deployed.name: "Succeeded"}
    finally:
        stage.world.control("POST", "/_local/quota", QUOTA)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert stage.traffic() == {live.deployed.name: 100}
    stage.at_rest()


# The gate ------------------------------------------------------------------------------------------------------------


def stopped(stage: Stage, told: str, *, answer: str = RIGHT, gate: Gate) -> None:
    """A new version is stopped by its gate, and nobody but its owner notices."""
    old = stage.live()
    stage.pretend(answer)
    run = stage.until(stage.version(promotion=Promotion(gate=gate)))
    assert run.phase is Phase.ROLLED_BACK
    assert told in run.why
    assert stage.traffic_was() == []
    assert stage.standing() == {old.deployed.name: "Succeeded"}, "what is stopped costs nothing any more"
    line = stage.line
    assert line.serving
    assert (line.serving.run, line.retiring, line.previous) == (old.id, (), None)
    log = stage.app.cloud.blobs.read(STATE, f"logs/{run.deployed.name}.txt")[0]
    assert b"pretends to serve" in log
    assert [(kind, why == run.why) for kind, why in stage.events()] == [("Gate.Failed", True)]
    stage.at_rest()


def test_a_version_that_answers_worse_is_stopped_and_can_be_read_about(stage: Stage) -> None:
    stopped(stage, "more than max_drop 5", answer=WRONG, gate=Gate())
    run = stage.world.run(stage.world.known[-1])
    assert run.deployed.scores
    assert run.deployed.scores.compared
    assert (run.deployed.scores.compared.live, run.deployed.scores.new) == (100, 0)
    assert b"zzz" in stage.app.cloud.blobs.read(PREPARED, f"{run.prepared}/answers.json")[0]


def test_a_version_below_the_floor_is_stopped_even_if_the_one_that_serves_is_no_better(stage: Stage) -> None:
    stage.pretend(WRONG)
    stopped(stage, "below min_score 40", answer=WRONG, gate=Gate(min_score=40))


def test_a_version_whose_training_ended_badly_is_stopped(stage: Stage) -> None:
    bounds = {"eval_loss": Bounds(most=1.5)}
    stopped(stage, f"eval_loss ended at {LOSS:g}, above its most, 1.5", gate=Gate(rows=0, metrics=bounds))


def test_a_version_within_its_bounds_passes(stage: Stage) -> None:
    stage.pretend(WRONG)
    stage.live()
    gate = Gate(max_drop=0, metrics={"eval_loss": Bounds(least=1, most=LOSS)})
    run = stage.until(stage.version(promotion=Promotion(gate=gate)))
    assert run.phase is Phase.LIVE, run.why
    assert run.deployed.scores
    assert run.deployed.scores.metrics == {"eval_loss": LOSS}


@pytest.mark.thorough
def test_a_deployment_that_is_stuck_takes_nothing_from_the_one_that_serves(stage: Stage) -> None:
    """Azure deletes none that it works on, so that the run goes on asking for that."""
    old = stage.live()
    stage.world.change(MAX_DEPLOYING_HOURS=1)
    stage.pretend(outcome="Stuck")
    run = stage.until(stage.version(), lambda run: run.ending and run.waiting)
    assert "still Updating after MAX_DEPLOYING_HOURS" in run.why
    assert "deleting it is possible when that has ended" in waits_for(run)
    assert stage.traffic() == {old.deployed.name: 100}
    assert stage.traffic_was() == []
    # The way out that docs/rollout.md tells: the endpoint goes, with all that is on it.
    stage.pretend()
    newer = stage.until(stage.version(), lambda run: run.waiting)
    stage.app.cloud.endpoints.delete(stage.endpoint)
    assert stage.until(run).phase is Phase.ROLLED_BACK
    live = stage.until(newer)
    assert live.phase is Phase.LIVE, live.why
    assert stage.standing() == {live.deployed.name: "Succeeded"}
    cleanup(stage.app)
    deleted = [why for kind, why in stage.events() if kind == "Endpoint.TornDown"]
    assert deleted == [f"somebody deleted the endpoint; run {newer.id} makes it anew, for its own version"]
    stage.at_rest()


def test_a_deployment_that_fails_costs_the_one_that_serves_nothing(stage: Stage) -> None:
    old = stage.live()
    stage.pretend(outcome="Failed", why="no such model class")
    run = stage.until(stage.version())
    assert run.phase is Phase.ROLLED_BACK
    assert "no such model class" in run.why
    assert stage.traffic_was() == []
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    assert [kind for kind, _ in stage.events()] == ["Endpoint.RolledBack"]
    stage.at_rest()


def test_a_version_that_only_repeats_questions_is_stopped_before_it_is_compared(stage: Stage) -> None:
    old = stage.live()
    stage.pretend("{question}")
    run = stage.until(stage.version())
    assert run.phase is Phase.ROLLED_BACK
    assert "smoke test" in run.why
    assert run.deployed.scores is None
    assert stage.traffic() == {old.deployed.name: 100}


@pytest.mark.parametrize("why", [pytest.param("refused", marks=pytest.mark.thorough), "updating"])
def test_traffic_that_can_not_be_given_is_not_waited_for_for_ever(stage: Stage, why: str) -> None:
    """The new version costs money all the while, and keeps the line. A day in which no host looks does not count."""
    old = stage.live()
    stage.world.change(MAX_CHECKING_HOURS=1)
    fault = {"method": "PUT", "path": f"/onlineEndpoints/{stage.endpoint}$", "status": 409, "count": None}
    told = f"{Action.GIVE_TRAFFIC.doing}: setting the traffic of endpoint {stage.endpoint}"
    if why == "refused":
        stage.world.control("POST", "/_local/faults", fault)
    run = stage.until(stage.version(), lambda run: run.phase is Phase.CHECKING or run.phase.ended)
    if why == "updating":
        stage.updating()
        told = "the endpoint, which is being updated"
    run = stage.until(run, lambda run: told in waits_for(run))
    stage.looks_for(run, timedelta(minutes=30))
    stage.world.clock.jump(timedelta(days=1))
    stage.looks_for(run, timedelta(minutes=10))
    stage.world.clock.jump(timedelta(days=1))
    ended = stage.until(run, lambda run: run.ending or run.phase.ended)
    stage.world.control("DELETE", "/_local/faults")  # what goes may be deleted
    ended = stage.until(run)
    assert ended.phase is Phase.ROLLED_BACK
    assert timedelta(days=2, hours=1) < ended.since - run.since < timedelta(days=2, hours=1, minutes=20)
    assert told in ended.why
    assert "MAX_CHECKING_HOURS" in ended.why
    assert "droptune retry" in ended.why
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    assert stage.traffic() == {old.deployed.name: 100}
    assert [kind for kind, _ in stage.events()] == ["Endpoint.RolledBack"]
    stage.at_rest()


@pytest.mark.thorough
def test_traffic_that_is_refused_for_good_rolls_the_version_back(stage: Stage) -> None:
    old = stage.live()
    refused = {"method": "PUT", "path": f"/onlineEndpoints/{stage.endpoint}$", "status": 400, "message": "no such rule"}
    stage.world.control("POST", "/_local/faults", refused)
    ended = stage.until(stage.version())
    assert ended.phase is Phase.ROLLED_BACK
    assert Action.GIVE_TRAFFIC.doing in ended.why
    assert "no such rule" in ended.why
    assert [kind for kind, _ in stage.events()] == ["Endpoint.RolledBack"]
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    assert stage.traffic() == {old.deployed.name: 100}
    stage.at_rest()


# A person's approval -------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_version_waits_for_a_person_and_costs_no_looks_meanwhile(stage: Stage) -> None:
    old = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    assert (run.phase, run.hold) == (Phase.CHECKING, "approval")
    assert "droptune approve" in waits_for(run)
    assert run.deployed.scores
    stage.world.clock.jump(timedelta(hours=1))
    stage.world.sweep()  # the one in an hour that looks at all who wait
    stage.quiet()
    waiting = stage.run(run)
    for _ in range(3):
        stage.world.clock.jump(timedelta(minutes=10))
        stage.world.sweep()
        assert not stage.world.look(everything=True), "the sweep wakes nobody who waits for a person"
    assert stage.run(run) == waiting
    assert stage.traffic() == {old.deployed.name: 100}
    assert "gets the traffic" in run_commands.approve(stage.app, run.id, by="ada")
    live = stage.until(run)
    assert (live.phase, live.deployed.approval.by) == (Phase.LIVE, "ada")
    assert stage.traffic_was() == [{run.deployed.name: 100}]
    assert "approved by ada" in [each.what for each in live.history]


def test_who_gives_no_approval_is_told_every_day_and_then_the_version_goes(stage: Stage) -> None:
    old = stage.live()
    stage.world.change(MAX_APPROVAL_DAYS=2, SERVING_PRICE_PER_HOUR=Decimal("1.5"))
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    for left in ("2 days", "1 day"):
        stage.quiet()
        kind, why = stage.events()[-1]
        assert kind == "Run.ApprovalNeeded"
        assert f"droptune approve {run.id} lets it serve, droptune cancel {run.id} takes it back" in why
        assert f"costs 36.00 USD a day; without an answer it is rolled back in {left}" in why
        stage.world.clock.jump(timedelta(hours=23))
        stage.world.sweep()
        stage.quiet()
        assert stage.run(run).hold == "approval"
        stage.world.clock.jump(timedelta(hours=1, minutes=2))
        stage.world.sweep()
    ended = stage.until(run)
    assert ended.phase is Phase.ROLLED_BACK
    assert "nobody has approved it in MAX_APPROVAL_DAYS days: droptune retry" in ended.why
    kinds = [kind for kind, _ in stage.events()]
    assert kinds == ["Run.ApprovalNeeded", "Run.ApprovalNeeded", "Endpoint.RolledBack"]
    assert len({each["id"] for each in stage.cloud_events()}) == 3
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    assert stage.traffic_was() == []
    stage.at_rest()
    run_commands.retry(stage.app, run.id)
    again = stage.until(run, lambda run: run.hold)
    assert len(again.deployed.approval.asked) == 1, "it is asked anew"
    run_commands.cancel(stage.app, run.id)
    stage.until(run)


def test_an_approval_of_later_sends_nobody_to_a_version_that_does_not_answer_any_more(stage: Stage) -> None:
    old = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    stage.world.clock.jump(timedelta(days=3))
    stage.world.control(
        "POST", "/_local/faults", {"method": "POST", "path": f"/{stage.endpoint}/score$", "status": 424, "count": None}
    )
    run_commands.approve(stage.app, run.id, by="ada")
    ended = stage.until(run)
    assert ended.phase is Phase.ROLLED_BACK
    assert "the smoke test failed" in ended.why
    assert stage.traffic_was() == []
    assert stage.traffic() == {old.deployed.name: 100}
    stage.at_rest()


@pytest.mark.thorough
def test_a_version_has_its_time_to_answer_again_once_it_is_approved(stage: Stage) -> None:
    """It was scaled down over the weekend, say. Its scores are those of before."""
    stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    stage.world.clock.jump(timedelta(days=3))
    silent = {"method": "POST", "path": f"/{stage.endpoint}/score$", "status": 503, "count": 3}
    stage.world.control("POST", "/_local/faults", silent)
    run_commands.approve(stage.app, run.id, by="ada")
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert live.deployed.scores == run.deployed.scores
    done = [each.what for each in live.history]
    check, once = Action.SMOKE_TEST.done, (Action.COMPARE_ANSWERS.done, Action.ASK_APPROVAL.done)
    assert [done.count(each) for each in (check, *once)] == [2, 1, 1]
    last = len(done) - 1 - done[::-1].index(check)
    assert done.index("approved by ada") < last < done.index(Action.GIVE_TRAFFIC.done)


@pytest.mark.thorough
@pytest.mark.parametrize("refused", [0, 3])
def test_hosts_that_stand_still_for_long_are_no_reason_to_give_a_version_up(stage: Stage, refused: int) -> None:
    """Nor are they one together with an endpoint that does not answer their first question."""
    stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    run_commands.approve(stage.app, run.id)
    stage.world.clock.jump(timedelta(days=1))
    if refused:
        busy = {"method": "POST", "path": f"/{stage.endpoint}/score$", "status": 409, "count": refused}
        stage.world.control("POST", "/_local/faults", busy)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert isinstance(live.deployed.smoke, Answered), "the silence is forgotten"


@pytest.mark.parametrize("waits", [False, True])
def test_an_endpoint_that_is_changed_when_hosts_come_back_is_waited_for(stage: Stage, waits: bool) -> None:
    """The day on which nobody looked is no part of the time that it has; `waits`: they had met it like that before."""
    stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    run_commands.approve(stage.app, run.id)
    stage.updating()
    if waits:
        stage.until(run, lambda run: "being updated" in waits_for(run))
    stage.world.clock.jump(timedelta(days=1))
    run = stage.looks_for(run, timedelta(minutes=15))
    assert (run.ending, waits_for(run)) == (None, "the endpoint, which is being updated"), run.why
    stage.world.control("DELETE", "/_local/faults")
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why


def test_a_deployment_that_is_still_made_when_hosts_come_back_is_waited_for(stage: Stage) -> None:
    stage.live()
    stage.world.change(MAX_DEPLOYING_HOURS=1)
    stage.pretend(deployment=25.5 * 3600)
    run = stage.until(stage.version(), lambda run: run.phase is Phase.DEPLOYING and run.waiting)
    stage.world.clock.jump(timedelta(days=1, hours=1))
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why


def test_a_version_that_never_answers_is_given_up(stage: Stage) -> None:
    old = stage.live()
    silent = {"method": "POST", "path": f"/{stage.endpoint}/score$", "status": 409, "count": None}
    stage.world.control("POST", "/_local/faults", silent)
    ended = stage.until(stage.version())
    assert ended.phase is Phase.ROLLED_BACK
    assert "no answer in 0:15:00" in ended.why
    assert stage.traffic() == {old.deployed.name: 100}
    stage.at_rest()


def test_one_look_that_misses_the_endpoint_takes_no_traffic_away(stage: Stage) -> None:
    """Azure answers 404 now and then for what is there."""
    old = stage.live()
    missed = {"method": "GET", "path": f"/onlineEndpoints/{stage.endpoint}$", "status": 404, "count": 1}
    stage.world.control("POST", "/_local/faults", missed)
    run = stage.until(stage.version())
    assert run.phase is Phase.LIVE, run.why
    assert stage.traffic_was() == [{run.deployed.name: 100}], "callers had an answer all the time"
    assert stage.line.previous
    assert stage.line.previous.run == old.id
    stage.at_rest()


def test_a_version_that_waits_for_a_person_can_be_turned_down(stage: Stage) -> None:
    old = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    run_commands.cancel(stage.app, run.id, by="eve")
    ended = stage.until(run)
    assert (ended.phase, ended.why) == (Phase.CANCELLED, "cancelled by eve")
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    assert stage.traffic_was() == []
    stage.at_rest()
