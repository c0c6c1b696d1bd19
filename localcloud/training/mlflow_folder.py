"""The folder in which models are handed on: an `MLmodel` file, and weights and tokenizer in `data/model`.

Azure ML calls this type `mlflow_model`. It is what the registry's base models are, what a job leaves as
`mlflow_model_folder`, and what a deployment loads, so a model that was fine-tuned here can be a base model of the next
job. Written with MLflow 2: folders of MLflow 3 can't be deployed on Azure ML (Azure/azureml-examples#4051), and the
local cloud should not teach otherwise. Used by the training process and by `build_models`.
"""

import importlib.metadata
from pathlib import Path
from typing import Any

MODEL_FOLDER = Path("data", "model")


def find_model(folder: Path) -> Path:
    """The folder that holds the weights: the one in an MLflow model, or `folder` itself. Raises FileNotFoundError."""
    for candidate in (folder / MODEL_FOLDER, folder):
        if (candidate / "config.json").is_file():
            return candidate
    raise FileNotFoundError(f"no model in {folder}: neither {MODEL_FOLDER}/config.json nor config.json is there")


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write a transformers model and its tokenizer as an MLflow model into `folder`.

    The flavor is the one that Azure's own fine-tuned chat models carry, `hftransformersv2`.
    """
    from mlflow.models import Model

    model.save_pretrained(folder / MODEL_FOLDER)
    tokenizer.save_pretrained(folder / MODEL_FOLDER)
    description = Model()
    description.add_flavor(
        "hftransformersv2",
        hf_config_class="AutoConfig",
        hf_pretrained_class="AutoModelForCausalLM",
        hf_tokenizer_class="AutoTokenizer",
        model_data=str(MODEL_FOLDER),
        model_type=model.config.model_type,
        task_type="chat-completion",
        transformers_version=importlib.metadata.version("transformers"),
    )
    description.save(str(folder / "MLmodel"))
