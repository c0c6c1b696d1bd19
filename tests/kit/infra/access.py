"""Who may do what: the roles of infra/roles.json, and what a deployment assigns of them, judged as Azure does."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kit.infra.plan import INFRA, SUBSCRIPTION, Made, Plan

ROLES: Mapping[str, Any] = json.loads((INFRA / "roles.json").read_text())
ASSIGNMENT, DEFINITION = "Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/roleDefinitions"
_IN_APP = ("datasets", "prepared", "deadletter", "datasetEvents", "jobEvents")
_IN_GROUP = ("app", "idTrain", "insights", "logs", "lifecycle")
_KINDS = {False: ("actions", "notActions"), True: ("dataActions", "notDataActions")}


@dataclass(frozen=True, kw_only=True)
class Need:
    """One of these actions at a scope of roles.json. `data`: they are data actions."""

    actions: tuple[str, ...]
    scope: str
    data: bool = False


@dataclass(frozen=True, order=True)
class Grant:
    """A role that a principal has at a scope, all three as roles.json names them."""

    principal: str
    role: str
    scope: str


def _matches(pattern: str, action: str, *, gladly: bool) -> bool:
    """Whether the action is one of the pattern's; `gladly`: `a/*/b` is for `a/b`, too, which nothing decides."""
    expression = re.escape(pattern.lower()).replace(r"\*", ".*")
    if gladly:
        expression = expression.replace("/.*/", "/(.*/)?")
    return re.fullmatch(expression, action.lower()) is not None


def grants(role: Mapping[str, Any], action: str, *, data: bool = False) -> bool:
    """Whether the role has the action. In doubt it has not: what passes here passes on Azure."""
    has, has_not = (role[kind] for kind in _KINDS[data])
    return any(_matches(each, action, gladly=False) for each in has) and not any(
        _matches(each, action, gladly=True) for each in has_not
    )


def within(scope: str) -> tuple[str, ...]:
    """The scopes whose roles count at this one: itself and those around it."""
    if scope in _IN_APP:
        return (scope, *within("app"))
    return (scope, *(("group",) if scope in _IN_GROUP else ()), "subscription")


def may(principal: str, need: Need, given: Collection[Grant]) -> bool:
    """Whether the principal may, with these grants."""
    return any(
        grants(ROLES["roles"][grant.role], action, data=need.data)
        for grant in given
        if grant.principal == principal and grant.scope in within(need.scope)
        for action in need.actions
    )


# What a deployment assigns -------------------------------------------------------------------------------------------


def settings_of(plan: Plan) -> dict[str, str]:
    """The app's settings."""
    return plan.one("Microsoft.Web/sites/config", "appsettings").properties


def workspace_of(plan: Plan) -> str:
    """Id of the workspace that the app is told to use."""
    told = settings_of(plan)
    group = f"/subscriptions/{told['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{told['AZURE_RESOURCE_GROUP']}"
    return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{told['AZUREML_WORKSPACE']}"


def scopes_of(plan: Plan) -> dict[str, str]:
    """The scopes of roles.json by the ids that they have here."""
    app = account_of(plan)
    parameters = plan.parameters
    aml, registry = (
        parameters[name] or next((each.id for each in plan.of(kind) if each.id != app), "")
        for name, kind in (
            ("existingWorkspaceStorageId", "Microsoft.Storage/storageAccounts"),
            ("existingWorkspaceRegistryId", "Microsoft.ContainerRegistry/registries"),
        )
    )
    blobs, queues = f"{app}/blobServices/default/containers", f"{app}/queueServices/default/queues"
    found = {
        SUBSCRIPTION: "subscription",
        plan.one("Microsoft.Resources/resourceGroups").id: "group",
        app: "app",
        **{f"{blobs}/{name}": name for name in ("datasets", "prepared", "deadletter")},
        f"{queues}/dataset-events": "datasetEvents",
        f"{queues}/job-events": "jobEvents",
        workspace_of(plan): "workspace",
        identity_of(plan, "train").id: "idTrain",
        plan.one("Microsoft.Insights/components").id: "insights",
        plan.one("Microsoft.OperationalInsights/workspaces").id: "logs",
        plan.one("Microsoft.EventGrid/topics").id: "lifecycle",
        aml: "aml",
        registry: "registry",
    }
    found.pop("", None)
    return found


def account_of(plan: Plan) -> str:
    """Id of the storage account of the app."""
    return str(
        re.split(r"<(.*)\.properties\.primaryEndpoints\.", settings_of(plan)["DROPTUNE_STORAGE__blobServiceUri"])[1]
    )


def identity_of(plan: Plan, name: str) -> Made:
    """id-func or id-train."""
    return plan.one("Microsoft.ManagedIdentity/userAssignedIdentities", f"id-{name}-")


def subscription_to(plan: Plan, queue: str) -> Made:
    """The event subscription that delivers into the queue."""
    found = [
        each
        for each in plan.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
        if each.properties["deliveryWithResourceIdentity"]["destination"]["properties"]["queueName"] == queue
    ]
    assert len(found) == 1, f"{len(found)} subscriptions deliver into {queue}"
    return found[0]


def principals_of(plan: Plan) -> dict[str, str]:
    """The principals of roles.json by the object ids that they have here."""
    topics = {name: subscription_to(plan, queue).scope for name, queue in _TOPICS.items()}
    found = {f"<{identity_of(plan, name).id}.properties.principalId>": name for name in ("func", "train")}
    found |= {f"<{topic}.identity.principalId>": name for name, topic in topics.items()}
    found[f"<{workspace_of(plan)}.identity.principalId>"] = "workspace"
    for name in ("uploaders", "operators"):
        if group := plan.parameters[f"{name}GroupId"]:
            found[group] = name
    return found


_TOPICS = {"datasetTopic": "dataset-events", "jobTopic": "job-events"}


def roles_of(plan: Plan) -> dict[str, str]:
    """The roles of roles.json by the ids of their definitions here."""
    found = {
        f"{SUBSCRIPTION}/providers/{DEFINITION}/{role['guid']}": name
        for name, role in ROLES["roles"].items()
        if not role.get("custom")
    }
    return found | {each.id: each.symbol for each in plan.of(DEFINITION)}


def granted(plan: Plan) -> dict[Grant, Made]:
    """What the deployment assigns, each with its resource. A name that roles.json lacks is shown as it is."""
    scopes, principals, roles = scopes_of(plan), principals_of(plan), roles_of(plan)
    found: dict[Grant, Made] = {}
    for each in plan.of(ASSIGNMENT):
        told = each.properties
        grant = Grant(
            principals.get(told["principalId"], told["principalId"]),
            roles.get(told["roleDefinitionId"], told["roleDefinitionId"]),
            scopes.get(each.scope, each.scope),
        )
        assert grant not in found, f"{each.symbol}: {grant} twice"
        found[grant] = each
    return found
