"""The workspace and its clusters: nothing while idle, and jobs in them are id-train, which alone reaches the data."""

from __future__ import annotations

import re

from tests.kit.infra.access import granted, identity_of, workspace_of
from tests.kit.infra.plan import Made, Plan

CLUSTER = "Microsoft.MachineLearningServices/workspaces/computes"


def clusters(plan: Plan) -> list[Made]:
    return plan.of(CLUSTER)


def test_a_workspace_that_is_made_has_all_that_azure_ml_wants_beside_one(plan: Plan) -> None:
    """What it lacks the service would make by itself, with keys, or never: a vault can't be added later."""
    made = plan.by_id.get(workspace_of(plan))
    if made is None:
        return
    beside = {
        "storageAccount": "Microsoft.Storage/storageAccounts",
        "keyVault": "Microsoft.KeyVault/vaults",
        "applicationInsights": "Microsoft.Insights/components",
        "containerRegistry": "Microsoft.ContainerRegistry/registries",
    }
    assert {name: plan.by_id[made.properties[name]].type for name in beside} == beside
    assert made.properties["publicNetworkAccess"] == "Enabled", "nothing private yet: docs/limits.md"
    assert made.body["identity"] == {"type": "SystemAssigned"}, "the studio shows our data as this one"


def test_a_workspace_that_was_there_is_left_alone(plan: Plan) -> None:
    """But for the datastores, the clusters, the system topic, the roles, and a budget of its group."""
    if not plan.parameters["existingWorkspace"]:
        return
    group = workspace_of(plan).partition("/providers/")[0]
    kinds = {each.type for each in plan.resources if not each.existing and each.id.startswith(f"{group}/")}
    assert kinds <= {
        CLUSTER,
        "Microsoft.MachineLearningServices/workspaces/datastores",
        "Microsoft.EventGrid/systemTopics",
        "Microsoft.EventGrid/systemTopics/eventSubscriptions",
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.Consumption/budgets",
    }
    assert not plan.of("Microsoft.MachineLearningServices/workspaces")


def test_a_budget_watches_the_group_in_which_the_money_goes(plan: Plan) -> None:
    budgets, chosen = plan.of("Microsoft.Consumption/budgets"), plan.parameters
    assert len(budgets) == (1 if chosen["budgetAmount"] else 0)
    for each in budgets:
        assert each.scope == workspace_of(plan).partition("/providers/")[0]
        assert each.properties["amount"] == chosen["budgetAmount"]
        assert each.properties["timePeriod"] == {"startDate": chosen["budgetStart"]}
        for told in each.properties["notifications"].values():
            assert told["enabled"] is True
            assert told["contactEmails"] == chosen["budgetContacts"].split(",")


def test_there_are_two_unless_they_are_there_already(plan: Plan) -> None:
    assert len(clusters(plan)) == (2 if plan.parameters["makeClusters"] else 0)


def test_they_cost_nothing_while_nobody_trains(plan: Plan) -> None:
    for each in clusters(plan):
        told = each.properties["properties"]
        assert each.properties["computeType"] == "AmlCompute"
        assert told["scaleSettings"]["minNodeCount"] == 0
        minutes = re.fullmatch(r"PT(\d+)M", told["scaleSettings"]["nodeIdleTimeBeforeScaleDown"])
        assert minutes
        assert 1 <= int(minutes[1]) <= 5
        assert told["vmPriority"] == "Dedicated", "a spot node that is taken away fails the job"


def test_id_train_is_their_only_identity(plan: Plan) -> None:
    """Steps of a pipeline component run as the first one, and nobody can tell which of several that is."""
    for each in clusters(plan):
        assert each.body["identity"] == {
            "type": "UserAssigned",
            "userAssignedIdentities": {identity_of(plan, "train").id: {}},
        }


def test_no_key_lies_on_a_node(plan: Plan) -> None:
    """What id-train may, each dataset's owner might make a job do."""
    given = {(grant.role, grant.scope) for grant in granted(plan) if grant.principal == "train"}
    assert given <= {
        ("blobReader", "datasets"),
        ("blobContributor", "prepared"),
        ("blobContributor", "aml"),
        ("imagePuller", "registry"),
    }
