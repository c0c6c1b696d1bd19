"""Numbers: how often an endpoint was asked, whether its metrics can be trusted, and how a training went.

Azure Monitor is asked for many resources at once, over plain REST: its SDK spends far more processor time on an answer
than the whole call takes (series.py). A job's losses come from MLflow's REST API, because `import mlflow` costs 200 MB.
Called by the cleanup and by the dashboard.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

from shared import naming
from shared.cloud import series
from shared.cloud.clients import Clients
from shared.cloud.failures import asked, judged, translated
from shared.cloud.series import Series
from shared.errors import Conflict, NotFound, Permanent, Transient

_ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_DEPLOYMENTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
_ROLE = "Monitoring Reader on the subscription"
_VERSION = "2024-02-01"
BATCH = 50
"""Resources that one call takes."""
SPARE = 24
"""Calls of a query beyond one a batch, to find resources that make Azure refuse a call.

One that a refusal names costs one; one that none names costs twelve: 50 are halved six times.
"""
OUTAGES = 2
"""Calls of a query that may fail for reasons that are no resource's before the rest is not asked."""
_GRAINS = {
    timedelta(minutes=1): "PT1M",
    timedelta(minutes=5): "PT5M",
    timedelta(minutes=15): "PT15M",
    timedelta(hours=1): "PT1H",
    timedelta(hours=6): "PT6H",
    timedelta(days=1): "P1D",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Query:
    """One metric over one span in one grain; `start` is the beginning of a grain."""

    namespace: str
    metric: str
    start: datetime
    end: datetime
    grain: timedelta

    @property
    def parameters(self) -> dict[str, str]:
        """As azure-monitor-querymetrics 1.0.0 sends them."""
        return {
            "api-version": _VERSION,
            "metricnamespace": self.namespace,
            "metricnames": self.metric,
            "starttime": _text(self.start),
            "endtime": _text(self.end),
            "interval": _GRAINS[self.grain],
            "aggregation": "Average",
        }


class Metrics:
    """Azure Monitor's metrics of the region, and the workspace's MLflow.

    A query is of any number of resources, all of one kind, of the workspace's region and subscription, over one span in
    one grain. For n resources it takes at most ceil(n / BATCH) + SPARE calls, each of them tried again RETRIES times at
    most. One that Azure refuses because of a resource has its batch halved until that resource is alone, and it alone
    is not read. Once OUTAGES calls have failed for another reason, or the app is not let in, nothing more is asked.
    What could not be read is None, and in the log.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def request_series(self, endpoint_ids: Sequence[str], start: datetime, end: datetime) -> dict[str, Series | None]:
        """RequestsPerMinute of each endpoint from `start` to `end`, by its ARM id, in the order asked.

        RequestsPerMinute knows the aggregation Average only. Points begin with the grain that `start` is in, and go up
        to what Azure has when it is asked: those of the last minutes before `end` come some minutes late, so that there
        being none yet says nothing of them. An endpoint without requests may have no points, or points of 0.
        """
        return self._query(endpoint_ids, _ENDPOINTS, "RequestsPerMinute", start, end)

    def cpu_series(self, deployment_ids: Sequence[str], start: datetime, end: datetime) -> dict[str, Series | None]:
        """CpuUtilizationPercentage of each deployment, which has points as long as it runs; else as `request_series`.

        `Series.control` tells whether the metrics would have told of requests.
        """
        return self._query(deployment_ids, _DEPLOYMENTS, "CpuUtilizationPercentage", start, end)

    @property
    def _wrong_token(self) -> str:
        """What to do where Azure Monitor refuses the token."""
        audience = self._clients.settings.metrics.audience
        return f"The app's token for {audience} was refused: check METRICS_AUDIENCE, AZURE_CLIENT_ID and the tenant."

    def _query(
        self, ids: Sequence[str], namespace: str, metric: str, start: datetime, end: datetime
    ) -> dict[str, Series | None]:
        grain = _grain(start, end)
        query = _Query(namespace=namespace, metric=metric, start=series.floor(start, grain), end=end, grain=grain)
        found: dict[str, Series | None] = dict.fromkeys(ids)
        waiting, spare, outages = deque(batched(found, BATCH, strict=False)), SPARE, 0
        while waiting:
            batch = waiting.popleft()
            try:
                found |= self._ask(batch, query)
            except (NotFound, Permanent) as error:
                parts = _parts(batch, str(error))
                if len(parts) > spare:
                    log.warning("Not read: %s; one of those %d, and no call is left to find it", error, len(batch))
                    continue
                if len(parts) < 2:  # the one is found
                    log.warning("Not read: %s", error)
                spare -= len(parts)
                waiting.extend(parts)
            except (Conflict, Transient) as error:
                log.warning("Not read: %s", error)
                outages += 1
                if outages >= OUTAGES or getattr(error, "shut_out", False):
                    if waiting:
                        log.warning("Not asked: metric %s of %d more resources", metric, sum(map(len, waiting)))
                    break
        return found

    def _ask(self, batch: Sequence[str], query: _Query) -> dict[str, Series]:
        """One call. What the answer has of each resource; raises as `translated`."""
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest

        whose = batch[0] if len(batch) == 1 else f"{len(batch)} resources"
        what = f"metric {query.metric} of {whose} in {self._clients.settings.workspace.location}"
        subscription, *_ = self._clients.settings.workspace.scope
        url = f"{self._clients.metrics_url}/subscriptions/{subscription}/metrics:getBatch"
        with translated(what, role=_ROLE, credential=self._wrong_token):
            request = HttpRequest("POST", url, params=query.parameters, json={"resourceids": list(batch)})
            answer = self._clients.metrics.send_request(request)
            if answer.status_code != 200:
                raise HttpResponseError(response=answer)
        try:
            found = series.read(answer.content, batch, query.metric, grain=query.grain, end=query.end)
        except ValueError as error:
            raise Transient(f"{what}: {error}") from error
        for id_, each in found.items():
            if isinstance(each, str):
                log.warning("Not read: metric %s of %s: %s", query.metric, id_, each)
        return {id_: each for id_, each in found.items() if isinstance(each, Series)}

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


def _parts(batch: Sequence[str], why: str) -> list[tuple[str, ...]]:
    """What to ask after the batch was refused: all but the one resource that the refusal names, or its halves.

    Empty for one that is alone.
    """
    if len(batch) == 1:
        return []
    named = {id_ for id_ in batch if re.search(rf"{re.escape(id_)}(?![\w/-])", why, re.IGNORECASE)}
    if len(named) == 1:
        return [tuple(id_ for id_ in batch if id_ not in named)]
    middle = (len(batch) + 1) // 2
    return [tuple(batch[:middle]), tuple(batch[middle:])]


def _grain(start: datetime, end: datetime) -> timedelta:
    """The finest grain of Azure Monitor that keeps an answer under some 300 points a resource."""
    return next((grain for grain in _GRAINS if (end - start) / grain <= 300), timedelta(days=1))


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
