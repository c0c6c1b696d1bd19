"""A run: what the service remembers of a pipeline job and of each of its steps, and the events it raises.

One document a run in the store (kind `jobs`). jobs.py shows it as an ARM job, run_history.py as a run of the run
history, mlflow.py as an MLflow run; runner.py moves it on. Events: RunStatusChanged and RunCompleted of Azure ML's
topic.
"""

import uuid
from typing import Any

from localcloud.azureml.arm import not_found
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.store import Json

KIND = "jobs"
PIPELINE, STEP = "azureml.PipelineRun", "azureml.StepRun"
ENDED = ("Completed", "Failed", "Canceled")
UNDER_WAY = ("Queued", "Preparing", "Running", "NotResponding", "Paused")
"""Statuses that a job, or a step, which has not ended can be asked to show (jobs.py)."""
_EVENTS = "Microsoft.MachineLearningServices"


def new(cloud: Cloud, name: str, **fields: Any) -> Json:
    """A run's document, not stored yet. `fields` override; a pipeline job also has its PUT's `properties`.

    `clusters`: where steps run that do not on `compute`. `place`: whether its nodes stand for a process of this
    machine. `pretends`: the rule of pretend.py, None if it is real.
    """
    document: Json = {
        "name": name,
        "parent": None,
        "step": None,
        "type": PIPELINE,
        "experiment": "Default",
        "display_name": name,
        "description": None,
        "tags": {},
        "properties": {},
        "request": None,
        "outputs": {},
        "compute": None,
        "clusters": {},
        "nodes": 0,
        "place": True,
        "pretends": None,
        "hidden": False,
        "status": "NotStarted",
        "error": None,
        "created": cloud.now(),
        "started": None,
        "ended": None,
    }
    return document | fields


def get(cloud: Cloud, name: str) -> Json:
    """A run's document. Raises ArmError 404."""
    document = cloud.store.get(KIND, name)
    if document is None:
        raise not_found("Job", name)
    return document


def save(cloud: Cloud, document: Json) -> None:
    """Write a run's document."""
    cloud.store.put(KIND, document["name"], document)


def children(cloud: Cloud, name: str) -> list[Json]:
    """The steps of a pipeline job that have begun, in order."""
    return cloud.store.list(KIND, where=lambda document: document["parent"] == name)


def experiment_id(name: str) -> str:
    """The id of an experiment, always the same for a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"experiment/{name}"))


def run_id(document: Json) -> str:
    """A run's UUID, always the same for a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"run/{document['name']}"))


async def change(cloud: Cloud, name: str, status: str, error: str | None = None) -> None:
    """Set a run's status, with the reason when it failed, and raise its events."""
    document = get(cloud, name)
    if document["status"] == status or document["status"] in ENDED:
        return
    if document["status"] == "CancelRequested" and status not in ENDED:
        return
    document |= {"status": status, "error": error}
    if status == "Running":
        document["started"] = document["started"] or cloud.now()
    if status in ENDED:
        document["ended"] = cloud.now()
    save(cloud, document)
    await cloud.events.publish("azureml", _events(document))
    if status in ENDED:
        async with cloud.changed:
            cloud.changed.notify_all()


def _events(document: Json) -> list[Json]:
    experiment = experiment_id(document["experiment"])
    data = {
        "experimentId": experiment,
        "experimentName": document["experiment"],
        "runId": document["name"],
        "runType": document["type"],
        "runTags": document["tags"],
        "runProperties": document["properties"],
    }
    subject = f"experiments/{experiment}/runs/{document['name']}"
    changed = {"subject": subject, "eventType": f"{_EVENTS}.RunStatusChanged"}
    events = [changed | {"data": data | {"runStatus": document["status"]}, "dataVersion": "1.0"}]
    if document["status"] == "Completed":
        events.append({"subject": subject, "eventType": f"{_EVENTS}.RunCompleted", "data": data, "dataVersion": "1.0"})
    return events
