"""The component's 69 inputs as this trainer understands them: which are honoured, and which can't be.

A parameter that asks for what the trainer can't do is named in the job's log; none is passed over in silence.
Used by the training process. Names, types and defaults: component chat_completion_pipeline 0.0.82.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DEFAULTS: dict[str, Any] = {
    "batch_size": 1000,
    "pad_to_max_length": "false",
    "max_seq_length": -1,
    "apply_lora": "false",
    "merge_lora_weights": "true",
    "lora_alpha": 128,
    "lora_r": 8,
    "lora_dropout": 0.0,
    "num_train_epochs": 1,
    "max_steps": -1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "auto_find_batch_size": "false",
    "optim": "adamw_torch",
    "learning_rate": 0.00002,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "gradient_accumulation_steps": 1,
    "eval_accumulation_steps": -1,
    "lr_scheduler_type": "linear",
    "seed": 42,
    "enable_full_determinism": "false",
    "dataloader_num_workers": 0,
    "ignore_mismatched_sizes": "false",
    "max_grad_norm": 1.0,
    "evaluation_strategy": "epoch",
    "evaluation_steps_interval": 0.0,
    "eval_steps": 500,
    "logging_strategy": "steps",
    "logging_steps": 10,
    "save_total_limit": -1,
    "apply_early_stopping": "false",
    "early_stopping_patience": 1,
    "early_stopping_threshold": 0.0,
}
"""What is honoured, with the component's defaults."""

_ELSEWHERE = ("instance_type_", "compute_", "task_name", "shm_size_", "mlflow_model_path", "_file_path")
"""Inputs that the server has dealt with before the process starts, by a part of their name."""

_ONE_CPU = "the local trainer is one process without a GPU"
_NOT_HONOURED: dict[str, tuple[tuple[Any, ...], str]] = {
    "apply_deepspeed": (("false",), f"DeepSpeed is not simulated: {_ONE_CPU}"),
    "deepspeed": ((), f"DeepSpeed is not simulated: {_ONE_CPU}"),
    "apply_ort": (("false",), "ONNX Runtime training is not simulated"),
    "precision": (("32", 32), "training is done in 32 bits: half precision is slower on a CPU"),
    "number_of_gpu_to_use_finetuning": ((1,), f"the batch is not multiplied by it: {_ONE_CPU}"),
    "num_nodes_finetune": ((1,), f"the batch is not multiplied by it: {_ONE_CPU}"),
    "metric_for_best_model": (("loss",), "the best model is chosen by loss: the trainer doesn't generate answers"),
    "resume_from_checkpoint": (("false",), "a local job starts with an empty folder, there is nothing to resume from"),
    "trust_remote_code": (("false",), "code that comes with a model is never run"),
    "huggingface_id": ((), "the base model is the one of mlflow_model_path: nothing is downloaded"),
    "pytorch_model_path": ((), "the base model is the one of mlflow_model_path"),
    "finetune_config_path": ((), "the chat template is the base model's own"),
    "train_mltable_path": ((), "MLTable is not read, train_file_path is"),
    "validation_mltable_path": ((), "MLTable is not read, validation_file_path is"),
    "test_mltable_path": ((), "MLTable is not read, test_file_path is"),
    "evaluation_config": ((), "the component's evaluation steps are switched off, here as on Azure"),
    "evaluation_config_params": ((), "the component's evaluation steps are switched off, here as on Azure"),
}
"""Input, the values with which it asks for nothing, and what is done instead."""


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """The honoured parameters, each with the value given or the component's default."""
    return {name: default if given.get(name) is None else given[name] for name, default in DEFAULTS.items()}


def not_honoured(given: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each given parameter that asks for what this trainer doesn't do."""
    for name, value in given.items():
        if value is None or name in DEFAULTS or any(part in name for part in _ELSEWHERE):
            continue
        if name == "deepspeed_stage" and given.get("apply_deepspeed", "false") == "false":
            continue
        quiet, instead = _NOT_HONOURED.get(name, ((), "the local trainer does not know this parameter"))
        if value not in quiet:
            yield f"{name}={value}: {instead}"


def true(value: Any) -> bool:
    """The component's booleans are the texts "true" and "false"."""
    return str(value).lower() == "true"


def training_arguments(settings: Mapping[str, Any], *, folder: Path, train_rows: int) -> dict[str, Any]:
    """`settings` (resolved) as keyword arguments of transformers.TrainingArguments.

    Checkpoints go to `folder`, one after each evaluation; the best of them by eval_loss is loaded at the end.
    """
    evaluates = settings["evaluation_strategy"] != "disable"
    strategy = settings["evaluation_strategy"] if evaluates else "no"
    evaluation_steps = settings["eval_steps"]
    if settings["evaluation_steps_interval"]:
        batch = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
        evaluation_steps = max(1, int(settings["evaluation_steps_interval"] * math.ceil(train_rows / batch)))
    same = (
        "num_train_epochs max_steps per_device_train_batch_size per_device_eval_batch_size optim learning_rate "
        "warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon gradient_accumulation_steps lr_scheduler_type "
        "seed dataloader_num_workers max_grad_norm logging_strategy logging_steps"
    )
    return {name: settings[name] for name in same.split()} | {
        "output_dir": str(folder),
        "auto_find_batch_size": true(settings["auto_find_batch_size"]),
        "full_determinism": true(settings["enable_full_determinism"]),
        "eval_accumulation_steps": settings["eval_accumulation_steps"]
        if settings["eval_accumulation_steps"] > 0
        else None,
        "eval_strategy": strategy,
        "eval_steps": evaluation_steps,
        "eval_on_start": evaluates,
        "prediction_loss_only": True,
        "save_strategy": strategy,
        "save_steps": evaluation_steps,
        "save_total_limit": settings["save_total_limit"] if settings["save_total_limit"] > 0 else None,
        "load_best_model_at_end": evaluates,
        "metric_for_best_model": "loss",
        "greater_is_better": False,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
