"""For each call that was recorded id-func has a role that grants it; for what no recording sees, a list has it.

The roles are those that Bicep assigns, not those that infra/roles.json promises.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localcloud import azureml
from tests.kit.azureml.alone import service_in
from tests.kit.infra.access import Grant, Need, granted, may
from tests.kit.infra.calls import UnknownCall, needs
from tests.kit.infra.plan import planned
from tests.kit.infra.recording import Recording

BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers"
QUEUES = "Microsoft.Storage/storageAccounts/queueServices/queues"
TABLES = "Microsoft.Storage/storageAccounts/tableServices/tables"
WAYS = {"default": False, "entra": False, "subscription-custom-role": False, "app-makes-clusters": True}
"""Parameter files, and whether the app makes clusters with them."""


def data(action: str, scope: str) -> Need:
    return Need(actions=(action,), scope=scope, data=True)


UNSEEN: tuple[tuple[str, Need], ...] = (
    # The Functions host: leases and keys in blobs, messages that fail, diagnostic events, telemetry.
    *(("func", data(f"{BLOBS}/blobs/{each}", "app")) for each in ("read", "write", "delete")),
    ("func", Need(actions=(f"{BLOBS}/write",), scope="app")),
    ("func", Need(actions=(f"{QUEUES}/write",), scope="app")),
    ("func", data(f"{QUEUES}/messages/read", "app")),
    ("func", data(f"{QUEUES}/messages/write", "app")),
    ("func", Need(actions=(f"{TABLES}/write",), scope="app")),
    ("func", data(f"{TABLES}/entities/add/action", "app")),
    ("func", data("Microsoft.Insights/Telemetry/Write", "insights")),
    # Event Grid: into the queues, and what can't be delivered.
    ("datasetTopic", data(f"{QUEUES}/messages/add/action", "datasetEvents")),
    ("jobTopic", data(f"{QUEUES}/messages/add/action", "jobEvents")),
    *((topic, data(f"{BLOBS}/blobs/write", "deadletter")) for topic in ("datasetTopic", "jobTopic")),
    # Jobs: data in, reports and models out, the image of our own environment.
    ("train", data(f"{BLOBS}/blobs/read", "datasets")),
    *(("train", data(f"{BLOBS}/blobs/{each}", "prepared")) for each in ("read", "write", "add/action")),
    *(("train", data(f"{BLOBS}/blobs/{each}", "aml")) for each in ("read", "write", "add/action")),
    ("train", Need(actions=("Microsoft.ContainerRegistry/registries/pull/read",), scope="registry")),
    # People upload, and look after it.
    *(("uploaders", data(f"{BLOBS}/blobs/{each}", "datasets")) for each in ("read", "write", "delete")),
    ("operators", Need(actions=("Microsoft.Web/sites/read",), scope="group")),
    ("operators", Need(actions=("Microsoft.OperationalInsights/workspaces/search/action",), scope="logs")),
    # The studio shows our data.
    *(("workspace", data(f"{BLOBS}/blobs/read", each)) for each in ("datasets", "prepared")),
)
FORBIDDEN: tuple[tuple[str, Need], ...] = (
    # The account has the host's keys, the records and the package in it.
    *(("uploaders", data(f"{BLOBS}/blobs/{each}", "app")) for each in ("read", "write")),
    *(("train", data(f"{BLOBS}/blobs/{each}", "app")) for each in ("read", "write")),
    ("train", data(f"{BLOBS}/blobs/write", "datasets")),
    ("operators", data(f"{BLOBS}/blobs/read", "app")),
    ("operators", Need(actions=("Microsoft.Web/sites/host/listkeys/action",), scope="group")),
    ("func", Need(actions=("Microsoft.Authorization/roleAssignments/write",), scope="subscription")),
    ("func", Need(actions=("Microsoft.MachineLearningServices/workspaces/computes/write",), scope="workspace")),
    ("func", Need(actions=("Microsoft.MachineLearningServices/workspaces/delete",), scope="workspace")),
    ("func", Need(actions=("Microsoft.Storage/storageAccounts/listKeys/action",), scope="app")),
)


def of(way: str) -> set[Grant]:
    return set(granted(planned(way)))


def all_needs(recording: Recording) -> dict[Need, str]:
    """What the recorded calls need, each with one of them."""
    return {need: f"{call['method']} {call['path']}" for call in recording.calls for need in needs(call)}


@pytest.mark.parametrize("way", WAYS)
def test_a_role_grants_each_call_that_was_recorded(recording: Recording, way: str) -> None:
    given = of(way)
    makes_clusters = {need for need in all_needs(recording) if CLUSTERS & set(need.actions)}
    assert makes_clusters
    refused = {need: call for need, call in all_needs(recording).items() if not may("func", need, given)}
    if not WAYS[way]:
        assert refused.keys() == makes_clusters, "without the switch it may not, and does not try"
    else:
        assert refused == {}


CLUSTERS = {
    "Microsoft.MachineLearningServices/workspaces/computes/write",
    "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
}


def test_without_a_role_on_the_subscription_just_its_calls_are_refused(recording: Recording) -> None:
    """docs/azure.md says what that costs."""
    given = of("subscription-no-role")
    refused = {need for need in all_needs(recording) if not may("func", need, given)}
    assert {need.scope for need in refused if not CLUSTERS & set(need.actions)} == {"subscription"}


@pytest.mark.parametrize(("principal", "need"), UNSEEN, ids=lambda each: str(getattr(each, "actions", each)))
def test_a_role_grants_what_others_do_for_the_app(principal: str, need: Need) -> None:
    assert may(principal, need, of("entra"))


@pytest.mark.parametrize(("principal", "need"), FORBIDDEN, ids=lambda each: str(getattr(each, "actions", each)))
def test_nobody_may_what_is_not_theirs(principal: str, need: Need) -> None:
    assert not may(principal, need, of("entra"))


def test_each_role_is_needed_by_something(recording: Recording) -> None:
    """What could be taken away without anybody's noticing should be."""
    told = [("func", need) for need in all_needs(recording)] + list(UNSEEN)
    unneeded: set[Grant] = set().union(*map(of, WAYS))
    for way in WAYS:
        given = of(way)
        unneeded -= {
            grant
            for grant in given & unneeded
            if any(may(who, need, given) and not may(who, need, given - {grant}) for who, need in told)
        }
    assert unneeded == set()


def test_the_recording_has_everything_but_what_nobody_of_us_calls(recording: Recording, tmp_path: Path) -> None:
    """The local cloud answers what our code and the SDK under it ask; a recording that lost some holds nothing."""
    known: set[Need] = set()
    for route in azureml.build(service_in(tmp_path)):
        if not route.path.startswith("/_local/"):
            path = re.sub(r"\{kind\}", "models", route.path).replace("{", "").replace("}", "")
            for method in (route.methods or set()) - {"HEAD"}:
                known |= set(needs({"service": "management", "method": method, "path": path}))
    seen = all_needs(recording).keys()
    assert {need.actions[0].partition("/")[2] for need in known - seen} == NEVER_CALLED


NEVER_CALLED = {
    "locations/mfeOperationResults/read",
    *(f"workspaces/{each}" for each in ("datastores/read", "datastores/listSecrets/action", "computes/delete")),
    *(f"workspaces/{each}" for each in ("models/read", "data/read", "data/versions/read", "data/versions/write")),
    *(f"workspaces/{each}/versions/delete" for each in ("models", "data")),
    *(f"workspaces/{each}" for each in ("experiments/read", "experiments/runs/write")),
    "workspaces/onlineEndpoints/regenerateKeys/action",
}
"""By people, whom the local cloud serves too, or by an SDK that waits for what we only start."""


def test_the_lifecycle_topic_takes_the_events_that_were_sent(recording: Recording) -> None:
    schemas = {"CloudEventSchemaV1_0" if "specversion" in each else "EventGridSchema" for each in recording.events}
    for way in WAYS:
        assert {planned(way).one("Microsoft.EventGrid/topics").properties["inputSchema"]} == schemas


def test_a_call_that_the_table_does_not_know_is_named() -> None:
    with pytest.raises(UnknownCall, match=r"POST /subscriptions/s/providers/Microsoft\.Unheard/of"):
        needs({"service": "management", "method": "POST", "path": "/subscriptions/s/providers/Microsoft.Unheard/of"})
    with pytest.raises(UnknownCall, match="blob: PUT /droptune/state"):
        needs({"service": "blob", "method": "PUT", "path": "/droptune/state", "query": "restype=container&comp=acl"})
