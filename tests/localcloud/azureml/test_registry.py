"""The registry `azureml` through the real SDK."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential

from localcloud.stack import Stack


@pytest.fixture
def registry(cloud_env: Stack) -> Any:
    return MLClient(DefaultAzureCredential(), registry_name="azureml")


def test_the_latest_model_has_the_tags_that_the_notebook_reads(registry: Any) -> None:
    model = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
    assert model.id == "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
    assert "Standard_NC24ads_A100_v4" in ast.literal_eval(model.tags["finetune_compute_allow_list"])
    assert "Standard_NC6s_v3" in ast.literal_eval(model.tags["inference_compute_allow_list"])
    defaults = ast.literal_eval(model.tags["model_specific_defaults"])
    assert defaults["apply_lora"] == "false"
    assert defaults.keys() >= {"learning_rate", "learning_rate_min", "learning_rate_max"}


def test_a_newer_model_has_its_computes_in_the_metadata_only(registry: Any) -> None:
    model = registry.models.get("Phi-4", label="latest")
    assert (model.version, model.tags.keys()) == ("8", {"model_specific_defaults"})
    # azure-ai-ml 1.35.2 drops the metadata from its Model; what it got over the wire still has it.
    assert model._system_metadata is None
    computes = registry.models._get("Phi-4", "8").properties["systemMetadata"]["supportedComputes"]
    assert "Standard_NC24ads_A100_v4" in computes["finetuneComputes"]


def test_a_retired_model_says_when(registry: Any) -> None:
    properties = registry.models._get("Phi-3-medium-4k-instruct", "6").properties
    assert properties["systemMetadata"]["deprecation"]["finetuneRetirementDate"].startswith("2025-08-30")


def test_the_component_has_its_69_inputs(registry: Any) -> None:
    component = registry.components.get("chat_completion_pipeline", label="latest")
    assert component.id == "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    assert len(component.inputs) == 69
    assert (component.inputs["num_train_epochs"].min, component.inputs["num_train_epochs"].default) == (1, 1)
    assert component.inputs["deepspeed_stage"].enum == ["2", "3"]
    assert not component.inputs["task_name"].optional
    assert component.outputs.keys() == {"pytorch_model_folder", "mlflow_model_folder"}
    assert registry.components.get("chat_completion_pipeline", "0.0.82").id == component.id


def test_what_is_not_there_is_not_found(cloud_env: Stack, registry: Any) -> None:
    with pytest.raises(ResourceNotFoundError, match="models/nope:1 not found"):
        registry.models.get("nope", "1")
    with pytest.raises(ResourceNotFoundError, match="components/nope:1 not found"):
        registry.components.get("nope", "1")
    with pytest.raises(HttpResponseError, match="Registry elsewhere was not found"):
        MLClient(DefaultAzureCredential(), registry_name="elsewhere")


def test_a_list_has_names_and_newest_versions_and_nothing_of_what_those_say(registry: Any) -> None:
    found = {model.name: model for model in registry.models.list()}
    assert found.keys() >= {"Phi-3-mini-4k-instruct", "Phi-4", "Phi-3-medium-4k-instruct"}
    assert (found["Phi-4"].latest_version, found["Phi-4"].version, found["Phi-4"].tags) == ("8", None, {})
    assert [each.name for each in registry.components.list()] == ["chat_completion_pipeline"]
    assert list(registry.models.list(list_view_type="ArchivedOnly")) == []
