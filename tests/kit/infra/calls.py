"""Which of Azure's actions a call needs: the table between what the local cloud records and what roles grant.

It follows Microsoft's lists of operations for Resource Manager, and the storage services' pages on authorisation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from tests.kit.infra.access import ROLES, Need

_ML = "Microsoft.MachineLearningServices"
_WORKSPACE = rf"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{_ML}/workspaces/[^/]+"
_LOCATION = rf"/subscriptions/[^/]+/providers/{_ML}/locations/[^/]+"
_REGISTRY = rf"/mferp/managementfrontend/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{_ML}/registries/[^/]+"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers"
_QUEUES = "Microsoft.Storage/storageAccounts/queueServices/queues"


class UnknownCall(Exception):
    """A call that the table does not know: find out which action it needs, and which role grants that."""


def _in_workspace(*actions: str) -> tuple[Need, ...]:
    return tuple(Need(actions=(f"{_ML}/workspaces/{each}",), scope="workspace") for each in actions)


def _in_subscription(action: str) -> tuple[Need, ...]:
    return (Need(actions=(action,), scope="subscription"),)


_RUNS = _in_workspace("experiments/runs/read", "jobs/read")
_ASSIGN = Need(actions=("Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",), scope="idTrain")
_SEND = Need(actions=("Microsoft.EventGrid/events/send/action",), scope="lifecycle", data=True)
_NOTHING: tuple[Need, ...] = ()
_DEPLOYMENT = r"/onlineEndpoints/[^/]+/deployments/[^/]+"

_MANAGEMENT: tuple[tuple[str, str, tuple[Need, ...]], ...] = (
    ("GET", _WORKSPACE, _in_workspace("read")),
    ("GET", _WORKSPACE + r"/computes(/[^/]+)?", _in_workspace("computes/read")),
    ("PUT", _WORKSPACE + r"/computes/[^/]+", (*_in_workspace("computes/write"), _ASSIGN)),
    ("DELETE", _WORKSPACE + r"/computes/[^/]+", _in_workspace("computes/delete")),
    ("GET", _WORKSPACE + r"/datastores(/[^/]+)?", _in_workspace("datastores/read")),
    ("POST", _WORKSPACE + r"/datastores/[^/]+/listSecrets", _in_workspace("datastores/listSecrets/action")),
    ("GET", _WORKSPACE + r"/jobs(/[^/]+)?", _in_workspace("jobs/read")),
    (
        "PUT",
        _WORKSPACE + r"/jobs/[^/]+",
        _in_workspace(
            *("jobs/write", "environments/build/action", "environments/readSecrets/action", "metadata/artifacts/write")
        ),
    ),
    ("POST", _WORKSPACE + r"/jobs/[^/]+/cancel", _in_workspace("jobs/cancel/action")),
    *(
        (method, _WORKSPACE + rf"/{kind}/[^/]+/versions" + tail, _in_workspace(f"{kind}/versions/{action}"))
        for kind in ("models", "components", "environments", "data")
        for method, tail, action in (
            ("GET", r"(/[^/]+)?", "read"),
            ("PUT", r"/[^/]+", "write"),
            ("DELETE", r"/[^/]+", "delete"),
        )
    ),
    *(("GET", _WORKSPACE + rf"/{kind}(/[^/]+)?", _in_workspace(f"{kind}/read")) for kind in ("models", "data")),
    ("GET", _WORKSPACE + r"/onlineEndpoints(/[^/]+)?", _in_workspace("onlineEndpoints/read")),
    ("PUT", _WORKSPACE + r"/onlineEndpoints/[^/]+", _in_workspace("onlineEndpoints/write")),
    ("DELETE", _WORKSPACE + r"/onlineEndpoints/[^/]+", _in_workspace("onlineEndpoints/delete")),
    ("POST", _WORKSPACE + r"/onlineEndpoints/[^/]+/listKeys", _in_workspace("onlineEndpoints/listKeys/action")),
    ("POST", _WORKSPACE + r"/onlineEndpoints/[^/]+/token", _in_workspace("onlineEndpoints/token/action")),
    (
        "POST",
        _WORKSPACE + r"/onlineEndpoints/[^/]+/regenerateKeys",
        _in_workspace("onlineEndpoints/regenerateKeys/action"),
    ),
    (
        "GET",
        _WORKSPACE + r"/onlineEndpoints/[^/]+(/deployments/[^/]+)?/providers/Microsoft\.Authorization/locks",
        (Need(actions=("Microsoft.Authorization/locks/read",), scope="workspace"),),
    ),
    ("GET", _WORKSPACE + r"/onlineEndpoints/[^/]+/deployments", _in_workspace("onlineEndpoints/deployments/read")),
    ("GET", _WORKSPACE + _DEPLOYMENT, _in_workspace("onlineEndpoints/deployments/read")),
    ("PUT", _WORKSPACE + _DEPLOYMENT, _in_workspace("onlineEndpoints/deployments/write")),
    ("DELETE", _WORKSPACE + _DEPLOYMENT, _in_workspace("onlineEndpoints/deployments/delete")),
    ("POST", _WORKSPACE + _DEPLOYMENT + "/getLogs", _in_workspace("onlineEndpoints/deployments/getLogs/action")),
    ("GET", r"/history/v1\.0" + _WORKSPACE + r"/runs/[^/]+(/children|/details)?", _RUNS),
    (
        "PATCH",
        r"/history/v1\.0" + _WORKSPACE + r"/experiments/[^/]+/runs/[^/]+",
        _in_workspace("experiments/runs/write"),
    ),
    ("GET", r"/mlflow/[^/]+" + _WORKSPACE + r"/api/2\.0/mlflow/(runs/get|metrics/get-history)", _RUNS),
    (
        "GET",
        r"/mlflow/[^/]+" + _WORKSPACE + r"/api/2\.0/mlflow/experiments/get-by-name",
        _in_workspace("experiments/read"),
    ),
    ("POST", r"/mlflow/[^/]+" + _WORKSPACE + r"/api/2\.0/mlflow/runs/search", _RUNS),
    *(
        ("GET", _LOCATION + f"/{kind}(/[^/]+)?", _in_subscription(f"{_ML}/locations/{kind}/read"))
        for kind in ("vmSizes", "usages", "mfeOperationsStatus", "mfeOperationResults")
    ),
    ("POST", r"/subscriptions/[^/]+/metrics:getBatch", _in_subscription("Microsoft.Insights/metrics/read")),
    ("POST", r"/eventgrid/topics/[^/]+/api/events", (_SEND,)),
    # A key opens an endpoint; one that takes tokens of Entra looks at the role, too.
    ("POST", r"/inference/[^/]+/score", _in_workspace("onlineEndpoints/score/action")),
    # The public registry takes any token of Entra; the rest is open or signed.
    ("GET", _REGISTRY + r"/(models|components)(/[^/]+/versions(/[^/]+)?)?", _NOTHING),
    ("GET", r"/registrymanagement/v1\.0/registries/[^/]+/discovery", _NOTHING),
    ("GET", r"/metadata/endpoints|/discovery", _NOTHING),
    ("GET", r"/logs/[^/]+/[^/]+", _NOTHING),
)


def needs(entry: Mapping[str, Any]) -> tuple[Need, ...]:
    """What a call of the ledger needs; nothing for one that anybody may make. Raises UnknownCall."""
    service, method, path = entry["service"], entry["method"], entry["path"]
    found: tuple[Need, ...] | None = None
    if service == "management":
        known = (need for verb, where, need in _MANAGEMENT if verb == method and re.fullmatch(where, path))
        found = next(known, None)
    elif service in ("blob", "queue"):
        query = {name: values[0] for name, values in parse_qs(entry["query"]).items()}
        _, _, name, *below = path.split("/", 3)
        one = _blob(method, query, name, below) if service == "blob" else _queue(method, query, below)
        found = (one,) if one else None
    if found is None:
        asked = "?".join(filter(None, (path, entry.get("query", ""))))
        raise UnknownCall(f"{service}: {method} {asked}")
    return found


def _blob(method: str, query: Mapping[str, str], container: str, below: list[str]) -> Need | None:
    scope = container if container in ROLES["scopes"] else "app"
    if not below:
        match method, query.get("comp"):
            case "GET", "list":
                return Need(actions=(f"{_BLOBS}/blobs/read",), scope=scope, data=True)
            case "GET" | "HEAD", None:
                return Need(actions=(f"{_BLOBS}/read",), scope=scope)
        return None
    action = {"GET": "read", "HEAD": "read", "PUT": "write", "DELETE": "delete"}.get(method)
    return Need(actions=(f"{_BLOBS}/blobs/{action}",), scope=scope, data=True) if action else None


def _queue(method: str, query: Mapping[str, str], below: list[str]) -> Need | None:
    kind = "one" if "/" in "".join(below) else "".join(below)
    match method, kind, query.get("peekonly"):
        case "POST", "messages", _:
            actions = ["messages/add/action", "messages/write"]
        case "GET", "messages", "true":
            actions = ["messages/read"]
        case "GET", "messages", _:
            actions = ["messages/process/action"]
        case "PUT", "one", _:
            actions = ["messages/write"]
        case "DELETE", ("one" | "messages"), _:
            actions = ["messages/delete"]
        case _:
            return None
    return Need(actions=tuple(f"{_QUEUES}/{each}" for each in actions), scope="app", data=True)
