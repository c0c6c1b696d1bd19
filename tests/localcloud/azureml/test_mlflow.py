"""A job's metrics over MLflow's REST interface, as an app reads them that doesn't import mlflow."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest

from localcloud.stack import Stack
from tests.kit.azureml.training import STEPS

pytestmark = pytest.mark.usefixtures("trainer")


@pytest.fixture
def mlflow(cloud_env: Stack, ml: Any) -> Any:
    """A client of the tracking server: `mlflow(method, path, ...)`."""
    base = ml.workspaces.get("local").mlflow_tracking_uri.replace("azureml", "https", 1) + "/api/2.0/mlflow"
    token = ml._credential.get_token("https://ml.azure.local/.default").token
    tls = ssl.create_default_context(cafile=str(cloud_env.description.ca))
    with httpx.Client(verify=tls, trust_env=False, headers={"Authorization": f"Bearer {token}"}) as http:
        yield lambda method, path, **more: http.request(method, f"{base}/{path}", **more)


def test_metrics_of_a_job(mlflow: Any, done: str) -> None:
    parent = mlflow("GET", "runs/get", params={"run_id": done}).json()["run"]
    assert (parent["info"]["status"], parent["data"]["metrics"]) == ("FINISHED", [])
    experiment = mlflow("GET", "experiments/get-by-name", params={"experiment_name": "chat_completion_phi"}).json()
    assert experiment["experiment"]["experiment_id"] == parent["info"]["experiment_id"]

    search: dict[str, Any] = {
        "experiment_ids": [parent["info"]["experiment_id"]],
        "filter": f"tags.mlflow.rootRunId = '{done}'",
    }
    found = mlflow("POST", "runs/search", json=search).json()["runs"]
    assert len(found) == 1 + len(STEPS)
    (run,) = [run for run in found if run["data"]["metrics"]]
    assert run["info"]["run_name"] == STEPS[2]
    assert {(metric["key"], metric["value"]) for metric in run["data"]["metrics"]} == {("eval_loss", 1.5)}

    wanted = {"run_id": run["info"]["run_id"], "metric_key": "eval_loss"}
    history = mlflow("GET", "metrics/get-history", params=wanted).json()["metrics"]
    assert [(point["step"], point["value"]) for point in history] == [(0, 6.5), (1, 3.25), (2, 1.5)]
    assert all(isinstance(point["timestamp"], int) for point in history)

    search["filter"] += f" and attributes.run_id = '{done}'"
    assert [run["info"]["run_id"] for run in mlflow("POST", "runs/search", json=search).json()["runs"]] == [done]
    first = mlflow("POST", "runs/search", json=search | {"filter": "", "max_results": 1}).json()
    assert len(first["runs"]) == 1
    assert first["next_page_token"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        ("GET", "runs/get", {"params": {"run_id": "none"}}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "experiments/get-by-name", {"params": {"experiment_name": "x"}}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "runs/search", {"json": {}}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "runs/search", {"json": {"experiment_ids": ["1"], "filter": "x > 1"}}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_errors_are_mlflow_s(mlflow: Any, method: str, path: str, more: Any, status: int, code: str) -> None:
    answer = mlflow(method, path, **more)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
