"""Compute clusters, the sizes that machines have, and quota.

A cluster here is a document: it has a size, a number of nodes and a state, and costs nothing. What is real is the rule
that it must exist, fit its family's quota and be of a known size. deployments.py asks in_use() and limit() before it
starts a deployment; `POST /_local/quota {"standardNCADSA100v4Family": 24}` changes limits, `GET /_local/nodes` tells
which steps of jobs were given nodes.
"""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import catalog
from localcloud.azureml.arm import (
    LOCATION,
    LOCATION_ID,
    WORKSPACE_ID,
    ArmError,
    body,
    not_found,
    page,
    resource,
    user_error,
)
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.operations import accepted, begin, finish
from localcloud.azureml.store import Json

KIND = "computes"
SERVERLESS = "serverless"
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,22}[A-Za-z0-9])")
HOLDING = ("Preparing", "Running", "NotResponding", "Finalizing", "CancelRequested")
"""Statuses of a job that has nodes."""


def routes(cloud: Cloud) -> list[Route]:
    """Computes, sizes, usages, and the control routes for quota and for what was started."""
    one = f"{WORKSPACE_ID}/computes/{{name}}"
    location = LOCATION_ID.replace(f"/{LOCATION}", "/{location}")
    return [
        route(cloud, "GET", f"{WORKSPACE_ID}/computes", _list),
        route(cloud, "GET", one, _get),
        route(cloud, "PUT", one, _put),
        route(cloud, "DELETE", one, _delete),
        route(cloud, "GET", f"{location}/vmSizes", _sizes),
        route(cloud, "GET", f"{location}/usages", _usages),
        route(cloud, "POST", "/_local/quota", _quota),
        route(cloud, "GET", "/_local/nodes", _started),
    ]


def size_of(cloud: Cloud, compute: str) -> Json | None:
    """The machine size of a cluster by its name (any case), None when there is no such cluster."""
    document = cloud.store.get(KIND, compute.lower())
    return catalog.sizes()[document["properties"]["properties"]["vmSize"].lower()] if document else None


def limit(cloud: Cloud, family: str) -> int:
    """vCPUs that the subscription may use of a family."""
    changed = cloud.store.get("quota", family)
    return int(changed["limit"] if changed else catalog.families()[family]["limit"])


def in_use(cloud: Cloud) -> dict[str, int]:
    """vCPUs in use by family: nodes of clusters that run a job, and instances of deployments."""
    used = dict.fromkeys(catalog.families(), 0)
    for job in cloud.store.list("jobs", where=lambda job: job["nodes"] > 0 and job["status"] in HOLDING):
        if size := size_of(cloud, job["compute"]):
            used[size["family"]] += size["vCPUs"] * job["nodes"]
    for deployment in cloud.store.list("deployments"):
        size = catalog.sizes().get(deployment["properties"].get("instanceType", "").lower())
        if size:
            used[size["family"]] += size["vCPUs"] * int(deployment.get("sku", {}).get("capacity") or 1)
    return used


def started(cloud: Cloud, compute: str, nodes: int, *, job: str, step: str) -> None:
    """Remember that a job's step got nodes of a cluster: from here on they would be paid for."""
    if cloud.store.get("nodes", f"{job}/{step}") is None:  # a job that pretends may go on after a restart
        document = {"compute": compute, "nodes": nodes, "job": job, "step": step, "at": cloud.now()}
        cloud.store.put("nodes", f"{job}/{step}", document)


async def _started(cloud: Cloud, _request: Request) -> Response:
    """Every start of nodes, in order."""
    return JSONResponse(cloud.store.list("nodes"))


async def _get(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(_stored(cloud, request.path_params["name"]))


async def _list(cloud: Cloud, request: Request) -> Response:
    return page(cloud, request, cloud.store.list(KIND))


async def _put(cloud: Cloud, request: Request) -> Response:
    """Create or change a cluster. Without the quota for its largest number of nodes it ends as Failed, as on Azure."""
    name, document = request.path_params["name"], await body(request)
    if not _NAME.fullmatch(name):
        raise user_error(f"Compute name {name!r}: 2 to 24 letters, digits and dashes, a letter first, no dash last.")
    given = document.get("properties", {})
    if given.get("computeType") != "AmlCompute":
        raise user_error(f"The local cloud makes AmlCompute clusters only, not {given.get('computeType')}.")
    settings = given.get("properties") or {}
    size = catalog.sizes().get(str(settings.get("vmSize", "")).lower())
    if size is None:
        raise user_error(f"VM size {settings.get('vmSize')!r} is not available in {LOCATION}.")
    nodes = int((settings.get("scaleSettings") or {}).get("maxNodeCount") or 1)
    over = size["vCPUs"] * nodes > limit(cloud, size["family"])
    message = f"{nodes} x {size['name']} needs {size['vCPUs'] * nodes} vCPUs of {size['family']}; " + (
        f"the limit is {limit(cloud, size['family'])}."
    )
    error = ArmError(400, "ClusterCoreQuotaReached", message) if over else None
    settings |= {"vmSize": size["name"].upper(), "allocationState": "Steady", "currentNodeCount": 0}
    properties = given | {
        "properties": settings,
        "computeLocation": LOCATION,
        "createdOn": cloud.now(),
        "provisioningState": "Failed" if error else "Succeeded",
        "provisioningErrors": [{"error": {"code": error.code, "message": message}}] if error else None,
        "isAttachedCompute": False,
    }
    more = {key: document[key] for key in ("identity", "tags") if document.get(key)}
    stored = resource(cloud, f"computes/{name}", "computes", properties, location=LOCATION, **more)
    cloud.store.put(KIND, name.lower(), stored)
    operation = begin(cloud)
    finish(cloud, operation, error)
    return accepted(cloud, operation, stored)


async def _delete(cloud: Cloud, request: Request) -> Response:
    name = request.path_params["name"]
    _stored(cloud, name)
    cloud.store.delete(KIND, name.lower())
    operation = begin(cloud)
    finish(cloud, operation)
    return accepted(cloud, operation, None)


async def _sizes(_cloud: Cloud, _request: Request) -> Response:
    common = {
        "lowPriorityCapable": True,
        "premiumIO": True,
        "osVhdSizeMB": 1_047_552,
        "maxResourceVolumeMB": 65_536,
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
    }
    return JSONResponse({"value": [size | common for size in catalog.sizes().values()]})


async def _usages(cloud: Cloud, request: Request) -> Response:
    used = in_use(cloud)
    usages = [
        {
            "id": f"{LOCATION_ID}/usages/{family}",
            "amlWorkspaceLocation": LOCATION,
            "type": "Microsoft.MachineLearningServices/usages",
            "unit": "Count",
            "currentValue": used[family],
            "limit": limit(cloud, family),
            "name": {"value": family, "localizedValue": f"{entry['label']} Cluster Dedicated vCPUs"},
        }
        for family, entry in catalog.families().items()
    ]
    return page(cloud, request, usages, size=100)


async def _quota(cloud: Cloud, request: Request) -> Response:
    for family, vcpus in (await body(request)).items():
        if family not in catalog.families():
            raise ArmError(400, "UnknownFamily", f"{family}: one of {', '.join(catalog.families())}.")
        cloud.store.put("quota", family, {"limit": int(vcpus)})
    return JSONResponse({family: limit(cloud, family) for family in catalog.families()})


def _stored(cloud: Cloud, name: str) -> Json:
    document = cloud.store.get(KIND, name.lower())
    if document is None:
        raise not_found("Compute", name)
    return document
