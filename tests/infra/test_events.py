"""Events: Azure sends those that the local cloud sends, into queues, by identities that have their roles first."""

from __future__ import annotations

import pytest

from localcloud.eventgrid import SUBSCRIPTIONS, Subscription
from shared.records.layout import DATASETS, DEAD_LETTERS
from tests.kit.infra.access import Grant, account_of, granted, subscription_to, workspace_of
from tests.kit.infra.plan import Made, Plan

TOPIC = "Microsoft.EventGrid/systemTopics"
KINDS = {
    "storage": ("Microsoft.Storage.StorageAccounts", "datasetTopic", "datasetEvents"),
    "azureml": ("Microsoft.MachineLearningServices.Workspaces", "jobTopic", "jobEvents"),
}
"""Event Grid's word for what raises the events; principal and scope of roles.json."""
NAMES = [each.name for each in SUBSCRIPTIONS]


@pytest.fixture(params=SUBSCRIPTIONS, ids=NAMES)
def wanted(request: pytest.FixtureRequest) -> Subscription:
    found: Subscription = request.param
    return found


def made(plan: Plan, wanted: Subscription) -> Made:
    return subscription_to(plan, wanted.queue)


def test_there_are_no_others(plan: Plan) -> None:
    assert len(plan.of(f"{TOPIC}/eventSubscriptions")) == len(SUBSCRIPTIONS)


def test_its_filters_are_those_of_the_local_cloud(plan: Plan, wanted: Subscription) -> None:
    found = dict(made(plan, wanted).properties["filter"])
    assert tuple(found.pop("includedEventTypes")) == wanted.event_types
    assert found.pop("subjectBeginsWith", "") == wanted.subject_begins_with
    advanced = [(each["operatorType"], each["key"], tuple(each["values"])) for each in found.pop("advancedFilters", [])]
    assert advanced == [("StringIn", key, values) for key, values in wanted.advanced]
    assert found.pop("isSubjectCaseSensitive", False) is False
    found.pop("enableAdvancedFilteringOnArrays", None)
    assert found == {}, "a filter that the local cloud does not have"


def test_uploads_into_other_containers_are_not_told() -> None:
    """Without `/blobs/` containers whose names only begin so would count too."""
    (storage,) = [each for each in SUBSCRIPTIONS if each.topic == "storage"]
    assert storage.subject_begins_with == f"/blobServices/default/containers/{DATASETS}/blobs/"


def test_it_is_delivered_by_identity_into_the_queue_and_else_into_the_dead_letters(
    plan: Plan, wanted: Subscription
) -> None:
    told = made(plan, wanted).properties
    assert told["eventDeliverySchema"] == "EventGridSchema"
    assert "destination" not in told, "that would be with a key"
    assert "deadLetterDestination" not in told
    delivery, letters = told["deliveryWithResourceIdentity"], told["deadLetterWithResourceIdentity"]
    assert delivery["identity"] == letters["identity"] == {"type": "SystemAssigned"}
    assert delivery["destination"]["endpointType"] == "StorageQueue"
    queue = delivery["destination"]["properties"]
    assert queue["resourceId"] == account_of(plan)
    assert f"{queue['resourceId']}/queueServices/default/queues/{queue['queueName']}" in plan.by_id
    assert queue["queueMessageTimeToLiveInSeconds"] >= 7 * 24 * 3600
    assert letters["deadLetterDestination"] == {
        "endpointType": "StorageBlob",
        "properties": {"resourceId": account_of(plan), "blobContainerName": DEAD_LETTERS},
    }
    assert told["retryPolicy"] == {"eventTimeToLiveInMinutes": 1440, "maxDeliveryAttempts": 30}


def test_its_roles_are_there_before_it(plan: Plan, wanted: Subscription) -> None:
    """A 403 is not tried again for long."""
    _, principal, queue = KINDS[wanted.topic]
    given = granted(plan)
    for grant in (Grant(principal, "queueSender", queue), Grant(principal, "blobContributor", DEAD_LETTERS)):
        assert grant in given
        assert plan.before(given[grant], made(plan, wanted)), f"dependsOn {given[grant].symbol}"


def test_its_queue_and_the_container_of_dead_letters_are_there_before_it(plan: Plan, wanted: Subscription) -> None:
    queue = plan.by_id[f"{account_of(plan)}/queueServices/default/queues/{wanted.queue}"]
    letters = plan.by_id[f"{account_of(plan)}/blobServices/default/containers/{DEAD_LETTERS}"]
    assert plan.before(queue, made(plan, wanted))
    assert plan.before(letters, made(plan, wanted))


def test_its_topic_is_of_what_raises_the_events(plan: Plan, wanted: Subscription) -> None:
    kind, _, _ = KINDS[wanted.topic]
    source = account_of(plan) if wanted.topic == "storage" else workspace_of(plan)
    adopted = plan.parameters["existingDatasetTopic" if wanted.topic == "storage" else "existingJobTopic"]
    topic = made(plan, wanted).scope
    if adopted:
        assert topic.endswith(f"/systemTopics/{adopted}")
        assert topic not in plan.by_id
        return
    found = plan.by_id[topic]
    assert found.properties == {"source": source, "topicType": kind}
    assert found.body["identity"] == {"type": "SystemAssigned"}
    assert found.scope == source.partition("/providers/")[0], "in the group of its source"
