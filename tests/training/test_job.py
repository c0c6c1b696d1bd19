"""The request for a fine-tune job."""

from __future__ import annotations

from shared.training.job import Data, JobRequest, Machines, Purpose, Recipe, job_request
from shared.training.parameters import coerce, resolve
from tests.kit.azureml import MODEL
from tests.kit.component import INPUTS


def request(*, attempt: int = 1, test: str = "azureml://datastores/prepared/paths/r/1/test.jsonl") -> JobRequest:
    parameters, _ = resolve({}, {}, INPUTS)
    return job_request(
        Purpose(run="rabcdefghijklmno", attempt=attempt, dataset="faq", base_model="Phi-3-mini-4k-instruct"),
        Recipe(
            model_id=MODEL,
            component="chat_completion_pipeline",
            component_version="0.0.82",
            component_id="azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82",
            parameters=parameters,
        ),
        Machines(
            gpu_compute="gpu-cluster",
            gpu_size="Standard_NC48ads_A100_v4",
            cpu_compute="cpu-cluster",
            cpu_size="Standard_D13_v2",
            nodes=3,
            gpus=2,
        ),
        Data(
            train="azureml://datastores/prepared/paths/r/1/train.jsonl",
            validation="azureml://datastores/prepared/paths/r/1/validation.jsonl",
            test=test,
        ),
        tags={"droptune.run": "rabcdefghijklmno"},
    )


def test_everything_that_is_asked_for() -> None:
    asked = request()
    assert asked.name == "rabcdefghijklmno-1"
    assert asked.experiment == "chat_completion_Phi-3-mini-4k-instruct"
    assert asked.display_name == "Phi-3-mini-4k-instruct-faq-bs6-cosine-ds2-lora-save_limit-1-seqlen-1"
    assert {name: value for name, value in asked.inputs.items() if name.startswith(("compute", "num"))} == {
        "compute_model_import": "cpu-cluster",
        "compute_preprocess": "cpu-cluster",
        "compute_finetune": "gpu-cluster",
        "compute_model_evaluation": "gpu-cluster",
        "number_of_gpu_to_use_finetuning": 2,
        "num_nodes_finetune": 3,
        "num_train_epochs": 3,
    }
    assert asked.inputs["mlflow_model_path"] == MODEL
    assert asked.inputs["instance_type_finetune"] == "Standard_NC48ads_A100_v4"
    assert str(asked.inputs["validation_file_path"]).endswith("validation.jsonl")
    assert asked.inputs["task_name"] == "ChatCompletion"


def test_tags_lead_back_to_the_run_and_to_what_the_job_is_made_of() -> None:
    tags = request().tags
    assert tags["droptune.run"] == "rabcdefghijklmno"
    assert tags["droptune.base_model_id"] == MODEL
    assert tags["droptune.component_id"].endswith("/chat_completion_pipeline/versions/0.0.82")


def test_the_component_takes_every_input() -> None:
    for name, value in request().inputs.items():
        assert name in INPUTS
        if INPUTS[name].type in ("string", "integer", "number"):
            assert coerce(INPUTS[name], value) == value


def test_a_test_file_is_not_needed() -> None:
    assert "test_file_path" not in request(test="").inputs


def test_building_it_again_gives_the_same_job() -> None:
    assert request() == request()
