"""The clusters: nothing while idle, and jobs in them are id-train, which alone reaches the data."""

from __future__ import annotations

import re

from tests.kit.infra.access import granted, identity_of
from tests.kit.infra.plan import Made, Plan

CLUSTER = "Microsoft.MachineLearningServices/workspaces/computes"


def clusters(plan: Plan) -> list[Made]:
    return plan.of(CLUSTER)


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
