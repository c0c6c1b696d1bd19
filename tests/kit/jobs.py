"""Jobs of the app's own kind, submitted without a run."""

from __future__ import annotations

from typing import Any

from shared.app import App
from shared.cloud import Cloud
from shared.training.job import Data, JobRequest, Machines, Purpose, Recipe, job_request
from shared.training.parameters import resolve
from tests.kit.rows import chats

LINE = "l1"
"""Of the runs that jobs are made for here."""


def submitted(app: App, run_id: str) -> str:
    """The name of the job that this has begun for the run."""
    wanted = request(app.cloud, run_id)
    app.cloud.jobs.submit(wanted)
    return wanted.name


def request(azure: Cloud, run: str, *, train: bytes = chats(8), **parameters: Any) -> JobRequest:
    """A small job whose data lie in `prepared`, on computes that exist."""
    settings = azure.settings.training
    for name, size in ((settings.cpu_compute, settings.cpu_size), (settings.gpu_compute, settings.gpu_size)):
        if azure.computes.get(name) is None:
            azure.computes.create(name, size, 1, settings.identity)
    azure.blobs.write("prepared", f"{run}/train.jsonl", train)
    azure.blobs.write("prepared", f"{run}/validation.jsonl", chats(8))
    model, component = azure.registry.model("Phi-3-mini-4k-instruct"), azure.registry.component(settings.component)
    resolved, _ = resolve(model.defaults(), {"max_steps": 2} | parameters, component.inputs)
    return job_request(
        Purpose(run=run, attempt=1, dataset="capitals", base_model=model.name),
        Recipe(
            model_id=model.id,
            component=component.name,
            component_version=component.version,
            component_id=component.id,
            parameters=resolved,
        ),
        Machines(
            gpu_compute=settings.gpu_compute,
            gpu_size=settings.gpu_size,
            cpu_compute=settings.cpu_compute,
            cpu_size=settings.cpu_size,
            nodes=1,
            gpus=1,
        ),
        Data(
            train=f"azureml://datastores/prepared/paths/{run}/train.jsonl",
            validation=f"azureml://datastores/prepared/paths/{run}/validation.jsonl",
        ),
        tags={
            "droptune.run": run,
            "droptune.attempt": "1",
            "droptune.line": LINE,
            "droptune.installation": azure.settings.storage.installation,
            "droptune.dataset": "capitals",
        },
    )
