"""What people do in the middle of a run: cancel it, try it again, delete what it needs; and what is left afterwards."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from shared import naming
from shared.api import line_commands, run_commands
from shared.cloud import clients
from shared.cloud.topic import PAUSE
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED
from shared.records.run import Claim, Run
from shared.run import turn
from shared.run.loop import advance
from tests.kit.waiting import eventually
from tests.kit.worlds.stage import MANUAL, Stage

pytestmark = pytest.mark.thorough

HOUR = 3600


# Cancelled -----------------------------------------------------------------------------------------------------------


def cancelled(stage: Stage, run: Run) -> Run:
    """Has ada cancel the run; nothing of it is left."""
    run_commands.cancel(stage.app, run.id, by="ada")
    ended = stage.until(run)
    assert (ended.phase, ended.why) == (Phase.CANCELLED, "cancelled by ada")
    assert stage.job_status(run) in ("", "Canceled")
    assert naming.deployment_name(run.id, run.attempt.number) not in stage.standing()
    assert stage.events()[-1] == ("Run.Cancelled", "cancelled by ada")
    assert ended.history[-1].phase is Phase.CANCELLED
    stage.at_rest()
    return ended


def test_what_was_received_can_be_cancelled(stage: Stage) -> None:
    stage.world.change(SETTLE_TIME=timedelta(hours=1))
    cancelled(stage, stage.upload())
    assert stage.made("jobs") == []


def test_what_trains_can_be_cancelled(stage: Stage) -> None:
    stage.pretend(job=HOUR)
    run = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    cancelled(stage, run)
    assert stage.job_status(run) == "Canceled"


def test_what_waits_to_be_deployed_can_be_cancelled(stage: Stage) -> None:
    live = stage.live()
    line_commands.pin(stage.app, stage.line_id)
    cancelled(stage, stage.until(stage.version(), lambda run: run.hold))
    assert stage.standing() == {live.deployed.name: "Succeeded"}


def test_what_is_being_deployed_can_be_cancelled(stage: Stage) -> None:
    """Its deployment can't be deleted before it is made."""
    live = stage.live()
    stage.pretend(deployment=90)
    run = stage.until(stage.version(), lambda run: run.phase is Phase.DEPLOYING)
    assert stage.standing()[run.deployed.name] == "Creating"
    cancelled(stage, run)
    assert stage.standing() == {live.deployed.name: "Succeeded"}
    assert stage.traffic() == {live.deployed.name: 100}
    assert stage.traffic_was() == []


def test_a_cancellation_waits_for_what_served_while_somebody_scales_it(stage: Stage) -> None:
    """What is cancelled has the traffic, and would leave nobody to answer."""
    live = stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    stage.app.cloud.endpoints.set_traffic(stage.endpoint, {run.deployed.name: 100})
    eventually(lambda: (found := stage.app.cloud.endpoints.get(stage.endpoint)) and not found.busy)
    deployments = stage.app.cloud.clients.ml.online_deployments
    scaled = deployments.get(live.deployed.name, stage.endpoint)
    scaled.instance_count = 2
    deployments.begin_create_or_update(scaled)
    assert stage.standing()[live.deployed.name] == "Updating"
    cancelled(stage, run)
    assert stage.traffic_was() == [{run.deployed.name: 100}, {live.deployed.name: 100}]


def test_a_claim_lasts_as_long_as_its_action_and_a_cancellation_waits_for_that(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "CLAIM", timedelta(seconds=2))
    monkeypatch.setattr(turn, "RENEWED", timedelta(seconds=0.5))
    stage.live()
    run = stage.version()
    slow = {"method": "PUT", "path": f"/deployments/{run.id}-1$", "moment": "delay", "delay": 4}
    stage.world.control("POST", "/_local/faults", slow)
    worker = threading.Thread(target=stage.until, args=(run,))
    worker.start()
    try:
        begun = eventually(lambda: _claim(stage, run, Action.DEPLOY_MODEL))
        eventually(lambda: stage.now() > begun.until)
        advance(stage.app, run.id, None)
        claim = stage.run(run).claim
        assert claim
        assert claim.holder == begun.holder, "nobody else begins meanwhile"
        assert claim.until > begun.until
        run_commands.cancel(stage.app, run.id, by="ada")
        found = stage.run(run)
        assert found.claim
        assert found.ending
        assert (found.ending.phase, found.claim.holder) == (Phase.CANCELLED, begun.holder)
    finally:
        worker.join()
    ended = stage.run(run)
    assert (ended.phase, ended.why) == (Phase.CANCELLED, "cancelled by ada")
    assert [each.what for each in ended.history].count(Action.DEPLOY_MODEL.done) == 1
    assert stage.made("deployments") == [f"{run.id}-1"]
    assert f"{run.id}-1" not in stage.standing()
    stage.at_rest()


def _claim(stage: Stage, run: Run, action: Action) -> Claim | None:
    claim = stage.run(run).claim
    return claim if claim and claim.action == action else None


# Tried again ---------------------------------------------------------------------------------------------------------


def test_a_training_that_failed_is_tried_again(stage: Stage) -> None:
    stage.pretend(jobs={"outcome": "Failed", "why": "CUDA out of memory", "count": 1})
    stage.pretend_too()
    failed = stage.until(stage.upload())
    assert failed.phase is Phase.FAILED
    assert "CUDA out of memory" in failed.why
    stage.at_rest()
    assert "attempt 2" in run_commands.retry(stage.app, failed.id, by="ada")
    live = stage.until(failed)
    assert (live.phase, live.attempt.number) == (Phase.LIVE, 2)
    assert stage.made("jobs") == [f"{live.id}-1", f"{live.id}-2"]
    assert stage.traffic() == {f"{live.id}-2": 100}
    kinds = [kind for kind, _ in stage.events()]
    assert kinds == ["Training.Started", "Run.Failed", "Training.Started", "Model.Registered", "Endpoint.Live"]
    ids = [each["id"] for each in stage.cloud_events()]
    assert len(set(ids)) == len(ids)


def test_a_rollout_that_failed_is_tried_again_without_training(stage: Stage) -> None:
    stage.live()
    stage.pretend(outcome="Failed")
    failed = stage.until(stage.version())
    assert failed.phase is Phase.ROLLED_BACK
    stage.pretend()
    run_commands.retry(stage.app, failed.id)
    live = stage.until(failed)
    assert (live.phase, live.attempt.model, live.deployed.name) == (Phase.LIVE, failed.attempt.model, f"{failed.id}-2")
    assert stage.made("jobs") == []
    assert stage.traffic() == {live.deployed.name: 100}


def test_a_run_that_was_parked_goes_on_where_it_was(stage: Stage) -> None:
    """Somebody broke its test rows by hand, and mended them."""
    stage.live()
    run = stage.version()
    rows = layout.part_of(run.prepared, "test")
    good, _ = stage.app.cloud.blobs.read(PREPARED, rows)
    stage.app.cloud.blobs.write(PREPARED, rows, b"broken\n")
    parked = stage.until(run, lambda run: run.parked)
    assert parked.phase is Phase.CHECKING
    assert stage.world.errors
    stage.world.errors.clear()
    assert [kind for kind, _ in stage.events()] == ["Run.Parked"]
    stage.app.cloud.blobs.write(PREPARED, rows, good)
    assert "not parked any more" in run_commands.retry(stage.app, run.id)
    live = stage.until(run)
    assert (live.phase, live.attempt.number, live.parked) == (Phase.LIVE, 1, None)
    assert stage.made("deployments") == [live.deployed.name]


# Deleted -------------------------------------------------------------------------------------------------------------


def gone(stage: Stage, path: str, answers: int | None = None) -> None:
    """For so many answers, or from now on, the service does not know what is there, as after a deletion."""
    stage.world.control("POST", "/_local/faults", {"method": "GET", "path": path, "status": 404, "count": answers})
    stage.world.clock.jump(timedelta(minutes=6))  # what is fresh may just not be seen yet


def test_a_job_that_somebody_deleted_ends_its_run(stage: Stage) -> None:
    stage.pretend(job=HOUR)
    run = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    gone(stage, f"/jobs/{run.attempt.job}$")
    ended = stage.until(run)
    assert (ended.phase, ended.why) == (Phase.FAILED, "the job is gone: somebody deleted it")
    assert stage.made("jobs") == [run.attempt.job], "it is not made again"
    stage.at_rest()


def test_a_model_that_somebody_deleted_is_not_deployed(stage: Stage) -> None:
    live = stage.live()
    line_commands.pin(stage.app, stage.line_id)
    run = stage.until(stage.version(), lambda run: run.hold)
    gone(stage, f"/versions/{run.id}-1$")
    line_commands.unpin(stage.app, stage.line_id)
    ended = stage.until(run)
    assert ended.phase is Phase.FAILED
    assert f"model {run.attempt.model} is gone: somebody deleted it" in ended.why
    assert stage.traffic() == {live.deployed.name: 100}
    assert stage.made("deployments") == []
    stage.at_rest()


@pytest.mark.parametrize("phase", [Phase.REGISTERED, Phase.DEPLOYING])
def test_one_answer_that_a_thing_is_not_there_ends_no_run(stage: Stage, phase: Phase) -> None:
    """The service answers so now and then, for what stood there all along."""
    stage.pretend(deployment=90)
    stage.live()
    line_commands.pin(stage.app, stage.line_id)
    run = stage.until(stage.version(), lambda run: run.hold)
    line_commands.unpin(stage.app, stage.line_id)
    if phase is Phase.DEPLOYING:
        run = stage.until(run, lambda run: run.phase is phase and run.waiting)
    path = f"/deployments/{run.deployed.name}$" if run.attempt.deployed else f"/versions/{run.id}-1$"
    gone(stage, path, answers=1)
    live = stage.until(run)
    assert (live.phase, live.attempt.number) == (Phase.LIVE, 1), live.why
    assert stage.made("deployments") == [live.deployed.name]


def test_one_answer_that_a_model_is_not_there_is_no_reason_to_train_it_again(stage: Stage) -> None:
    first = stage.until(stage.upload())
    stage.tear_down()
    gone(stage, f"/versions/{first.id}-1$", answers=1)
    same = stage.until(stage.upload())
    assert (same.phase, stage.made("jobs")) == (Phase.UNCHANGED, [first.attempt.job]), same.why
    assert "droptune revive" in same.why
    gone(stage, f"/versions/{first.id}-1$", answers=1)
    assert f"model {first.attempt.model} is deployed again" in run_commands.retry(stage.app, same.id)
    live = stage.until(same)
    assert (live.phase, live.attempt.model, stage.made("jobs")) == (
        Phase.LIVE,
        first.attempt.model,
        [first.attempt.job],
    )


@pytest.mark.parametrize("phase", [Phase.DEPLOYING, Phase.CHECKING])
def test_a_deployment_that_somebody_deleted_is_not_made_again(stage: Stage, phase: Phase) -> None:
    live = stage.live()
    stage.pretend(deployment=90)
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.phase is phase and run.waiting)
    if phase is Phase.DEPLOYING:
        gone(stage, f"/deployments/{run.deployed.name}$")
    else:
        stage.app.cloud.endpoints.remove_deployment(stage.endpoint, run.deployed.name)
        eventually(lambda: stage.standing() == {live.deployed.name: "Succeeded"})
        run_commands.approve(stage.app, run.id)
    ended = stage.until(run)
    assert ended.phase is Phase.ROLLED_BACK
    assert "is gone: somebody deleted it" in ended.why
    assert stage.made("deployments") == [run.deployed.name]
    assert stage.traffic() == {live.deployed.name: 100}
    assert stage.line.rollout == ""


def test_an_endpoint_that_somebody_deleted_ends_the_rollout_and_is_made_again_for_an_upload_alone(
    stage: Stage,
) -> None:
    stage.live()
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold)
    stage.app.cloud.endpoints.delete(stage.endpoint)
    eventually(lambda: stage.app.cloud.endpoints.get(stage.endpoint) is None)
    run_commands.approve(stage.app, run.id)
    ended = stage.until(run)
    assert ended.phase is Phase.ROLLED_BACK
    assert f"endpoint {stage.endpoint} is gone: somebody deleted it" in ended.why
    for _ in range(3):
        stage.world.clock.jump(timedelta(minutes=10))
        stage.world.sweep()
        stage.world.cleanup()
        stage.quiet()
    assert stage.app.cloud.endpoints.get(stage.endpoint) is None
    line = stage.line
    assert line.serving is None
    assert line.removed
    assert [kind for kind, _ in stage.events()] == ["Run.ApprovalNeeded", "Endpoint.RolledBack", "Endpoint.TornDown"]
    live = stage.until(stage.version())
    assert live.phase is Phase.LIVE, live.why
    assert stage.traffic() == {live.deployed.name: 100}
    stage.at_rest()


def test_what_serves_may_be_deleted_while_its_successor_is_on_its_way(stage: Stage) -> None:
    live = stage.live()
    stage.pretend(deployment=90)
    run = stage.until(stage.version(), lambda run: run.phase is Phase.DEPLOYING)
    stage.app.cloud.endpoints.set_traffic(stage.endpoint, {})
    eventually(lambda: (found := stage.app.cloud.endpoints.get(stage.endpoint)) and not found.busy)
    stage.app.cloud.endpoints.remove_deployment(stage.endpoint, live.deployed.name)
    eventually(lambda: live.deployed.name not in stage.standing())
    ended = stage.until(run)
    assert ended.phase is Phase.LIVE, ended.why
    assert ended.deployed.scores
    assert ended.deployed.scores.compared is None
    assert "is gone" in ended.deployed.scores.why
    stage.at_rest()
    assert stage.standing() == {ended.deployed.name: "Succeeded"}


def test_data_that_were_deleted_before_they_were_read_are_not_trained_on(stage: Stage) -> None:
    stage.world.change(SETTLE_TIME=timedelta(minutes=1))
    run = stage.upload()
    stage.app.cloud.blobs.delete(DATASETS, f"{stage.folder}/train.jsonl")
    ended = stage.until(run)
    assert (ended.phase, ended.why) == (Phase.SUPERSEDED, "the dataset was deleted before it was read")
    assert stage.made("jobs") == []
    stage.at_rest()


def test_data_that_were_deleted_after_they_were_read_are_needed_no_more(stage: Stage) -> None:
    stage.pretend(job=HOUR)
    run = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    stage.app.cloud.blobs.delete(DATASETS, f"{stage.folder}/train.jsonl")
    stage.world.control("POST", f"/_local/jobs/{run.attempt.job}", {"status": "Completed"})
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why


# Nobody listens ------------------------------------------------------------------------------------------------------


def test_a_topic_that_is_down_holds_nothing_up_and_is_sent_to_later(stage: Stage) -> None:
    stage.live()
    topic = stage.world.settings.events.topic_endpoint
    _send_to(stage, "https://127.0.0.1:9/api/events")
    run = stage.until(stage.version())
    assert run.phase is Phase.LIVE, run.why
    stage.quiet()
    assert stage.events() == []
    _send_to(stage, topic)
    stage.world.until(lambda: not stage.run(run).outbox)
    assert [kind for kind, _ in stage.events()] == ["Endpoint.Live"]
    stage.at_rest()


def test_a_topic_that_never_answers_is_waited_for_once_a_minute_and_sent_to_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections all the same: each turn of each run would stand still for as long as one waits for it."""
    monkeypatch.setattr(clients, "TOPIC_SECONDS", 0.5)
    mute = {"method": "POST", "path": "/api/events$", "delay": 60, "status": 503, "count": None}
    stage.world.control("POST", "/_local/faults", mute)
    begun = stage.now()
    run = stage.until(stage.upload())
    assert run.phase is Phase.LIVE, run.why
    (fault,) = stage.world.control("GET", "/_local/faults")
    assert 1 <= fault["taken"] <= 1 + (stage.now() - begun) / PAUSE
    assert stage.events() == []
    stage.world.control("DELETE", "/_local/faults")
    stage.world.until(lambda: not stage.run(run).outbox)
    assert [kind for kind, _ in stage.events()] == ["Training.Started", "Model.Registered", "Endpoint.Live"]
    stage.at_rest()


def _send_to(stage: Stage, topic: str) -> None:
    stage.world.change(EVENTS_TOPIC_ENDPOINT=topic)
    for host in (*stage.world.hosts, stage.world.person):
        vars(host.app.cloud.clients).pop("topic", None)
