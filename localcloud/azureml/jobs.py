"""Jobs as ARM shows them: submit, look, list, cancel.

A pipeline job is shown as it was sent, plus its status. A step is shown without properties, which is how the service
makes the SDK ask the run history (run_history.py) for it. Called through localcloud/azureml/__init__.py.
"""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import pretend, runner, runs, submission
from localcloud.azureml.arm import WORKSPACE_ID, ArmError, body, page, resource, user_error
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.operations import accepted, begin, finish
from localcloud.azureml.store import Json
from localcloud.azureml.workspace import AUDIENCE

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,253}[A-Za-z0-9])?")


def routes(cloud: Cloud) -> list[Route]:
    """The jobs' routes."""
    one = f"{WORKSPACE_ID}/jobs/{{name}}"
    return [
        route(cloud, "GET", f"{WORKSPACE_ID}/jobs", _list),
        route(cloud, "GET", one, _get),
        route(cloud, "PUT", one, _put),
        route(cloud, "POST", f"{one}/cancel", _cancel),
        route(cloud, "POST", "/_local/jobs/{name}", _end),
    ]


async def start(cloud: Cloud) -> None:
    """Jobs that ran when the server ended fail, with that reason; those that pretend go on."""
    await runner.interrupted(cloud)


async def _put(cloud: Cloud, request: Request) -> Response:
    name = request.path_params["name"]
    if not _NAME.fullmatch(name):
        raise user_error(f"Job name {name!r}: letters, digits, '-' and '_', both ends a letter or digit, at most 255.")
    if cloud.store.get(runs.KIND, name) is not None:
        raise user_error(f"A job with name {name} already exists. Job names must be unique in a workspace.")
    if not request.headers.get("x-azureml-token"):
        raise ArmError(400, "UserError", "A pipeline job needs the header x-azureml-token.")
    properties = (await body(request)).get("properties") or {}
    checked = submission.check(cloud, properties)
    job = runs.new(
        cloud,
        name,
        experiment=properties.get("experimentName") or "Default",
        display_name=properties.get("displayName") or name,
        description=properties.get("description"),
        tags=properties.get("tags") or {},
        properties={"azureml.runsource": runs.PIPELINE, "runType": "HTTP"} | (properties.get("properties") or {}),
        request=properties,
        outputs=checked.outputs,
        compute=checked.steps[0].compute if checked.steps else checked.compute,
        nodes=1 if checked.steps else checked.nodes,
        clusters=runner.clusters(checked),
        pretends=pretend.take(cloud, "jobs", name),
    )
    runs.save(cloud, job)
    runner.begin(cloud, name, checked)
    return JSONResponse(_shown(cloud, job), status_code=201)


async def _get(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(_shown(cloud, runs.get(cloud, request.path_params["name"])))


async def _list(cloud: Cloud, request: Request) -> Response:
    """Pipeline jobs, newest first."""
    view = request.query_params.get("listViewType", "ActiveOnly")
    wanted = {"ActiveOnly": (False,), "ArchivedOnly": (True,)}.get(view, (False, True))
    found = cloud.store.list(runs.KIND, where=lambda job: job["parent"] is None and job["hidden"] in wanted)
    return page(cloud, request, [_shown(cloud, job) for job in reversed(found)])


async def _cancel(cloud: Cloud, request: Request) -> Response:
    name = request.path_params["name"]
    runs.get(cloud, name)
    await runner.cancel(cloud, name)
    operation = begin(cloud)
    finish(cloud, operation)
    return accepted(cloud, operation, None)


async def _end(cloud: Cloud, request: Request) -> Response:
    """End a job on request: `{"status": "Failed", "why": "..."}`, or Canceled, or Completed. Its process is killed.

    One of runs.UNDER_WAY is only shown, of the job or of the `step` of that name; what it does goes on.
    """
    name, wanted = request.path_params["name"], await body(request)
    status, step, why = str(wanted.get("status")), wanted.get("step"), str(wanted.get("why") or "It was asked to end.")
    known = runs.UNDER_WAY if step else (*runs.ENDED, *runs.UNDER_WAY)
    if status not in known:
        raise user_error(f"status is one of {', '.join(known)}, not {status!r}.")
    if runs.get(cloud, name)["status"] in runs.ENDED:
        raise ArmError(409, "Conflict", f"Job {name} has ended already.")
    if status in runs.ENDED:
        await runner.end(cloud, name, status, why)
        return JSONResponse(_shown(cloud, runs.get(cloud, name)))
    shown = [each["name"] for each in runs.children(cloud, name) if each["step"] == step] if step else [name]
    if not shown:
        raise user_error(f"Job {name} has no step {step!r} yet.")
    await runs.change(cloud, shown[0], status)
    return JSONResponse(_shown(cloud, runs.get(cloud, name)))


def _shown(cloud: Cloud, job: Json) -> Json:
    if job["parent"] is not None:
        return resource(cloud, f"jobs/{job['name']}", "jobs", {}) | {"properties": None}
    services = {
        "Tracking": {"jobServiceType": "Tracking", "endpoint": cloud.management_url.replace("https", "azureml", 1)},
        "Studio": {"jobServiceType": "Studio", "endpoint": f"{AUDIENCE}/runs/{job['name']}?wsid={WORKSPACE_ID}"},
    }
    shown = job["request"] | {
        "displayName": job["display_name"],
        "experimentName": job["experiment"],
        "description": job["description"],
        "tags": job["tags"],
        "properties": job["properties"],
        "isArchived": job["hidden"],
        "status": job["status"],
        "services": services,
    }
    document = resource(cloud, f"jobs/{job['name']}", "jobs", shown)
    document["systemData"]["createdAt"] = job["created"]
    return document
