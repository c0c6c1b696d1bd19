"""The front of every endpoint: `POST /inference/ENDPOINT/score`, with a key or token, as its auth mode wants.

It checks that, picks a deployment (the header `azureml-model-deployment`, else the traffic rules), counts the
request for Azure Monitor (monitor.py) and passes it on (inference.py). The status codes are those that Azure ML
documents for online endpoints: 401 key or token, 404 no deployment with traffic, 408 too slow, 424 the model's own
failure, 429 too many at once.
"""

import hmac
import itertools
import uuid
from collections import defaultdict
from collections.abc import Iterator

import httpx
import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import endpoints, fleet, monitor
from localcloud.azureml.arm import WORKSPACE_ID
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.inference import Overloaded, Unreachable
from localcloud.azureml.store import Json

DEPLOYMENT_HEADER = "azureml-model-deployment"
_STEP = 37
"""Without a common factor with 100: a hundred requests in a row meet each percent once, well mixed."""

AUDIENCE = "https://ml.azure.com"
"""Whom a token of Microsoft Entra has to be for."""
_WANTED = {
    "Key": "a key of the endpoint",
    "AMLToken": "a token of the endpoint, which is not over",
    "AADToken": f"a token of Microsoft Entra for {AUDIENCE}, of somebody who may score",
}

_requests: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)


def routes(cloud: Cloud) -> list[Route]:
    """The scoring route."""
    return [route(cloud, "POST", "/inference/{endpoint}/score", _score)]


async def _score(cloud: Cloud, request: Request) -> Response:
    name = request.path_params["endpoint"].lower()
    endpoint = cloud.store.get(endpoints.KIND, name)
    if endpoint is None:
        return _refuse(404, f"There is no endpoint {name}.")
    mode = endpoint["properties"]["authMode"]
    if not _authorized(cloud, name, mode, request.headers.get("Authorization", "")):
        return _refuse(401, f"The Authorization header must be 'Bearer' and {_WANTED[mode]}.")
    deployment = request.headers.get(DEPLOYMENT_HEADER, "").lower() or pick(name, endpoint["properties"]["traffic"])
    if deployment is None or cloud.store.get(fleet.KIND, f"{name}/{deployment}") is None:
        missing = f"deployment {deployment}" if deployment else "deployment with traffic"
        return _refuse(404, f"Endpoint {name} has no {missing}.")
    monitor.count_request(cloud, f"{WORKSPACE_ID}/onlineEndpoints/{name}")
    response = await _forward(cloud, request, name, deployment)
    response.headers[DEPLOYMENT_HEADER] = deployment
    response.headers["x-request-id"] = str(uuid.uuid4())
    return response


def pick(endpoint: str, traffic: Json) -> str | None:
    """The deployment whose turn it is by the traffic rules; None when none has traffic."""
    share = next(_requests[endpoint]) * _STEP % 100
    for deployment, percent in sorted(traffic.items()):
        if share < percent:
            return deployment
        share -= percent
    return None


def _authorized(cloud: Cloud, name: str, mode: str, header: str) -> bool:
    kind, _, given = header.partition(" ")
    if kind.lower() != "bearer":
        return False
    given = given.strip()
    match mode:
        case "AADToken":
            return _audience(given).rstrip("/") == AUDIENCE
        case "AMLToken":
            tokens = cloud.store.get(endpoints.TOKENS, name) or {}
            known = [token for token, until in tokens.items() if until > cloud.clock.now().timestamp()]
        case _:
            known = list((cloud.store.get(endpoints.KEYS, name) or {}).values())
    matches = [hmac.compare_digest(given.encode(), each.encode()) for each in known]
    return any(matches)


def _audience(token: str) -> str:
    """Whom a token is for; "" for what is none. Nobody here forges one: its signature is not looked at."""
    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("aud", ""))
    except jwt.InvalidTokenError:
        return ""


async def _forward(cloud: Cloud, request: Request, name: str, deployment: str) -> Response:
    server = fleet.server(cloud, name, deployment)
    if server is None:
        return _model_error(503, f"Deployment {deployment} of endpoint {name} does not serve.")
    try:
        answer = await server.score(await request.body(), request.headers.get("Content-Type", "application/json"))
    except TimeoutError:
        return _refuse(408, f"Deployment {deployment} took longer than its request timeout of {_limit(server)} s.")
    except Overloaded:
        return _refuse(429, f"Deployment {deployment} has {server.launch.capacity} requests already, its limit.")
    except Unreachable as error:
        return _model_error(502, f"Deployment {deployment}: {error}.")
    kind = answer.headers.get("Content-Type", "application/json")
    if answer.status_code == httpx.codes.OK:
        return Response(answer.content, media_type=kind)
    return Response(answer.content, 424, _error_headers(answer.status_code, answer.reason_phrase), kind)


def _limit(server: fleet.Server) -> str:
    return f"{server.launch.request_timeout:g}"


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"error": {"code": httpx.codes.get_reason_phrase(status), "message": message}}, status)


def _model_error(status: int, message: str) -> Response:
    body = {"error": {"code": "ModelError", "message": message}}
    return JSONResponse(body, 424, _error_headers(status, httpx.codes.get_reason_phrase(status)))


def _error_headers(status: int, reason: str) -> dict[str, str]:
    return {"ms-azureml-model-error-statuscode": str(status), "ms-azureml-model-error-reason": reason}
