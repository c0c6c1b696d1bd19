"""A pipeline's own command step through the real SDK: what it is given, what it leaves, and what comes after it."""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from azure.ai.ml import Input, MLClient, Output, dsl
from azure.ai.ml.entities import AmlCompute, CommandComponent, Environment
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient, ContainerClient

from localcloud.stack import Stack
from tests.kit.azureml import MODEL
from tests.kit.azureml.submitting import ended, published
from tests.kit.waiting import eventually

pytestmark = pytest.mark.usefixtures("trainer")

ROWS = b'{"messages": []}\n'
CPU, GPU = "steps-cpu", "steps-gpu"
DATASTORES = "azureml://datastores"


@pytest.fixture
def containers(cloud_env: Stack) -> Iterator[Callable[[str], ContainerClient]]:
    with BlobServiceClient(
        cloud_env.environment["DROPTUNE_STORAGE__blobServiceUri"], DefaultAzureCredential()
    ) as service:
        yield service.get_container_client


@pytest.fixture
def environment(ml: MLClient) -> str:
    """The id of an environment, the same for all tests."""
    made = ml.environments.create_or_update(Environment(name="steps", version="1", image="an-image"))
    return str(made.id)


@pytest.fixture
def component(ml: MLClient, environment: str) -> Callable[..., Any]:
    """Make a component: `component(command, inputs, outputs)`."""

    def make(command: str, inputs: dict[str, str] | None = None, outputs: dict[str, str] | None = None) -> Any:
        made = CommandComponent(
            name=f"c{uuid4().hex[:8]}",
            version="1",
            environment=environment,
            command=command,
            inputs={key: Input(type=kind) for key, kind in (inputs or {}).items()},
            outputs={key: Output(type=kind) for key, kind in (outputs or {"train": "uri_file"}).items()},
        )
        return ml.components.create_or_update(made)

    return make


@pytest.fixture
def submit(ml: MLClient, name: str) -> Callable[..., Any]:
    """Submit one of our steps (and others beside it), whose output `train` the fine-tune component takes."""
    for compute, size in ((CPU, "Standard_D13_v2"), (GPU, "Standard_NC24ads_A100_v4")):
        ml.compute.begin_create_or_update(AmlCompute(name=compute, size=size, max_instances=1))
    registry = MLClient(DefaultAzureCredential(), registry_name="azureml")
    tuned = registry.components.get("chat_completion_pipeline", label="latest")
    computes = dict.fromkeys(("model_import", "preprocess", "finetune", "model_evaluation"), GPU)

    def submit(
        ours: Any, inputs: dict[str, Any] | None = None, *, mode: str = "rw_mount", before: Any | None = None
    ) -> Any:
        @dsl.pipeline()  # type: ignore[untyped-decorator]
        def pipeline() -> Any:
            if before:
                earlier = before()
                earlier.compute = CPU
            first = ours(**(inputs or {}) | ({"one": earlier.outputs.train} if before else {}))
            first.compute = CPU
            first.outputs.train = Output(
                type="uri_file", path=f"{DATASTORES}/prepared/paths/{name}/train.jsonl", mode=mode
            )
            last = tuned(
                **{f"compute_{step}": each for step, each in computes.items()},
                mlflow_model_path=Input(type="mlflow_model", path=MODEL),
                train_file_path=first.outputs.train,
                number_of_gpu_to_use_finetuning=1,
            )
            return {"trained_model": last.outputs.mlflow_model_folder}

        job = pipeline()
        job.name = name
        return ml.jobs.create_or_update(job)

    return submit


def steps(ml: MLClient, job: str) -> dict[str, Any]:
    return {step.display_name: step for step in ml.jobs.list(parent_job_name=job)}


def nodes(cloud: Stack, job: str) -> list[tuple[str, int]]:
    told = cloud.control("GET", "/_local/nodes")
    return [(entry["compute"], entry["nodes"]) for entry in told if entry["job"] == job]


def test_a_step_reads_files_and_folders_and_feeds_the_next(
    ml: MLClient, cloud: Stack, component: Any, submit: Any, containers: Any, name: str
) -> None:
    for blob, data in (("a b.txt", ROWS), ("deep/er.txt", ROWS * 2)):
        containers("datasets").upload_blob(f"{name}/{blob}", data)
    command = (
        'ls -A; cat "${{inputs.one}}" "${{inputs.all}}"/*.txt "${{inputs.all}}"/deep/* > "${{outputs.train}}"; '
        'echo ${{inputs.word}} "$(python -c "import sys; print(sys.prefix)")"'
    )
    ours = component(command, {"one": "uri_file", "all": "uri_folder", "word": "string"})
    here = f"{DATASTORES}/datasets/paths/{name}"
    given = {
        "one": Input(type="uri_file", path=f"{here}/a b.txt", mode="ro_mount"),
        "all": Input(type="uri_folder", path=f"{here}/"),
        "word": "hello",
    }
    submit(ours, given)
    assert ended(ml, name).status == "Completed"
    (first, *others) = steps(ml, name).values()
    assert (first.status, first.display_name) == ("Completed", "first")
    assert {step.status for step in others} == {"Completed"}
    assert containers("prepared").download_blob(f"{name}/train.jsonl").readall() == ROWS * 4
    order = json.loads((cloud.state / "azureml" / "jobs" / name / "job.json").read_text())
    assert Path(order["train"]).read_bytes() == ROWS * 4
    assert nodes(cloud, name) == [(CPU, 1), (GPU, 1)]
    assert [status for kind, run, status in published(cloud) if run == name and kind == "RunStatusChanged"] == [
        "Preparing",
        "Running",
        "Finalizing",
        "Completed",
    ]
    (path, address) = next(iter(ml.jobs._runs_operations.get_run_details(first.name).log_files.items()))
    assert path == "user_logs/std_log.txt"
    log = httpx.get(address, verify=ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])).text
    assert log == f"hello {sys.prefix}\n", "an empty working folder, and the app's Python"


@pytest.mark.parametrize(("mode", "kept"), [("rw_mount", True), ("upload", False)])
def test_a_step_that_fails_ends_the_job_and_only_a_mounted_output_is_kept(
    ml: MLClient, cloud: Stack, component: Any, submit: Any, containers: Any, name: str, mode: str, kept: bool
) -> None:
    submit(component('echo half > "${{outputs.train}}"; echo "no such luck" >&2; exit 3'), mode=mode)
    assert ended(ml, name).status == "Failed"
    (step,) = steps(ml, name).values()
    message = ml.jobs._runs_operations.get_run_details(step.name).error.error.message
    assert "status code 3" in message
    assert "no such luck" in message
    assert containers("prepared").get_blob_client(f"{name}/train.jsonl").exists() is kept
    assert nodes(cloud, name) == [(CPU, 1)], "no GPU node"


def test_a_step_takes_what_another_made(
    ml: MLClient, cloud: Stack, component: Any, submit: Any, containers: Any, name: str
) -> None:
    before = component(f"printf '{ROWS.decode().strip()}\\n' > \"${{{{outputs.train}}}}\"")
    twice = component('cat "${{inputs.one}}" "${{inputs.one}}" > "${{outputs.train}}"', {"one": "uri_file"})
    submit(twice, before=before)
    assert ended(ml, name).status == "Completed"
    assert list(steps(ml, name))[:2] == ["earlier", "first"]
    assert containers("prepared").download_blob(f"{name}/train.jsonl").readall() == ROWS * 2
    assert nodes(cloud, name) == [(CPU, 1), (CPU, 1), (GPU, 1)]


def test_a_cancelled_step_is_killed(ml: MLClient, cloud: Stack, component: Any, submit: Any, name: str) -> None:
    submit(component('echo $$ > pid; exec sleep 600; : "${{outputs.train}}"'))
    pid = cloud.state / "azureml" / "jobs" / name / "steps" / "first" / "wd" / "pid"
    eventually(lambda: pid.exists() and pid.read_text())
    ml.jobs.begin_cancel(name)
    assert ended(ml, name).status == "Canceled"
    eventually(lambda: not Path("/proc", pid.read_text().strip()).exists())
    assert [step.status for step in steps(ml, name).values()] == ["Canceled"]


def test_data_that_are_missing_fail_the_step(ml: MLClient, component: Any, submit: Any, name: str) -> None:
    ours = component('cp "${{inputs.one}}" "${{outputs.train}}"', {"one": "uri_file"})
    submit(ours, {"one": Input(type="uri_file", path=f"{DATASTORES}/datasets/paths/{name}/nothing")})
    assert ended(ml, name).status == "Failed"
    (step,) = steps(ml, name).values()
    assert "nothing does not exist" in ml.jobs._runs_operations.get_run_details(step.name).error.error.message


def test_what_can_not_run_is_refused_when_it_is_submitted(component: Any, submit: Any) -> None:
    ours = component('cp "${{inputs.one}}" "${{outputs.train}}"', {"one": "uri_file"})
    for path, message in ((f"{DATASTORES}/nowhere/paths/x", "Datastore nowhere"), ("https://a/b", "neither a data")):
        with pytest.raises(HttpResponseError, match=message):
            submit(ours, {"one": Input(type="uri_file", path=path)})
    with pytest.raises(HttpResponseError, match="must be of type uri_file"):
        submit(ours, {"one": Input(type="uri_folder", path=f"{DATASTORES}/datasets/paths/x")})
    with pytest.raises(HttpResponseError, match="mode Direct is not implemented"):
        submit(component(': "${{outputs.train}}"'), mode="direct")


def test_versions_never_change(ml: MLClient, environment: str, component: Any) -> None:
    made = component("true")
    there = ml.components.get(made.name, version="1")
    assert (there.command, there.id) == ("true", made.id)
    there.command = "false"
    with pytest.raises(ResourceExistsError, match="can't be changed"):
        ml.components.create_or_update(there)
    with pytest.raises(ResourceExistsError, match="can't be changed"):
        ml.environments.create_or_update(Environment(name="steps", version="1", image="another-image"))
    assert ml.environments.get("steps", version="1").image == "an-image"
    assert [each.version for each in ml.environments.list(name="steps")] == ["1"]
    with pytest.raises(ResourceNotFoundError):
        ml.components.get(made.name, version="2")


def test_a_component_needs_an_environment_that_exists_and_no_code_asset(ml: MLClient, environment: str) -> None:
    nowhere = environment.replace("/versions/1", "/versions/2")
    with pytest.raises(HttpResponseError, match="does not exist"):
        ml.components.create_or_update(
            CommandComponent(name="c", version="1", environment=nowhere, command="true", inputs={}, outputs={})
        )
