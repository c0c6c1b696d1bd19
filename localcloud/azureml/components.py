"""Environments and command components of the workspace: what a pipeline's own steps are made of.

Both are versions that never change: a second PUT must say the same as the first. An environment is never built here; a
step runs in the local cloud's own Python. submission.py asks command_component() for what a step is made of.
"""

import re
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml.arm import WORKSPACE_ID, ArmError, body, not_found, page, resource, user_error
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

COMPONENTS, ENVIRONMENTS = "components", "environments"
_NAME = {
    COMPONENTS: re.compile(r"[a-z0-9][a-z0-9._]{0,254}"),
    ENVIRONMENTS: re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"),
}
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_PORT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_ID = r"(?:azureml:)?" + re.escape(WORKSPACE_ID) + r"/{kind}/([^/]+)/versions/([^/]+)"
_CHANGEABLE = ("description", "tags", "properties", "isArchived")


def routes(cloud: Cloud) -> list[Route]:
    """Version lists and versions of both."""
    found = []
    for kind in (COMPONENTS, ENVIRONMENTS):
        base = f"{WORKSPACE_ID}/{kind}/{{name}}/versions"
        found += [
            route(cloud, "GET", base, partial(_versions, kind)),
            route(cloud, "GET", base + "/{version}", partial(_get, kind)),
            route(cloud, "PUT", base + "/{version}", partial(_put, kind)),
        ]
    return found


def command_component(cloud: Cloud, reference: str) -> Json | None:
    """The specification of a command component by its ARM id; None when there is none of that id."""
    document = _by_id(cloud, COMPONENTS, reference)
    specification = document["properties"]["componentSpec"] if document else {}
    return dict(specification) if specification.get("type") == "command" else None


def _by_id(cloud: Cloud, kind: str, reference: str) -> Json | None:
    found = re.fullmatch(_ID.format(kind=kind), reference)
    return cloud.store.get(kind, f"{found[1]}/{found[2]}") if found else None


async def _put(kind: str, cloud: Cloud, request: Request) -> Response:
    """Create a version (201); one that is there takes another description and other tags only (200)."""
    name, version = request.path_params["name"], request.path_params["version"]
    if not _NAME[kind].fullmatch(name) or not _VERSION.fullmatch(version):
        raise user_error(f"{name}:{version} is no name and version of {kind}.")
    given = (await body(request)).get("properties") or {}
    if kind == COMPONENTS:
        _check_component(cloud, given)
    elif not given.get("image"):
        raise user_error("The local cloud takes environments of an image, with or without a conda file.")
    properties: Json = {"description": None, "tags": {}, "properties": {}, "isAnonymous": False, "isArchived": False}
    properties |= {key: value for key, value in given.items() if value is not None}
    document = resource(cloud, f"{kind}/{name}/versions/{version}", f"{kind}/versions", properties)
    old = cloud.store.get(kind, f"{name}/{version}")
    if old is not None:
        if _fixed(old["properties"]) != _fixed(properties):
            raise ArmError(409, "Conflict", f"Version {version} of {name} exists already and can't be changed.")
        document["systemData"]["createdAt"] = old["systemData"]["createdAt"]
    cloud.store.put(kind, f"{name}/{version}", document)
    return JSONResponse(document, status_code=200 if old else 201)


def _check_component(cloud: Cloud, given: Json) -> None:
    specification = given.get("componentSpec") or {}
    if specification.get("type") != "command":
        raise user_error(f"The local cloud keeps command components, not {specification.get('type')!r}.")
    if specification.get("code"):
        raise user_error("The local cloud has no code assets: hand the code over as an input.")
    if not specification.get("command"):
        raise user_error("The component has no command.")
    for name in (*(specification.get("inputs") or {}), *(specification.get("outputs") or {})):
        if not _PORT.fullmatch(name):
            raise user_error(f"{name!r} is no name of an input or output: letters, digits and '_', no digit first.")
    environment = str(specification.get("environment", ""))
    if _by_id(cloud, ENVIRONMENTS, environment) is None:
        raise user_error(f"Environment {environment} does not exist.")


def _fixed(properties: Json) -> Json:
    return {key: value for key, value in properties.items() if key not in _CHANGEABLE}


async def _get(kind: str, cloud: Cloud, request: Request) -> Response:
    name, version = request.path_params["name"], request.path_params["version"]
    document = cloud.store.get(kind, f"{name}/{version}")
    if document is None:
        raise not_found(kind, f"{name}:{version}")
    return JSONResponse(document)


async def _versions(kind: str, cloud: Cloud, request: Request) -> Response:
    """Newest first."""
    found = cloud.store.list(kind, f"{request.path_params['name']}/")
    if not found:
        raise not_found(kind, request.path_params["name"])
    return page(cloud, request, found[::-1])
