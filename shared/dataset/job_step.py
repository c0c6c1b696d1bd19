"""`python -m shared.dataset.job_step`: prepares a big dataset on a compute node, as the first step of its training job.

The same engine as in the function, over all cores. What to read, and how, stands in a task (JSON) that the app wrote
beside the run's data: names that other people chose never meet a shell. The parts are written where the node has room
and then copied, in order and whole, to where the job's outputs are mounted; the report comes last and says all is
there. Ends with 0 when the data can be trained on, with REJECTED when not (the report says why), and with anything else
when it can't tell. Runs from `shared/dataset`, `shared/serving` and `shared/errors` alone, without Azure's packages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shared.dataset.judging.rules import Facts
from shared.dataset.spec.choices import Hub, Policy
from shared.dataset.split import Part
from shared.errors import Permanent, Transient

if TYPE_CHECKING:
    from shared.dataset.reading.files import Source
    from shared.dataset.reading.hub import HubTable

REJECTED = 3
FAILED = 1
_EVERY = 10.0  # seconds between two lines of progress


@dataclass(frozen=True, kw_only=True)
class Given:
    """A file below the source folder, as the run took it: its name, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the step does: `files` are read, or `hub` at a pinned commit, under `policy`, for `model`, with its `facts`.

    `endpoint`: the hub's address, empty for the public one.
    """

    files: Mapping[Part, tuple[Given, ...]] = field(default_factory=dict)
    hub: Hub | None = None
    endpoint: str = ""
    policy: Policy = field(default_factory=Policy)
    facts: Facts = field(default_factory=Facts)
    model: str = ""
    told: int = 1000

    def encoded(self) -> bytes:
        """The task as JSON."""
        return msgspec.json.encode(self)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        task = msgspec.json.decode(given.task.read_bytes(), type=Task)
        return run(task, given.source, _outputs(given), processes=given.processes)
    except (msgspec.DecodeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the job's log is what is read
    except (Permanent, Transient) as error:
        print(error, file=sys.stderr)  # noqa: T201
    return FAILED


def run(task: Task, source: Path, outputs: Mapping[str, Path], *, processes: int | None = None) -> int:
    """Prepares what `task` names below the folder `source`; writes `outputs`, by the names of the options.

    `processes`: None for as many as there are cores. Raises Permanent for a file that is not as the task says, for what
    the hub refuses, OSError where reading or writing fails.
    """
    from shared.dataset.preparing.parallel import prepare_files
    from shared.dataset.report_page import page
    from shared.dataset.safety import licences

    with tempfile.TemporaryDirectory(prefix="droptune-") as scratch:
        files = _sources(task, source, Path(scratch))
        report = prepare_files(
            files=files,
            out=Path(scratch) / "out",
            policy=task.policy,
            facts=task.facts,
            told=task.told,
            processes=processes or cores(),
            progress=_progress(sum(file.size for several in files.values() for file in several)),
        )
        report = licences.told(report, licences.against(_licences(task, source, files), task.model))
        if not report.rejected:
            for part in ("train", "validation", "test"):
                shutil.copyfile(Path(scratch) / "out" / f"{part}.jsonl", outputs[part])
    if task.hub is None:
        _check_sizes(task, source)
    outputs["page"].write_text(page(report), encoding="utf-8")
    outputs["report"].write_bytes(msgspec.json.encode(report.as_dict()))
    print(report.summary, flush=True)  # noqa: T201
    return REJECTED if report.rejected else 0


def _sources(task: Task, source: Path, scratch: Path) -> Mapping[Part, Sequence[Source | HubTable]]:
    if task.hub is not None:
        os.environ.setdefault("HF_HOME", str(scratch / "hub"))  # the library reads both when it is imported
        if task.endpoint:
            os.environ["HF_ENDPOINT"] = task.endpoint
        from shared.dataset.reading.hub import tables

        return {part: [table] for part, table in tables(task.hub)[1].items()}
    from shared.dataset.reading.files import LocalFile

    _check_sizes(task, source)
    return {part: [LocalFile(source / file.name) for file in files] for part, files in task.files.items()}


def _licences(task: Task, source: Path, files: Mapping[Part, Sequence[Source | HubTable]]) -> tuple[str, ...]:
    """As the dataset's card names them: the hub's, or the one that was uploaded with the files."""
    from shared.dataset.safety.licences import CARD, in_card

    if task.hub is not None:
        from shared.dataset.reading.hub import HubTable

        return next(file.licences for file in files["train"] if isinstance(file, HubTable))
    card = source / CARD
    return in_card(card) if card.is_file() else ()


def _check_sizes(task: Task, source: Path) -> None:
    """Refuses a file that was overwritten since. The app compares ETags too, which no mounted folder shows."""
    for file in (file for files in task.files.values() for file in files):
        path = source / file.name
        if not path.is_file():
            raise Permanent(f"{file.name} is gone: it was deleted after the run began")
        if path.stat().st_size != file.size:
            raise Permanent(f"{file.name} was overwritten: it has {path.stat().st_size} bytes, not {file.size}")


def cores() -> int:
    """The cores that this process may use."""
    return os.process_cpu_count() or 1


def _progress(size: int) -> Callable[[int], None]:
    """Tells in the log, now and then, how much has been read; it is called with the bytes that were read since."""
    last, read = time.monotonic(), 0

    def tell(more: int) -> None:
        nonlocal last, read
        read += more
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            print(f"{read / max(size, 1):.0%} of {size} bytes read", flush=True)  # noqa: T201

    return tell


def _outputs(given: argparse.Namespace) -> dict[str, Path]:
    return {name: getattr(given, name) for name in ("train", "validation", "test", "report", "page")}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shared.dataset.job_step", description="Check, split and convert a dataset.")
    parser.add_argument("--task", type=Path, required=True, help="what to do, as JSON")
    parser.add_argument("--source", type=Path, required=True, help="the folder that holds the task's files")
    for part in ("train", "validation", "test"):
        parser.add_argument(f"--{part}", type=Path, required=True, help=f"file to write the {part} rows to")
    parser.add_argument("--report", type=Path, required=True, help="file to write the report to, as JSON")
    parser.add_argument("--page", type=Path, required=True, help="file to write the report to, to be read")
    parser.add_argument("--processes", type=int, help="how many work at once; by default as many as there are cores")
    return parser


if __name__ == "__main__":
    sys.exit(main())
