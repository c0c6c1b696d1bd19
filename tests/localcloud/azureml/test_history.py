"""What happened can be read afterwards, in order: `/_local/history`."""

from __future__ import annotations

from typing import Any

from azure.ai.ml.entities import Model

from localcloud.stack import Stack
from tests.kit.azureml.endpoints import deployment, make_endpoint
from tests.kit.azureml.submitting import Submit, ended


def history(cloud: Stack, *names: str) -> list[tuple[str, str, Any]]:
    """Kind, name and state (or traffic) of what is told of these."""
    told = cloud.control("GET", "/_local/history")
    return [
        (each["kind"], each["name"], each.get("state", each.get("traffic"))) for each in told if each["name"] in names
    ]


def test_every_change_is_told_once_and_in_order(cloud: Stack, ml: Any, submit: Submit, name: str) -> None:
    cloud.control("POST", "/_local/pretend", {"jobs": {"match": name}, "deployments": {"match": "/blue$"}})
    submit(name)
    assert ended(ml, name).status == "Completed"
    path = f"azureml://jobs/{name}/outputs/trained_model"
    model = ml.models.create_or_update(Model(name=name, version="1", path=path, type="mlflow_model"))
    endpoint = make_endpoint(ml)
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue", model=model.id)).result()
    for traffic in ({"blue": 100}, {"blue": 0}):
        shown = ml.online_endpoints.get(endpoint)
        shown.traffic = traffic
        ml.online_endpoints.begin_create_or_update(shown).result()
    ml.online_deployments.begin_delete("blue", endpoint).result()
    ml.online_endpoints.begin_delete(endpoint).result()
    cloud.control("DELETE", "/_local/pretend")
    blue, version = f"{endpoint}/blue", f"{name}:1"
    job = [("jobs", name, each) for each in ("NotStarted", "Preparing", "Running", "Finalizing", "Completed")]
    updated = [("endpoints", endpoint, "Updating"), ("traffic", endpoint, {"blue": 100})]
    stopped = [("endpoints", endpoint, "Updating"), ("traffic", endpoint, {})]
    assert history(cloud, name, endpoint, blue, version) == [
        *job,
        ("models", version, "Created"),
        ("endpoints", endpoint, "Creating"),
        ("endpoints", endpoint, "Succeeded"),
        ("deployments", blue, "Creating"),
        ("deployments", blue, "Succeeded"),
        *updated,
        ("endpoints", endpoint, "Succeeded"),
        *stopped,
        ("endpoints", endpoint, "Succeeded"),
        ("deployments", blue, "Deleting"),
        ("deployments", blue, "Deleted"),
        ("endpoints", endpoint, "Deleting"),
        ("endpoints", endpoint, "Deleted"),
    ]
    moments = [each["at"] for each in cloud.control("GET", "/_local/history")]
    assert moments == sorted(moments)
