"""ARM's long-running operations: Azure-AsyncOperation after a PUT or POST, Location after a DELETE.

One document each, so that a client's poller survives a restart of the server.
"""

import uuid

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localcloud.azureml.arm import LOCATION_ID, ArmError, not_found
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.store import Json


def begin(cloud: Cloud) -> str:
    """A new operation, in progress. Returns its id."""
    operation = str(uuid.uuid4())
    cloud.store.put("operations", operation, {"status": "InProgress", "startTime": cloud.now()})
    return operation


def reopen(cloud: Cloud, operation: str) -> None:
    """The operation is in progress again: what it does goes on after a restart."""
    document = cloud.store.get("operations", operation) or {"startTime": cloud.now()}
    kept = {key: value for key, value in document.items() if key == "startTime"}
    cloud.store.put("operations", operation, kept | {"status": "InProgress"})


def finish(cloud: Cloud, operation: str, error: ArmError | None = None) -> None:
    """The operation succeeded, or failed with `error`."""
    document: Json = {"status": "Failed" if error else "Succeeded", "endTime": cloud.now()}
    if error:
        document["error"] = {"code": error.code, "message": error.message}
    cloud.store.put("operations", operation, (cloud.store.get("operations", operation) or {}) | document)


def accepted(cloud: Cloud, operation: str, document: Json | None, *, status: int = 201) -> Response:
    """The answer that starts an operation: 201 with the resource (PUT), or 202 with no body (DELETE, POST)."""
    where = f"{cloud.management_url}{LOCATION_ID}"
    headers = {"Retry-After": "1"}
    if document is not None:
        headers["Azure-AsyncOperation"] = f"{where}/mfeOperationsStatus/{operation}"
        return JSONResponse(document, status_code=status, headers=headers)
    headers["Location"] = f"{where}/mfeOperationResults/{operation}"
    return Response(status_code=202, headers=headers)


async def operation_status(cloud: Cloud, request: Request) -> Response:
    """GET Azure-AsyncOperation: 200 with the status, whatever it is."""
    name = request.path_params["operation"]
    document = cloud.store.get("operations", name)
    if document is None:
        raise not_found("Operation", name)
    headers = {"Retry-After": "1"} if document["status"] == "InProgress" else {}
    return JSONResponse({"id": request.url.path, "name": name, **document}, headers=headers)


async def operation_result(cloud: Cloud, request: Request) -> Response:
    """GET Location: 202 while in progress, then 204, or the error."""
    name = request.path_params["operation"]
    document = cloud.store.get("operations", name)
    if document is None:
        raise not_found("Operation", name)
    if document["status"] == "InProgress":
        return Response(status_code=202, headers={"Retry-After": "1", "Location": str(request.url)})
    if error := document.get("error"):
        raise ArmError(400, error["code"], error["message"])
    return Response(status_code=204)


def interrupted(cloud: Cloud) -> None:
    """At start: what was in progress when the server ended can't go on."""
    for name, document in cloud.store.items("operations"):
        if document["status"] == "InProgress":
            finish(cloud, name, ArmError(500, "OperationInterrupted", "The local cloud was stopped meanwhile."))
