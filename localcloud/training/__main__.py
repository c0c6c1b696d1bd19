"""The training process: `python -m localcloud.training JOBDIR`, in the model environment.

Started by the Azure ML server of the local cloud, one process a job. It reads JOBDIR/job.json, goes through the steps
of `chat_completion_pipeline` (import, preprocess, finetune, convert), tells all of it in JOBDIR/events.jsonl, and exits
with 0 or 1. The steps share one process because importing torch takes longer than most of them. Nothing here reaches
for the network.
"""

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

# A thread that waits sleeps instead of spinning: as fast on an idle machine, several times faster on a busy one.
os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from localcloud.training import data, mlflow_folder, parameters
from localcloud.training.job import CONVERT, FINETUNE, IMPORT, PREPROCESS, Job, Journal, TrainingError

THREADS = 2


def import_model(job: Job, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Load the base model and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    torch.set_num_threads(THREADS)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)  # what transformers and peft tell each other is not the job's matter
    try:
        folder = mlflow_folder.find_model(job.base_model)
    except FileNotFoundError as error:
        raise TrainingError(f"The base model can't be loaded: {error}.") from None
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, ignore_mismatched_sizes=parameters.true(settings["ignore_mismatched_sizes"])
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.chat_template:
        raise TrainingError(f"The base model {job.base_model} has no chat template.")
    return model, tokenizer


def convert(model: Any, tokenizer: Any, job: Job, *, merge: bool, journal: Journal) -> None:
    """Write both outputs: pytorch_model_folder and mlflow_model_folder."""
    pytorch = job.outputs / "pytorch_model_folder"
    lora = hasattr(model, "merge_and_unload")
    apart = lora and not merge
    if apart:
        journal.note("pytorch_model_folder has the adapters alone; mlflow_model_folder, to be served, has them merged")
        model.save_pretrained(pytorch)
    if lora:
        model = model.merge_and_unload()
    if not apart:
        model.save_pretrained(pytorch)
    tokenizer.save_pretrained(pytorch)
    mlflow_folder.save(job.outputs / "mlflow_model_folder", model, tokenizer)


def run(job: Job, journal: Journal) -> None:
    """All steps of a job. Raises TrainingError, or whatever a library raises."""
    settings = parameters.resolve(job.parameters)
    with journal.running(IMPORT):
        model, tokenizer = import_model(job, settings)
    with journal.running(PREPROCESS):
        train, validation = data.load(job.train, job.validation, job.test, seed=settings["seed"], journal=journal)
        limit = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        if settings["max_seq_length"] > 0:
            limit = min(limit, settings["max_seq_length"])
        examples = [
            data.encode(rows, tokenizer, max_length=limit, batch=settings["batch_size"], name=name, journal=journal)
            for rows, name in ((train, "training"), (validation, "validation"))
        ]
    with journal.running(FINETUNE):
        from localcloud.training.finetune import finetune

        for sentence in parameters.not_honoured(job.parameters):
            journal.note(sentence)
        model = finetune(
            model,
            *examples,
            settings=settings,
            pad_token=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            pad_length=limit if parameters.true(settings["pad_to_max_length"]) else None,
            folder=job.outputs / "pytorch_model_folder",
            journal=journal,
        )
    with journal.running(CONVERT):
        convert(model, tokenizer, job, merge=parameters.true(settings["merge_lora_weights"]), journal=journal)


def main() -> int:
    """The command line; returns the exit code."""
    folder = Path(sys.argv[1])
    journal = Journal(folder)
    try:
        run(Job.read(folder), journal)
    except TrainingError as error:
        journal.error(str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        journal.error(f"{type(error).__name__}: {str(error)[:500]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
