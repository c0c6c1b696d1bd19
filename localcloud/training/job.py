"""What a training process is told and what it tells: job.json and events.jsonl in the job's folder.

The Azure ML server of the local cloud writes the one before it starts the process, and follows the other while the
process runs. Every module of this package that has something to tell goes through `Journal`.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORT = "chat_completion_model_import"
PREPROCESS = "chat_completion_datapreprocess"
FINETUNE = "chat_completion_finetune"
CONVERT = "ft_nlp_model_converter"


class TrainingError(Exception):
    """The job can't go on; the text is one sentence for the person who submitted it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The contents of job.json. Paths are absolute; `parameters` are the component's inputs, defaults filled in."""

    name: str
    base_model: Path
    train: Path
    validation: Path | None
    test: Path | None
    parameters: dict[str, Any]
    outputs: Path

    @staticmethod
    def read(folder: Path) -> "Job":
        """Read `folder`/job.json."""
        told = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        return Job(
            name=told["name"],
            base_model=Path(told["base_model"]),
            train=Path(told["train"]),
            validation=Path(told["validation"]) if told.get("validation") else None,
            test=Path(told["test"]) if told.get("test") else None,
            parameters=told["parameters"],
            outputs=Path(told["outputs"]),
        )


class Journal:
    """Appends events to events.jsonl, each at once and as a whole line, and notes to the process's log."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "events.jsonl").open("a", encoding="utf-8")
        self.step = IMPORT

    def close(self) -> None:
        """Close the file; every event is in it already."""
        self._file.close()

    def _write(self, **event: Any) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()

    @contextmanager
    def running(self, step: str) -> Iterator[None]:
        """Tell that `step` runs, and how it ended."""
        self.step = step
        self._write(event="step", step=step, status="Running")
        try:
            yield
        except BaseException:
            self._write(event="step", step=step, status="Failed")
            raise
        self._write(event="step", step=step, status="Completed")

    def metric(self, key: str, value: float, *, at_step: int, of_steps: int) -> None:
        """Tell a metric of the running step. What is no number (a lost loss) is left out: JSON can't carry it."""
        if math.isfinite(value):
            self._write(event="metric", step=self.step, key=key, value=value, at_step=at_step, of_steps=of_steps)

    def error(self, message: str) -> None:
        """Tell why the job failed."""
        self._write(event="error", step=self.step, message=message)

    def note(self, text: str) -> None:
        """A line for the person who reads the job's log."""
        print(f"{self.step}: {text}", flush=True)
