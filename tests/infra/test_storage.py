"""Queues, containers and datastores: those that the code uses are made, and no others."""

from __future__ import annotations

import ast
import re
from functools import cache

from shared.records import layout
from tests.kit.infra.access import account_of, settings_of
from tests.kit.infra.plan import Plan
from tests.kit.paths import ROOT

QUEUES = {value for name, value in vars(layout).items() if name.endswith("_QUEUE")}
CONTAINERS = {layout.DATASETS, layout.PREPARED, layout.STATE, layout.DEAD_LETTERS}
QUEUE = "Microsoft.Storage/storageAccounts/queueServices/queues"
CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
DATASTORE = "Microsoft.MachineLearningServices/workspaces/datastores"


def test_each_queue_has_its_poison_queue(plan: Plan) -> None:
    queues = plan.of(QUEUE)
    assert {each.name for each in queues} == QUEUES | {f"{name}-poison" for name in QUEUES}
    assert {each.scope for each in queues} == {f"{account_of(plan)}/queueServices/default"}


def test_each_queue_has_a_trigger(default: Plan) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    assert set(re.findall(r'queue_name="([^"]+)"', sources)) == {each.name for each in default.of(QUEUE)}


def test_the_containers_are_those_of_the_layout_and_the_packages(plan: Plan) -> None:
    containers = plan.of(CONTAINER)
    config = plan.one("Microsoft.Web/sites").properties["functionAppConfig"]
    address, _, package = config["deployment"]["storage"]["value"].rpartition(">")
    assert address == settings_of(plan)["DROPTUNE_STORAGE__blobServiceUri"].removesuffix(">")
    assert {each.name for each in containers} == CONTAINERS | {package}
    for each in containers:
        assert each.scope == f"{account_of(plan)}/blobServices/default"
        assert each.properties == {"publicAccess": "None"}


@cache
def used_as_datastores() -> set[str]:
    """The containers that jobs are sent to, through datastores of their names."""
    found = set()
    for path in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "in_datastore":
                assert isinstance(node.args[0], ast.Name)
                found.add(str(getattr(layout, node.args[0].id)))
    return found


def test_a_datastore_without_credentials_stands_for_each_container_that_jobs_use(plan: Plan) -> None:
    stores = plan.of(DATASTORE)
    assert {each.name for each in stores} == used_as_datastores()
    account, group = plan.by_id[account_of(plan)], plan.one("Microsoft.Resources/resourceGroups")
    for each in stores:
        told = {**each.properties}
        assert told.pop("description")
        assert told == {
            "datastoreType": "AzureBlob",
            "accountName": account.name,
            "containerName": each.name,
            "endpoint": "STORAGE.SUFFIX",
            "protocol": "https",
            "credentials": {"credentialsType": "None"},
            "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity",
            "subscriptionId": "SUBSCRIPTION",
            "resourceGroup": group.name,
        }


def test_only_prepared_data_are_deleted_by_age(plan: Plan) -> None:
    policy = plan.one("Microsoft.Storage/storageAccounts/managementPolicies").properties["policy"]
    (rule,) = policy["rules"]
    assert rule["definition"]["filters"]["prefixMatch"] == [f"{layout.PREPARED}/"]
    assert rule["definition"]["actions"]["baseBlob"] == {
        "delete": {"daysAfterModificationGreaterThan": plan.parameters["preparedDays"]}
    }


def test_what_is_deleted_by_mistake_can_be_had_back(plan: Plan) -> None:
    told = plan.one("Microsoft.Storage/storageAccounts/blobServices").properties
    for kind in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        assert told[kind]["enabled"] is True
        assert told[kind]["days"] >= 7


def test_events_of_the_account_are_those_that_the_code_knows(plan: Plan) -> None:
    """With a hierarchical namespace, renamed files raise other events."""
    for each in plan.of("Microsoft.Storage/storageAccounts"):
        assert each.properties["isHnsEnabled"] is False
        assert each.body["kind"] == "StorageV2"
