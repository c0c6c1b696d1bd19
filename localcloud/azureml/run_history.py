"""Run history: jobs.stream, the steps of a job, why a run failed, and changes of tags.

The SDK finds it by the workspace's discovery address. A failed run has its reason in `error.error.message` of the run
and of its details, which is what jobs.stream raises. Called through localcloud/azureml/__init__.py.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from localcloud.azureml import runner, runs, steps
from localcloud.azureml.arm import WORKSPACE_ID, body, not_found, page
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

_BASE = f"/history/v1.0{WORKSPACE_ID}"
_CHANGEABLE = {"displayName": "display_name", "description": "description", "hidden": "hidden"}


def routes(cloud: Cloud) -> list[Route]:
    """One run, its details, its children, its log; the change of a run."""
    return [
        route(cloud, "GET", f"{_BASE}/runs/{{name}}", _run),
        route(cloud, "GET", f"{_BASE}/runs/{{name}}/details", _details),
        route(cloud, "GET", f"{_BASE}/runs/{{name}}/children", _children),
        route(cloud, "PATCH", f"{_BASE}/experiments/{{experiment}}/runs/{{name}}", _change),
        route(cloud, "GET", "/logs/{name}/executionlogs.txt", _log),
        route(cloud, "GET", f"/logs/{{name}}/{steps.LOG}", _log),
    ]


async def _run(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(_shown(runs.get(cloud, request.path_params["name"])))


async def _details(cloud: Cloud, request: Request) -> Response:
    document = runs.get(cloud, request.path_params["name"])
    file = _log_file(cloud, document)
    where = f"user_logs/{file.name}" if document["parent"] else "logs/azureml/executionlogs.txt"
    address = f"{cloud.management_url}/logs/{document['name']}/{where.rsplit('/', 1)[-1]}"
    return JSONResponse(_shown(document) | {"logFiles": {where: address} if file.exists() else {}, "warnings": []})


async def _children(cloud: Cloud, request: Request) -> Response:
    name = request.path_params["name"]
    runs.get(cloud, name)
    return page(cloud, request, [_shown(child) for child in runs.children(cloud, name)], size=100)


async def _change(cloud: Cloud, request: Request) -> Response:
    document = runs.get(cloud, request.path_params["name"])
    given = await body(request)
    for theirs, ours in _CHANGEABLE.items():
        if given.get(theirs) is not None:
            document[ours] = given[theirs]
    for name in ("tags", "properties"):
        document[name] |= given.get(name) or {}
    runs.save(cloud, document)
    return JSONResponse(_shown(document))


async def _log(cloud: Cloud, request: Request) -> Response:
    """The output of the training process, or of a step of the pipeline's own; open, as signed addresses are."""
    document = runs.get(cloud, request.path_params["name"])
    log = _log_file(cloud, document)
    if not log.exists():
        raise not_found("The log of run", document["name"])
    return PlainTextResponse(log.read_text(errors="replace"))


def _log_file(cloud: Cloud, document: Json) -> Path:
    if document["parent"]:
        return steps.place(cloud, document["parent"], document["step"]) / steps.LOG
    return runner.folder(cloud, document["name"]) / "log.txt"


def _shown(document: Json) -> Json:
    shown = {
        "runId": document["name"],
        "runUuid": runs.run_id(document),
        "rootRunId": document["parent"] or document["name"],
        "parentRunId": document["parent"],
        "experimentId": runs.experiment_id(document["experiment"]),
        "displayName": document["display_name"],
        "description": document["description"],
        "status": document["status"],
        "runType": document["type"],
        "tags": document["tags"],
        "properties": document["properties"],
        "hidden": document["hidden"],
        "target": document["compute"],
        "createdUtc": document["created"],
        "startTimeUtc": document["started"],
        "endTimeUtc": document["ended"],
        "services": {},
    }
    if document["error"]:
        shown["error"] = {"error": {"code": "UserError", "message": document["error"]}, "time": document["ended"]}
    return shown
