"""The inference servers behind the deployments: which there are, and what their life does to the documents.

deployments.py launches and removes, scoring.py and monitor.py look servers up. A deployment has Succeeded when its
server answers, and Failed when that ends or takes longer than the liveness probe allows. Servers of Succeeded
deployments are kept alive, and started again when the local cloud is.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from localcloud.azureml import assets, pretend
from localcloud.azureml.arm import ArmError, user_error
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.inference import InferenceServer, Launch
from localcloud.azureml.operations import begin, finish, reopen
from localcloud.azureml.store import Json

KIND = "deployments"
type Server = InferenceServer | pretend.Server
_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


@dataclass(frozen=True, kw_only=True)
class _Serving:
    server: Server
    task: asyncio.Task[None]


_serving: dict[Path, dict[str, list[_Serving]]] = {}
"""Servers by cloud (its state folder) and `endpoint/deployment`. During an update a deployment has two."""


async def start(cloud: Cloud) -> None:
    """Start the servers of an earlier run again, and finish what its end interrupted."""
    for name, document in cloud.store.items(KIND):
        pretending = pretend.rule_of(cloud, name)
        match document["properties"]["provisioningState"]:
            case "Creating" | "Updating" if pretending:
                if pretending["served"]:  # what it was before the update answers until that is over
                    launch(cloud, name, document, begin(cloud), proven=True)
                operation = document["properties"]["properties"]["AzureAsyncOperationUri"].rsplit("/", 1)[-1]
                reopen(cloud, operation)
                launch(cloud, name, document, operation)
            case "Succeeded" | "Updating":
                set_state(cloud, name, "Succeeded")
                launch(cloud, name, document, begin(cloud), proven=True)
            case "Creating":
                set_state(cloud, name, "Failed")
            case "Deleting":
                cloud.background(remove(cloud, name), f"delete deployment {name}")


async def stop(cloud: Cloud) -> None:
    """End every server, at once; the documents stay, for the next start."""
    running = [serving for several in _serving.pop(cloud.state, {}).values() for serving in several]
    for serving in running:
        serving.server.kill()
    await asyncio.gather(*(_end(serving) for serving in running))


def names(cloud: Cloud, endpoint: str) -> list[str]:
    """`endpoint/deployment` of every deployment of an endpoint."""
    return [name for name, _ in cloud.store.items(KIND) if name.startswith(f"{endpoint}/")]


def server(cloud: Cloud, endpoint: str, deployment: str) -> Server | None:
    """The server that answers for a deployment; None when it has none: it is being made, or that failed."""
    document = cloud.store.get(KIND, f"{endpoint}/{deployment}".lower())
    if document is None or document["properties"]["provisioningState"] == "Creating":
        return None
    several = _of(cloud, f"{endpoint}/{deployment}".lower())
    return several[0].server if several else None


def serving(cloud: Cloud) -> Iterator[tuple[str, Server]]:
    """Every server with its deployment's resource id."""
    for name, several in _serving.get(cloud.state, {}).items():
        document = cloud.store.get(KIND, name)
        if document and several:
            yield document["id"], several[0].server


async def remove(cloud: Cloud, name: str, operation: str | None = None) -> None:
    """End the deployment's servers and forget it. Its log stays."""
    several = _of(cloud, name)
    await asyncio.gather(*(_end(serving) for serving in several))
    _serving.get(cloud.state, {}).pop(name, None)
    await asyncio.to_thread(shutil.rmtree, cloud.state / "deployments" / name, ignore_errors=True)
    cloud.store.delete(pretend.DEPLOYMENTS, name)
    cloud.store.delete(KIND, name)
    if operation:
        finish(cloud, operation)


def launch(cloud: Cloud, name: str, document: Json, operation: str, *, proven: bool = False) -> None:
    """Start a server for the deployment as it is now; a server that it has is ended when the new one answers.

    A `proven` deployment has served before: it keeps its state, and its server is tried until it answers.
    """
    properties, capacity = document["properties"], document["sku"]["capacity"]
    request, probe = properties["requestSettings"], properties["livenessProbe"]
    wanted = Launch(
        name=name,
        python=cloud.repo / ".venv-model" / "bin" / "python",
        model_dir=_model_dir(cloud, name, properties["model"]),
        log_file=log_file(cloud, name),
        start_limit=seconds(probe["initialDelay"]) + seconds(probe["period"]) * probe["failureThreshold"],
        request_timeout=seconds(request["requestTimeout"]),
        capacity=2 * request["maxConcurrentRequestsPerInstance"] * capacity,
        environment=properties.get("environmentVariables") or {},
    )
    rule = pretend.rule_of(cloud, name)
    server: Server = InferenceServer(wanted)
    if rule:
        server = pretend.Server(cloud, wanted, rule, lambda: set_state(cloud, name, "Updating"))
    life = _serve(cloud, name, server, properties["model"], operation, proven=proven)
    task = cloud.background(life, f"deployment {name}")
    _of(cloud, name).append(_Serving(server=server, task=task))


async def _serve(cloud: Cloud, name: str, server: Server, model: str, operation: str, *, proven: bool) -> None:
    """One server's life."""
    several = _of(cloud, name)
    result: ArmError | None = ArmError(409, "OperationCanceled", f"{name} was deleted while it was being made.")
    try:
        problem = await asyncio.to_thread(_download, cloud, model, server.launch.model_dir)
        if problem is None:
            problem = await (server.persist() if proven else server.start())
        if problem is None:
            result = None
            place = next(place for place, serving in enumerate(several) if serving.server is server)
            earlier, several[:] = several[:place], several[place:]
            if not proven:
                set_state(cloud, name, "Succeeded")
            finish(cloud, operation)
            for serving in earlier:
                await _end(serving)
            await server.keep()
        several[:] = [serving for serving in several if serving.server is not server]
        set_state(cloud, name, "Failed")
        said = tail(log_file(cloud, name), 10)
        result = ArmError(400, "ResourceNotReady", f"{name}: {problem}. The end of its log:\n{said}")
    finally:
        if result:
            finish(cloud, operation, result)
        await server.stop()


async def _end(serving: _Serving) -> None:
    serving.task.cancel()
    await asyncio.wait([serving.task])


def _of(cloud: Cloud, name: str) -> list[_Serving]:
    return _serving.setdefault(cloud.state, {}).setdefault(name, [])


def _model_dir(cloud: Cloud, name: str, model: str) -> Path:
    """AZUREML_MODEL_DIR, laid out as Azure ML does: `azureml-models/NAME/VERSION/`, the model's folder in it."""
    *_, model_name, version = model.replace("/versions/", ":").replace("/", ":").split(":")
    return cloud.state / "deployments" / name / "azureml-models" / model_name / version


def _download(cloud: Cloud, model: str, model_dir: Path) -> str | None:
    """Give the deployment files of its own, once: the original may go or change then. Returns what went wrong."""
    if model_dir.exists():
        return None
    try:
        folder, unfinished = assets.model_folder(cloud, model), model_dir.with_name(f"{model_dir.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(folder, unfinished / folder.name, copy_function=_link)
        unfinished.rename(model_dir)
    except (ArmError, OSError, shutil.Error) as error:
        return f"the model's files can't be had: {error}"
    return None


def _link(source: str, target: str) -> None:
    """A hard link, which costs nothing; a copy where that can't be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def set_state(cloud: Cloud, name: str, state: str) -> None:
    """Write the provisioning state of a deployment, if it still exists."""
    document = cloud.store.get(KIND, name)
    if document:
        document["properties"]["provisioningState"] = state
        cloud.store.put(KIND, name, document)


def log_file(cloud: Cloud, name: str) -> Path:
    """Where the inference servers of a deployment log to, one after the other."""
    return cloud.state.parent / "logs" / f"deployment-{name.replace('/', '.')}.log"


def tail(path: Path, lines: int) -> str:
    """The last lines of a file; nothing when there is no file."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def seconds(duration: str) -> float:
    """An ISO 8601 duration of days, hours, minutes and seconds. Raises ArmError 400."""
    match = _DURATION.fullmatch(duration)
    if not match or duration.endswith(("P", "T")):
        raise user_error(f"{duration!r} is not an ISO 8601 duration such as PT90S.")
    return timedelta(**{unit: float(number) for unit, number in match.groupdict("0").items()}).total_seconds()
