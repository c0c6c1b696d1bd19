"""Submitting jobs: what they need is made once. Their process is training.py, see the fixture `trainer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from azure.ai.ml import Input, MLClient, dsl
from azure.ai.ml.entities import AmlCompute, ManagedIdentityConfiguration
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

from localcloud.azureml.arm import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID
from localcloud.stack import Stack
from tests.kit.azureml import MODEL
from tests.kit.clouds import pointed_at
from tests.kit.waiting import eventually

TRAIN = "azureml://datastores/prepared/paths/jobs-test/train.jsonl"
IDENTITY = f"{WORKSPACE_ID.split('/providers')[0]}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-train"
ENDED = {"Completed", "Failed", "Canceled"}

Submit = Callable[..., Any]


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
