"""Managed online deployments: models that really serve, each in a process of its own.

A PUT is checked as Azure ML checks it, then fleet.py starts an inference server, whose fate decides the deployment's
state. Instances beyond the first only count for quota and for how many requests may wait.
"""

import math
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import assets, catalog, computes, endpoints, fleet, pretend
from localcloud.azureml.arm import LOCATION, WORKSPACE_ID, ArmError, body, not_found, page, resource, user_error
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.operations import accepted, begin
from localcloud.azureml.store import Json

MOST_DEPLOYMENTS = 20
"""Of one endpoint."""
LONGEST_REQUEST = timedelta(seconds=180)
_DEFAULTS: Json = {
    "appInsightsEnabled": False,
    "egressPublicNetworkAccess": "Enabled",
    "scaleSettings": {"scaleType": "Default"},
    "requestSettings": {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S", "maxQueueWait": "PT0.5S"},
    "livenessProbe": {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "failureThreshold": 30},
    "readinessProbe": {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "failureThreshold": 30},
}


def routes(cloud: Cloud) -> list[Route]:
    """Deployments of an endpoint."""
    every = f"{WORKSPACE_ID}/onlineEndpoints/{{endpoint}}/deployments"
    return [
        route(cloud, "GET", every, _list),
        route(cloud, "GET", f"{every}/{{deployment}}", _get),
        route(cloud, "PUT", f"{every}/{{deployment}}", _put),
        route(cloud, "DELETE", f"{every}/{{deployment}}", _delete),
        route(cloud, "POST", f"{every}/{{deployment}}/getLogs", _logs),
    ]


async def start(cloud: Cloud) -> None:
    """Start the servers of an earlier run again."""
    await fleet.start(cloud)


async def stop(cloud: Cloud) -> None:
    """End every server."""
    await fleet.stop(cloud)


async def _list(cloud: Cloud, request: Request) -> Response:
    endpoint = endpoints.find(cloud, request.path_params["endpoint"])
    return page(cloud, request, cloud.store.list(fleet.KIND, f"{endpoint['name'].lower()}/"))


async def _get(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(_find(cloud, request)[1])


async def _put(cloud: Cloud, request: Request) -> Response:
    given, deployment = await body(request), request.path_params["deployment"]
    endpoint = endpoints.find(cloud, request.path_params["endpoint"])
    endpoints.check_name("Deployment", deployment)
    endpoints.idle(endpoint, "a change of its deployments")
    name = f"{endpoint['name']}/{deployment}".lower()
    old = cloud.store.get(fleet.KIND, name)
    if old:
        endpoints.idle(old, "a change")
    elif len(fleet.names(cloud, endpoint["name"].lower())) >= MOST_DEPLOYMENTS:
        raise user_error(f"Endpoint {endpoint['name']} has {MOST_DEPLOYMENTS} deployments, which is the limit.")
    properties, instances = _checked(cloud, given)
    _check_quota(cloud, properties["instanceType"], instances, old)
    path = f"onlineEndpoints/{endpoint['name']}/deployments/{deployment}"
    operation = begin(cloud)
    properties["properties"] |= endpoints.operation_property(cloud, operation)
    document = resource(
        cloud,
        path,
        "onlineEndpoints/deployments",
        properties | {"provisioningState": "Updating" if old else "Creating"},
        location=LOCATION,
        tags=given.get("tags") or {},
        sku={"name": "Default", "capacity": instances},
    )
    document["kind"] = "Managed"
    if old:
        document |= {"id": old["id"], "name": old["name"]}
        document["systemData"]["createdAt"] = old["systemData"]["createdAt"]
    else:
        fleet.log_file(cloud, name).unlink(missing_ok=True)
    cloud.store.put(fleet.KIND, name, document)
    pretend.adopt(cloud, name)
    fleet.launch(cloud, name, document, operation)
    return accepted(cloud, operation, document, status=200 if old else 201)


def _checked(cloud: Cloud, given: Json) -> tuple[Json, int]:
    """The properties with the service's defaults, and the number of instances. Raises ArmError 400 or 501."""
    wanted = given.get("properties") or {}
    if wanted.get("endpointComputeType") != "Managed":
        raise user_error(f"endpointComputeType {wanted.get('endpointComputeType')!r}: only Managed is offered.")
    if wanted.get("codeConfiguration"):
        raise ArmError(
            501, "NotImplemented", "The local cloud deploys MLflow models without scoring code of their own."
        )
    size = catalog.sizes().get(str(wanted.get("instanceType", "")).lower())
    if size is None:
        raise user_error(f"Instance type {wanted.get('instanceType')!r} is not available in {LOCATION}.")
    if not wanted.get("model"):
        raise user_error("A deployment needs a model.")
    assets.model_folder(cloud, wanted["model"])
    instances = (given.get("sku") or {}).get("capacity", 1)
    if not isinstance(instances, int) or instances < 1:
        raise user_error(f"sku.capacity must be a whole number from 1, not {instances!r}.")
    properties = wanted | {"instanceType": size["name"], "properties": wanted.get("properties") or {}}
    properties |= {key: _or_default(wanted.get(key), default) for key, default in _DEFAULTS.items()}
    if fleet.seconds(properties["requestSettings"]["requestTimeout"]) > LONGEST_REQUEST.total_seconds():
        raise user_error(f"requestTimeout must be at most {LONGEST_REQUEST.total_seconds():.0f} seconds.")
    return properties, instances


def _or_default(given: Any, default: Any) -> Any:
    if isinstance(given, dict):
        return default | {name: value for name, value in given.items() if value is not None}
    return default if given is None else given


def _check_quota(cloud: Cloud, instance_type: str, instances: int, old: Json | None) -> None:
    """Azure ML wants a fifth more than is asked for, in whole instances: it needs them for upgrades."""
    size = catalog.sizes()[instance_type.lower()]
    family, used = size["family"], computes.in_use(cloud)[size["family"]]
    if old and catalog.sizes()[old["properties"]["instanceType"].lower()]["family"] == family:
        used -= catalog.sizes()[old["properties"]["instanceType"].lower()]["vCPUs"] * old["sku"]["capacity"]
    needed, limit = math.ceil(1.2 * instances) * size["vCPUs"], computes.limit(cloud, family)
    if used + needed > limit:
        raise ArmError(
            400,
            "OutOfQuota",
            f"Not enough quota for {instances} x {instance_type} ({family}): {used} of {limit} vCPUs are in use, "
            f"{needed} more are needed (a fifth is reserved for upgrades).",
        )


async def _delete(cloud: Cloud, request: Request) -> Response:
    """Delete a deployment that has no traffic. 204 when there is none."""
    endpoint = endpoints.find(cloud, request.path_params["endpoint"])
    name = f"{endpoint['name']}/{request.path_params['deployment']}".lower()
    document = cloud.store.get(fleet.KIND, name)
    if document is None:
        return Response(status_code=204)
    endpoints.idle(endpoint, "a change of its deployments")
    endpoints.idle(document, "deleting it")
    if percent := endpoint["properties"]["traffic"].get(document["name"].lower()):
        raise user_error(f"Deployment {name} has {percent} % of the traffic: set that to 0 before deleting it.")
    if percent := endpoint["properties"]["mirrorTraffic"].get(document["name"].lower()):
        raise user_error(f"Deployment {name} has {percent} % of mirrored traffic: set that to 0 before deleting it.")
    fleet.set_state(cloud, name, "Deleting")
    operation = begin(cloud)
    cloud.background(fleet.remove(cloud, name, operation), f"delete deployment {name}")
    return accepted(cloud, operation, None)


async def _logs(cloud: Cloud, request: Request) -> Response:
    """The end of the inference server's log. There is no storage initializer: nothing is downloaded."""
    name, _ = _find(cloud, request)
    wanted = await body(request)
    if wanted.get("containerType") == "StorageInitializer":
        return JSONResponse({"content": ""})
    return JSONResponse({"content": fleet.tail(fleet.log_file(cloud, name), int(wanted.get("tail") or 5000))})


def _find(cloud: Cloud, request: Request) -> tuple[str, Json]:
    endpoint = endpoints.find(cloud, request.path_params["endpoint"])
    name = f"{endpoint['name']}/{request.path_params['deployment']}".lower()
    document = cloud.store.get(fleet.KIND, name)
    if document is None:
        raise not_found("Online deployment", name)
    return name, document
