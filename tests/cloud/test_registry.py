"""Base models and the component, as the registry really hands them out."""

from __future__ import annotations

import pytest

from shared.cloud import Cloud
from shared.errors import Permanent


def test_the_latest_model_comes_with_its_tags(azure: Cloud) -> None:
    model = azure.registry.model("Phi-3-mini-4k-instruct")
    assert model.id == f"azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/{model.version}"
    assert "Standard_NC24ads_A100_v4" in str(model.allowed_sizes("finetune"))
    assert model.defaults()
    assert azure.registry.model("Phi-3-mini-4k-instruct", model.version) == model


def test_a_model_without_lists_in_tags_has_them_in_its_metadata(azure: Cloud) -> None:
    model = azure.registry.model("Phi-4", "8")
    assert "finetune_compute_allow_list" not in model.tags
    assert model.system_metadata is not None
    assert model.system_metadata["supportedComputes"]["finetuneComputes"]
    assert type(model.system_metadata["supportedComputes"]) is dict


def test_the_component_comes_with_what_its_inputs_allow(azure: Cloud) -> None:
    component = azure.registry.component("chat_completion_pipeline")
    assert component.id == f"azureml://registries/azureml/components/{component.name}/versions/{component.version}"
    assert len(component.inputs) == 69
    epochs, stage = component.inputs["num_train_epochs"], component.inputs["deepspeed_stage"]
    assert (epochs.type, epochs.min, epochs.default) == ("integer", 1, 1)
    assert (stage.type, stage.enum) == ("string", ("2", "3"))
    assert not component.inputs["task_name"].optional
    assert component.inputs["train_file_path"].type == "uri_file"


@pytest.mark.parametrize("version", [None, "99"])
def test_what_the_registry_does_not_have_is_named(azure: Cloud, version: str | None) -> None:
    with pytest.raises(Permanent, match=r"no-such-model.* in registry azureml"):
        azure.registry.model("no-such-model", version)
    with pytest.raises(Permanent, match=r"no_such_component.* in registry azureml"):
        azure.registry.component("no_such_component", version)
