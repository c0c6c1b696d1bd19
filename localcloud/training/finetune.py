"""The finetune step: transformers' Trainer with the component's parameters, and LoRA through peft.

Every number that the Trainer logs becomes an event. Called by the training process when the data is ready; importing
this module imports torch.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from localcloud.training import parameters
from localcloud.training.data import IGNORED, Example
from localcloud.training.job import Journal, TrainingError

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"}
METRICS = ("loss", "eval_loss", "learning_rate", "grad_norm", "epoch")


class Reporter(TrainerCallback):  # type: ignore[misc]  # transformers is not in the environment that is type-checked
    """Hands the Trainer's logs to the journal, and stops a training that has lost its loss."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:  # noqa: ARG002
        for key in METRICS:
            if key in logs:
                self._journal.metric(key, float(logs[key]), at_step=state.global_step, of_steps=state.max_steps)
        for key in ("loss", "eval_loss"):
            if not math.isfinite(logs.get(key, 0.0)):
                raise TrainingError(
                    f"{key} is no number any more at step {state.global_step} of {state.max_steps}: "
                    f"try a learning_rate below {args.learning_rate:g}."
                )


def pad(examples: Sequence[Example], *, token: int, length: int | None) -> dict[str, torch.Tensor]:
    """A batch of examples as tensors of shape (rows, tokens), padded on the right to `length` or to the longest row."""
    width = length or max(len(example["input_ids"]) for example in examples)

    def rows(key: str, filler: int) -> torch.Tensor:
        return torch.tensor([example[key] + [filler] * (width - len(example[key])) for example in examples])

    lengths = torch.tensor([[len(example["input_ids"])] for example in examples])
    attention = (torch.arange(width) < lengths).long()
    return {"input_ids": rows("input_ids", token), "labels": rows("labels", IGNORED), "attention_mask": attention}


def add_lora(model: Any, settings: Mapping[str, Any]) -> Any:
    """Wrap the model's attention projections with LoRA adapters."""
    from peft import LoraConfig, get_peft_model

    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["lora_r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules=sorted(names & ATTENTION) or "all-linear",
    )
    return get_peft_model(model, config)


def finetune(
    model: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    *,
    settings: Mapping[str, Any],
    pad_token: int,
    pad_length: int | None,
    folder: Path,
    journal: Journal,
) -> Any:
    """Train `model` and return it: the best by eval_loss, LoRA adapters still apart. Checkpoints stay in `folder`."""
    set_seed(settings["seed"])  # before the adapters are drawn; the Trainer does it again before the first batch
    lora = parameters.true(settings["apply_lora"])
    if lora:
        model = add_lora(model, settings)
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    journal.note(f"{trained:,} of {sum(weights.numel() for weights in model.parameters()):,} weights are trained")
    callbacks: list[Any] = [Reporter(journal)]
    if parameters.true(settings["apply_early_stopping"]):
        if settings["evaluation_strategy"] == "disable":
            journal.note("apply_early_stopping=true: without evaluations there is nothing to stop by")
        else:
            patience, threshold = settings["early_stopping_patience"], settings["early_stopping_threshold"]
            callbacks.append(EarlyStoppingCallback(patience, threshold))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**parameters.training_arguments(settings, folder=folder, train_rows=len(train))),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=lambda batch: pad(batch, token=pad_token, length=pad_length),
        callbacks=callbacks,
    )
    trainer.train()
    return trainer.model
