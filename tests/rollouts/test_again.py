"""What passes by itself is tried again, in limits that the reason states: no machines, an error, a deleted model."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.core.rest import HttpRequest

from localcloud.azureml.arm import WORKSPACE_ID
from shared.api import line_commands, run_commands
from shared.lifecycle import again
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records.run import Run
from shared.serving.gate import Gate, Promotion
from tests.kit.worlds.stage import RIGHT, Stage, waits_for

CAPACITY = (
    "OutOfCapacity: The specified VM Size failed to provision due to a lack of Azure Machine Learning capacity. Retry "
    "later or try deploying to a different region."
)
ALLOCATION = "AllocationFailed: We do not have sufficient capacity for the requested VM size in this region."


@pytest.fixture
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few as the limits allow, so that a day of them is short."""
    monkeypatch.setattr(again, "PAUSE", timedelta(hours=3))


def ended(stage: Stage, run: Run) -> Run:
    """Its record, once it has ended; a day and more is fine. Nobody sweeps meanwhile: its own timers do."""
    stage.world.sweeps = False
    stage.world.until(lambda: stage.run(run).phase.ended, patience=timedelta(days=3))
    return stage.run(run)


def asked(stage: Stage) -> int:
    """Requests to score since `live`."""
    ledger = stage.world.control("GET", "/_local/ledger")
    return sum(each["method"] == "POST" and each["path"].endswith(f"/{stage.endpoint}/score") for each in ledger)


def scoring_fails(stage: Stage, **how: Any) -> None:
    fault = {"method": "POST", "path": f"/{stage.endpoint}/score$", "count": None, "message": "CUDA out of memory"}
    stage.world.control("POST", "/_local/faults", fault | how)


# No machines for a deployment ----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_deployment_that_azure_has_no_machines_for_is_made_again(stage: Stage) -> None:
    old = stage.live()
    stage.pretend(outcome="Failed", why=CAPACITY, count=2)
    stage.pretend_too()
    run = stage.until(stage.version(), lambda run: run.hold == "quota")
    assert run.phase is Phase.DEPLOYING
    assert "tried once since" in waits_for(run)
    assert "lack of Azure Machine Learning capacity" in waits_for(run)
    assert stage.standing() == {old.deployed.name: "Succeeded"}, "what failed holds quota, and is gone"
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert live.attempt.number == 1
    assert len(stage.made("deployments")) == 3
    done = [each.what for each in live.history]
    assert done.count(Action.NOTE_NO_MACHINES.done) == 2
    assert stage.traffic_was() == [{live.deployed.name: 100}]
    stage.at_rest()


@pytest.mark.thorough
@pytest.mark.usefixtures("few_tries")
def test_a_deployment_that_azure_never_has_machines_for_ends_and_says_how_often_it_was_tried(stage: Stage) -> None:
    old = stage.live()
    stage.pretend(outcome="Failed", why=CAPACITY)
    run = ended(stage, stage.version())
    assert run.phase is Phase.ROLLED_BACK
    assert f"tried {len(stage.made('deployments'))} times in 2" in run.why
    assert "hours, which is as long as it is tried. Its last answer" in run.why
    assert "lack of Azure Machine Learning capacity" in run.why
    assert len(stage.made("deployments")) >= again.LEAST
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    assert stage.traffic_was() == []
    stage.at_rest()


@pytest.mark.thorough
def test_one_that_is_refused_when_it_is_made_again_is_not_taken_for_deleted(stage: Stage) -> None:
    stage.live()
    stage.pretend(outcome="Failed", why=CAPACITY, count=1)
    stage.pretend_too()
    run = stage.until(stage.version(), lambda run: run.hold == "quota")
    path = f"/onlineEndpoints/{stage.endpoint}/deployments/"
    refused = {"method": "PUT", "path": path, "status": 400, "code": "OutOfCapacity", "message": CAPACITY, "count": 1}
    stage.world.control("POST", "/_local/faults", refused)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert live.attempt.scarce
    assert live.attempt.scarce.times == 2
    stage.at_rest()


@pytest.mark.thorough
@pytest.mark.usefixtures("few_tries")
@pytest.mark.parametrize("code", ["OutOfCapacity", "OutOfQuota"])
def test_a_deployment_that_is_refused_at_once_for_want_of_machines_has_the_same_limit(stage: Stage, code: str) -> None:
    stage.live()
    path = f"/onlineEndpoints/{stage.endpoint}/deployments/"
    refused = {"method": "PUT", "path": path, "status": 400, "code": code, "message": CAPACITY, "count": None}
    stage.world.control("POST", "/_local/faults", refused)
    run = ended(stage, stage.version())
    assert run.phase is Phase.FAILED
    assert "which is as long as it is tried" in run.why
    assert code in run.why
    stage.at_rest()


@pytest.mark.thorough
def test_a_deployment_that_failed_for_another_reason_is_not_made_again(stage: Stage) -> None:
    stage.live()
    stage.pretend(outcome="Failed", why="The container can't import torch.")
    run = stage.until(stage.version())
    assert run.phase is Phase.ROLLED_BACK
    assert "can't import torch" in run.why
    assert stage.made("deployments") == [run.deployed.name]


@pytest.mark.thorough
def test_who_waits_for_machines_gives_way_to_a_newer_version_and_can_be_cancelled(stage: Stage) -> None:
    old = stage.live()
    stage.pretend(outcome="Failed", why=CAPACITY)
    run = stage.until(stage.version(), lambda run: run.hold == "quota")
    run_commands.cancel(stage.app, run.id, by="eve")
    cancelled = stage.until(run)
    assert (cancelled.phase, cancelled.why) == (Phase.CANCELLED, "cancelled by eve")
    assert stage.standing() == {old.deployed.name: "Succeeded"}
    stage.pretend()
    newer = stage.until(stage.version())
    assert newer.phase is Phase.LIVE, newer.why


# No machines for a job -----------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_job_that_got_no_machines_is_submitted_again_and_holds_no_slot_meanwhile(stage: Stage) -> None:
    stage.pretend(jobs={"outcome": "Failed", "why": ALLOCATION, "starved": True, "count": 1})
    stage.pretend_too()
    run = stage.until(stage.upload(), lambda run: run.attempt.number == 2 and run.waiting)
    assert (run.phase, run.hold) == (Phase.PREPARED, "quota")
    assert "tried once since" in waits_for(run)
    assert "sufficient capacity" in waits_for(run)
    assert run.prepared == f"{run.id}/1", "the data are not prepared again"
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert live.attempt.scarce is None, "what its deployment might want is counted anew"
    assert stage.made("jobs") == [f"{run.id}-1", f"{run.id}-2"]
    stage.at_rest()


@pytest.mark.thorough
@pytest.mark.usefixtures("few_tries")
def test_a_job_that_never_gets_machines_ends_and_says_how_often_it_was_tried(stage: Stage) -> None:
    stage.pretend(jobs={"outcome": "Failed", "why": ALLOCATION, "starved": True})
    run = ended(stage, stage.upload())
    assert run.phase is Phase.FAILED
    assert f"tried {len(stage.made('jobs'))} times in 2" in run.why
    assert "sufficient capacity" in run.why
    stage.at_rest()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "how", [{"why": ALLOCATION}, {"why": "ValueError: learning_rate", "starved": True}], ids=["trained", "other"]
)
def test_a_job_that_was_paid_for_or_failed_otherwise_is_not_submitted_again(stage: Stage, how: dict[str, Any]) -> None:
    stage.pretend(jobs={"outcome": "Failed"} | how)
    run = stage.until(stage.upload())
    assert run.phase is Phase.FAILED
    assert how["why"] in run.why
    assert stage.made("jobs") == [f"{run.id}-1"]


@pytest.mark.thorough
def test_a_job_that_is_refused_at_once_for_want_of_machines_keeps_nobody_from_training(stage: Stage) -> None:
    stage.world.change(MAX_ACTIVE_JOBS=1, MAX_JOBS_PER_DAY=2)
    run = stage.upload()
    refused = {"method": "PUT", "path": f"/jobs/{run.id}", "status": 400, "code": "OutOfCapacity", "message": CAPACITY}
    stage.world.control("POST", "/_local/faults", refused | {"count": None})
    run = stage.until(run, lambda run: run.attempt.scarce is not None and run.attempt.scarce.times == 2)
    assert (run.phase, run.hold) == (Phase.PREPARED, "quota")
    assert "tried 2 times since" in waits_for(run)
    other = replace(stage, folder=f"{stage.folder}-other")
    live = other.until(other.upload())
    assert live.phase is Phase.LIVE, live.why
    assert stage.run(run).phase is Phase.PREPARED
    stage.world.control("DELETE", "/_local/faults")
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert stage.made("jobs") == [f"{run.id}-1"], "what was refused takes none of the day's starts"
    stage.at_rest()


# One error in the checks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [424, pytest.param(429, marks=pytest.mark.thorough)])
def test_one_error_in_the_smoke_test_is_asked_again(stage: Stage, status: int) -> None:
    stage.live()
    scoring_fails(stage, status=status, count=1)
    run = stage.until(stage.version(promotion=Promotion(gate=Gate(rows=0))))
    assert run.phase is Phase.LIVE, run.why
    assert asked(stage) == 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("status", "told"),
    [
        (424, "the smoke test failed: it answered with an error 5 times in"),
        (429, "the smoke test failed: no answer in 0:15:00, asked"),
        (504, "the smoke test failed: no answer in 0:15:00, asked"),
        (408, "the smoke test failed: no answer in 0:15:00, asked"),
    ],
)
def test_errors_that_stay_end_it_and_the_reason_says_how_often_it_was_asked(
    stage: Stage, status: int, told: str
) -> None:
    old = stage.live()
    scoring_fails(stage, status=status)
    run = stage.until(stage.version())
    assert run.phase is Phase.ROLLED_BACK
    assert run.why.startswith(told)
    assert "CUDA out of memory" in run.why
    assert str(status) in run.why
    assert status != 424 or asked(stage) == 5
    assert stage.traffic() == {old.deployed.name: 100}


@pytest.mark.thorough
@pytest.mark.parametrize("status", [400, 413])
def test_what_asking_again_does_not_change_ends_at_once(stage: Stage, status: int) -> None:
    stage.live()
    scoring_fails(stage, status=status)
    run = stage.until(stage.version())
    assert run.phase is Phase.ROLLED_BACK
    assert "CUDA out of memory" in run.why
    assert asked(stage) == 1


@pytest.mark.thorough
def test_one_error_in_the_gate_is_asked_again(stage: Stage) -> None:
    stage.live()
    scoring_fails(stage, status=424, skip=2, count=1)
    run = stage.until(stage.version())
    assert run.phase is Phase.LIVE, run.why
    assert run.deployed.scores
    assert "failed" not in run.deployed.scores.why


# A model that somebody deleted ---------------------------------------------------------------------------------------


def deleted(stage: Stage, run: Run) -> None:
    name, _, version = run.attempt.model.rpartition(":")
    clients = stage.app.cloud.clients
    address = f"{clients.arm_url}{WORKSPACE_ID}/models/{name}/versions/{version}?api-version=2024-04-01"
    assert clients.arm.send_request(HttpRequest("DELETE", address)).status_code == 200
    assert stage.app.cloud.models.get(name, version) is None
    stage.world.clock.jump(timedelta(minutes=6))  # what is fresh may just not be seen yet


def pinned(stage: Stage) -> Run:
    """A version with its model, which waits before it is deployed."""
    stage.live()
    line_commands.pin(stage.app, stage.line_id)
    return stage.until(stage.version(), lambda run: run.hold == "pin")


@pytest.mark.thorough
def test_a_model_that_was_deleted_is_registered_again_of_the_jobs_output(stage: Stage) -> None:
    run = pinned(stage)
    deleted(stage, run)
    line_commands.unpin(stage.app, stage.line_id)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert live.attempt.model == run.attempt.model
    assert Action.REGISTER_AGAIN.done in [each.what for each in live.history]
    assert stage.made("jobs") == []
    model = stage.app.cloud.models.get(*run.attempt.model.split(":"))
    assert model
    assert model.tags["droptune.run"] == run.id
    stored = stage.app.cloud.clients.ml.models.get(*run.attempt.model.split(":"))
    assert stored.properties["droptune.train"] == run.source.address, "where it comes from is told as before"
    stage.at_rest()


@pytest.mark.thorough
def test_without_the_jobs_output_it_ends_and_says_what_helps(stage: Stage) -> None:
    run = pinned(stage)
    deleted(stage, run)
    path = f"/jobs/{run.attempt.job}$"
    stage.world.control("POST", "/_local/faults", {"method": "GET", "path": path, "status": 404, "count": None})
    line_commands.unpin(stage.app, stage.line_id)
    failed = stage.until(run)
    assert failed.phase is Phase.FAILED
    assert f"model {run.attempt.model} is gone: somebody deleted it, and job {run.attempt.job}" in failed.why
    assert f"droptune retry {run.id} trains anew, or upload the dataset again" in failed.why
    stage.at_rest()


@pytest.mark.thorough
def test_a_retry_takes_the_jobs_output_too(stage: Stage) -> None:
    stage.live()
    stage.pretend(outcome="Failed", why="The container can't import torch.")
    run = stage.until(stage.version())
    deleted(stage, run)
    stage.pretend(RIGHT)
    assert "is deployed again" in run_commands.retry(stage.app, run.id)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert (live.attempt.number, live.attempt.model) == (2, run.attempt.model)
    model = stage.app.cloud.models.get(*run.attempt.model.split(":"))
    assert model
    assert model.tags["droptune.attempt"] == "1", "whose it is"
    assert stage.made("jobs") == []
