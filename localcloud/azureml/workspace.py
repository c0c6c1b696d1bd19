"""The workspace itself and the way to it: cloud metadata, the workspace resource, service discovery, datastores.

Every MLClient starts here. The metadata route is asked several times by each client and once by each job operation, so
its answer is made once. Called through localcloud/azureml/__init__.py.
"""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml.arm import (
    LOCATION,
    PROVIDER,
    RESOURCE_GROUP,
    SUBSCRIPTION,
    SUBSCRIPTION_ID,
    WORKSPACE,
    WORKSPACE_ID,
    not_found,
    page,
    resource,
)
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

CLOUD_NAME = "DroptuneLocal"
"""What AZUREML_CURRENT_CLOUD must say. No built-in cloud's name, so that a wrong address never falls back to Azure."""
PORTAL = "https://portal.azure.local"
"""The SDK makes the Azure ML audience of it: `https://ml.azure.local`. Nothing is ever fetched from it."""
AUDIENCE = "https://ml.azure.local"
DATASTORES = {"workspaceblobstore": "azureml-blobstore", "datasets": "datasets", "prepared": "prepared"}
"""Datastore -> container of the storage account."""
_GROUP_ID = f"{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}/providers"


def routes(cloud: Cloud) -> list[Route]:
    """Metadata, workspace, discovery, datastores."""
    metadata = json.dumps([_metadata(cloud)]).encode()

    async def clouds(_request: Request) -> Response:
        return Response(metadata, media_type="application/json")

    return [
        Route("/metadata/endpoints", clouds),
        route(cloud, "GET", "/discovery", _discovery),
        route(cloud, "GET", WORKSPACE_ID, _workspace),
        route(cloud, "GET", f"{WORKSPACE_ID}/datastores", _datastores),
        route(cloud, "GET", f"{WORKSPACE_ID}/datastores/{{name}}", _datastore),
        route(cloud, "POST", f"{WORKSPACE_ID}/datastores/{{name}}/listSecrets", _secrets),
    ]


def _metadata(cloud: Cloud) -> Json:
    return {
        "name": CLOUD_NAME,
        "portal": PORTAL,
        "resourceManager": cloud.management_url,
        "authentication": {
            "loginEndpoint": cloud.management_url,
            "audiences": [cloud.management_url],
            "tenant": "common",
        },
        "suffixes": {"storage": "blob.local"},
    }


async def _discovery(cloud: Cloud, _request: Request) -> Response:
    """The regional services by name; the SDK reads `api` (run history) only."""
    return JSONResponse({"api": cloud.management_url, "history": cloud.management_url})


async def _workspace(cloud: Cloud, _request: Request) -> Response:
    host = cloud.management_url.removeprefix("https://")
    properties: Json = {
        "workspaceId": SUBSCRIPTION,
        "description": "The local Azure ML workspace",
        "friendlyName": "local",
        "discoveryUrl": f"{cloud.management_url}/discovery",
        "mlFlowTrackingUri": f"azureml://{host}/mlflow/v2.0{WORKSPACE_ID}",
        "storageAccount": f"{_GROUP_ID}/Microsoft.Storage/storageAccounts/{cloud.storage.account}",
        "keyVault": f"{_GROUP_ID}/Microsoft.KeyVault/vaults/local",
        "applicationInsights": f"{_GROUP_ID}/Microsoft.Insights/components/local",
        "provisioningState": "Succeeded",
        "publicNetworkAccess": "Enabled",
    }
    document = resource(cloud, "", "", properties, location=LOCATION, tags={}) | {
        "id": WORKSPACE_ID,
        "name": WORKSPACE,
        "type": f"{PROVIDER}/workspaces",
        "kind": "Default",
        "identity": {"type": "SystemAssigned", "principalId": SUBSCRIPTION, "tenantId": SUBSCRIPTION},
    }
    return JSONResponse(document)


def _document(cloud: Cloud, name: str) -> Json:
    if name not in DATASTORES:
        raise not_found("Datastore", name)
    properties = {
        "datastoreType": "AzureBlob",
        "accountName": cloud.storage.account,
        "containerName": DATASTORES[name],
        "endpoint": cloud.storage.blob_url.removeprefix("https://").rsplit("/", 1)[0],
        "protocol": "https",
        "credentials": {"credentialsType": "AccountKey"},
        "isDefault": name == "workspaceblobstore",
        "serviceDataAccessAuthIdentity": "None",
        "properties": {},
        "tags": {},
    }
    return resource(cloud, f"datastores/{name}", "datastores", properties)


async def _datastore(cloud: Cloud, request: Request) -> Response:
    return JSONResponse(_document(cloud, request.path_params["name"]))


async def _datastores(cloud: Cloud, request: Request) -> Response:
    documents = [_document(cloud, name) for name in DATASTORES]
    if request.query_params.get("isDefault", "").lower() == "true":
        documents = [document for document in documents if document["properties"]["isDefault"]]
    return page(cloud, request, documents)


async def _secrets(cloud: Cloud, request: Request) -> Response:
    _document(cloud, request.path_params["name"])
    return JSONResponse({"secretsType": "AccountKey", "key": cloud.storage.key})
