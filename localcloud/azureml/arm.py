"""What every part of the local Azure ML service stands on.

The documents on disk, ARM's error bodies, its long-running operations and its paging, and `Cloud`: the one object that
a route is given. localcloud/server.py builds the Cloud; the other modules of this package turn it into routes.
Shapes follow what azure-ai-ml 1.35.2 reads (its generated clients under `azure/ai/ml/_restclient`).
"""

import json
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localcloud.azureml.cloud import Cloud
from localcloud.azureml.store import Json

log = logging.getLogger(__name__)
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP = "local"
WORKSPACE = "local"
LOCATION = "westeurope"
PROVIDER = "Microsoft.MachineLearningServices"
SUBSCRIPTION_ID = f"/subscriptions/{SUBSCRIPTION}"
WORKSPACE_ID = f"{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}/providers/{PROVIDER}/workspaces/{WORKSPACE}"
LOCATION_ID = f"{SUBSCRIPTION_ID}/providers/{PROVIDER}/locations/{LOCATION}"


class ArmError(Exception):
    """An answer other than success, in ARM's error body. The middleware turns it into the response."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def response(self) -> Response:
        """The error as ARM writes it."""
        body = {"error": {"code": self.code, "message": self.message, "details": [], "additionalInfo": []}}
        return JSONResponse(body, status_code=self.status, headers=self.headers)


def user_error(message: str, *, status: int = 400) -> ArmError:
    """What Azure ML's own frontend answers when the request is at fault."""
    return ArmError(status, "UserError", message)


def not_found(kind: str, name: str) -> ArmError:
    """The answer for a resource that isn't there."""
    return ArmError(404, "ResourceNotFound", f"{kind} {name} was not found in workspace {WORKSPACE}.")


def resource(cloud: Cloud, path: str, kind: str, properties: Json, **more: Any) -> Json:
    """An ARM resource. `path` is its place below the workspace (`computes/cpu`), `kind` the type below the provider."""
    now = cloud.now()
    system = {"createdAt": now, "createdBy": "droptune", "createdByType": "User", "lastModifiedAt": now}
    return {
        "id": f"{WORKSPACE_ID}/{path}",
        "name": path.rsplit("/", 1)[-1],
        "type": f"{PROVIDER}/workspaces/{kind}",
        "properties": properties,
        "systemData": system,
        **more,
    }


async def body(request: Request) -> Json:
    """The request's JSON object. Raises ArmError 400 for anything else."""
    try:
        document = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ArmError(400, "InvalidRequestContent", f"The request body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArmError(400, "InvalidRequestContent", "The request body must be a JSON object.")
    return document


def page(cloud: Cloud, request: Request, items: Sequence[Json], *, size: int = 10) -> Response:
    """One page of a list, with ARM's `nextLink` when there is more. Honours `$top` as the page's size and `$skip`."""
    query = dict(request.query_params)
    try:
        skip, top = int(query.get("$skip", "0")), int(query.get("$top", str(size)))
    except ValueError as error:
        raise user_error("$skip and $top must be whole numbers.") from error
    answer: Json = {"value": list(items[skip : skip + top])}
    if len(items) > skip + top:
        query["$skip"] = str(skip + top)
        answer["nextLink"] = f"{cloud.management_url}{request.url.path}?{urlencode(query)}"
    return JSONResponse(answer)


# Long-running operations: Azure-AsyncOperation after a PUT or POST, Location after a DELETE. One document each, so that
# a client's poller survives a restart of the server.


async def unsupported(request: Request) -> Response:
    """The last route: what is not implemented says so by name instead of looking like a missing resource."""
    message = f"The local cloud does not implement {request.method} {request.url.path}."
    return ArmError(501, "NotImplemented", message).response()
