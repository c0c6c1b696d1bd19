"""What people do by hand to what is Droptune's: a rollout keeps it, or says before it pays what ends its wait.

Whatever a sentence says ends a wait is done here word by word, and the wait ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from shared.api import line_commands, run_commands, schema, views
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records.line import Standing
from shared.records.run import Run
from tests.kit.waiting import eventually
from tests.kit.worlds.people import held, instances, ready, scale, told
from tests.kit.worlds.stage import MANUAL, QUOTA, REPLACE, Stage, waits_for

pytestmark = pytest.mark.thorough

THEIRS = "theirs"
"""A deployment that somebody else made on the line's endpoint."""


# What people do ------------------------------------------------------------------------------------------------------


def change(stage: Stage, **changes: Any) -> None:
    """Another auth mode, traffic, mirrored traffic: what is not named stays."""
    endpoints = stage.app.cloud.clients.ml.online_endpoints
    found = endpoints.get(stage.endpoint)
    for name, value in changes.items():
        setattr(found, name, value)
    endpoints.begin_create_or_update(found)
    ready(stage)


def theirs(stage: Stage, run: Run) -> str:
    """Somebody deploys the same model once more, for a try of their own."""
    model = stage.app.cloud.models.get(*run.attempt.model.rpartition(":")[::2])
    assert model
    stage.app.cloud.endpoints.deploy(stage.endpoint, THEIRS, model.id, stage.world.settings.serving.size, 1)
    stage.world.clock.jump(timedelta(minutes=1))
    eventually(lambda: stage.standing()[THEIRS] == "Succeeded")
    return THEIRS


def shown(stage: Stage, run: Run) -> schema.RunView:
    status, body = views.run(stage.app, run.id)
    assert status == 200
    return msgspec.json.decode(body, type=schema.RunView)


def unpaid(stage: Stage, run: Run, *words: str) -> Run:
    """It waits, with these words, and has deployed nothing."""
    waits = stage.until(run, lambda run: run.waiting and all(word in run.waiting.why for word in words))
    assert stage.made("deployments") == []
    assert all(word in shown(stage, run).run.status for word in words)
    return waits


# Instances -----------------------------------------------------------------------------------------------------------


def test_what_somebody_scaled_stays_scaled_and_is_told_before_it_is_paid_for(stage: Stage) -> None:
    stage.world.change(SERVING_PRICE_PER_HOUR=Decimal("2.5"))
    live = stage.live()
    size = instances(stage, live.deployed.name)[1]
    scale(stage, live.deployed.name, 3)
    second = stage.until(stage.version())
    assert second.phase is Phase.LIVE, second.why
    assert instances(stage, second.deployed.name) == (3, size)
    said = next(each for each in told(second) if "somebody gave" in each)
    assert f"somebody gave deployment {live.deployed.name} 3 x {size}" in said
    assert f"instead of 1 x {size} (SERVING_INSTANCES, SERVING_SIZE)" in said
    assert "costs 180.00 USD a day" in said
    assert told(second).index(said) < told(second).index(Action.DEPLOY_MODEL.done)
    assert [why for kind, why in stage.events() if kind == "Run.InstancesKept"] == [said]
    view = shown(stage, second).deployment
    assert view
    assert (view.instances, view.size) == (3, size)
    assert stage.line.instances == 3
    stage.at_rest()
    # What Droptune itself has made of it is still that person's word, until somebody scales it back.
    third = stage.until(stage.version())
    assert instances(stage, third.deployed.name)[0] == 3
    stage.at_rest()
    scale(stage, third.deployed.name, 1)
    fourth = stage.until(stage.version())
    assert instances(stage, fourth.deployed.name)[0] == 1
    assert not [each for each in told(fourth) if "somebody gave" in each]


def test_scaled_back_while_a_version_waits_it_gets_what_the_settings_say(stage: Stage) -> None:
    live = stage.live()
    scale(stage, live.deployed.name, 2)
    family = next(iter(QUOTA))
    stage.world.control("POST", "/_local/quota", {family: 0})
    try:
        run = stage.until(stage.version(), lambda run: run.hold == "quota")
        assert "2 instances to serve with" in waits_for(run), "the quota is that of what is kept"
        stage.world.control("POST", "/_local/quota", QUOTA)
        scale(stage, live.deployed.name, 1)
    finally:
        stage.world.control("POST", "/_local/quota", QUOTA)
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why
    assert instances(stage, done.deployed.name)[0] == 1
    assert [each for each in told(done) if each.endswith("after all")]


def test_another_size_is_kept_and_another_setting_is_no_hand(stage: Stage) -> None:
    live = stage.live()
    other = "Standard_DS3_v2"
    old = instances(stage, live.deployed.name)[1]
    assert other != old
    run = stage.until(stage.version())  # so that the line knows what was asked for
    stage.at_rest()
    scale(stage, run.deployed.name, 1, other)
    run = stage.until(stage.version())
    assert instances(stage, run.deployed.name) == (1, other)
    stage.at_rest()
    scale(stage, run.deployed.name, 1, old)
    stage.world.change(SERVING_INSTANCES=2)
    run = stage.until(stage.version())
    assert instances(stage, run.deployed.name) == (2, old)
    assert not [each for each in told(run) if "somebody gave" in each]


@pytest.mark.parametrize("outcome", ["Succeeded", "Failed"])
def test_in_place_too_and_for_what_comes_back(stage: Stage, outcome: str) -> None:
    live = stage.live()
    scale(stage, live.deployed.name, 3)
    stage.pretend(outcome=outcome, count=1)
    stage.pretend_too()
    run = stage.until(stage.version(promotion=REPLACE))
    stage.quiet()
    line = stage.line
    assert line.serving
    assert (run.phase is Phase.LIVE) is (outcome == "Succeeded"), run.why
    assert instances(stage, line.serving.deployment)[0] == 3


def test_what_is_scaled_while_a_version_waits_for_an_approval_counts_too(stage: Stage) -> None:
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    scale(stage, live.deployed.name, 3)
    scale(stage, run.deployed.name, 2)  # the person's own try of it
    run_commands.approve(stage.app, run.id, by="ada")
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why
    said = next(each for each in told(done) if "somebody gave" in each)
    assert told(done).index(said) < told(done).index(Action.GIVE_TRAFFIC.done)
    happened = [each for each in stage.history("deployments") if each["name"].endswith(run.deployed.name)]
    given = next(each["at"] for each in stage.history("traffic") if run.deployed.name in each["traffic"])
    assert [each["state"] for each in happened] == ["Creating", "Succeeded", *["Updating", "Succeeded"] * 2]
    assert happened[-1]["at"] < given, "it has them before it has callers"
    assert instances(stage, run.deployed.name)[0] == 3
    assert [each.what for each in done.history].count(Action.SMOKE_TEST.done) == 2, "nothing else is done again"
    assert stage.line.instances == 3


def test_a_rollback_says_that_what_stands_has_fewer(stage: Stage) -> None:
    first = stage.live()
    second = stage.until(stage.version())
    scale(stage, second.deployed.name, 3)
    answer = line_commands.rollback(stage.app, stage.line_id, by="ada")
    back = stage.until(stage.world.run(next(word for word in answer.split() if word in stage.world.known)))
    assert back.phase is Phase.LIVE, back.why
    assert back.deployed.name == first.deployed.name
    assert [each for each in told(back) if f"{first.deployed.name} as it stands, with 1 x" in each and "3 x" in each]


# Traffic -------------------------------------------------------------------------------------------------------------


def gives_all(stage: Stage, run: Run, live: Run) -> Phase:
    change(stage, traffic={live.deployed.name: 100})
    return Phase.LIVE


def cancels(stage: Stage, run: Run, live: Run) -> Phase:
    run_commands.cancel(stage.app, run.id, by="ada")
    return Phase.CANCELLED


@pytest.mark.parametrize("ends", [gives_all, cancels])
def test_a_share_of_the_traffic_stays_with_whom_a_person_gave_it(
    stage: Stage, ends: Callable[[Stage, Run, Run], Phase]
) -> None:
    live = stage.live()
    split = {live.deployed.name: 70, theirs(stage, live): 30}
    change(stage, traffic=split)
    run = unpaid(stage, stage.version(), "30 % to theirs", f"give {live.deployed.name} all of it", "droptune cancel")
    assert held(run)
    assert stage.traffic() == split
    phase = ends(stage, run, live)
    done = stage.until(run)
    assert done.phase is phase, done.why
    if phase is Phase.CANCELLED:
        assert stage.traffic() == split
    else:
        assert stage.traffic() == {done.deployed.name: 100}
    assert THEIRS in stage.standing()
    stage.at_rest()


def test_so_does_one_of_an_older_version(stage: Stage) -> None:
    first = stage.live()
    second = stage.until(stage.version())
    split = {first.deployed.name: 30, second.deployed.name: 70}
    change(stage, traffic=split)
    run = stage.until(stage.version(), held)
    assert f"30 % to {first.deployed.name}" in waits_for(run)
    assert stage.traffic() == split
    change(stage, traffic={second.deployed.name: 100})
    assert stage.until(run).phase is Phase.LIVE


@pytest.mark.parametrize("anew", [False, True])
def test_a_rollback_takes_what_serves_has_and_leaves_others_theirs(stage: Stage, anew: bool) -> None:
    """Somebody has asked for it, and may be in a hurry."""
    live = stage.live()
    second = stage.until(stage.version())
    if anew:
        stage.at_rest()  # the grace is over: it has to be deployed again
    change(stage, traffic={second.deployed.name: 70, theirs(stage, live): 30})
    answer = line_commands.rollback(stage.app, stage.line_id, by="ada")
    back = stage.until(stage.world.run(next(word for word in answer.split() if word in stage.world.known)))
    assert back.phase is Phase.LIVE, back.why
    assert back.why.endswith("but what somebody gave to others: 30 % to theirs")
    assert stage.traffic() == {back.deployed.name: 70, THEIRS: 30}
    assert back.attempt.model == live.attempt.model
    stage.at_rest()
    assert stage.traffic() == {back.deployed.name: 70, THEIRS: 30}


def test_one_on_an_endpoint_where_nothing_serves_is_kept_too(stage: Stage) -> None:
    live = stage.live()
    name = theirs(stage, live)
    change(stage, traffic={name: 100})
    line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
    stage.app.lines.save(line.without_serving(stage.now()), etag)
    run = unpaid(stage, stage.version(), "100 % to theirs", "set it to 0")
    change(stage, traffic={})
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why


def test_a_split_in_mid_check_is_kept_until_it_is_taken_back(stage: Stage) -> None:
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    split = {live.deployed.name: 70, theirs(stage, live): 30}
    change(stage, traffic=split)
    run_commands.approve(stage.app, run.id, by="ada")
    waits = stage.until(run, held)
    assert "30 % to theirs" in waits_for(waits)
    assert stage.traffic() == split
    change(stage, traffic={live.deployed.name: 100})
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why


def test_a_split_that_stays_ends_the_rollout_and_not_the_split(stage: Stage) -> None:
    stage.world.change(MAX_CHECKING_HOURS=1)
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    split = {live.deployed.name: 50, theirs(stage, live): 30, run.deployed.name: 20}
    change(stage, traffic=split)
    run_commands.approve(stage.app, run.id, by="ada")
    done = stage.until(run)
    assert done.phase is Phase.ROLLED_BACK
    assert "30 % to theirs" in done.why
    assert stage.traffic() == {live.deployed.name: 70, THEIRS: 30}
    assert [each.get(THEIRS) for each in stage.traffic_was()] == [30, 30]


def test_a_canary_of_the_new_version_is_the_rollouts_own(stage: Stage) -> None:
    """A person tries it with 20 %, and then approves it."""
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    change(stage, traffic={live.deployed.name: 80, run.deployed.name: 20})
    run_commands.approve(stage.app, run.id, by="ada")
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why
    assert stage.traffic() == {run.deployed.name: 100}


@pytest.mark.parametrize("who", ["new", THEIRS])
@pytest.mark.parametrize("good", [True, False])
def test_mirrored_traffic_stays_with_others_and_ends_for_what_serves_or_goes(
    stage: Stage, who: str, good: bool
) -> None:
    live = stage.live()
    theirs(stage, live)
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    name = run.deployed.name if who == "new" else who
    change(stage, mirror_traffic={name: 10})
    if good:
        run_commands.approve(stage.app, run.id, by="ada")
    else:
        run_commands.cancel(stage.app, run.id, by="ada")
    done = stage.until(run)
    assert done.phase is (Phase.LIVE if good else Phase.CANCELLED), done.why
    found = stage.app.cloud.endpoints.get(stage.endpoint)
    assert found
    assert found.mirrored == ({} if who == "new" else {THEIRS: 10})
    stage.at_rest()


def test_in_place_what_others_have_does_not_shrink(stage: Stage) -> None:
    """Somebody gives them a share just when what serves is on its way out: nobody is left without an answer."""
    live = stage.live()
    theirs(stage, live)
    taken = {"method": "PUT", "path": f"/onlineEndpoints/{stage.endpoint}$", "moment": "delay", "delay": 0.5}
    stage.world.control("POST", "/_local/faults", taken)
    change(stage, traffic={live.deployed.name: 70, THEIRS: 30})
    stage.app.cloud.endpoints.move_traffic(stage.endpoint, [live.deployed.name])
    ready(stage)
    assert stage.traffic() == {THEIRS: 100}


# How it lets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["aad_token", "aml_token"])
def test_an_endpoint_with_tokens_is_asked_with_one(stage: Stage, mode: str) -> None:
    stage.live()
    change(stage, auth_mode=mode)
    done = stage.until(stage.version())
    assert done.phase is Phase.LIVE, done.why
    assert done.deployed.scores
    assert done.deployed.scores.compared, "both versions were asked"
    found = stage.app.cloud.endpoints.get(stage.endpoint)
    assert found
    assert found.auth_mode == mode, "a change of the traffic leaves it as it is"


def test_the_mode_may_change_in_mid_check(stage: Stage) -> None:
    stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    change(stage, auth_mode="aad_token")
    run_commands.approve(stage.app, run.id, by="ada")
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_score_hears_it_before_anything_is_paid_for(stage: Stage, status: int) -> None:
    stage.live()
    change(stage, auth_mode="aad_token")
    refused = {"method": "POST", "path": "/inference/.*/score$", "status": status, "count": None}
    stage.world.control("POST", "/_local/faults", refused)
    run = unpaid(
        stage, stage.version(), "auth mode aad_token", "onlineEndpoints/score/action", "AzureML Data Scientist"
    )
    assert "AZURE_CLIENT_ID" not in waits_for(run)
    stage.world.control("DELETE", "/_local/faults")  # the role shows
    assert stage.until(run).phase is Phase.LIVE


@pytest.mark.parametrize("body", [{}, {"primaryKey": None, "secondaryKey": None}])
def test_no_key_at_all_is_waited_for_before_anything_is_paid_for(stage: Stage, body: dict[str, None]) -> None:
    stage.live()
    nothing = {"method": "POST", "path": "/listKeys$", "status": 200, "body": body, "count": None}
    stage.world.control("POST", "/_local/faults", nothing)
    run = unpaid(stage, stage.version(), "none was given out (auth mode key)", "asked for again")
    stage.world.control("DELETE", "/_local/faults")
    assert stage.until(run).phase is Phase.LIVE


def test_keys_that_are_regenerated_in_mid_check_are_fetched_again(stage: Stage) -> None:
    stage.live()
    run = stage.version()
    refused = {"method": "POST", "path": "/inference/.*/score$", "status": 401, "count": 1}
    stage.world.control("POST", "/_local/faults", refused)
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why
    at = {each.what: each.at for each in done.history}
    assert at[Action.SMOKE_TEST.done] - at[f"on to {Phase.CHECKING}"] < timedelta(minutes=2), "at once"


def test_a_key_that_stays_refused_is_no_fault_of_the_version(stage: Stage) -> None:
    live = stage.live()
    refused = {"method": "POST", "path": "/inference/.*/score$", "status": 401, "count": None}
    stage.world.control("POST", "/_local/faults", refused)
    run = stage.until(stage.version(), lambda run: run.waiting and "takes keys" in run.waiting.why)
    assert run.phase is Phase.CHECKING
    assert "AZURE_CLIENT_ID" not in waits_for(run)
    assert "Each try fetches it anew" in waits_for(run)
    later = stage.looks_for(run, timedelta(hours=1))
    assert not later.phase.ended, "a version does not fail for that nobody is let in"
    stage.world.control("DELETE", "/_local/faults")
    assert stage.until(run).phase is Phase.LIVE
    assert stage.line.serving
    assert stage.line.serving.deployment != live.deployed.name


# What Azure takes for broken -----------------------------------------------------------------------------------------


def turn(stage: Stage, state: str) -> None:
    stage.world.control("POST", f"/_local/endpoints/{stage.endpoint}", {"state": state})


def asked_of(stage: Stage) -> list[str]:
    """Methods of the changes of the endpoint itself."""
    ledger = stage.world.control("GET", "/_local/ledger")
    return [each["method"] for each in ledger if each.get("name") == stage.endpoint and each["method"] != "POST"]


def test_an_endpoint_that_failed_and_serves_is_left_alone(stage: Stage) -> None:
    live = stage.live()
    turn(stage, "Failed")
    run = unpaid(stage, stage.version(), "in state Failed", "not to be deleted", "droptune cancel")
    assert held(run)
    assert f"az ml online-endpoint update --name {stage.endpoint}" in waits_for(run)
    stage.looks_for(run, timedelta(hours=2))
    assert asked_of(stage) == []
    assert stage.answers()
    change(stage)  # which is what that command does
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why
    assert stage.traffic() == {done.deployed.name: 100}
    assert live.deployed.name in stage.standing()


def test_so_is_one_whose_address_callers_have(stage: Stage) -> None:
    """It was emptied: its keys are still theirs."""
    stage.live()
    stage.tear_down()
    turn(stage, "Failed")
    run = stage.until(stage.version(), held)
    assert "not to be deleted" in waits_for(run)
    turn(stage, "Succeeded")
    assert stage.until(run).phase is Phase.LIVE


def test_one_that_never_served_may_be_deleted(stage: Stage) -> None:
    tags = {"droptune.line": stage.line_id, "droptune.installation": stage.installation}
    stage.app.cloud.endpoints.create(stage.endpoint, tags=tags)
    ready(stage)
    turn(stage, "Failed")
    run = stage.version()
    ended = stage.until(run)
    assert ended.phase is Phase.FAILED
    assert "has no deployment and never served: delete it, then droptune retry" in ended.why
    stage.app.cloud.endpoints.delete(stage.endpoint)
    eventually(lambda: stage.app.cloud.endpoints.get(stage.endpoint) is None)
    run_commands.retry(stage.app, run.id, by="ada")
    assert stage.until(run).phase is Phase.LIVE


def test_traffic_that_an_endpoint_failed_to_take_is_given_once_more(stage: Stage) -> None:
    """What it shows is what it was to have: nobody knows who has it, and what served before must not go for that."""
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    change(stage, traffic={run.deployed.name: 100})
    turn(stage, "Failed")
    stage.world.control("DELETE", "/_local/ledger")
    run_commands.approve(stage.app, run.id, by="ada")
    done = stage.until(run)
    assert done.phase is Phase.LIVE, done.why
    assert asked_of(stage) == ["PUT"]
    assert isinstance(stage.line.state, Standing)
    assert live.deployed.name in stage.standing()


def test_changes_of_the_record_are_read_by_an_app_that_knows_nothing_of_them(stage: Stage) -> None:
    """Lines of before say how many instances there were, and that is taken for what was asked for."""
    live = stage.live()
    line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
    assert line.serving
    assert line.serving.asked is None
    stage.app.lines.save(replace(line, instances=2), etag)
    scale(stage, live.deployed.name, 2)
    run = stage.until(stage.version())
    assert instances(stage, run.deployed.name)[0] == 1
