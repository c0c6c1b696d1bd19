"""Runs a pipeline's own step: a command in a process of its own, with files for its inputs and outputs.

What a compute node does is done here with folders: inputs are fetched from storage, the placeholders in the command
become paths, it runs in bash under a guard, with this Python first in its PATH and without the internet, and what it
leaves goes to the datastore paths of its outputs. An output that is mounted read-write is kept however the command
ended, as a mount's writes are; one in mode upload only when it ended well. Called by runner.py.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import httpx

from localcloud import guard
from localcloud.azureml.blobs import BlobMissing, download, locate, names, upload
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.submission import PLACEHOLDER, Command, Output

LOG = "std_log.txt"
_LAST_WORDS = 1000


class CommandFailed(Exception):
    """The step can't go on; the message is the reason that the service would give."""


def place(cloud: Cloud, job: str, step: str) -> Path:
    """The folder of a step: its inputs, outputs and log."""
    return cloud.state / "jobs" / job / "steps" / step


async def run(cloud: Cloud, job: str, step: Command) -> None:
    """Fetch, run, bring away. Raises CommandFailed."""
    here = place(cloud, job, step.name)
    (here / "wd").mkdir(parents=True, exist_ok=True)
    try:
        await _run(cloud, here, step)
    finally:
        for part in ("inputs", "outputs"):
            await asyncio.to_thread(shutil.rmtree, here / part, ignore_errors=True)


async def _run(cloud: Cloud, here: Path, step: Command) -> None:
    paths = {
        ("inputs", name): await _fetch(cloud, here / "inputs" / name, name, step.kinds[name], value)
        for name, value in step.inputs.items()
    }
    files = {name: _output_path(here / "outputs" / name, output) for name, output in step.outputs.items()}
    paths |= {("outputs", name): str(path) for name, path in files.items()}
    command = PLACEHOLDER.sub(lambda found: paths[found[1], found[2]], step.command)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"}
    process = guard.spawn(["/bin/bash", "-c", command], env=environment, cwd=here / "wd", log=here / LOG)
    try:
        code = await asyncio.to_thread(process.wait)
    finally:
        await asyncio.to_thread(guard.stop, process)
    for name, output in step.outputs.items():
        if code == 0 or output.mounted:
            await _bring_away(cloud, name, output, files[name])
    if code:
        raise CommandFailed(
            f"Execution failed. User process ended with status code {_status(code)}. Please check log file "
            f"'user_logs/{LOG}' for error details. Error: {_last_words(here / LOG)}"
        )


def _status(code: int) -> int:
    """As Azure ML tells it: -9 after signal 9, which the guard's code says as 137."""
    return 128 - code if code > 128 else code


async def _fetch(cloud: Cloud, folder: Path, name: str, kind: str, value: object) -> str:
    """An input as the command's line has it: a literal as it is, a file or folder as its path."""
    if kind not in ("uri_file", "uri_folder"):
        return str(value)
    container, blob = locate(cloud, str(value))
    try:
        if kind == "uri_file":
            target = _below(folder, blob.rpartition("/")[2])
            await download(cloud.storage, container, blob, target)
            return str(target)
        for each in await names(cloud.storage, container, f"{blob}/"):
            await download(cloud.storage, container, each, _below(folder, each.removeprefix(f"{blob}/")))
    except (BlobMissing, httpx.HTTPError, OSError, ValueError) as error:
        raise CommandFailed(f"Input {name} can't be read from {value}: {error}") from error
    return str(folder)


def _below(folder: Path, name: str) -> Path:
    """The file of that name in the folder, which is made. Raises ValueError for a blob's name that leads out of it."""
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} is no name of a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _output_path(folder: Path, output: Output) -> Path:
    """Where the command writes an output. A file's folder is there, the file is not."""
    path = folder / output.uri.rpartition("/")[2] if output.kind == "uri_file" else folder
    folder.mkdir(parents=True, exist_ok=True)
    return path


async def _bring_away(cloud: Cloud, name: str, output: Output, path: Path) -> None:
    container, blob = locate(cloud, output.uri)
    try:
        for file in _files(path):
            below = "" if file == path else f"/{file.relative_to(path).as_posix()}"
            await upload(cloud.storage, file, container, f"{blob}{below}")
    except (httpx.HTTPError, OSError) as error:
        raise CommandFailed(f"Output {name} can't be written to {output.uri}: {error}") from error


def _files(path: Path) -> list[Path]:
    """The file, or those in the folder; none when nothing was written."""
    return [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.is_file()]


def _last_words(log: Path) -> str:
    text = log.read_text(errors="replace").strip() if log.exists() else ""
    return text[-_LAST_WORDS:] or "it wrote no log"
