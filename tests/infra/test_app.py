"""The Function App, its host and its package: what infra/, host.json, azure.yaml and the code take for granted."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from shared.cloud.queues import Queues
from tests.kit.infra.access import Grant, granted, identity_of
from tests.kit.infra.plan import MAIN, Plan
from tests.kit.paths import ROOT

HOST: dict[str, Any] = json.loads((ROOT / "host.json").read_text())
AZD: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text())
(NAME, SERVICE) = next(iter(AZD["services"].items()))


# The site ------------------------------------------------------------------------------------------------------------


def test_it_runs_the_python_of_this_repository(plan: Plan) -> None:
    runtime = plan.one("Microsoft.Web/sites").properties["functionAppConfig"]["runtime"]
    (first, *_) = (ROOT / ".python-version").read_text().split()
    required = re.search(r'^requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert required
    assert runtime == {"name": "python", "version": first} == {"name": "python", "version": required[1]}


def test_it_is_on_flex_consumption(plan: Plan) -> None:
    server = plan.one("Microsoft.Web/serverfarms")
    site = plan.one("Microsoft.Web/sites")
    assert server.body["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert server.properties["reserved"] is True
    assert site.properties["serverFarmId"] == server.id
    assert site.body["kind"] == "functionapp,linux"
    scale = site.properties["functionAppConfig"]["scaleAndConcurrency"]
    assert scale == {
        "instanceMemoryMB": plan.parameters["instanceMemoryMB"],
        "maximumInstanceCount": plan.parameters["maximumInstances"],
    }


def test_flex_gets_no_setting_that_it_refuses(plan: Plan) -> None:
    refused = r"FUNCTIONS_WORKER_RUNTIME|FUNCTIONS_EXTENSION_VERSION|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_CONTENT|.*_BUILD"
    told = plan.one("Microsoft.Web/sites/config", "appsettings").properties
    assert not [name for name in told if re.match(refused, name)]


def test_it_is_only_ever_itself(plan: Plan) -> None:
    site = plan.one("Microsoft.Web/sites")
    assert site.body["identity"] == {
        "type": "UserAssigned",
        "userAssignedIdentities": {identity_of(plan, "func").id: {}},
    }
    for kind in ("appsettings", "authsettingsV2"):
        assert plan.one("Microsoft.Web/sites/config", kind).scope == site.id


def test_package_storage_and_roles_are_there_before_it_starts(plan: Plan) -> None:
    site, given = plan.one("Microsoft.Web/sites"), granted(plan)
    for grant in (Grant("func", role, "app") for role in ("blobOwner", "queueContributor", "tableContributor")):
        assert plan.before(given[grant], site), grant
    container = plan.one("Microsoft.Storage/storageAccounts/blobServices/containers", "app-package")
    assert plan.before(container, site)
    assert plan.before(given[Grant("func", "eventSender", "lifecycle")], site)


def test_a_login_is_never_on_before_its_settings(plan: Plan) -> None:
    settings, login = (plan.one("Microsoft.Web/sites/config", each) for each in ("appsettings", "authsettingsV2"))
    assert plan.before(settings, login)


# azd -----------------------------------------------------------------------------------------------------------------


def test_azd_finds_the_template_and_the_app_by_its_tag(plan: Plan) -> None:
    assert ROOT / AZD["infra"]["path"] / f"{AZD['infra']['module']}.bicep" == MAIN
    assert AZD["infra"]["provider"] == "bicep"
    assert list(AZD["services"]) == [NAME]
    assert plan.one("Microsoft.Web/sites").body["tags"]["azd-service-name"] == NAME
    group = plan.one("Microsoft.Resources/resourceGroups")
    assert group.body["tags"]["azd-env-name"] == plan.parameters["environmentName"]
    assert plan.outputs["AZURE_RESOURCE_GROUP"] == group.name
    assert plan.outputs["SERVICE_APP_NAME"] == plan.one("Microsoft.Web/sites").name


def test_the_package_is_made_here_and_not_built_anew_in_azure() -> None:
    """Azure's builder takes an older Python, in which the libraries can't be installed."""
    assert SERVICE == {"project": "./dist/app", "host": "function", "language": "python", "remoteBuild": False}
    assert AZD["hooks"]["prepackage"] == {"shell": "sh", "run": "make package"}
    assert re.search(r"^package:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_azd_down_spares_the_group_of_a_workspace_that_was_there(plan: Plan) -> None:
    """The hook compares two outputs."""
    names = set(re.findall(r"\$(\w+)", AZD["hooks"]["predown"]["run"]))
    assert names == {"AZUREML_RESOURCE_GROUP", "AZURE_RESOURCE_GROUP"} <= plan.outputs.keys()
    other = bool(plan.parameters["existingWorkspace"])
    assert (plan.outputs["AZUREML_RESOURCE_GROUP"] != plan.outputs["AZURE_RESOURCE_GROUP"]) is other


def test_all_that_carries_tags_is_marked_as_this_installation_s(plan: Plan) -> None:
    for each in plan.resources:
        if not each.existing and "location" in each.body:
            assert each.body["tags"]["azd-env-name"] == plan.parameters["environmentName"], each.symbol
            assert plan.parameters["tags"].items() <= each.body["tags"].items(), each.symbol


# The host ------------------------------------------------------------------------------------------------------------


def test_messages_are_read_as_event_grid_and_the_app_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.storage.queue import TextBase64EncodePolicy

    class Service:
        policy: object = None

        def get_queue_client(self, queue: str, *, message_encode_policy: object) -> Service:
            self.policy = message_encode_policy
            return self

        def send_message(self, text: str, **_: object) -> None:
            """Nowhere."""

    class Clients:
        queue_service = Service()

    queues = Queues.__new__(Queues)
    monkeypatch.setattr(queues, "_clients", Clients(), raising=False)
    queues.send("prepare", {})
    assert isinstance(Clients.queue_service.policy, TextBase64EncodePolicy)
    assert HOST["extensions"]["queues"]["messageEncoding"] == "base64"


def test_an_instance_works_on_one_message_at_a_time() -> None:
    """Preparing a dataset takes the memory of an instance."""
    queues = HOST["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)


def test_messages_are_poisoned_when_the_docs_say_so() -> None:
    words = ("once", "twice", "three times", "four times", "five times")
    times = words[HOST["extensions"]["queues"]["maxDequeueCount"] - 1]
    assert f"failed {times}" in (ROOT / "docs" / "architecture.md").read_text()


def test_a_function_has_the_time_that_the_docs_promise() -> None:
    hours, minutes, seconds = map(int, HOST["functionTimeout"].split(":"))
    assert (hours, seconds) == (0, 0)
    assert f"may take {minutes} minutes" in (ROOT / "docs" / "limits.md").read_text()


def test_the_host_has_an_extension_for_queues() -> None:
    assert HOST["extensionBundle"]["id"] == "Microsoft.Azure.Functions.ExtensionBundle"
    assert HOST["extensionBundle"]["version"].startswith("[4.")
    assert HOST["version"] == "2.0"
