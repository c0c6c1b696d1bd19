"""What somebody's lock, policy or shut network does to a rollout: it is told, blocks no other version, and ends.

Each test does what the sentence says ends the wait; then the wait ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from shared.api import run_commands
from shared.api.recover import recover
from shared.app import wake
from shared.lifecycle.phase import Phase
from shared.line.access import held_by
from shared.records import layout
from shared.records.layout import STATE
from shared.records.line import TEARDOWN, Line, TearingDown
from shared.records.run import Run
from shared.serving.gate import Bounds, Gate, Promotion
from tests.kit.azureml.rules import LOCK_ID, lifted, ruled, unreadable
from tests.kit.waiting import eventually
from tests.kit.worlds.stage import LOSS, QUOTA, REPLACE, Stage, waits_for
from tests.kit.worlds.wire import Call, HostDied

pytestmark = pytest.mark.thorough

DAY = timedelta(days=1)
HOUR = 3600
VCPUS = 24
"""Of the instance that serves."""
FAILS = Promotion(gate=Gate(metrics={"eval_loss": Bounds(most=LOSS / 2)}))
DELETIONS: dict[str, dict[str, Any]] = {
    "a lock": {"kind": "lock"},
    "a policy": {"kind": "policy", "effect": "denyAction", "types": "onlineEndpoints/deployments"},
    "a deny assignment": {"kind": "denyAssignment", "actions": "deployments/delete$"},
}


def told(stage: Stage, kind: str) -> list[str]:
    return [why for each, why in stage.events() if each == kind]


def goes_live(stage: Stage, **changes: Any) -> Run:
    live = stage.until(stage.version(**changes))
    assert live.phase is Phase.LIVE, live.why
    assert stage.traffic() == {live.deployed.name: 100}
    return live


def refused(stage: Stage) -> set[str]:
    line: Line = stage.line
    return set(line.refused)


# What can't be deleted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", DELETIONS)
def test_versions_go_live_one_after_the_other_although_none_can_be_deleted(stage: Stage, which: str) -> None:
    first = stage.live()
    with ruled(stage.world.control, **DELETIONS[which]):
        second, third = goes_live(stage), goes_live(stage)
        names = {each.deployed.name for each in (first, second, third)}
        stage.world.until(lambda: refused(stage) == names - {third.deployed.name})
        assert set(stage.standing()) == names
        assert any(
            f"deployment {first.deployed.name} can't be deleted" in why for why in told(stage, "Endpoint.DeleteRefused")
        )
        known = len(told(stage, "Endpoint.DeleteRefused"))
        stage.world.clock.jump(DAY)
        stage.world.until(lambda: len(told(stage, "Endpoint.DeleteRefused")) > known)
        assert "still costs" in told(stage, "Endpoint.DeleteRefused")[-1]
        assert all(each in ({second.deployed.name: 100}, {third.deployed.name: 100}) for each in stage.traffic_was())
    stage.world.until(lambda: stage.standing() == {third.deployed.name: "Succeeded"})
    stage.at_rest()
    assert refused(stage) == set()
    assert stage.line.retiring == ()


@pytest.mark.parametrize("blind", [False, True], ids=["locks can be read", "locks can't be read"])
@pytest.mark.parametrize("which", DELETIONS)
def test_what_can_not_make_room_serves_until_the_new_version_stands_beside_it(
    stage: Stage, which: str, blind: bool
) -> None:
    old = stage.live()
    with ExitStack() as stack:
        if blind:
            stack.enter_context(unreadable(stage.world.control))
        stack.enter_context(ruled(stage.world.control, **DELETIONS[which]))
        new = goes_live(stage, promotion=REPLACE)
        away = [] if which == "a lock" and not blind else [{}, {old.deployed.name: 100}]
        assert stage.traffic_was() == [*away, {new.deployed.name: 100}]
        assert set(stage.standing()) == {old.deployed.name, new.deployed.name}
        assert len(told(stage, "Endpoint.DeleteRefused")) == 1
    stage.world.until(lambda: stage.standing() == {new.deployed.name: "Succeeded"})
    stage.at_rest()


def test_a_replacement_that_fails_beside_what_it_could_not_delete_leaves_that_serving(stage: Stage) -> None:
    old = stage.live()
    failing = Promotion(strategy="replace", gate=FAILS.gate)
    with ruled(stage.world.control, "lock", scope=f"onlineEndpoints/{stage.endpoint}/deployments/{old.deployed.name}"):
        bad = stage.until(stage.version(promotion=failing))
        assert bad.phase is Phase.ROLLED_BACK
        stage.at_rest()
        assert stage.standing() == {old.deployed.name: "Succeeded"}
        assert stage.traffic() == {old.deployed.name: 100}
        assert stage.traffic_was() == []
        line = stage.line
        assert line.serving
        assert (line.serving.run, line.refused, line.displaced) == (old.id, {}, None), (
            "nobody wants it deleted any more"
        )


def test_a_replacement_that_may_not_move_the_traffic_leaves_the_line_as_it_is(stage: Stage) -> None:
    """Nobody could read the lock before."""
    old, run = stage.live(), stage.version(promotion=REPLACE)
    with unreadable(stage.world.control), ruled(stage.world.control, "lock", level="ReadOnly"):
        stage.until(run, lambda run: run.refused)
        line = stage.line
        assert line.serving
        assert (line.serving.run, line.displaced) == (old.id, None)
        assert stage.traffic() == {old.deployed.name: 100}
        assert told(stage, "Run.Refused") == [waits_for(stage.run(run))]
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    stage.at_rest()
    assert stage.standing() == {live.deployed.name: "Succeeded"}


def test_without_quota_beside_it_a_replacement_waits_for_the_lock_and_says_so(stage: Stage) -> None:
    old = stage.live()
    with ruled(stage.world.control, "lock"):
        endpoints = stage.app.cloud.endpoints
        size = stage.world.settings.serving.size
        there = [each for at in endpoints.list() for each in endpoints.deployments(at.name)]
        used = VCPUS * sum(each.instances for each in there if each.instance_type == size)
        stage.world.control("POST", "/_local/quota", dict.fromkeys(QUOTA, used))
        try:
            run = stage.until(stage.version(promotion=REPLACE), lambda run: run.hold == "quota")
            assert f"{old.deployed.name} can't be deleted: lock keep" in waits_for(run)
            assert f"az lock delete --ids {LOCK_ID}" in waits_for(run)
            assert stage.traffic() == {old.deployed.name: 100}
            lifted(stage.world.control)
            # One more, which Azure keeps free for upgrades: not enough for two beside each other.
            stage.world.control("POST", "/_local/quota", dict.fromkeys(QUOTA, used + VCPUS))
            live = stage.until(run)
            assert live.phase is Phase.LIVE, live.why
        finally:
            stage.world.control("POST", "/_local/quota", QUOTA)
    assert stage.traffic_was() == [{}, {live.deployed.name: 100}]
    stage.at_rest()
    assert stage.standing() == {live.deployed.name: "Succeeded"}


@pytest.mark.parametrize("which", DELETIONS)
def test_a_version_that_is_rolled_back_and_can_not_be_deleted_ends_and_frees_the_line(stage: Stage, which: str) -> None:
    old = stage.live()
    with ruled(stage.world.control, **DELETIONS[which]):
        bad = stage.until(stage.version(promotion=FAILS))
        assert bad.phase is Phase.ROLLED_BACK
        assert stage.line.rollout == ""
        assert stage.traffic() == {old.deployed.name: 100}
        assert bad.deployed.name in stage.standing()
        assert (
            f"deployment {bad.deployed.name} can't be deleted, and still costs"
            in told(stage, "Endpoint.DeleteRefused")[0]
        )
        stage.world.clock.jump(DAY)
        stage.world.until(lambda: len(told(stage, "Endpoint.DeleteRefused")) == 2)
        good = goes_live(stage)
    stage.world.until(lambda: stage.standing() == {good.deployed.name: "Succeeded"})
    stage.at_rest()
    assert refused(stage) == set()


def test_an_old_version_that_azure_ml_itself_does_not_delete_stops_no_other(stage: Stage) -> None:
    first = stage.live()
    odd = {"method": "DELETE", "path": f"/deployments/{first.deployed.name}$", "status": 400, "count": None}
    stage.world.control("POST", "/_local/faults", odd | {"message": "The deployment is odd."})
    goes_live(stage)
    third = goes_live(stage)
    assert any("ends once somebody has done it" in why for why in told(stage, "Endpoint.DeleteRefused"))
    stage.world.control("DELETE", "/_local/faults")
    stage.world.until(lambda: stage.standing() == {third.deployed.name: "Succeeded"})
    stage.at_rest()


# What can't be changed, made or reached ------------------------------------------------------------------------------


def test_a_lock_that_allows_nothing_keeps_the_traffic_where_it_is_and_is_told(stage: Stage) -> None:
    old = stage.live()
    run = stage.until(stage.version(), lambda run: run.phase is Phase.DEPLOYING)
    with ruled(stage.world.control, "lock", level="ReadOnly"):
        waits = stage.until(run, lambda run: run.refused)
        assert waits.phase is Phase.CHECKING
        assert "ScopeLocked" in waits_for(waits)
        assert "works once the lock is deleted" in waits_for(waits)
        assert told(stage, "Run.Refused") == [waits_for(waits)]
        assert stage.traffic() == {old.deployed.name: 100}
        assert waits.deployed.smoke is None, "nobody could ask it: that is no silence of its"
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    stage.at_rest()


def test_a_job_that_may_not_be_cancelled_is_told_and_cancelled_once_it_may(stage: Stage) -> None:
    stage.pretend(job=10 * HOUR)
    run = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    with ruled(stage.world.control, "lock", level="ReadOnly"):
        run_commands.cancel(stage.app, run.id, by="ada")
        waits = stage.until(run, lambda run: run.refused)
        assert "works once the lock is deleted" in told(stage, "Run.Refused")[0]
        assert waits.phase is Phase.TRAINING
    assert stage.until(run).phase is Phase.CANCELLED
    assert stage.job_status(run) == "Canceled"
    stage.at_rest()


@pytest.mark.parametrize("ends", ["the tags are set", "it is exempt"])
@pytest.mark.parametrize("types", ["onlineEndpoints/deployments", "onlineEndpoints"])
def test_what_a_policy_denies_waits_with_its_words_until_what_they_say_is_done(
    stage: Stage, types: str, ends: str
) -> None:
    """An endpoint that was made before the policy came needs the tags, too, once its traffic changes."""
    old = stage.live()
    policy: dict[str, Any] = {"kind": "policy", "name": "needs-owners", "types": types, "tags": ["costCenter", "owner"]}
    with ruled(stage.world.control, **policy):
        run = stage.until(stage.version(), lambda run: run.refused)
        why = waits_for(run)
        assert "was disallowed by policy" in why
        assert "RequestDisallowedByPolicy" in why
        assert "needs-owners" in why
        assert "RESOURCE_TAGS gives costCenter, owner" in why
        assert "az policy exemption create" in why
        assert "role in" not in why
        assert "Check that" not in why
        assert told(stage, "Run.Refused") == [why]
        assert stage.traffic() == {old.deployed.name: 100}
        if "deployments" in types:  # it waits for as long as it takes; what is checked has six hours
            stage.world.clock.jump(DAY)
            stage.world.until(lambda: len(told(stage, "Run.Refused")) == 2)
        if ends == "the tags are set":
            stage.world.change(RESOURCE_TAGS=(("CostCenter", "42"), ("owner", "ml, team")))
        else:
            stage.world.control("POST", "/_local/rules", policy | {"exempt": stage.endpoint})
        live = stage.until(run)
        assert live.phase is Phase.LIVE, live.why
    stage.at_rest()


def test_a_network_that_is_shut_is_said_as_that_and_ends_when_it_is_opened(stage: Stage) -> None:
    stage.live()
    run = stage.version()
    with ruled(stage.world.control, "network"):
        waits = stage.until(run, lambda run: run.refused)
        why = waits_for(waits)
        assert "Public network access is disabled for workspace local" in why
        assert "works once public network access is enabled there again" in why
        assert "Data Scientist" not in why
        assert told(stage, "Run.Refused") == [why]
        assert waits.outbox == (), "it was sent: the next look does not send it again"
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    stage.at_rest()


def test_who_is_refused_and_holds_the_line_is_named_to_others_with_a_way_out(stage: Stage) -> None:
    stage.live()
    with ruled(stage.world.control, "policy", types="onlineEndpoints/deployments", tags=["owner"]):
        first = stage.until(stage.version(), lambda run: run.refused)
        assert stage.line.rollout == first.id
        other = stage.version()
        held = held_by(stage.app, stage.line, other)
        assert f"droptune cancel {first.id} ends it" in held
        assert "RESOURCE_TAGS" in held
        run_commands.cancel(stage.app, first.id, by="ada")
        assert stage.until(first).phase is Phase.CANCELLED
        stage.until(other, lambda run: run.refused)
    assert stage.until(other).phase is Phase.LIVE
    stage.at_rest()


def test_a_record_that_somebody_broke_holds_the_line_until_it_is_deleted(stage: Stage) -> None:
    stage.live()
    with ruled(stage.world.control, "policy", types="onlineEndpoints/deployments", tags=["owner"]):
        first = stage.until(stage.version(), lambda run: run.refused)
    blobs, broken = stage.app.cloud.blobs, layout.record(layout.RUNS, first.id)
    data, _ = blobs.read(STATE, broken)
    blobs.write(STATE, broken, data.replace(b'"uploaded"', b'"up"'))
    other = stage.until(stage.version(), lambda run: "can't be read" in waits_for(run))
    assert f"{STATE}/{broken} can't be read" in waits_for(other)
    assert "mend that blob, or delete it and recover" in waits_for(other)
    blobs.delete(STATE, broken)
    stage.world.known.remove(first.id)  # its job is none that Azure ever had, so that nothing makes it again
    recover(stage.app)
    assert stage.until(other).phase is Phase.LIVE


# Hosts that die -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
def test_wherever_a_host_dies_in_a_teardown_that_is_refused_callers_have_their_answers_in_the_end(
    stage: Stage, after: bool
) -> None:
    """The rule is no lock, so that nobody can know of it before."""
    live, wire = stage.live(), stage.world.hosts[0].wire
    with ruled(stage.world.control, "denyAssignment", actions="/delete$"):
        for number in range(3, 60, 3):
            line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
            stage.app.lines.save(replace(line, state=TearingDown(whole=False), refused={}, wake=None), etag)
            wake(stage.app, line)
            left, died = count(), list[Call]()

            def dies(call: Call, left: Iterator[int] = left, number: int = number, died: list[Call] = died) -> None:
                if next(left) == number:
                    died.append(call)
                    raise HostDied

            wire.before, wire.after = (None, dies) if after else (dies, None)
            stage.world.until(lambda: not stage.line.is_going)
            wire.before = wire.after = None
            eventually(lambda: (found := stage.app.cloud.endpoints.get(stage.endpoint)) and not found.busy)
            assert stage.traffic() == {live.deployed.name: 100}, died
            assert stage.line.serving
            assert refused(stage) == {TEARDOWN}
            if not died:
                break
        assert number > 20, "few calls were made"
    stage.world.until(lambda: not stage.standing())
    stage.world.until(lambda: stage.line.emptied)
    stage.at_rest()


def test_all_that_is_made_carries_the_tags_that_a_policy_wants(stage: Stage) -> None:
    """Clusters, environment and component of our own step, job, model, endpoint, deployment: the policy is for all."""
    name = uuid4().hex[:8]
    stage.world.change(
        INLINE_LIMIT_MB=0,
        CREATE_CLUSTERS=True,
        FINETUNE_COMPUTE=f"gpu-{name}",
        PREPROCESS_COMPUTE=f"cpu-{name}",
        RESOURCE_TAGS=(("CostCenter", "42"), ("droptune.run", "nobody")),
    )
    with ruled(stage.world.control, "policy", tags=["costCenter", "droptune.run"]):
        run = stage.until(stage.upload())
    assert run.phase is Phase.LIVE, run.why
    assert run.attempt.in_job
    assert told(stage, "Run.Refused") == []
    cloud = stage.app.cloud
    (deployment,) = cloud.endpoints.deployments(stage.endpoint)
    assert (deployment.tags["droptune.run"], deployment.tags["CostCenter"]) == (run.id, "42"), "ours win"
    job = cloud.jobs.get(run.attempt.job)
    assert job
    assert (job.tags["droptune.run"], job.tags["CostCenter"]) == (run.id, "42")
    ml = cloud.clients.ml
    assert all(ml.compute.get(f"{kind}-{name}").tags["CostCenter"] == "42" for kind in ("gpu", "cpu"))
    model, _, version = run.attempt.model.rpartition(":")
    assert ml.models.get(model, version).tags["CostCenter"] == "42"
    stage.at_rest()
