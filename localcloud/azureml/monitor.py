"""Azure Monitor's metrics of endpoints and deployments, as azure-monitor-querymetrics 1.0.0 and the app ask for them.

scoring.py counts requests here; a loop measures the processor time of the inference servers. Both are kept in SQLite by
minutes of the local clock: an idle endpoint has no points, a deployment has them for as long as it runs. When the clock
runs fast or jumps, the minutes between two measurements get what was measured over them.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml import endpoints, fleet
from localcloud.azureml.arm import LOCATION, ArmError, body
from localcloud.azureml.cloud import Cloud, route, timestamp
from localcloud.azureml.store import Json

MOST_RESOURCES = 50
KEPT = 93 * 24 * 60
"""Minutes that metrics are kept, as Azure Monitor does."""
SHORTEST, LONGEST = 0.25, 1.0
"""Seconds of real time between two looks at the clock; a measurement is made when a local minute is over."""
_INTERVALS = {"PT1M": 1, "PT5M": 5, "PT15M": 15, "PT30M": 30, "PT1H": 60, "PT6H": 360, "PT12H": 720, "P1D": 1440}
_AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {"average": fmean, "minimum": min, "maximum": max}


@dataclass(frozen=True, kw_only=True)
class _Metric:
    unit: str
    aggregations: tuple[str, ...]
    description: str


_ENDPOINTS = "microsoft.machinelearningservices/workspaces/onlineendpoints"
METRICS = {
    _ENDPOINTS: {
        "RequestsPerMinute": _Metric(unit="Count", aggregations=("average",), description="Requests in a minute."),
    },
    f"{_ENDPOINTS}/deployments": {
        "CpuUtilizationPercentage": _Metric(
            unit="Percent", aggregations=("average", "minimum", "maximum"), description="Processor use of an instance."
        ),
    },
}
"""What there is, by namespace in lower case. Aggregations as Azure documents them for each metric."""


class Points:
    """Values by resource, metric and minute (minutes since 1970, local clock)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a point lost with the machine does not matter
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS points (resource TEXT, metric TEXT, minute INTEGER, value REAL, "
            "PRIMARY KEY (resource, metric, minute)) WITHOUT ROWID"
        )

    def add(self, resource: str, metric: str, minute: int, value: float) -> None:
        """Add to the minute's value."""
        self._database.execute(
            "INSERT INTO points VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            (resource.lower(), metric, minute, value),
        )

    def fill(self, resource: str, metric: str, minutes: range, value: float) -> None:
        """Set the value of each of the minutes."""
        self._database.execute("BEGIN")
        rows = ((resource.lower(), metric, minute, value) for minute in minutes)
        self._database.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def read(self, resource: str, metric: str, minutes: range) -> dict[int, float]:
        """The values of those minutes that have one."""
        found = self._database.execute(
            "SELECT minute, value FROM points WHERE resource = ? AND metric = ? AND minute >= ? AND minute < ?",
            (resource.lower(), metric, minutes.start, minutes.stop),
        )
        return dict(found.fetchall())

    def forget(self, before: int) -> None:
        """Drop the minutes before that one."""
        self._database.execute("DELETE FROM points WHERE minute < ?", (before,))

    def close(self) -> None:
        """Close the database."""
        self._database.close()


_points: dict[Path, Points] = {}
"""By cloud (its state folder)."""


def points(cloud: Cloud) -> Points:
    """The points of this cloud."""
    if cloud.state not in _points:
        _points[cloud.state] = Points(cloud.state / "metrics.sqlite")
        _points[cloud.state].forget(minute_of(cloud.clock.now()) - KEPT)
    return _points[cloud.state]


def minute_of(at: datetime) -> int:
    """Whole minutes since 1970."""
    return int(at.timestamp() // 60)


def count_request(cloud: Cloud, endpoint_id: str) -> None:
    """Count one request to an endpoint."""
    points(cloud).add(endpoint_id, "RequestsPerMinute", minute_of(cloud.clock.now()), 1)


def routes(cloud: Cloud) -> list[Route]:
    """The batch query; the regional endpoint of Azure Monitor has nothing else."""
    return [route(cloud, "POST", "/subscriptions/{subscription}/metrics:getBatch", _query)]


async def start(cloud: Cloud) -> None:
    """Begin to measure. The task ends with the cloud's others, when no request comes in any more."""
    cloud.background(_measure(cloud), "processor metrics")


@dataclass(frozen=True, kw_only=True)
class _Reading:
    server: fleet.Server
    minute: int
    cpu: float
    at: float


_readings: dict[Path, dict[str, _Reading]] = {}
"""The last one of each deployment, by cloud (its state folder)."""


async def _measure(cloud: Cloud) -> None:
    _readings[cloud.state] = {}
    try:
        while True:
            await asyncio.sleep(min(max(cloud.clock.real(timedelta(minutes=1)), SHORTEST), LONGEST))
            _look(cloud)
    finally:
        points(cloud).close()
        del _points[cloud.state], _readings[cloud.state]


def _look(cloud: Cloud) -> None:
    """Gives the minutes since the last look what was measured over them; those that the clock has jumped over, too."""
    last = _readings.get(cloud.state, {})
    minute = minute_of(cloud.clock.now())
    for resource, server in fleet.serving(cloud):
        before = last.get(resource)
        if before and before.server is server and before.minute == minute:
            continue
        cpu = server.cpu_seconds()
        if cpu is None:
            last.pop(resource, None)
            continue
        now = last[resource] = _Reading(server=server, minute=minute, cpu=cpu, at=time.monotonic())
        if before and before.server is server and cpu >= before.cpu and now.at > before.at:
            percent = 100 * (now.cpu - before.cpu) / (now.at - before.at) / (psutil.cpu_count() or 1)
            minutes = range(max(before.minute, minute - KEPT), minute)
            points(cloud).fill(resource, "CpuUtilizationPercentage", minutes, min(percent, 100.0))


async def _query(cloud: Cloud, request: Request) -> Response:
    if unsupported := sorted(request.query_params.keys() & {"filter", "top", "orderby", "rollupby"}):
        raise ArmError(501, "NotImplemented", f"The local cloud's metrics know no {', '.join(unsupported)}.")
    _look(cloud)  # whoever asks just after the clock has jumped gets the points of that time, as in Azure
    asked = _Asked(cloud, request.query_params)
    resources = (await body(request)).get("resourceids") or []
    if not 1 <= len(resources) <= MOST_RESOURCES:
        raise _bad(f"{len(resources)} resource ids: there must be 1 to {MOST_RESOURCES}.")
    subscription = f"/subscriptions/{request.path_params['subscription']}/".lower()
    kind = fleet.KIND if asked.namespace.lower().endswith("/deployments") else endpoints.KIND
    known = {document["id"].lower() for document in cloud.store.list(kind)}
    for resource in resources:
        if not resource.lower().startswith(subscription):
            raise _bad(f"{resource} is not of the subscription that the address names.")
        if resource.lower() not in known:
            raise ArmError(404, "ResourceNotFound", f"The resource {resource} of {asked.namespace} was not found.")
    return JSONResponse({"values": [_values(cloud, resource, asked) for resource in resources]})


class _Asked:
    """A query's parameters, checked. Raises ArmError 400."""

    def __init__(self, cloud: Cloud, given: Any) -> None:
        if not given.get("api-version"):
            raise ArmError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        self.namespace = str(given.get("metricnamespace", ""))
        known = METRICS.get(self.namespace.lower())
        if known is None:
            raise _bad(f"Namespace {self.namespace!r} has no metrics here: {', '.join(METRICS)}.")
        self.metrics = {name: known.get(name) for name in str(given.get("metricnames", "")).split(",")}
        if wrong := [name for name, metric in self.metrics.items() if metric is None]:
            raise _bad(f"Failed to find metric {', '.join(wrong)} of {self.namespace}. There are: {', '.join(known)}.")
        self.interval = given.get("interval", "PT1M")
        if self.interval not in _INTERVALS:
            raise _bad(f"Interval {self.interval!r} is none of {', '.join(_INTERVALS)}.")
        self.aggregations = [name.strip().lower() for name in given.get("aggregation", "average").split(",")]
        for name, metric in self.metrics.items():
            if metric and (wrong := sorted(set(self.aggregations) - set(metric.aggregations))):
                raise _bad(f"{name} has no aggregation {', '.join(wrong)}, only {', '.join(metric.aggregations)}.")
        now = cloud.clock.now()
        self.end = _moment(given.get("endtime")) or now
        self.start = _moment(given.get("starttime")) or self.end - timedelta(hours=1)
        if self.start > self.end:
            raise _bad(f"starttime {self.start} is after endtime {self.end}.")


def _bad(message: str) -> ArmError:
    return ArmError(400, "BadRequest", message)


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise _bad(f"{text!r} is not a time in ISO 8601.") from error
    return found.replace(tzinfo=found.tzinfo or UTC) if found else None


def _values(cloud: Cloud, resource: str, asked: _Asked) -> Json:
    return {
        "starttime": timestamp(asked.start.astimezone(UTC)),
        "endtime": timestamp(asked.end.astimezone(UTC)),
        "interval": asked.interval,
        "namespace": asked.namespace,
        "resourceregion": LOCATION,
        "resourceid": resource,
        "value": [
            {
                "id": f"{resource}/providers/Microsoft.Insights/metrics/{name}",
                "type": "Microsoft.Insights/metrics",
                "name": {"value": name, "localizedValue": name},
                "displayDescription": metric.description,
                "unit": metric.unit,
                "timeseries": _series(cloud, resource, name, asked),
                "errorCode": "Success",
            }
            for name, metric in asked.metrics.items()
            if metric
        ],
    }


def _series(cloud: Cloud, resource: str, metric: str, asked: _Asked) -> list[Json]:
    """One series of bins from the start's minute on. A bin without a value is its time alone.

    Without any value there is no series. The minute that is not over yet is not told: its value still grows.
    """
    step = _INTERVALS[asked.interval]
    last = min(minute_of(asked.end - timedelta(microseconds=1)) + 1, minute_of(cloud.clock.now()))
    minutes = range(minute_of(asked.start), last)
    found = points(cloud).read(resource, metric, minutes)
    if not found:
        return []
    data = []
    for first in minutes[::step]:
        inside = [found[minute] for minute in range(first, min(first + step, minutes.stop)) if minute in found]
        data.append({"timeStamp": timestamp(datetime.fromtimestamp(first * 60, UTC))} | _aggregated(inside, asked))
    return [{"metadatavalues": [], "data": data}]


def _aggregated(values: Sequence[float], asked: _Asked) -> dict[str, float]:
    return {name: _AGGREGATIONS[name](values) for name in asked.aggregations} if values else {}
