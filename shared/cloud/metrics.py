"""Numbers: how often an endpoint was asked, whether its metrics can be trusted, and how a training went.

Azure Monitor is asked for many resources at once; a job's losses come from MLflow's REST API, because `import mlflow`
costs 200 MB. Called by the cleanup and by the dashboard.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

from shared import naming
from shared.cloud.clients import Clients
from shared.cloud.failures import asked, judged, translated
from shared.errors import NotFound, Permanent, Transient

if TYPE_CHECKING:
    from azure.monitor.querymetrics import MetricsQueryResult

_ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_DEPLOYMENTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
_ROLE = "Monitoring Reader on the subscription"
BATCH = 50  # resources that one query takes
log = logging.getLogger(__name__)


class Metrics:
    """Azure Monitor's metrics of the region, and the workspace's MLflow."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def requests(self, endpoint_ids: Sequence[str], start: datetime, end: datetime) -> dict[str, float | None]:
        """About how many requests each endpoint had from `start` to `end`. 0.0: no points; None: could not be read.

        RequestsPerMinute knows the aggregation Average only, so that this is the sum of averages times their minutes.
        Points come some minutes late. Ids are the endpoints' ARM ids, all of one region.
        """
        found: dict[str, float | None] = dict.fromkeys(endpoint_ids)
        grain = _grain(start, end)
        for id_, points in self._points(endpoint_ids, _ENDPOINTS, "RequestsPerMinute", start, end, grain):
            found[id_] = sum(points) * (grain / timedelta(minutes=1))
        return found

    def cpu_points(self, deployment_ids: Sequence[str], start: datetime, end: datetime) -> dict[str, int]:
        """How many CPU points each deployment has: with none, silence about requests proves nothing. Never too many:
        a deployment that can't be read has 0.
        """
        found = dict.fromkeys(deployment_ids, 0)
        grain = _grain(start, end)
        for id_, points in self._points(deployment_ids, _DEPLOYMENTS, "CpuUtilizationPercentage", start, end, grain):
            found[id_] = len(points)
        return found

    @property
    def _wrong_token(self) -> str:
        """What to do where Azure Monitor refuses the token."""
        audience = self._clients.settings.metrics.audience
        return f"The app's token for {audience} was refused: check METRICS_AUDIENCE, AZURE_CLIENT_ID and the tenant."

    def _points(
        self, ids: Sequence[str], namespace: str, metric: str, start: datetime, end: datetime, grain: timedelta
    ) -> Iterator[tuple[str, list[float]]]:
        for batch in batched(ids, BATCH, strict=False):
            what = f"metric {metric} of {len(batch)} resources in {self._clients.settings.workspace.location}"
            try:
                with translated(what, role=_ROLE, credential=self._wrong_token):
                    answers = self._clients.metrics.query_resources(
                        resource_ids=list(batch),
                        metric_namespace=namespace,
                        metric_names=[metric],
                        timespan=(start, end),
                        granularity=grain,
                        aggregations=["Average"],
                    )
            except (NotFound, Permanent, Transient) as error:
                if isinstance(error, NotFound) and len(batch) > 1:  # one that is gone must not hide the others
                    for one in batch:
                        yield from self._points([one], namespace, metric, start, end, grain)
                else:
                    log.warning("Not read: %s", error)
                continue
            if len(answers) != len(batch):  # answers carry no id: they are told apart by their order alone
                log.warning("Not read: %s: %d answers", what, len(answers))
                continue
            for id_, answer in zip(batch, answers, strict=True):
                points = _averages(answer, metric)
                if points is not None:
                    yield id_, points

    def job_metrics(self, job: str) -> dict[str, list[tuple[int, float]]]:
        """The metrics of the job and its steps by name, each as (step, value) in order. Raises NotFound.

        Steps that use one name are told apart by none: the fine-tune component logs its losses on one child run.
        """
        parent = self._mlflow("GET", "runs/get", job, params={"run_id": job})["run"]
        found = self._mlflow(
            "POST",
            "runs/search",
            job,
            json={
                "experiment_ids": [parent["info"]["experiment_id"]],
                "filter": f"tags.mlflow.rootRunId = '{job}'",
                "max_results": 100,
            },
        ).get("runs", [])
        runs = {run["info"]["run_id"]: run for run in (parent, *found)}
        metrics: dict[str, list[tuple[int, float]]] = {}
        for run_id, run in runs.items():
            for metric in run.get("data", {}).get("metrics", []):
                metrics.setdefault(metric["key"], []).extend(self._history(job, run_id, metric["key"]))
        return {key: sorted(points) for key, points in metrics.items()}

    def _history(self, job: str, run_id: str, key: str) -> Iterator[tuple[int, float]]:
        token = ""
        while True:
            params = {"run_id": run_id, "metric_key": key, "max_results": "1000"} | (
                {"page_token": token} if token else {}
            )
            page = self._mlflow("GET", "metrics/get-history", job, params=params)
            for point in page.get("metrics", []):
                yield int(point.get("step", 0)), float(point["value"])
            token = page.get("next_page_token") or ""
            if not token:
                return

    def _mlflow(self, method: str, path: str, job: str, **request: Any) -> dict[str, Any]:
        from azure.core.rest import HttpRequest

        what = f"MLflow {path} of job {job}"
        with translated(what, role="AzureML Data Scientist on the workspace"):
            asked(naming.JOB, job)
            url = f"{self._clients.mlflow_url}/api/2.0/mlflow/{path}"
            answer = self._clients.arm.send_request(HttpRequest(method, url, **request))
            if answer.status_code >= 400:
                raise judged(what, answer.status_code, answer.reason or "", answer.text()[:500], answer.headers)
            body: dict[str, Any] = answer.json()
            return body


def _averages(answer: MetricsQueryResult, metric: str) -> list[float] | None:
    """The points that have a value; None when the answer does not speak of the metric."""
    found = [each for each in answer.metrics if each.name == metric]
    if not found:
        return None
    return [
        point.average
        for each in found
        for series in each.timeseries
        for point in series.data
        if point.average is not None
    ]


def _grain(start: datetime, end: datetime) -> timedelta:
    """The finest grain of Azure Monitor that keeps an answer under some 300 points a resource."""
    grains = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6))
    return next((grain for grain in grains if (end - start) / grain <= 300), timedelta(days=1))
