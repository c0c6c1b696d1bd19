"""The fine-tune job of one attempt, as plain data: everything that Azure ML is asked for.

Whatever goes in is pinned in the run's record, so that building it again after a crash gives the very same job. Called
by the effect `train`; `shared/cloud/jobs.py` turns it into a pipeline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def job_request(
    *,
    run: str,
    attempt: int,
    line: str,
    dataset: str,
    base_model: str,
    model_id: str,
    component: str,
    component_version: str,
    component_id: str,
    parameters: Mapping[str, Value],
    gpus: int,
    nodes: int,
    gpu_compute: str,
    gpu_size: str,
    cpu_compute: str,
    cpu_size: str,
    train: str,
    validation: str,
    test: str | None = None,
    takes: Collection[str] | None = None,
    step: Step | None = None,
    tags: Mapping[str, str] | None = None,
) -> JobRequest:
    """The request of this attempt.

    `model_id`, `component_id`: registry addresses; `train`, `validation`, `test`: azureml:// or https addresses of JSON
    Lines; `gpus`: per node. A validation file is always given, so that the component never cuts its own. `takes`: names
    of the component's inputs, if known; what serves no purpose there is then left out. `step`: what makes these files.
    `tags`: more of them, beside those that lead from the job to what it is made of.
    """
    computes: dict[str, Value] = {
        "compute_model_import": cpu_compute,
        "compute_preprocess": cpu_compute,
        "compute_finetune": gpu_compute,
        "compute_model_evaluation": gpu_compute,
        # Only read where a compute is `serverless`, but the component's own GPU size is one that no model allows.
        "instance_type_model_import": cpu_size,
        "instance_type_preprocess": cpu_size,
        "instance_type_finetune": gpu_size,
        "instance_type_model_evaluation": gpu_size,
    }
    if takes is not None:
        computes = {name: value for name, value in computes.items() if name in takes}
    data: dict[str, Value] = {"train_file_path": train, "validation_file_path": validation}
    if test:
        data["test_file_path"] = test
    return JobRequest(
        name=naming.job_name(run, attempt),
        display_name=naming.display_name(
            model=base_model, dataset=dataset, parameters=parameters, gpus_per_node=gpus, nodes=nodes
        ),
        experiment=naming.experiment_name(base_model),
        component=component,
        component_version=component_version,
        inputs={
            **parameters,
            **computes,
            **data,
            "task_name": "ChatCompletion",
            "mlflow_model_path": model_id,
            "number_of_gpu_to_use_finetuning": gpus,
            "num_nodes_finetune": nodes,
        },
        tags={
            "droptune.run": run,
            "droptune.attempt": str(attempt),
            "droptune.line": line,
            "droptune.dataset": dataset,
            "droptune.base_model": base_model,
            "droptune.base_model_id": model_id,
            "droptune.component_id": component_id,
            **(tags or {}),
        },
        step=step,
    )
