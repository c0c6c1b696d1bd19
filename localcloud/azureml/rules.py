"""What people forbid in a subscription, and Azure Resource Manager keeps: locks, policies, deny assignments, networks.

Resource Manager asks them before it passes a request on to Azure ML: `applied` wraps the routes below the workspace.
Tests and people set them at `/_local/rules`; locks can be read as in Azure, at a resource and at the scopes around it.
They are documents of the store, so that a restart keeps them.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml.arm import (
    PROVIDER,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
    WORKSPACE,
    WORKSPACE_ID,
    ArmError,
    body,
)
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

KIND = "rules"
GROUP_ID = f"{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}"
_LOCKS = "/providers/Microsoft.Authorization/locks"
_BESIDE = re.compile(rf"^/(mlflow/[^/]+|history/v1\.0){re.escape(WORKSPACE_ID)}/|^/inference/")
"""The workspace's other doors: no Resource Manager before them, but the same network."""
_ASKS = ("GET", "HEAD", "OPTIONS")


@dataclass(kw_only=True)
class Rule:
    """One that somebody set. `kind` says which of the fields count."""

    kind: str
    """`lock`, `policy`, `denyAssignment` or `network`."""
    name: str
    scope: str = GROUP_ID
    """Id of what it is for, with all below it; one that begins without a slash is below the workspace."""
    level: str = "CanNotDelete"
    """Of a lock: this, or ReadOnly."""
    effect: str = "deny"
    """Of a policy: this, or denyAction, which forbids deletions."""
    types: str = ".*"
    """Of a policy: a regular expression for the type of what is made, as in `onlineEndpoints/deployments`."""
    tags: tuple[str, ...] = ()
    """Of a policy: tags without which nothing may be made; none: nothing may be."""
    exempt: str = ""
    """Of a policy: a regular expression for the ids that it leaves alone."""
    actions: str = ".*"
    """Of a deny assignment: a regular expression for `KIND/write`, `KIND/delete`, `KIND/NAME/action`."""

    def __post_init__(self) -> None:
        """Raises ValueError for what makes no sense."""
        if not self.scope.startswith("/"):
            self.scope = f"{WORKSPACE_ID}/{self.scope}"
        known = {"lock": ("CanNotDelete", "ReadOnly"), "policy": ("deny", "denyAction")}
        chosen = self.level if self.kind == "lock" else self.effect
        if self.kind not in ("lock", "policy", "denyAssignment", "network") or chosen not in known.get(
            self.kind, (chosen,)
        ):
            raise ValueError(f"there is no {self.kind} {chosen}")
        for pattern in (self.types, self.exempt, self.actions):
            re.compile(pattern)

    @property
    def id(self) -> str:
        """As Azure names it."""
        place = {"lock": "locks", "policy": "policyAssignments", "denyAssignment": "denyAssignments"}.get(self.kind)
        return f"{self.scope}/providers/Microsoft.Authorization/{place}/{self.name}"

    def holds(self, resource: str) -> bool:
        """Whether the resource is what the rule is for, or below it."""
        return f"{resource}/".lower().startswith(f"{self.scope}/".lower())


def routes(cloud: Cloud) -> list[Route]:
    """`/_local/rules`, and the locks of a resource."""
    inside = (
        f"{WORKSPACE_ID}/onlineEndpoints/{{endpoint}}",
        f"{WORKSPACE_ID}/onlineEndpoints/{{endpoint}}/deployments/{{deployment}}",
    )
    return [
        route(cloud, "GET", "/_local/rules", _list),
        route(cloud, "POST", "/_local/rules", _add),
        route(cloud, "DELETE", "/_local/rules", _forget),
        *(route(cloud, "GET", f"{scope}{_LOCKS}", _list_locks) for scope in inside),
    ]


async def _list(cloud: Cloud, _request: Request) -> Response:
    return JSONResponse([asdict(rule) | {"id": rule.id} for rule in _rules(cloud)])


def _rules(cloud: Cloud, kind: str = "") -> list[Rule]:
    found = [Rule(**document) for document in cloud.store.list(KIND)]
    return [rule for rule in found if kind in ("", rule.kind)]


async def _add(cloud: Cloud, request: Request) -> Response:
    """POST takes one rule, in the place of one of that kind and name."""
    given = await body(request)
    try:
        rule = Rule(**given)
    except (TypeError, ValueError, re.error) as error:
        raise ArmError(
            400, "InvalidRule", f"{error}; a rule has {', '.join(each.name for each in fields(Rule))}"
        ) from error
    cloud.store.put(KIND, f"{rule.kind}/{rule.name}", asdict(rule))
    return await _list(cloud, request)


async def _forget(cloud: Cloud, request: Request) -> Response:
    """DELETE forgets all, or with `?name=` those of that name."""
    wanted = request.query_params.get("name")
    for rule in _rules(cloud):
        if wanted in (None, rule.name):
            cloud.store.delete(KIND, f"{rule.kind}/{rule.name}")
    return Response(status_code=204)


async def _list_locks(cloud: Cloud, request: Request) -> Response:
    """Locks at, above and below the resource; with `$filter=atScope()` not those below."""
    resource = request.url.path.partition("/providers/Microsoft.Authorization/")[0]
    below = "atscope" not in request.query_params.get("$filter", "").lower()
    found = [
        rule
        for rule in _rules(cloud, "lock")
        if rule.holds(resource) or (below and f"{rule.scope}/".lower().startswith(f"{resource}/".lower()))
    ]
    return JSONResponse({"value": [_lock(rule) for rule in found]})


def _lock(rule: Rule) -> Json:
    return {
        "id": rule.id,
        "name": rule.name,
        "type": "Microsoft.Authorization/locks",
        "properties": {"level": rule.level, "notes": "Set for a test."},
    }


# What they forbid ----------------------------------------------------------------------------------------------------


def applied(cloud: Cloud, one: Route) -> Route:
    """The route behind what the rules say; one that is no business of theirs as it is."""
    if not (one.path.startswith(f"{WORKSPACE_ID}/") or one.path.startswith(("/mlflow", "/history", "/inference"))):
        return one
    return Route(one.path, partial(_ruled, cloud, one.endpoint), methods=list(one.methods or ()))


async def _ruled(cloud: Cloud, handler: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    await check(cloud, request)
    return await handler(request)


async def check(cloud: Cloud, request: Request) -> None:
    """Raises ArmError for a request that a rule forbids."""
    rules = _rules(cloud)
    if not rules:
        return
    path, method = request.url.path, request.method
    if _BESIDE.match(path) or not path.endswith(_LOCKS):
        _check_network(rules)
    if method in _ASKS or not path.startswith(f"{WORKSPACE_ID}/"):
        return
    parts = path.removeprefix(f"{WORKSPACE_ID}/").split("/")
    act = f"{parts.pop()}/action" if len(parts) % 2 else {"PUT": "write", "PATCH": "write"}.get(method, "delete")
    resource, kind = f"{WORKSPACE_ID}/{'/'.join(parts)}", "/".join(parts[::2])
    _check_deny_assignments(rules, resource, f"{kind}/{act}")
    _check_locks(rules, resource, act)
    if not act.endswith("/action"):
        given = await body(request) if act == "write" else {}
        _check_policies(rules, resource, kind, act, given)


def _check_network(rules: Iterable[Rule]) -> None:
    if any(rule.kind == "network" for rule in rules):
        raise ArmError(
            403,
            "Forbidden",
            f"Public network access is disabled for workspace {WORKSPACE}. Please use a private endpoint to connect.",
        )


def _check_deny_assignments(rules: Iterable[Rule], resource: str, action: str) -> None:
    for rule in rules:
        if rule.kind == "denyAssignment" and rule.holds(resource) and re.search(rule.actions, action):
            raise ArmError(
                403,
                "DenyAssignmentAuthorizationFailed",
                f"The client 'droptune' with object id 'droptune' has permission to perform action "
                f"'{PROVIDER}/workspaces/{action}' on scope '{resource}'; however, the access is denied because of the "
                f"deny assignment with name '{rule.name}' and Id '{rule.id}' at scope '{rule.scope}'.",
            )


def _check_locks(rules: Iterable[Rule], resource: str, act: str) -> None:
    """A deletion takes along what is below, and is refused for its locks, too. ReadOnly allows no action either."""
    found = [
        rule.scope
        for rule in rules
        if rule.kind == "lock"
        and (rule.level == "ReadOnly" or act == "delete")
        and (rule.holds(resource) or (act == "delete" and f"{rule.scope}/".lower().startswith(f"{resource}/".lower())))
    ]
    if found:
        verb = act if act in ("write", "delete") else "write"
        scopes = ",".join(found)
        raise ArmError(
            409,
            "ScopeLocked",
            f"The scope '{resource}' cannot perform {verb} operation because following scope(s) are locked: '{scopes}'."
            " Please remove the lock and try again.",
        )


def _check_policies(rules: Iterable[Rule], resource: str, kind: str, act: str, given: Json) -> None:
    for rule in rules:
        wanted = "denyAction" if act == "delete" else "deny"
        if rule.kind != "policy" or rule.effect != wanted or not rule.holds(resource):
            continue
        if not re.fullmatch(rule.types, kind) or (rule.exempt and re.search(rule.exempt, resource)):
            continue
        tags = given.get("tags") or (given.get("properties") or {}).get("tags") or {}
        missing = [tag for tag in rule.tags if tag.casefold() not in {name.casefold() for name in tags}]
        if missing or not rule.tags:
            raise _Disallowed(rule, resource, missing, deletes=act == "delete")


class _Disallowed(ArmError):
    """The answer of Azure Policy."""

    def __init__(self, rule: Rule, resource: str, missing: list[str], *, deletes: bool) -> None:
        name = resource.rpartition("/")[2]
        ids = [
            {
                "policyAssignment": {"name": rule.name, "id": rule.id},
                "policyDefinition": {"name": rule.name, "id": f"{SUBSCRIPTION_ID}/policyDefinitions/{rule.name}"},
            }
        ]
        what = f"Deletion of resource '{name}'" if deletes else f"Resource '{name}'"
        said = f"{what} was disallowed by policy. Policy identifiers: '{json.dumps(ids)}'."
        super().__init__(403, "RequestDisallowedByPolicy", said)
        self._info = {
            "policyDefinitionDisplayName": rule.name,
            "policyDefinitionEffect": rule.effect,
            "policyAssignmentId": rule.id,
            "policyAssignmentName": rule.name,
            "policyAssignmentDisplayName": rule.name,
            "policyAssignmentScope": rule.scope,
            "evaluationDetails": {"evaluatedExpressions": [_expression(tag) for tag in missing]},
        }

    def response(self) -> Response:
        """With what the policy says of itself."""
        more = [{"type": "PolicyViolation", "info": self._info}]
        error: dict[str, Any] = {"code": self.code, "message": self.message, "details": [], "additionalInfo": more}
        return JSONResponse({"error": error}, status_code=self.status)


def _expression(tag: str) -> Json:
    path = f"tags[{tag}]"
    return {
        "result": "True",
        "expressionKind": "Field",
        "expression": path,
        "path": path,
        "targetValue": "false",
        "operator": "Exists",
    }
