"""The registry `azureml`: its discovery, base models and components, read only.

An MLClient with a registry name asks the discovery first and then a front end of the region; both are this server. What
there is comes from the catalogue. Called through localcloud/azureml/__init__.py; jobs.py asks model_folder() for files.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import catalog
from localcloud.azureml.arm import LOCATION, PROVIDER, RESOURCE_GROUP, SUBSCRIPTION, SUBSCRIPTION_ID, ArmError, page
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

NAME = "azureml"
REGISTRY_ID = f"{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}/providers/{PROVIDER}/registries/{NAME}"
_FRONT_END = f"/mferp/managementfrontend{REGISTRY_ID}"
_PUBLISHED = "2026-01-01T00:00:00.000000Z"
_CATALOGUE = {"models": catalog.models, "components": catalog.components}


def routes(cloud: Cloud) -> list[Route]:
    """Discovery; lists, versions and version lists of models and components."""
    return [
        route(cloud, "GET", "/registrymanagement/v1.0/registries/{name}/discovery", _discovery),
        route(cloud, "GET", _FRONT_END + "/{kind}", _containers),
        route(cloud, "GET", _FRONT_END + "/{kind}/{name}/versions", _versions),
        route(cloud, "GET", _FRONT_END + "/{kind}/{name}/versions/{version}", _version),
    ]


def model_folder(cloud: Cloud, name: str, version: str) -> Path:
    """Where the base model lies on disk, built or not. Raises ArmError 404 for one that the catalogue hasn't."""
    _found("models", name, version)
    return cloud.repo / ".models" / name / version


async def _discovery(cloud: Cloud, request: Request) -> Response:
    name = request.path_params["name"]
    if name != NAME:
        raise ArmError(404, "RegistryNotFound", f"Registry {name} was not found; the local cloud has {NAME}.")
    answer = {
        "registryName": name,
        "subscriptionId": SUBSCRIPTION,
        "resourceGroup": RESOURCE_GROUP,
        "primaryRegion": LOCATION,
        "regions": [LOCATION],
        "primaryRegionResourceProviderUri": f"{cloud.management_url}/",
        "workspaceId": None,
    }
    return JSONResponse(answer)


async def _containers(cloud: Cloud, request: Request) -> Response:
    """The list of names. As in Azure an entry has the newest version's number, and nothing of what that one says."""
    kind = request.path_params["kind"]
    if kind not in _CATALOGUE:
        raise ArmError(404, "UserError", f"Assets {kind} not found in {NAME}.")
    archived = request.query_params.get("listViewType") == "ArchivedOnly"
    names = [] if archived else [name for name in _CATALOGUE[kind]() if kind != "models" or _offered(cloud, name)]
    return page(cloud, request, [_container(kind, name) for name in names])


async def _versions(cloud: Cloud, request: Request) -> Response:
    kind, name = request.path_params["kind"], request.path_params["name"]
    versions = reversed(_found(kind, name))
    return page(cloud, request, [_document(kind, name, version) for version in versions])


async def _version(_cloud: Cloud, request: Request) -> Response:
    kind, name, version = (request.path_params[key] for key in ("kind", "name", "version"))
    _found(kind, name, version)
    return JSONResponse(_document(kind, name, version))


def _found(kind: str, name: str, version: str | None = None) -> dict[str, Json]:
    """The versions of an asset, oldest first. Raises ArmError 404."""
    versions = _CATALOGUE[kind]().get(name, {}) if kind in _CATALOGUE else {}
    if not versions or (version is not None and version not in versions):
        raise ArmError(404, "UserError", f"Asset {kind}/{name}{f':{version}' if version else ''} not found in {NAME}.")
    return versions


def _offered(cloud: Cloud, name: str) -> bool:
    """Whether a model is there to be trained, or is there to be refused: some are made by set-up on request alone."""
    version, entry = list(_found("models", name).items())[-1]
    return "deprecation" in entry["systemMetadata"] or model_folder(cloud, name, version).is_dir()


def _container(kind: str, name: str) -> Json:
    latest = list(_found(kind, name))[-1]
    return {
        "id": f"azureml://registries/{NAME}/{kind}/{name}",
        "name": name,
        "type": f"{PROVIDER}/registries/{kind}",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            "latestVersion": latest,
            "nextVersion": None,
            "provisioningState": "Succeeded",
        },
        "systemData": {"createdAt": _PUBLISHED, "createdBy": NAME, "createdByType": "Application"},
    }


def _document(kind: str, name: str, version: str) -> Json:
    entry = _found(kind, name, version)[version]
    properties = _model(name, version, entry) if kind == "models" else _component(name, version, entry)
    return {
        "id": f"azureml://registries/{NAME}/{kind}/{name}/versions/{version}",
        "name": version,
        "type": f"{PROVIDER}/registries/{kind}/versions",
        "properties": {"isAnonymous": False, "isArchived": False, "properties": {}, "description": None, **properties},
        "systemData": {"createdAt": _PUBLISHED, "createdBy": NAME, "createdByType": "Application"},
    }


def _model(name: str, version: str, entry: Json) -> Json:
    return {
        # Whoever publishes with the SDK turns each tag's value into text with str(): a Python literal, not JSON.
        "tags": {key: str(value) for key, value in entry["tags"].items()},
        "modelType": "mlflow_model",
        "modelUri": f"azureml://registries/{NAME}/models/{name}/versions/{version}/paths/mlflow_model_folder",
        "flavors": {},
        "systemMetadata": entry["systemMetadata"],
    }


def _component(name: str, version: str, entry: Json) -> Json:
    def text(value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    inputs = {key: {what: text(value) for what, value in spec.items()} for key, spec in entry["inputs"].items()}
    spec = {
        "name": name,
        "version": version,
        "type": "pipeline",
        "inputs": inputs,
        "outputs": {key: dict(output) for key, output in entry["outputs"].items()},
        "is_deterministic": True,
        "jobs": {},
    }
    return {"tags": {}, "componentSpec": spec}
