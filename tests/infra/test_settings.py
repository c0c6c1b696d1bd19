"""The app's settings on Azure: set by infra/, or right by default; and they agree with what is made."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING

from functions import CONNECTION
from shared.settings import Settings
from tests.kit.infra.access import account_of, granted, identity_of, settings_of, workspace_of
from tests.kit.infra.plan import INFRA, Plan, planned
from tests.kit.paths import ROOT
from tests.kit.settings import KNOWN

DEFAULTS: dict[str, str] = json.loads((INFRA / "left-to-defaults.json").read_text())
OTHERS = {
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "DROPTUNE_STORAGE__credential",
    "DROPTUNE_STORAGE__clientId",
    "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID",
    "WEBSITE_AUTH_AAD_ALLOWED_TENANTS",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_UPDATE_DOWNLOAD_COUNTS",
}
"""What the Functions host, App Service and libraries read, and no code of ours."""


def read(plan: Plan) -> Settings:
    return Settings.read(settings_of(plan))


def test_each_setting_is_set_or_has_a_default_that_is_right_on_azure(default: Plan) -> None:
    told = settings_of(default).keys()
    assert KNOWN.keys() - told - DEFAULTS.keys() == set(), "neither set nor in infra/left-to-defaults.json"
    assert told & DEFAULTS.keys() == set(), "set: take it out of infra/left-to-defaults.json"
    assert DEFAULTS.keys() - KNOWN.keys() == set(), "no setting of the app"


def test_what_is_left_to_its_default_has_one_and_a_reason() -> None:
    for name, why in DEFAULTS.items():
        assert KNOWN[name].default is not MISSING, name
        assert why.endswith("."), name


def test_nothing_is_set_that_nobody_reads(default: Plan) -> None:
    assert settings_of(default).keys() - KNOWN.keys() == OTHERS
    assert OTHERS & KNOWN.keys() == set()


def test_the_app_can_read_them(plan: Plan) -> None:
    assert read(plan).cleanup.mode == plan.parameters["cleanupMode"]


def test_without_a_choice_they_are_what_the_app_would_take_by_itself(default: Plan) -> None:
    """docs/settings.md and infra/ tell one story. What Azure alone knows has no default worth the name."""
    made_here = {"AZURE_CLIENT_ID", "AZURE_TOKEN_CREDENTIALS", "EVENTS_TOPIC_ENDPOINT"}
    settings = read(default)
    for name in settings_of(default).keys() & KNOWN.keys():
        setting = KNOWN[name]
        if setting.default is not MISSING and name not in made_here:
            assert setting.of(settings) == setting.default, name


def test_the_tags_that_a_policy_wants_reach_the_app() -> None:
    assert read(planned("large")).resources.tags == (("cost-center", "1234"), ("owner", "ml team"))
    assert read(planned("default")).resources.tags == ()


def test_no_other_way_to_log_in_is_tried_than_as_id_func(plan: Plan) -> None:
    told, func = settings_of(plan), identity_of(plan, "func")
    client = f"<{func.id}.properties.clientId>"
    assert read(plan).identity.token_credentials == "ManagedIdentityCredential"
    for connection in ("AzureWebJobsStorage", CONNECTION):
        assert told[f"{connection}__credential"] == "managedidentity"
        assert told[f"{connection}__clientId"] == client
    assert told["AZURE_CLIENT_ID"] == client
    assert told["OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"] == client
    assert told["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == f"ClientId={client};Authorization=AAD"
    assert plan.one("Microsoft.Web/sites").body["identity"]["userAssignedIdentities"] == {func.id: {}}


def test_host_and_app_use_the_same_account_and_nothing_else(plan: Plan) -> None:
    told, account = settings_of(plan), account_of(plan)
    assert plan.by_id[account].type == "Microsoft.Storage/storageAccounts"
    for connection, services in (("AzureWebJobsStorage", "blob queue table"), (CONNECTION, "blob queue")):
        for service in services.split():
            assert told[f"{connection}__{service}ServiceUri"] == f"<{account}.properties.primaryEndpoints.{service}>"


def test_triggers_find_their_connection_and_their_schedules(default: Plan) -> None:
    told = settings_of(default)
    sources = "\n".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    assert set(re.findall(r"connection=(\w+)", sources)) == {"CONNECTION"}
    assert {f"{CONNECTION}__{name}" for name in ("credential", "clientId", "queueServiceUri")} <= told.keys()
    schedules = set(re.findall(r'"%(\w+)%"', sources))
    assert schedules == {"SWEEP_SCHEDULE", "CLEANUP_SCHEDULE"}
    for name in schedules:
        assert len(told[name].split()) == 6, f"{name}: six fields, the first is seconds"


def test_they_name_the_workspace_that_is_made_or_was_there(plan: Plan) -> None:
    settings, workspace = read(plan), workspace_of(plan)
    assert workspace in {each.id for each in plan.resources if each.type.endswith("/workspaces")}
    assert plan.outputs["AZUREML_WORKSPACE"] == settings.workspace.name
    assert plan.outputs["AZUREML_RESOURCE_GROUP"] == settings.workspace.resource_group
    assert (workspace in plan.by_id) != bool(plan.parameters["existingWorkspace"])
    made = plan.by_id.get(workspace)
    assert settings.workspace.location == (made.body["location"] if made else f"<{workspace}.location>")


def test_the_sizes_and_names_of_the_clusters_are_those_that_the_app_asks_for(plan: Plan) -> None:
    settings = read(plan).training
    made = {each.name: each for each in plan.of("Microsoft.MachineLearningServices/workspaces/computes")}
    if not plan.parameters["makeClusters"]:
        assert not made
        return
    assert made.keys() == {settings.cpu_compute, settings.gpu_compute}
    sizes = {name: each.properties["properties"]["vmSize"] for name, each in made.items()}
    assert sizes == {settings.cpu_compute: settings.cpu_size, settings.gpu_compute: settings.gpu_size}
    for each in made.values():
        assert each.scope == workspace_of(plan)
        assert each.properties["properties"]["scaleSettings"]["maxNodeCount"] == settings.cluster_nodes


def test_the_app_makes_clusters_where_it_got_the_roles_for_it_and_nowhere_else(plan: Plan) -> None:
    roles = {grant.role for grant in granted(plan)}
    assert read(plan).training.create_clusters == plan.parameters["appMakesClusters"]
    assert read(plan).training.create_clusters == ({"computeOperator", "identityOperator"} <= roles)


def test_jobs_run_as_id_train(plan: Plan) -> None:
    assert read(plan).training.identity == identity_of(plan, "train").id == plan.outputs["TRAINING_IDENTITY_ID"]


def test_events_go_to_the_topic_that_takes_them(plan: Plan) -> None:
    topic = plan.one("Microsoft.EventGrid/topics")
    assert read(plan).events.topic_endpoint == f"<{topic.id}.properties.endpoint>"


def test_the_app_and_the_platform_agree_on_who_may_call(plan: Plan) -> None:
    settings, login = read(plan).api, plan.one("Microsoft.Web/sites/config", "authsettingsV2").properties
    entra = settings.auth == "entra"
    assert settings.auth == plan.parameters["apiAuth"]
    assert login["platform"]["enabled"] is entra
    assert login["globalValidation"]["requireAuthentication"] is entra
    provider = login["identityProviders"]["azureActiveDirectory"]
    assert provider["enabled"] is entra
    assert login["globalValidation"]["excludedPaths"] == ["/api/health"], "the only one that is anybody's"
    groups = provider["validation"]["defaultAuthorizationPolicy"]["allowedPrincipals"]["groups"]
    if entra:
        assert set(groups) == settings.viewers | settings.operators
        assert settings.operators == {plan.parameters["operatorsGroupId"]}
        assert settings.viewers == {plan.parameters["viewersGroupId"]}
        client = plan.parameters["authClientId"]
        assert provider["registration"]["clientId"] == client
        assert provider["validation"]["allowedAudiences"] == [client, f"api://{client}"]
        assert login["globalValidation"]["unauthenticatedClientAction"] != "AllowAnonymous"
    secret = provider["registration"]["clientSecretSettingName"]
    assert secret == "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID", "no secret: the login proves itself as id-func"
    assert settings_of(plan)["WEBSITE_AUTH_AAD_ALLOWED_TENANTS"] == "TENANT"
    assert provider["registration"]["openIdIssuer"] == "https://LOGIN/TENANT/v2.0"
