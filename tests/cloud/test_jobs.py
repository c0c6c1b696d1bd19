"""Jobs that really train, what becomes of them, and the models that they leave."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.cloud.jobs import JobView
from shared.errors import NotFound, Permanent
from shared.lifecycle.phase import ENDED
from shared.training.job import JobRequest
from shared.training.step import PARTS, step
from tests.kit.jobs import request
from tests.kit.waiting import eventually


def ended(azure: Cloud, name: str) -> JobView:
    def over() -> JobView | None:
        job = azure.jobs.get(name)
        assert job is not None
        return job if job.status in ENDED else None

    job = eventually(over, 120, every=0.5)
    assert job is not None
    return job


def test_a_job_trains_and_leaves_a_model_and_its_losses(azure: Cloud, cloud: Stack, unique: str) -> None:
    wanted = request(azure, unique)
    assert azure.jobs.get(wanted.name) is None
    azure.jobs.submit(wanted)
    azure.jobs.submit(wanted)
    with pytest.raises(Permanent, match="somebody else's"):
        azure.jobs.submit(replace(wanted, tags={"droptune.run": "another"}))
    puts = [entry for entry in cloud.control("GET", "/_local/ledger") if entry.get("name") == wanted.name]
    assert [entry["method"] for entry in puts] == ["PUT"]
    assert wanted.name in [job.name for job in azure.jobs.active()]

    job = ended(azure, wanted.name)
    assert (job.status, job.why) == ("Completed", "")
    assert job.tags["droptune.run"] == unique
    assert job.created is not None
    assert [each.name for each in azure.jobs.list_since(job.created)][-1:] == [wanted.name]
    assert wanted.name not in [each.name for each in azure.jobs.list_since(job.created + timedelta(seconds=1))]
    assert wanted.name not in [each.name for each in azure.jobs.active()]

    sent = azure.clients.ml.jobs.get(wanted.name)
    assert sent.experiment_name == wanted.experiment
    assert sent.display_name == wanted.display_name
    assert sent.settings.force_rerun is True
    assert sent.settings.continue_on_step_failure is False
    assert list(sent.outputs) == ["trained_model"]

    losses = azure.metrics.job_metrics(wanted.name)["eval_loss"]
    assert [step for step, _ in losses] == sorted(step for step, _ in losses)
    assert losses[-1][1] < losses[0][1], "it learns"

    assert azure.models.get(unique, "1") is None
    model = azure.models.register(unique, "1", wanted.name, "a test", {"droptune.run": unique}, {"from": "here"})
    assert (model.name, model.version) == (unique, "1")
    assert model.id.endswith(f"/models/{unique}/versions/1")
    again = azure.models.register(unique, "1", wanted.name, tags={"droptune.run": unique})
    assert again == model == azure.models.get(unique, "1")
    with pytest.raises(Permanent, match="somebody else's"):
        azure.models.register(unique, "1", wanted.name, tags={"droptune.run": "another"})
    registered = azure.clients.ml.models.get(unique, "1")
    assert registered.type == "mlflow_model"
    assert registered.tags["droptune.run"] == unique


@pytest.mark.thorough
def test_a_job_that_fails_says_in_which_step_and_why(azure: Cloud, unique: str) -> None:
    wanted = request(azure, unique, train=b"this is not JSON\n")
    azure.jobs.submit(wanted)
    job = ended(azure, wanted.name)
    assert job.status == "Failed"
    assert job.why.startswith("chat_completion_datapreprocess: ")
    assert "JSON" in job.why


def with_step(azure: Cloud, run: str) -> JobRequest:
    """The same job with our step before it, whose task is missing: it fails as soon as it begins."""
    prepared = f"azureml://datastores/prepared/paths/{run}/1"
    ours = step(
        code=f"{prepared}/code.zip",
        task=f"{prepared}/task.json",
        source=f"azureml://datastores/datasets/paths/{run}",
        outputs={
            **{part: f"{prepared}/{part}.jsonl" for part in PARTS},
            "report": f"{prepared}/report.json",
            "page": f"{prepared}/report.md",
        },
        compute=azure.settings.training.cpu_compute,
    )
    return replace(request(azure, run), step=ours)


def puts(cloud: Stack, kind: str) -> int:
    entries = cloud.control("GET", "/_local/ledger")
    return sum(1 for entry in entries if entry["method"] == "PUT" and entry.get("kind") == kind)


def test_our_step_comes_first_and_what_it_writes_is_what_is_trained_on(azure: Cloud, unique: str) -> None:
    wanted = with_step(azure, unique)
    azure.jobs.submit(wanted)
    sent = azure.clients.ml.jobs.get(wanted.name)
    first, second = sent.jobs.values()
    assert first.name == "prepare"
    assert first.compute.endswith(azure.settings.training.cpu_compute)
    assert not any(each.identity for each in (sent, first, second)), "the cluster's own is what counts"
    assert {name: (given.path, given.mode) for name, given in first.inputs.items()} == {
        name: (path, "ro_mount") for name, path in (wanted.step.inputs if wanted.step else {}).items()
    }
    assert {given.mode for given in first.outputs.values()} == {"rw_mount"}, "a step that fails leaves its report"
    for part in ("train", "validation", "test"):
        assert first.outputs[part].path == f"azureml://datastores/prepared/paths/{unique}/1/{part}.jsonl"
        assert second.inputs[f"{part}_file_path"]._data == f"${{{{parent.jobs.prepare.outputs.{part}}}}}"
    job = ended(azure, wanted.name)
    assert job.status == "Failed"
    assert job.why.startswith("prepare: ")
    assert "code.zip does not exist" in job.why


def test_what_our_step_is_made_of_is_made_once(azure: Cloud, cloud: Stack, unique: str) -> None:
    azure.clients.transport.sleep = lambda _: None
    for run in (unique, f"{unique}-2"):
        azure.jobs.submit(with_step(azure, run))
    before = puts(cloud, "components"), puts(cloud, "environments")
    assert min(before) >= 1
    azure.jobs.submit(with_step(azure, f"{unique}-3"))
    assert (puts(cloud, "components"), puts(cloud, "environments")) == before

    other = with_step(azure, f"{unique}-4")
    assert other.step
    changed = replace(other, step=replace(other.step, conda=json.dumps({"name": unique, "dependencies": ["python"]})))
    for kind in ("environments", "components"):  # the answer is lost, and the SDK's second request meets the first
        fault = {"method": "PUT", "path": f"/{kind}/", "status": 500, "moment": "after", "count": 1}
        cloud.control("POST", "/_local/faults", fault)
    azure.jobs.submit(changed)
    assert azure.jobs.get(changed.name) is not None


def test_a_job_is_cancelled_once_or_twice(azure: Cloud, unique: str) -> None:
    wanted = request(azure, unique)
    azure.jobs.submit(wanted)
    azure.jobs.cancel(wanted.name)
    assert ended(azure, wanted.name).status == "Canceled"
    azure.jobs.cancel(wanted.name)
    azure.jobs.cancel(f"{unique}-nobody")


def test_a_job_that_the_service_refuses_is_permanent(azure: Cloud, unique: str) -> None:
    good = request(azure, unique)
    nowhere = JobRequest(**{**good.__dict__, "inputs": {**good.inputs, "compute_finetune": "nowhere"}})
    with pytest.raises(Permanent, match="nowhere"):
        azure.jobs.submit(nowhere)
    unknown = JobRequest(**{**good.__dict__, "inputs": {**good.inputs, "learning_rate_min": 1}})
    with pytest.raises(Permanent, match="learning_rate_min"):
        azure.jobs.submit(unknown)
    assert azure.jobs.get(good.name) is None


def test_a_lost_answer_is_no_second_job(azure: Cloud, cloud: Stack, unique: str) -> None:
    azure.clients.transport.sleep = lambda _: None
    wanted = request(azure, unique)
    fault = {"method": "PUT", "path": f"/jobs/{wanted.name}$", "status": 500, "moment": "after", "count": 1}
    cloud.control("POST", "/_local/faults", fault)
    azure.jobs.submit(wanted)  # made by the first request, refused as existing by the SDK's second one
    assert azure.jobs.get(wanted.name) is not None
    azure.jobs.cancel(wanted.name)


def test_metrics_of_a_job_that_does_not_exist(azure: Cloud, unique: str) -> None:
    with pytest.raises(NotFound, match=unique):
        azure.metrics.job_metrics(unique)
