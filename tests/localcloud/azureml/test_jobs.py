"""Pipeline jobs through the real SDK: submit, follow, fail, cancel, register what came out.

The process that a job runs is tests/kit/azureml/training.py; localcloud.training has its own tests.
"""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from azure.ai.ml import Input
from azure.ai.ml.entities import Model
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from localcloud.stack import Stack
from tests.kit.azureml import MODEL
from tests.kit.azureml.submitting import IDENTITY, TRAIN, Submit, ended, published
from tests.kit.azureml.training import FAILS, HANGS, REASON, STEPS
from tests.kit.waiting import eventually

pytestmark = pytest.mark.usefixtures("trainer")


def events(cloud: Stack, run: str) -> list[tuple[str, str | None]]:
    """Kind and status of a run's events."""
    return [(kind, status) for kind, of, status in published(cloud) if of == run]


def test_a_job_is_what_was_sent(ml: Any, done: str) -> None:
    job = ml.jobs.get(done)
    assert (job.name, job.status) == (done, "Completed")
    assert (job.display_name, job.experiment_name, job.tags) == (
        "phi-faq",
        "chat_completion_phi",
        {"droptune-run": "r1"},
    )
    assert job.identity.resource_id == IDENTITY
    assert (job.settings.force_rerun, job.settings.continue_on_step_failure) == (True, False)
    (step,) = job.jobs.values()
    assert step.component == "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    assert (step.inputs["learning_rate"]._data, step.inputs["mlflow_model_path"].path) == ("5e-06", MODEL)
    assert job.outputs["trained_model"].type == "mlflow_model"
    assert job.studio_url.startswith("https://")
    assert job.creation_context.created_at.tzinfo is not None
    assert done in [each.name for each in ml.jobs.list()]


def test_the_process_gets_data_parameters_and_defaults(cloud: Stack, done: str) -> None:
    order = json.loads((cloud.state / "azureml" / "jobs" / done / "job.json").read_text())
    assert order["base_model"].endswith("/.models/Phi-3-mini-4k-instruct/15")
    assert Path(order["train"]).read_bytes() == b'{"messages": []}\n' * 3
    assert Path(order["validation"]).exists()
    assert order["test"] is None
    wanted = {
        "num_train_epochs": 1,
        "learning_rate": 5e-6,
        "deepspeed_stage": "2",
        "precision": "32",
        "adam_epsilon": 1e-8,
    }
    assert {key: order["parameters"][key] for key in wanted} == wanted


def test_events_of_the_job_and_its_steps(cloud: Stack, ml: Any, done: str) -> None:
    statuses = [status for kind, status in events(cloud, done) if kind == "RunStatusChanged"]
    assert statuses == ["Preparing", "Running", "Finalizing", "Completed"]
    assert events(cloud, done)[-1] == ("RunCompleted", None)
    steps = list(ml.jobs.list(parent_job_name=done))
    assert [(step.display_name, step.status) for step in steps] == [(step, "Completed") for step in STEPS]
    assert events(cloud, steps[0].name) == [
        ("RunStatusChanged", "Running"),
        ("RunStatusChanged", "Completed"),
        ("RunCompleted", None),
    ]
    assert ml.jobs.get(steps[2].name).properties["azureml.moduleName"] == STEPS[2]
    recent = [entry["event"] for entry in cloud.control("GET", "/_local/eventgrid")["events"]]
    (event,) = [e for e in recent if e.get("eventType", "").endswith("RunCompleted") and e["data"]["runId"] == done]
    assert event["subject"] == f"experiments/{event['data']['experimentId']}/runs/{done}"
    assert (event["data"]["runType"], event["data"]["runTags"]) == ("azureml.PipelineRun", {"droptune-run": "r1"})


def test_a_failed_job_tells_why(ml: Any, submit: Submit, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    submit(name, seed=FAILS)
    assert ended(ml, name).status == "Failed"
    failed = [step for step in ml.jobs.list(parent_job_name=name) if step.status == "Failed"]
    assert [step.display_name for step in failed] == [STEPS[2]]
    assert ml.jobs._runs_operations.get_run_details(failed[0].name).error.error.message == REASON
    with pytest.raises(JobException, match=REASON):
        ml.jobs.stream(name)
    assert f"RunId: {name}" in capsys.readouterr().out


def test_streaming_shows_the_log(ml: Any, done: str, capsys: pytest.CaptureFixture[str]) -> None:
    ml.jobs.stream(done)
    assert "Execution Summary" in capsys.readouterr().out
    (log,) = ml.jobs._runs_operations.get_run_details(done).log_files.values()
    assert httpx.get(log, verify=ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])).text == "done\n"


@pytest.mark.parametrize(
    ("inputs", "step", "reason"),
    [
        ({"train_file_path": Input(type="uri_file", path=f"{TRAIN}.missing")}, STEPS[1], "does not exist"),
        ({"mlflow_model_path": Input(type="mlflow_model", path=MODEL.replace("15", "16"))}, STEPS[0], "not found"),
        ({"number_of_gpu_to_use_finetuning": 4}, STEPS[2], "has 1"),
    ],
)
def test_a_job_without_what_it_needs_fails(
    ml: Any, submit: Submit, name: str, inputs: dict[str, Any], step: str, reason: str
) -> None:
    submit(name, **inputs)
    assert ended(ml, name).status == "Failed"
    (failed,) = [each for each in ml.jobs.list(parent_job_name=name) if each.status == "Failed"]
    assert failed.display_name == step
    assert reason in ml.jobs._runs_operations.get_run_details(failed.name).error.error.message


def test_cancelling_ends_the_process(cloud: Stack, ml: Any, submit: Submit, name: str) -> None:
    submit(name, seed=HANGS)
    eventually(lambda: len(list(ml.jobs.list(parent_job_name=name))) == 3, 30)
    ml.jobs.begin_cancel(name).result()
    assert ended(ml, name).status == "Canceled"
    assert [step.status for step in ml.jobs.list(parent_job_name=name)] == ["Completed", "Completed", "Canceled"]
    assert ("RunCompleted", None) not in events(cloud, name)
    ml.jobs.begin_cancel(name).result()  # once more does nothing
    assert ml.jobs.get(name).status == "Canceled"


def test_a_job_waits_for_its_place(ml: Any, submit: Submit) -> None:
    first, second = f"job-{uuid4().hex[:8]}", f"job-{uuid4().hex[:8]}"
    submit(first, seed=HANGS)
    eventually(lambda: ml.jobs.get(first).status == "Running")
    submit(second, num_nodes_finetune=2, seed=FAILS)
    eventually(lambda: [each.status for each in ml.jobs.list(parent_job_name=second)] == ["Queued"])
    assert ml.jobs.get(second).status == "Running", "as Azure shows a pipeline whose step waits for a node"
    ml.jobs.begin_cancel(first)
    assert ended(ml, second).status == "Failed"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs: 0 is less than the minimum, 1"),
        ({"precision": 8}, "precision: '8' is none of 32, 16"),
        ({"lr_scheduler_type": "warm"}, "lr_scheduler_type: 'warm' is none of"),
        ({"num_train_epochs": "three"}, "'three' is not of type integer"),
        ({"learning_rate": "fast"}, "'fast' is not of type number"),
        ({"compute_finetune": "nowhere"}, "Unknown compute target 'nowhere'"),
        ({"train_file_path": Input(type="uri_file", path="azureml://datastores/x/paths/y")}, "Datastore x"),
        ({"train_file_path": Input(type="uri_file", path="https://example.invalid/a")}, "neither a datastore path"),
        ({"train_file_path": Input(type="uri_folder", path=TRAIN)}, "must be of type uri_file"),
    ],
)
def test_a_wrong_input_is_refused(submit: Submit, name: str, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(HttpResponseError, match=message) as caught:
        submit(name, **inputs)
    assert (caught.value.status_code, getattr(caught.value.error, "code", None)) == (400, "UserError")


def test_an_input_that_the_component_has_not_is_refused(cloud_env: Stack, ml: Any, name: str) -> None:
    literal = {"job_input_type": "literal", "value": "1"}
    component = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    step = {"componentId": component, "type": "pipeline", "inputs": {"learning_rate_min": literal}, "outputs": {}}
    body = {"properties": {"jobType": "Pipeline", "jobs": {"step": step}, "inputs": {}, "outputs": {}}}
    jobs = ml.jobs.service_client_01_2024_preview_arm.jobs
    with pytest.raises(HttpResponseError, match=r"Unrecognized input\(s\) learning_rate_min"):
        jobs.create_or_update("local", "local", name, body, headers={"x-azureml-token": "t"})
    with pytest.raises(HttpResponseError, match="x-azureml-token"):
        jobs.create_or_update("local", "local", name, body)


def test_a_name_is_used_once_and_is_plain(ml: Any, submit: Submit, done: str) -> None:
    with pytest.raises(HttpResponseError, match="already exists") as caught:
        submit(done)
    assert caught.value.status_code == 400
    with pytest.raises(HttpResponseError, match=r"Job name 'a\.b'"):
        submit("a.b")
    with pytest.raises(ResourceNotFoundError):
        ml.jobs.get("no-such-job")


def test_lists_come_in_pages_newest_first(ml: Any, submit: Submit) -> None:
    for _ in range(max(1, 11 - len(list(ml.jobs.list())))):  # a page has 10
        newest = submit(f"page-{uuid4().hex[:8]}", number_of_gpu_to_use_finetuning=8)
    found = list(ml.jobs.list())
    assert found[0].name == newest.name
    assert len({job.name for job in found}) == len(found) > 10
    made = [job.creation_context.created_at for job in found]
    assert made == sorted(made, reverse=True)


def test_tags_change_and_a_job_can_be_archived(ml: Any, submit: Submit, name: str) -> None:
    submit(name, number_of_gpu_to_use_finetuning=8)
    job = ended(ml, name)
    job.tags["seen"] = "yes"
    assert ml.jobs.create_or_update(job).tags["seen"] == "yes"
    ml.jobs.archive(name)
    assert name not in [each.name for each in ml.jobs.list()]


def test_a_model_is_made_of_the_output_and_trained_further(ml: Any, submit: Submit, name: str, done: str) -> None:
    path = f"azureml://jobs/{done}/outputs/trained_model"
    made = ml.models.create_or_update(Model(name=name, version="1", path=path, type="mlflow_model"))
    assert (made.job_name, made.type) == (done, "mlflow_model")
    assert made.path.startswith("azureml://subscriptions/")
    assert made.path.endswith(f"/workspaces/local/datastores/workspaceblobstore/paths/azureml/{done}/trained_model/")
    again = ml.models.create_or_update(Model(name=name, version="1", path=path, type="mlflow_model", tags={"a": "b"}))
    assert again.tags == {"a": "b"}
    copied = ml.models.create_or_update(Model(name=name, version="2", path=made.path, type="mlflow_model"))
    assert copied.job_name == done
    submit(name, mlflow_model_path=Input(type="mlflow_model", path=copied.id))
    assert ended(ml, name).status == "Completed"


def test_a_model_of_a_missing_output_is_refused(ml: Any, submit: Submit, name: str, done: str) -> None:
    submit(name, number_of_gpu_to_use_finetuning=8)
    ended(ml, name)
    for path, error in (
        (f"{done}/outputs/default", "(NoMatchingOutputFoundFromJob) Job output default not found"),
        (f"{name}/outputs/trained_model", "(NoMatchingArtifactsFoundFromJob) No artifacts matching trained_model"),
    ):
        with pytest.raises(HttpResponseError) as caught:
            ml.models.create_or_update(Model(name=name, version="1", path=f"azureml://jobs/{path}"))
        assert caught.value.status_code == 400
        assert str(caught.value).startswith(error)
