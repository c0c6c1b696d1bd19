"""The part of MLflow's REST interface by which a job's metrics are read.

Base address: the workspace's `mlFlowTrackingUri` with `azureml://` as `https://`, then `/api/2.0/mlflow/...`. Metrics
of a training are on its finetune step's run; every run has the tag `mlflow.rootRunId`, the name of its pipeline job.
Called through localcloud/azureml/__init__.py.
"""

import re
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import runs
from localcloud.azureml.arm import WORKSPACE_ID, ArmError, body
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.store import Json

_BASE = f"/mlflow/{{version}}{WORKSPACE_ID}/api/2.0/mlflow"
_STATUS = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}
_WAITING = ("NotStarted", "Queued", "Preparing")
_TAG = r"tags?\.[`\"]?(?P<tag>[\w.]+)[`\"]?\s*=\s*'(?P<value>[^']*)'"
_ATTRIBUTE = r"(?:attributes?\.)?(?P<attribute>run_id|status)\s*=\s*'(?P<wanted>[^']*)'"
_CLAUSE = re.compile(f"{_TAG}|{_ATTRIBUTE}")


class MlflowError(ArmError):
    """An error in MLflow's own body."""

    def response(self) -> Response:
        """`{error_code, message}`."""
        return JSONResponse({"error_code": self.code, "message": self.message}, status_code=self.status)


def routes(cloud: Cloud) -> list[Route]:
    """Experiments by name, runs and metrics."""
    return [
        route(cloud, "GET", f"{_BASE}/experiments/get-by-name", _experiment),
        route(cloud, "POST", f"{_BASE}/runs/search", _search),
        route(cloud, "GET", f"{_BASE}/runs/get", _run),
        route(cloud, "GET", f"{_BASE}/metrics/get-history", _history),
    ]


async def _experiment(cloud: Cloud, request: Request) -> Response:
    name = request.query_params.get("experiment_name", "")
    if not cloud.store.list(runs.KIND, where=lambda run: run["experiment"] == name):
        raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"No experiment with name {name!r}.")
    experiment = {"experiment_id": runs.experiment_id(name), "name": name, "lifecycle_stage": "active"}
    return JSONResponse({"experiment": experiment})


async def _search(cloud: Cloud, request: Request) -> Response:
    """Runs of the experiments that pass every clause of the filter (`tags.x = 'y' and ...`), newest first."""
    given = await body(request)
    experiments = given.get("experiment_ids")
    if not experiments:
        raise MlflowError(400, "INVALID_PARAMETER_VALUE", "experiment_ids is empty: nothing is searched.")
    within = cloud.store.list(runs.KIND, where=lambda run: runs.experiment_id(run["experiment"]) in experiments)
    found = [_shown(cloud, run) for run in reversed(within)]
    for clause in filter(None, re.split(r"\s+and\s+", (given.get("filter") or "").strip(), flags=re.IGNORECASE)):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise MlflowError(400, "INVALID_PARAMETER_VALUE", f"The local cloud can't filter by {clause!r}.")
        found = [run for run in found if _passes(run, match)]
    start, size = int(given.get("page_token") or 0), int(given.get("max_results") or 1000)
    answer: Json = {"runs": found[start : start + size]}
    if len(found) > start + size:
        answer["next_page_token"] = str(start + size)
    return JSONResponse(answer)


async def _run(cloud: Cloud, request: Request) -> Response:
    return JSONResponse({"run": _shown(cloud, _known(cloud, request))})


async def _history(cloud: Cloud, request: Request) -> Response:
    """Every value of one metric, in the order in which it was logged."""
    key = request.query_params.get("metric_key")
    return JSONResponse({"metrics": [point for point in _points(cloud, _known(cloud, request)) if point["key"] == key]})


def _known(cloud: Cloud, request: Request) -> Json:
    name = request.query_params.get("run_id") or request.query_params.get("run_uuid") or ""
    run = cloud.store.get(runs.KIND, name)
    if run is None:
        raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"Run {name!r} not found.")
    return run


def _passes(run: Json, clause: re.Match[str]) -> bool:
    if clause["tag"]:
        return any(tag == {"key": clause["tag"], "value": clause["value"]} for tag in run["data"]["tags"])
    return bool(run["info"][clause["attribute"]] == clause["wanted"])


def _points(cloud: Cloud, run: Json) -> list[Json]:
    document = cloud.store.get("metrics", run["name"]) or {"points": []}
    return [{"key": key, "value": value, "step": step, "timestamp": at} for key, value, step, at in document["points"]]


def _shown(cloud: Cloud, run: Json) -> Json:
    latest = {point["key"]: point for point in _points(cloud, run)}
    tags = {
        "mlflow.rootRunId": run["parent"] or run["name"],
        "mlflow.runName": run["display_name"],
        "mlflow.user": "droptune",
    }
    if run["parent"]:
        tags["mlflow.parentRunId"] = run["parent"]
    info = {
        "run_id": run["name"],
        "run_uuid": run["name"],
        "run_name": run["display_name"],
        "experiment_id": runs.experiment_id(run["experiment"]),
        "status": _STATUS.get(run["status"], "SCHEDULED" if run["status"] in _WAITING else "RUNNING"),
        "start_time": _milliseconds(run["started"] or run["created"]),
        "end_time": _milliseconds(run["ended"]),
        "lifecycle_stage": "active",
    }
    data = {
        "metrics": list(latest.values()),
        "params": [],
        "tags": [{"key": key, "value": value} for key, value in (run["tags"] | tags).items()],
    }
    return {"info": info, "data": data, "inputs": {}}


def _milliseconds(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else None
