"""No key, no secret, no script: what could be opened with a key is shut, and what would hand one out is not called."""

from __future__ import annotations

import re
from typing import Any

from tests.kit.infra.access import identity_of, settings_of
from tests.kit.infra.plan import INFRA, Plan, templates
from tests.kit.infra.syntax import Call, Literal, Node, Template, Text, within

HELD: dict[str, dict[str, Any]] = {
    "Microsoft.Storage/storageAccounts": {
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "supportsHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
    },
    "Microsoft.ContainerRegistry/registries": {"adminUserEnabled": False, "anonymousPullEnabled": False},
    "Microsoft.KeyVault/vaults": {"enableRbacAuthorization": True, "enableSoftDelete": True},
    "Microsoft.MachineLearningServices/workspaces": {"systemDatastoresAuthMode": "Identity", "v1LegacyMode": False},
    "Microsoft.MachineLearningServices/workspaces/computes": {
        "disableLocalAuth": True,
        "properties.remoteLoginPortPublicAccess": "Disabled",
    },
    "Microsoft.MachineLearningServices/workspaces/datastores": {"credentials.credentialsType": "None"},
    "Microsoft.EventGrid/topics": {"disableLocalAuth": True, "minimumTlsVersionAllowed": "1.2"},
    "Microsoft.Insights/components": {"DisableLocalAuth": True},
    "Microsoft.OperationalInsights/workspaces": {"features.disableLocalAuth": True},
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"allow": False},
    "Microsoft.Web/sites": {
        "httpsOnly": True,
        "siteConfig.minTlsVersion": "1.2",
        "functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
    },
}
"""What has to be so in each resource of a type."""
KEYLESS = {
    "Microsoft.Resources/resourceGroups",
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Authorization/roleDefinitions",
    "Microsoft.Consumption/budgets",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/blobServices/containers",
    "Microsoft.Storage/storageAccounts/queueServices",
    "Microsoft.Storage/storageAccounts/queueServices/queues",
    "Microsoft.Storage/storageAccounts/managementPolicies",
    "Microsoft.EventGrid/systemTopics",
    "Microsoft.EventGrid/systemTopics/eventSubscriptions",
    "Microsoft.Web/serverfarms",
    "Microsoft.Web/sites/config",
}
"""What nobody can open with a key of its own."""
SECRET = re.compile(r"key|secret|password|pwd|token|sas|connection_?string", re.IGNORECASE)
NO_SECRETS = {"AZURE_TOKEN_CREDENTIALS", "APPLICATIONINSIGHTS_CONNECTION_STRING"}
"""Names of settings that only sound like one."""


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[part]
    return value


def test_whatever_could_be_opened_with_a_key_is_shut(plan: Plan) -> None:
    for each in plan.resources:
        if each.existing:
            continue
        assert (each.type in HELD) != (each.type in KEYLESS), f"{each.type}: how is it kept without keys?"
        for path, wanted in HELD.get(each.type, {}).items():
            assert at(each.properties, path) == wanted, f"{each.symbol}: {path}"


def test_the_app_can_t_be_published_to_with_a_password(plan: Plan) -> None:
    """Both ways are on where nothing is said."""
    site = plan.one("Microsoft.Web/sites")
    policies = plan.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {(each.name, each.scope) for each in policies} == {("scm", site.id), ("ftp", site.id)}


def test_the_package_is_fetched_by_identity(plan: Plan) -> None:
    properties, func = plan.one("Microsoft.Web/sites").properties, identity_of(plan, "func")
    storage = properties["functionAppConfig"]["deployment"]["storage"]
    assert storage["type"] == "blobContainer"
    assert storage["authentication"] == {
        "type": "UserAssignedIdentity",
        "userAssignedIdentityResourceId": func.id,
    }
    assert properties["keyVaultReferenceIdentity"] == func.id


def test_a_login_goes_over_https_and_keeps_no_tokens(plan: Plan) -> None:
    login = plan.one("Microsoft.Web/sites/config", "authsettingsV2").properties
    assert login["httpSettings"] == {"requireHttps": True}
    assert login["login"] == {"tokenStore": {"enabled": False}}


def texts(template: Template) -> str:
    """All that stands in texts of the file."""
    parts = (template.params, template.variables, template.resources, template.modules, template.outputs)
    nodes = [node for part in parts for each in part.values() for node in within(each)]
    plain = [node.value for node in nodes if isinstance(node, Literal) and isinstance(node.value, str)]
    mixed = [piece for node in nodes if isinstance(node, Text) for piece in node.pieces if isinstance(piece, str)]
    return "\n".join(plain + mixed)


def test_nothing_hands_out_a_key_and_nothing_runs_after_the_deployment() -> None:
    for template in templates():
        everything: list[Node] = []
        for part in (template.variables, template.resources, template.modules, template.outputs):
            everything += [node for each in part.values() for node in within(each) if isinstance(node, Call)]
        called = {node.name for node in everything if isinstance(node, Call)}
        assert not {name for name in called if name.lower().startswith("list")}, template.path.name
        assert not [each for each in template.params.values() if "secure" in each.decorators], template.path.name
        kinds = {each.type for each in template.resources.values()}
        assert not {kind for kind in kinds if kind.lower().endswith("/deploymentscripts")}, template.path.name
        for each in template.modules.values():
            assert (template.path.parent / each.path).is_file(), f"{each.path}: registry modules can't be read here"


def test_no_name_or_text_is_that_of_a_secret(plan: Plan) -> None:
    named = {name for name in settings_of(plan) if SECRET.search(name)}
    assert named == NO_SECRETS
    for template in templates():
        found = re.findall(r"(?i)accountkey=|sharedaccess\w*=|[?&]sig=|password=", texts(template))
        assert not found, template.path.name


def test_what_is_read_of_a_resource_is_no_key(plan: Plan) -> None:
    """The connection string says where telemetry goes; with DisableLocalAuth it opens nothing."""
    read = {path for each in plan.resources for path in re.findall(r"\.properties\.([\w.]+)>", str(each.body))}
    assert {path for path in read if SECRET.search(path)} == {"ConnectionString"}


def test_all_of_it_is_here() -> None:
    """No file outside infra/, none that the compiler would not take along."""
    assert {path.suffix for path in INFRA.rglob("*") if path.is_file()} == {".bicep", ".json"}


def test_no_check_is_switched_off_where_nobody_sees_it() -> None:
    """Exceptions stand in infra/checkov-allowed.json, with their reasons."""
    for template in templates():
        assert not re.findall(r"#disable-|checkov:skip", template.path.read_text()), template.path.name
