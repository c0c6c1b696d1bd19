"""The fine-tune job of one attempt, as plain data: everything that Azure ML is asked for.

Whatever goes in is pinned in the run's record, so that building it again after a crash gives the very same job. Called
by the action `train`; `shared/cloud/jobs.py` turns it into a pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared import naming
from shared.training.parameters import Value
from shared.training.step import Step


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A pipeline of one component. `inputs` are literals, and addresses of assets for the inputs that are such.

    With `step` that one comes first, and its outputs take the place of the data among `inputs`.
    Its output `trained_model` is the component's mlflow_model_folder; it never reuses an earlier job's steps
    (force_rerun) and stops at the first step that fails.
    """

    name: str
    display_name: str
    experiment: str
    component: str
    component_version: str
    inputs: Mapping[str, Value]
    tags: Mapping[str, str]
    step: Step | None = None


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What the job is for: an attempt of a run, which trains a base model on a dataset's folder."""

    run: str
    attempt: int
    dataset: str
    base_model: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the job is made of. `model_id` and `component_id` are registry addresses."""

    model_id: str
    component: str
    component_version: str
    component_id: str
    parameters: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where it runs: names and sizes of the computes, nodes, and GPUs per node."""

    gpu_compute: str
    gpu_size: str
    cpu_compute: str
    cpu_size: str
    nodes: int
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """Addresses, azureml:// or https, of JSON Lines. Without a validation file the component would cut its own."""

    train: str
    validation: str
    test: str = ""


def job_request(
    purpose: Purpose,
    recipe: Recipe,
    machines: Machines,
    data: Data,
    *,
    tags: Mapping[str, str],
    step: Step | None = None,
) -> JobRequest:
    """The request of this attempt. `step`: what makes the data; `tags`: what leads from the job to its run and back."""
    return JobRequest(
        name=naming.job_name(purpose.run, purpose.attempt),
        display_name=naming.display_name(
            model=purpose.base_model,
            dataset=purpose.dataset,
            parameters=recipe.parameters,
            gpus_per_node=machines.gpus,
            nodes=machines.nodes,
        ),
        experiment=naming.experiment_name(purpose.base_model),
        component=recipe.component,
        component_version=recipe.component_version,
        inputs={
            **recipe.parameters,
            **_computes(machines),
            "train_file_path": data.train,
            "validation_file_path": data.validation,
            **({"test_file_path": data.test} if data.test else {}),
            "task_name": "ChatCompletion",
            "mlflow_model_path": recipe.model_id,
            "number_of_gpu_to_use_finetuning": machines.gpus,
            "num_nodes_finetune": machines.nodes,
        },
        tags={
            **tags,
            "droptune.base_model_id": recipe.model_id,
            "droptune.component_id": recipe.component_id,
        },
        step=step,
    )


def _computes(machines: Machines) -> dict[str, Value]:
    return {
        "compute_model_import": machines.cpu_compute,
        "compute_preprocess": machines.cpu_compute,
        "compute_finetune": machines.gpu_compute,
        "compute_model_evaluation": machines.gpu_compute,
        # Only read where a compute is `serverless`, but the component's own GPU size is one that no model allows.
        "instance_type_model_import": machines.cpu_size,
        "instance_type_preprocess": machines.cpu_size,
        "instance_type_finetune": machines.gpu_size,
        "instance_type_model_evaluation": machines.gpu_size,
    }
