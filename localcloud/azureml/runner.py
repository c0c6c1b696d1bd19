"""Runs a pipeline job: waits for a place, fetches its data, starts the training process, follows what it reports.

Steps of the pipeline's own come before that, one after the other (steps.py). The training process is
`python -m localcloud.training FOLDER` in the model environment, under a guard; it is told what to do in FOLDER/job.json
and tells what it does in FOLDER/events.jsonl. Started by jobs.py; one background task a job, which is named after it so
that a cancellation finds it. One that pretends (pretend.py) starts no training process, and goes on after a restart.
"""

import asyncio
import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx

from localcloud import guard
from localcloud.azureml import catalog, pretend, runs, steps, submission
from localcloud.azureml.arm import ArmError
from localcloud.azureml.assets import model_folder
from localcloud.azureml.blobs import BlobMissing, download, locate
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.computes import HOLDING, SERVERLESS, size_of, started
from localcloud.azureml.computes import KIND as COMPUTES
from localcloud.azureml.store import Json
from localcloud.azureml.submission import Command, Submission

log = logging.getLogger(__name__)

IMPORT, PREPROCESS, FINETUNE, CONVERT = (
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
)
PLACES = max(1, (os.cpu_count() or 2) // 2)
"""Training processes at a time: more would only slow each other down. The others are Queued."""
_LOOK = 0.2
"""Seconds between looks at events.jsonl."""
_endings: dict[tuple[Path, str], tuple[str, str]] = {}
"""Status and reason with which a job is to end, by cloud (its state folder) and name."""
_DATA = {"train": "train_file_path", "validation": "validation_file_path", "test": "test_file_path"}


class StepFailed(Exception):
    """A step can't go on; `step` is its name, the message the reason."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step


def clusters(submitted: Submission) -> dict[str, str]:
    """The clusters of the component's steps that need not be on the one that trains, by step."""
    inputs = {IMPORT: "compute_model_import", PREPROCESS: "compute_preprocess"}
    return {step: submitted.parameters[name].rsplit("/", 1)[-1].lower() for step, name in inputs.items()}


def folder(cloud: Cloud, name: str) -> Path:
    """A job's folder."""
    return cloud.state / "jobs" / name


def begin(cloud: Cloud, name: str, submitted: Submission) -> None:
    """Run a job that has been stored, in the background."""
    cloud.background(_run(cloud, name, submitted), f"job {name}")


async def cancel(cloud: Cloud, name: str) -> None:
    """Ask a job to end; its process is killed. Returns at once, and does nothing for a job that has ended."""
    if runs.get(cloud, name)["status"] in (*runs.ENDED, "CancelRequested"):
        return
    await runs.change(cloud, name, "CancelRequested")
    for task in cloud.tasks:
        if task.get_name() == f"job {name}":
            task.cancel()


async def end(cloud: Cloud, name: str, status: str, why: str) -> None:
    """End a job that runs, as if it had ended so by itself. Its process is killed; returns when it has ended."""
    _endings[cloud.state, name] = status, why
    tasks = [task for task in cloud.tasks if task.get_name() == f"job {name}"]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    if _endings.pop((cloud.state, name), None) and runs.get(cloud, name)["status"] not in runs.ENDED:
        await _end_as(cloud, name, status, why)


async def interrupted(cloud: Cloud) -> None:
    """At start: jobs that ran when the server ended have lost their process. Those that pretend had none."""
    reason = "The local cloud was stopped while the job ran."
    for document in cloud.store.list(runs.KIND, where=lambda document: document["status"] not in runs.ENDED):
        job = runs.get(cloud, document["parent"]) if document["parent"] else document
        if not job.get("pretends"):
            await runs.change(cloud, document["name"], "Failed", reason)
        elif job is document:
            await _resume(cloud, job)


async def _resume(cloud: Cloud, job: Json) -> None:
    name = job["name"]
    match job["status"]:
        case "CancelRequested":
            await _end(cloud, name, "Canceled")
        case "Finalizing":
            await _end(cloud, name, "Completed")
        case _:
            try:
                begin(cloud, name, submission.check(cloud, job["request"]))
            except ArmError as error:
                await _end(cloud, name, "Failed", error.message)


async def _run(cloud: Cloud, name: str, submitted: Submission) -> None:
    pretends = runs.get(cloud, name)["pretends"]
    try:
        for step in submitted.steps:
            if _completed(cloud, name, step.name):  # before a restart
                continue
            await _take_nodes(cloud, name, step.name, step.compute, 1)
            await runs.change(cloud, name, "Running")
            await _command_step(cloud, name, step)
        await _take_nodes(cloud, name, FINETUNE, submitted.compute, submitted.nodes, place=not pretends)
        _check_gpus(cloud, submitted)
        if pretends:
            await _pretend(cloud, name)
        else:
            await _train(cloud, name, submitted.parameters)
        await runs.change(cloud, name, "Finalizing")
        await _end(cloud, name, "Completed")
    except StepFailed as error:
        await _fail(cloud, name, error)
    except asyncio.CancelledError:
        if ending := _endings.pop((cloud.state, name), None):
            await _end_as(cloud, name, *ending)
        elif runs.get(cloud, name)["status"] == "CancelRequested":
            await _end(cloud, name, "Canceled")
        else:
            raise  # the server ends; its next start says what became of the job
    except Exception as error:
        log.exception("job %s", name)
        await _end(cloud, name, "Failed", f"The local cloud itself failed: {error!r}")


async def _take_nodes(cloud: Cloud, name: str, step: str, target: str, wanted: int, *, place: bool = True) -> None:
    """Wait until the cluster has enough free nodes and this machine a free place, then have them.

    Without `place` it starts no process, and needs no place for one.

    Its step is Queued meanwhile, and the job itself Running, as Azure shows a pipeline; one that need not wait is
    Preparing first. Between two steps the job gives its nodes back and stays Running.
    """
    compute = cloud.store.get(COMPUTES, target)
    nodes = compute["properties"]["properties"]["scaleSettings"]["maxNodeCount"] if compute else wanted

    def free() -> bool:
        others = cloud.store.list(
            runs.KIND, where=lambda other: other["nodes"] > 0 and other["status"] in HOLDING and other["name"] != name
        )
        taken = sum(other["nodes"] for other in others if other["compute"] == target)
        fits = not place or sum(other.get("place", True) for other in others) < PLACES
        return fits and (target == SERVERLESS or taken + wanted <= nodes)

    if step == FINETUNE and not place and not free():  # a real job does these in its process
        await runs.change(cloud, name, "Running")
        await _steps_before(cloud, name)
    async with cloud.changed:
        runs.save(cloud, runs.get(cloud, name) | {"nodes": 0})
        cloud.changed.notify_all()
        if not free():
            await runs.change(cloud, name, "Running")
            await _step(cloud, name, step, "Queued")
            await cloud.changed.wait_for(free)
        runs.save(cloud, runs.get(cloud, name) | {"compute": target, "nodes": wanted, "place": place})
        started(cloud, target, wanted, job=name, step=step)
        if runs.get(cloud, name)["status"] != "Running":
            await runs.change(cloud, name, "Preparing")


def _check_gpus(cloud: Cloud, submitted: Submission) -> None:
    parameters = submitted.parameters
    size = size_of(cloud, submitted.compute) or catalog.sizes().get(parameters["instance_type_finetune"].lower())
    gpus = parameters["number_of_gpu_to_use_finetuning"]
    if size and size["gpus"] and gpus != size["gpus"]:
        raise StepFailed(FINETUNE, f"number_of_gpu_to_use_finetuning is {gpus}, {size['name']} has {size['gpus']}.")


async def _command_step(cloud: Cloud, name: str, step: Command) -> None:
    """A step of the pipeline's own. Raises StepFailed."""
    await _step(cloud, name, step.name, "Running")
    try:
        await steps.run(cloud, name, step)
    except steps.CommandFailed as error:
        raise StepFailed(step.name, str(error)) from error
    await _step(cloud, name, step.name, "Completed")


async def _train(cloud: Cloud, name: str, parameters: Json) -> None:
    """Fetch, start, follow. Raises StepFailed."""
    place = folder(cloud, name)
    place.mkdir(parents=True, exist_ok=True)
    await runs.change(cloud, name, "Running")
    order: Json = {
        "name": name,
        "base_model": str(_base_model(cloud, parameters)),
        "parameters": parameters,
        "outputs": str(place / "outputs"),
    }
    for what, source in _DATA.items():
        order[what] = await _fetch(cloud, place, what, parameters[source]) if source in parameters else None
    if order["train"] is None:
        raise StepFailed(PREPROCESS, "train_file_path is missing: there is nothing to train on.")
    (place / "outputs").mkdir(exist_ok=True)
    (place / "job.json").write_text(json.dumps(order, indent=1))
    process = guard.spawn([*_command(cloud), str(place)], env=os.environ, cwd=cloud.repo, log=place / "log.txt")
    try:
        failed = await _follow(cloud, name, process, place)
    finally:
        await asyncio.to_thread(guard.stop, process)
    if process.returncode != 0:
        step, reason = failed or (FINETUNE, f"training ended with code {process.returncode}: {_last_words(place)}")
        raise StepFailed(step, reason)


async def _pretend(cloud: Cloud, name: str) -> None:
    """Go through the steps in the time asked for. Raises StepFailed, or CancelledError when that is the outcome."""
    place = folder(cloud, name)
    place.mkdir(parents=True, exist_ok=True)
    await runs.change(cloud, name, "Running")
    job = runs.get(cloud, name)
    rule = job["pretends"] = {"until": pretend.until(cloud, job["pretends"])} | job["pretends"]
    runs.save(cloud, job)
    (place / "log.txt").write_text(f"{name} only pretends to train, for {rule['seconds']} s: {rule['outcome']}\n")
    await _steps_before(cloud, name)
    if rule.get("starved"):
        await pretend.wait(cloud, rule["until"])
        raise StepFailed(FINETUNE, rule["why"])
    await _step(cloud, name, FINETUNE, "Running")
    await pretend.wait(cloud, rule["until"])
    for key, values in rule["metrics"].items():
        for at_step, value in enumerate(values if isinstance(values, list) else [values]):
            metric = {"event": "metric", "step": FINETUNE, "key": key, "value": value, "at_step": at_step}
            await _take_in(cloud, name, metric)
    match rule["outcome"]:
        case "Failed":
            raise StepFailed(FINETUNE, rule["why"])
        case "Canceled":
            _endings[cloud.state, name] = "Canceled", rule["why"]
            raise asyncio.CancelledError
    await _step(cloud, name, FINETUNE, "Completed")
    await _step(cloud, name, CONVERT, "Running")
    await asyncio.to_thread(pretend.outputs, place / "outputs", set(job["outputs"].values()))
    await _step(cloud, name, CONVERT, "Completed")


async def _steps_before(cloud: Cloud, name: str) -> None:
    """What comes before the fine-tune step of a job that pretends, done in no time."""
    for step in (IMPORT, PREPROCESS):
        await _step(cloud, name, step, "Running")
        await _step(cloud, name, step, "Completed")


def _command(cloud: Cloud) -> list[str]:
    """What is started, followed by the job's folder: the training, or what azureml/training.json of the state names."""
    other = cloud.state / "training.json"
    if other.exists():
        return [str(part) for part in json.loads(other.read_text())]
    return [str(cloud.repo / ".venv-model" / "bin" / "python"), "-m", "localcloud.training"]


def _base_model(cloud: Cloud, parameters: Json) -> Path:
    if reference := parameters.get("mlflow_model_path"):
        try:
            return model_folder(cloud, reference)
        except ArmError as error:
            raise StepFailed(IMPORT, error.message) from error
    if hub := parameters.get("huggingface_id"):
        raise StepFailed(IMPORT, f"The local cloud fetches nothing from a model hub: huggingface_id is {hub}.")
    raise StepFailed(IMPORT, "mlflow_model_path is missing: there is no model to start from.")


async def _fetch(cloud: Cloud, place: Path, what: str, uri: str) -> str:
    container, blob = locate(cloud, uri)
    target = place / f"{what}{Path(blob).suffix}"
    try:
        await download(cloud.storage, container, blob, target)
    except (BlobMissing, httpx.HTTPError) as error:
        raise StepFailed(PREPROCESS, f"{what} data can't be read from {uri}: {error}") from error
    return str(target)


async def _follow(cloud: Cloud, name: str, process: guard.Guarded, place: Path) -> tuple[str, str] | None:
    """Take in events until the process has ended. Returns the last error reported: step and reason."""
    failed = None
    reported = _reported(place / "events.jsonl")
    ended = asyncio.create_task(asyncio.to_thread(process.wait))
    while True:
        finished, _ = await asyncio.wait({ended}, timeout=_LOOK)
        while (event := next(reported)) is not None:
            failed = await _take_in(cloud, name, event) or failed
        if finished:
            return failed


def _reported(path: Path) -> Iterator[Json | None]:
    """The events written so far, then None each time there is no whole line more. Never ends."""
    position = 0
    while True:
        lines: list[bytes] = []
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                lines = [line for line in file if line.endswith(b"\n")]
        position += sum(map(len, lines))
        yield from map(json.loads, lines)
        yield None


async def _take_in(cloud: Cloud, name: str, event: Json) -> tuple[str, str] | None:
    match event["event"]:
        case "step" if event["status"] != "Failed":
            await _step(cloud, name, event["step"], event["status"])
        case "metric":
            at = int(cloud.clock.now().timestamp() * 1000)
            child = _child(cloud, name, event["step"])["name"]
            document = cloud.store.get("metrics", child) or {"points": []}
            document["points"].append([event["key"], event["value"], event["at_step"], at])
            cloud.store.put("metrics", child, document)
        case "error":
            return event["step"], event["message"]
    return None


def _child(cloud: Cloud, parent: str, step: str) -> Json:
    """The run of a step, made when it is first heard of."""
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{parent}/{step}"))
    if (known := cloud.store.get(runs.KIND, name)) is not None:
        return known
    job = runs.get(cloud, parent)
    properties = {"azureml.runsource": runs.STEP, "azureml.moduleName": step, "azureml.pipelinerunid": parent}
    child = runs.new(
        cloud,
        name,
        parent=parent,
        step=step,
        type=runs.STEP,
        display_name=step,
        properties=properties,
        experiment=job["experiment"],
        compute=job["clusters"].get(step, job["compute"]),
    )
    runs.save(cloud, child)
    return child


def _completed(cloud: Cloud, parent: str, step: str) -> bool:
    return any(child["step"] == step and child["status"] == "Completed" for child in runs.children(cloud, parent))


async def _step(cloud: Cloud, parent: str, step: str, status: str, error: str | None = None) -> None:
    await runs.change(cloud, _child(cloud, parent, step)["name"], status, error)


async def _fail(cloud: Cloud, name: str, error: StepFailed) -> None:
    await _step(cloud, name, error.step, "Failed", str(error))
    await _end(cloud, name, "Failed", f"{error.step}: {error}")


async def _end_as(cloud: Cloud, name: str, status: str, why: str) -> None:
    """End a job as it was asked to. A step that runs fails with it; a job that completes has outputs."""
    if status == "Failed":
        running = [child["step"] for child in runs.children(cloud, name) if child["status"] == "Running"]
        await _fail(cloud, name, StepFailed(next(iter(running), FINETUNE), why))
        return
    if status == "Completed":
        bound = set(runs.get(cloud, name)["outputs"].values())
        await asyncio.to_thread(pretend.outputs, folder(cloud, name) / "outputs", bound)
    await _end(cloud, name, status, why if status == "Canceled" else None)


async def _end(cloud: Cloud, name: str, status: str, error: str | None = None) -> None:
    """End a job; steps that still run end with it, and one that never ran has not failed."""
    for child in runs.children(cloud, name):
        ran = child["started"] or status != "Failed"
        await runs.change(cloud, child["name"], status if ran else "Canceled", error if ran else None)
    await runs.change(cloud, name, status, error)


def _last_words(place: Path) -> str:
    lines = (place / "log.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it wrote no log"
