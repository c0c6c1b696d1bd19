"""Managed online endpoints: the stable address, its keys or tokens, and its traffic rules.

An endpoint costs nothing and runs nothing; fleet.py has the processes behind it and scoring.py its front. The
rules are those of Azure ML: an operation at a time, traffic that totals 0 or 100 and never at creation, names.
"""

import asyncio
import re
import secrets
import uuid
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import fleet
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

KIND = "onlineEndpoints"
KEYS = "endpointKeys"
TOKENS = "endpointTokens"
"""The tokens that an endpoint has given out, each good for `TOKEN_LIVES`: `/token` makes one, scoring.py takes it."""
TOKEN_LIVES = timedelta(hours=8)
AUTH_MODES = {"key": "Key", "amltoken": "AMLToken", "aadtoken": "AADToken"}
STATES = ("Failed", "Succeeded")
MOST_MIRRORED = 50
"""Percent of the traffic that may be mirrored, to one deployment that has none itself."""
ENDPOINT_PATH = f"{WORKSPACE_ID}/onlineEndpoints/{{endpoint}}"
BUSY = ("Creating", "Updating", "Deleting")
TAKES = 0.3
"""Seconds of real time that a change takes, so that clients meet the states in between."""
_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{1,30}[a-zA-Z0-9]")


def routes(cloud: Cloud) -> list[Route]:
    """Endpoints, their keys and tokens; `/_local/endpoints/NAME {"state": "Failed"}` fails one that goes on serving."""
    return [
        route(cloud, "GET", f"{WORKSPACE_ID}/onlineEndpoints", _list),
        route(cloud, "GET", ENDPOINT_PATH, _get),
        route(cloud, "PUT", ENDPOINT_PATH, _put),
        route(cloud, "DELETE", ENDPOINT_PATH, _delete),
        route(cloud, "POST", f"{ENDPOINT_PATH}/listKeys", _list_keys),
        route(cloud, "POST", f"{ENDPOINT_PATH}/regenerateKeys", _regenerate_keys),
        route(cloud, "POST", f"{ENDPOINT_PATH}/token", _token),
        route(cloud, "POST", "/_local/endpoints/{endpoint}", _turn),
    ]


async def start(cloud: Cloud) -> None:
    """Finish what the last stop interrupted."""
    for name, document in cloud.store.items(KIND):
        match document["properties"]["provisioningState"]:
            case "Deleting":
                cloud.background(_remove(cloud, name, begin(cloud)), f"delete endpoint {name}")
            case "Creating" | "Updating":
                _set_state(cloud, name, "Succeeded")


def find(cloud: Cloud, name: str) -> Json:
    """The endpoint of that name (any case). Raises ArmError 404."""
    document = cloud.store.get(KIND, name.lower())
    if document is None:
        raise not_found("Online endpoint", name)
    return document


def idle(document: Json, action: str) -> None:
    """Raise ArmError 409 while an earlier operation on the resource goes on."""
    state = document["properties"]["provisioningState"]
    if state in BUSY:
        raise ArmError(409, "Conflict", f"{document['name']} is {state}: {action} is possible when that has ended.")


def operation_property(cloud: Cloud, operation: str) -> dict[str, str]:
    """What the service adds to a resource's own properties: where the operation is that made or last changed it."""
    return {"AzureAsyncOperationUri": f"{cloud.management_url}{LOCATION_ID}/mfeOperationsStatus/{operation}"}


def check_name(what: str, name: str) -> None:
    """Raise ArmError 400 for a name that Azure ML does not take."""
    if not _NAME.fullmatch(name):
        rule = "3 to 32 letters, digits and dashes, a letter first, a letter or digit last"
        raise user_error(f"{what} name {name!r} is not valid: {rule}.")


async def _list(cloud: Cloud, request: Request) -> Response:
    return page(cloud, request, cloud.store.list(KIND))


async def _get(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(find(cloud, request.path_params["endpoint"]))


async def _put(cloud: Cloud, request: Request) -> Response:
    name, given = request.path_params["endpoint"], await body(request)
    check_name("Endpoint", name)
    key = name.lower()
    old = cloud.store.get(KIND, key)
    if old:
        idle(old, "a change")
    wanted = given.get("properties") or {}
    mode = AUTH_MODES.get(str(wanted.get("authMode", "")).lower())
    if mode is None:
        raise user_error(f"authMode {wanted.get('authMode')!r} is none of {', '.join(AUTH_MODES.values())}.")
    traffic = _traffic(cloud, key, wanted.get("traffic") or {}, old)
    mirrored = _mirrored(cloud, key, wanted.get("mirrorTraffic") or {}, traffic)
    operation = begin(cloud)
    properties = {
        "authMode": mode,
        "description": wanted.get("description"),
        "properties": (wanted.get("properties") or {}) | operation_property(cloud, operation),
        "publicNetworkAccess": wanted.get("publicNetworkAccess") or "Enabled",
        "traffic": traffic,
        "mirrorTraffic": mirrored,
        "scoringUri": f"{cloud.management_url}/inference/{key}/score",
        "swaggerUri": f"{cloud.management_url}/inference/{key}/swagger.json",
        "provisioningState": "Updating" if old else "Creating",
    }
    identity = {"type": "SystemAssigned"} | (given.get("identity") or {})
    if "systemassigned" in identity["type"].lower():
        known = (old or {}).get("identity", {})
        identity["principalId"] = known.get("principalId") or str(uuid.uuid4())
    more = {"location": LOCATION, "tags": given.get("tags") or {}, "identity": identity}
    document = resource(cloud, f"onlineEndpoints/{name}", "onlineEndpoints", properties, **more)
    document["kind"] = "Managed"
    if old:
        document |= {"id": old["id"], "name": old["name"]}
        document["systemData"]["createdAt"] = old["systemData"]["createdAt"]
    else:
        cloud.store.put(KEYS, key, {"primaryKey": _new_key(), "secondaryKey": _new_key()})
    cloud.store.put(KIND, key, document)
    cloud.background(_settle(cloud, key, operation), f"endpoint {key}")
    return accepted(cloud, operation, document, status=200 if old else 201)


def _traffic(cloud: Cloud, key: str, wanted: Json, old: Json | None) -> dict[str, int]:
    """The traffic rules, checked. A deployment can only gain traffic once it has succeeded."""
    try:
        traffic = {name.lower(): int(percent) for name, percent in wanted.items()}
    except (ValueError, TypeError) as error:
        raise user_error(f"traffic must be whole percentages by deployment: {wanted}") from error
    if any(not 0 <= percent <= 100 for percent in traffic.values()) or sum(traffic.values()) not in (0, 100):
        raise user_error(f"traffic must total 0 or 100 percent, each from 0 to 100: {wanted}")
    before = old["properties"]["traffic"] if old else {}
    for name, percent in traffic.items():
        deployment = cloud.store.get(fleet.KIND, f"{key}/{name}")
        if deployment is None:
            raise user_error(f"traffic names deployment {name}, which endpoint {key} does not have.")
        state = deployment["properties"]["provisioningState"]
        if percent > before.get(name, 0) and state not in ("Succeeded", "Updating"):
            raise user_error(f"Deployment {name} of endpoint {key} is {state}: it can't be given traffic.")
    return traffic


def _mirrored(cloud: Cloud, key: str, wanted: Json, traffic: dict[str, int]) -> dict[str, int]:
    """The rule for mirrored traffic, checked. It is kept and shown; no request is copied."""
    try:
        mirrored = {name.lower(): int(percent) for name, percent in wanted.items() if int(percent)}
    except (ValueError, TypeError) as error:
        raise user_error(f"mirror traffic must be whole percentages by deployment: {wanted}") from error
    if len(mirrored) > 1 or any(not 0 < percent <= MOST_MIRRORED for percent in mirrored.values()):
        raise user_error(f"mirror traffic goes to one deployment, {MOST_MIRRORED} percent of it at most: {wanted}")
    for name in mirrored:
        if cloud.store.get(fleet.KIND, f"{key}/{name}") is None:
            raise user_error(f"mirror traffic names deployment {name}, which endpoint {key} does not have.")
        if traffic.get(name):
            raise user_error(f"Deployment {name} has live traffic: it can't have mirrored traffic, too.")
    return mirrored


async def _settle(cloud: Cloud, key: str, operation: str) -> None:
    await asyncio.sleep(TAKES)
    _set_state(cloud, key, "Succeeded")
    finish(cloud, operation)


def _set_state(cloud: Cloud, key: str, state: str) -> None:
    document = find(cloud, key)
    document["properties"]["provisioningState"] = state
    cloud.store.put(KIND, key, document)


async def _delete(cloud: Cloud, request: Request) -> Response:
    """Delete the endpoint with its deployments. 204 when there is none."""
    key = request.path_params["endpoint"].lower()
    document = cloud.store.get(KIND, key)
    if document is None:
        return Response(status_code=204)
    idle(document, "deleting it")
    _set_state(cloud, key, "Deleting")
    operation = begin(cloud)
    cloud.background(_remove(cloud, key, operation), f"delete endpoint {key}")
    return accepted(cloud, operation, None)


async def _remove(cloud: Cloud, key: str, operation: str) -> None:
    await asyncio.gather(*(fleet.remove(cloud, name) for name in fleet.names(cloud, key)))
    cloud.store.delete(KEYS, key)
    cloud.store.delete(TOKENS, key)
    cloud.store.delete(KIND, key)
    finish(cloud, operation)


async def _list_keys(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(cloud.store.get(KEYS, _of_mode(cloud, request, "Key")))


async def _token(cloud: Cloud, request: Request) -> Response:
    """A token of the endpoint's own, as one in mode AMLToken gives it out."""
    key = _of_mode(cloud, request, "AMLToken")
    now = cloud.clock.now()
    token, expires = secrets.token_urlsafe(32), (now + TOKEN_LIVES).timestamp()
    known = cloud.store.get(TOKENS, key) or {}
    good = {old: until for old, until in known.items() if until > now.timestamp()}
    cloud.store.put(TOKENS, key, good | {token: expires})
    refresh = (now + TOKEN_LIVES / 2).timestamp()
    return JSONResponse(
        {
            "accessToken": token,
            "tokenType": "Bearer",
            "expiryTimeUtc": int(expires),
            "refreshAfterTimeUtc": int(refresh),
        }
    )


def _of_mode(cloud: Cloud, request: Request, mode: str) -> str:
    """The endpoint's name in the store. Raises ArmError 400 where it lets in by something else."""
    document = find(cloud, request.path_params["endpoint"])
    if document["properties"]["authMode"] != mode:
        raise user_error(f"Endpoint {document['name']} is in mode {document['properties']['authMode']}, not {mode}.")
    return str(document["name"].lower())


async def _turn(cloud: Cloud, request: Request) -> Response:
    """The endpoint's provisioning state as it is told: as after an update that went wrong, what serves goes on."""
    name, state = find(cloud, request.path_params["endpoint"])["name"].lower(), (await body(request)).get("state")
    if state not in STATES:
        raise user_error(f"state must be one of {', '.join(STATES)}, not {state!r}.")
    _set_state(cloud, name, state)
    return JSONResponse(find(cloud, name))


async def _regenerate_keys(cloud: Cloud, request: Request) -> Response:
    """A new key, or the given value. azure-ai-ml sends today's value along, and means a new one."""
    name, wanted = find(cloud, request.path_params["endpoint"])["name"], await body(request)
    field = {"primary": "primaryKey", "secondary": "secondaryKey"}.get(str(wanted.get("keyType", "")).lower())
    if field is None:
        raise user_error(f"keyType must be Primary or Secondary, not {wanted.get('keyType')!r}.")
    keys = cloud.store.get(KEYS, name.lower()) or {}
    given = wanted.get("keyValue")
    keys[field] = given if given and given != keys.get(field) else _new_key()
    cloud.store.put(KEYS, name.lower(), keys)
    operation = begin(cloud)
    finish(cloud, operation)
    return accepted(cloud, operation, None)


def _new_key() -> str:
    return secrets.token_urlsafe(32)
