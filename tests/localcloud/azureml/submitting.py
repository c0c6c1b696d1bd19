"""Submitting jobs in tests: what they need is made once, and their process is training.py beside this file.

A test module takes the fixtures by importing them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from azure.ai.ml import Input, MLClient, dsl
from azure.ai.ml.entities import AmlCompute, ManagedIdentityConfiguration
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

from localcloud.azureml.arm import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID
from localcloud.stack import Stack
from tests.conftest import eventually, pointed_at

MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
TRAIN = "azureml://datastores/prepared/paths/jobs-test/train.jsonl"
IDENTITY = f"{WORKSPACE_ID.split('/providers')[0]}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-train"
ENDED = {"Completed", "Failed", "Canceled"}

Submit = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def trainer(cloud: Stack) -> Iterator[None]:
    """Jobs run the stand-in while this module's tests run."""
    script = Path(__file__).with_name("training.py")
    command = cloud.state / "azureml" / "training.json"
    command.parent.mkdir(exist_ok=True)
    command.write_text(json.dumps([sys.executable, str(script)]))
    yield
    command.unlink()


@pytest.fixture(scope="module")
def submit(cloud: Stack) -> Iterator[Submit]:
    """Submit a job: `submit(name, input=value, ...)`; data, model and cluster are there already."""
    with submitting(cloud) as submit:
        yield submit


@contextmanager
def submitting(cloud: Stack) -> Iterator[Submit]:
    """The same for any cloud; the environment points at it meanwhile."""
    with pointed_at(cloud):
        credential = DefaultAzureCredential()
        ml = MLClient(credential, SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)
        registry = MLClient(credential, registry_name="azureml")
        component = registry.components.get("chat_completion_pipeline", label="latest")
        ml.compute.begin_create_or_update(
            AmlCompute(name="jobs-gpu", size="Standard_NC24ads_A100_v4", max_instances=2)
        ).result()
        account = cloud.environment["DROPTUNE_STORAGE__blobServiceUri"]
        with BlobServiceClient(account, credential) as blobs:
            for name in ("train", "validation"):
                blob = blobs.get_blob_client("prepared", f"jobs-test/{name}.jsonl")
                blob.upload_blob(b'{"messages": []}\n' * 3, overwrite=True)

        def submit(name: str, **inputs: Any) -> Any:
            clusters = dict.fromkeys(("model_import", "preprocess", "finetune", "model_evaluation"), "jobs-gpu")
            given = {f"compute_{step}": cluster for step, cluster in clusters.items()} | {
                "mlflow_model_path": Input(type="mlflow_model", path=MODEL),
                "train_file_path": Input(type="uri_file", path=TRAIN),
                "validation_file_path": Input(type="uri_file", path=TRAIN.replace("train", "validation")),
                "number_of_gpu_to_use_finetuning": 1,
                "learning_rate": 5e-6,
                "apply_lora": "true",
            }

            @dsl.pipeline()  # type: ignore[untyped-decorator]
            def finetune() -> Any:
                step = component(**(given | inputs))
                return {"trained_model": step.outputs.mlflow_model_folder}

            job = finetune()
            job.name, job.display_name, job.experiment_name = name, "phi-faq", "chat_completion_phi"
            job.tags = {"droptune-run": "r1"}
            job.identity = ManagedIdentityConfiguration(resource_id=IDENTITY, client_id="c")
            job.settings.force_rerun, job.settings.continue_on_step_failure = True, False
            return ml.jobs.create_or_update(job)

        yield submit


@pytest.fixture
def name() -> str:
    return f"job-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def done(submit: Submit, cloud: Stack) -> str:
    """The name of a job that has completed; change nothing of it."""
    name = f"done-{uuid4().hex[:8]}"
    submit(name)
    eventually(lambda: (name, "Completed") in [(run, status) for _, run, status in published(cloud)], 60)
    return name


def ended(ml: Any, name: str) -> Any:
    """The job, once it has ended."""
    eventually(lambda: ml.jobs.get(name).status in ENDED, 30)
    return ml.jobs.get(name)


def published(cloud: Stack) -> list[tuple[str, str, str | None]]:
    """Kind, run and status of the last events of Azure ML, in order."""
    recent = [entry["event"] for entry in cloud.control("GET", "/_local/eventgrid")["events"]]
    return [
        (event["eventType"].rsplit(".", 1)[1], event["data"]["runId"], event["data"].get("runStatus"))
        for event in recent
        if event.get("eventType", "").startswith("Microsoft.MachineLearningServices.")
    ]
