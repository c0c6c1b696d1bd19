"""Models and data of the workspace: names and versions that point at files, with the rules of the service.

A version's path never changes: a PUT with another one is refused, one with the same path changes tags only. A model
made of a job's output points at the job's folder from then on. deployments.py and runner.py ask model_folder() for it.
"""

import re
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import registry
from localcloud.azureml.arm import PROVIDER, WORKSPACE_ID, ArmError, body, not_found, page, resource, user_error
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

_PATH = {"models": "modelUri", "data": "dataUri"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_JOB_OUTPUT = re.compile(r"azureml://jobs/([^/]+)/outputs/([^/]+)(?:/paths(?:/.*)?)?/?")
_OUTPUTS = f"azureml:/{WORKSPACE_ID.replace(f'/providers/{PROVIDER}', '')}/datastores/workspaceblobstore/paths/azureml"
"""Where the service says that outputs lie. No such blob is here: the files are in the job's folder."""
_OUTPUT_PATH = re.compile(r"azureml://.*datastores/workspaceblobstore/paths/azureml/([^/]+)/([^/]+)/?")
_REGISTRY_MODEL = re.compile(rf"azureml://registries/{registry.NAME}/models/([^/]+)/versions/([^/]+)")
_WORKSPACE_MODEL = re.compile(r"(?:azureml:)?/?/.*/models/([^/]+)/versions/([^/]+)|azureml:([^/:]+):([^/:]+)")


def routes(cloud: Cloud) -> list[Route]:
    """Containers, version lists and versions of models and data."""
    found = []
    for kind in _PATH:
        base = f"{WORKSPACE_ID}/{kind}"
        found += [
            route(cloud, "GET", base, partial(_containers, kind)),
            route(cloud, "GET", base + "/{name}", partial(_container, kind)),
            route(cloud, "GET", base + "/{name}/versions", partial(_versions, kind)),
            route(cloud, "GET", base + "/{name}/versions/{version}", partial(_get, kind)),
            route(cloud, "PUT", base + "/{name}/versions/{version}", partial(_put, kind)),
            route(cloud, "DELETE", base + "/{name}/versions/{version}", partial(_delete, kind)),
        ]
    return found


def model_folder(cloud: Cloud, reference: str) -> Path:
    """The folder with the MLmodel file of a model, by any id of a registry's or the workspace's model.

    Raises ArmError 404 for an unknown model, 400 when its files are not there.
    """
    if found := _REGISTRY_MODEL.fullmatch(reference):
        folder: Path | None = registry.model_folder(cloud, found[1], found[2])
        missing = f"Model {found[1]} version {found[2]} has not been built: run `make models`."
    elif found := _WORKSPACE_MODEL.fullmatch(reference):
        name, version = found[1] or found[3], found[2] or found[4]
        document = cloud.store.get("models", f"{name}/{version}")
        if document is None:
            raise not_found("Model", f"{name}:{version}")
        place = _OUTPUT_PATH.fullmatch(document["properties"]["modelUri"])
        folder = _output_folder(cloud, place[1], place[2]) if place else None
        missing = f"Model {name}:{version} points at {document['properties']['modelUri']}, where no model is."
    else:
        raise user_error(f"{reference} is no id of a model.")
    if folder is None or not folder.is_dir():
        raise user_error(missing)
    return folder


def _output_folder(cloud: Cloud, job: str, output: str) -> Path | None:
    """The folder of a job's output by the output's name, whether it exists or not; None for an unknown one."""
    document = cloud.store.get("jobs", job)
    bound = document["outputs"].get(output) if document else None
    return cloud.state / "jobs" / job / "outputs" / bound if bound else None


def _resolved(cloud: Cloud, uri: str) -> str:
    """A job's output as the datastore path that the service stores. Raises ArmError 400 when there is none."""
    found = _JOB_OUTPUT.fullmatch(uri)
    if found is None:
        return uri
    job, output = found[1], found[2]
    if cloud.store.get("jobs", job) is None:
        raise user_error(f"Job {job} does not exist.")
    folder = _output_folder(cloud, job, output)
    if folder is None:
        raise ArmError(400, "NoMatchingOutputFoundFromJob", f"Job output {output} not found")
    document = cloud.store.get("jobs", job) or {}
    if document["status"] != "Completed" or not folder.is_dir():
        raise ArmError(400, "NoMatchingArtifactsFoundFromJob", f"No artifacts matching {output} found from Job")
    return f"{_OUTPUTS}/{job}/{output}/"


async def _put(kind: str, cloud: Cloud, request: Request) -> Response:
    """Create a version (201), or change what may be changed of it (200)."""
    name, version = request.path_params["name"], request.path_params["version"]
    for part in (name, version):
        if not _NAME.fullmatch(part):
            raise user_error(f"{part!r} is no name or version: letters, digits, '-', '_' and '.', at most 255 of them.")
    given = (await body(request)).get("properties") or {}
    path = _PATH[kind]
    if not given.get(path):
        raise user_error(f"The request has no {path}.")
    uri = _resolved(cloud, given[path])
    old = cloud.store.get(kind, f"{name}/{version}")
    if old is not None and old["properties"][path] != uri:
        raise user_error("Asset paths cannot be updated.")
    job = _OUTPUT_PATH.fullmatch(uri)
    properties: Json = {"description": None, "tags": {}, "properties": {}, "isAnonymous": False, "isArchived": False}
    properties |= {key: value for key, value in given.items() if value is not None} | {path: uri}
    if kind == "models":
        properties |= {"flavors": given.get("flavors") or {}, "jobName": job[1] if job else given.get("jobName")}
    document = resource(cloud, f"{kind}/{name}/versions/{version}", f"{kind}/versions", properties)
    if old is not None:
        document["systemData"]["createdAt"] = old["systemData"]["createdAt"]
    cloud.store.put(kind, f"{name}/{version}", document)
    return JSONResponse(document, status_code=200 if old else 201)


async def _get(kind: str, cloud: Cloud, request: Request) -> Response:
    name, version = request.path_params["name"], request.path_params["version"]
    document = cloud.store.get(kind, f"{name}/{version}")
    if document is None:
        raise not_found(kind, f"{name}:{version}")
    return JSONResponse(document)


async def _delete(kind: str, cloud: Cloud, request: Request) -> Response:
    """Forget a version; its name is free again. 204 when there is none. What a deployment has loaded stays there."""
    name = f"{request.path_params['name']}/{request.path_params['version']}"
    there = cloud.store.get(kind, name) is not None
    cloud.store.delete(kind, name)
    return Response(status_code=200 if there else 204)


async def _versions(kind: str, cloud: Cloud, request: Request) -> Response:
    """Newest first, as the SDK's `$orderBy=createdtime desc` asks; archived ones only when the view includes them."""
    found = _of(kind, cloud, request.path_params["name"])
    if request.query_params.get("listViewType") in (None, "ActiveOnly"):
        found = [document for document in found if not document["properties"]["isArchived"]]
    return page(cloud, request, found)


async def _container(kind: str, cloud: Cloud, request: Request) -> Response:
    return JSONResponse(_as_container(kind, cloud, request.path_params["name"]))


async def _containers(kind: str, cloud: Cloud, request: Request) -> Response:
    names = {name.partition("/")[0]: None for name, _ in cloud.store.items(kind)}
    return page(cloud, request, [_as_container(kind, cloud, name) for name in names])


def _as_container(kind: str, cloud: Cloud, name: str) -> Json:
    versions = _of(kind, cloud, name)
    latest = versions[0]["name"]
    following = str(int(latest) + 1) if latest.isdigit() else None
    properties: Json = {
        "latestVersion": latest,
        "nextVersion": following,
        "isArchived": False,
        "tags": {},
        "properties": {},
    }
    if kind == "data":
        properties["dataType"] = versions[0]["properties"].get("dataType")
    return resource(cloud, f"{kind}/{name}", kind, properties)


def _of(kind: str, cloud: Cloud, name: str) -> list[Json]:
    """An asset's versions, newest first. Raises ArmError 404."""
    found = cloud.store.list(kind, f"{name}/")
    if not found:
        raise not_found(kind, name)
    return found[::-1]
