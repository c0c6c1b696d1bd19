"""The processor time of metrics of 50 endpoints: the app's REST call against Azure's own client, on the same bytes.

`make bench-metrics`, or `.venv/bin/python -m benchmarks.metrics [--json] [--rounds N]`. An answer over a day in grains
of five minutes is made with a seed. Both ask for it in turn, through all of their pipelines, and get it out of memory.
Medians of the rounds. Exit code 1 when the two find different numbers, or when Azure's client takes less than LEAST
times the processor time of ours.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.monitor.querymetrics import MetricsClient
from requests.adapters import BaseAdapter

from shared.cloud import series
from shared.cloud.clients import Clients
from shared.cloud.metrics import Metrics
from shared.settings import Settings, every_setting

LEAST = 10.0
RESOURCES, GRAIN = 50, timedelta(minutes=5)
END = datetime(2026, 11, 30, 12, tzinfo=UTC)
START = END - timedelta(days=1)
METRIC = "RequestsPerMinute"
NAMESPACE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
GROUP = "/subscriptions/s/resourceGroups/g"
IDS = [
    f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e{n}" for n in range(RESOURCES)
]


def answer() -> bytes:
    """What Azure Monitor answers: of some grains a value, of the others their time alone."""
    dice = random.Random(20)
    values = []
    for id_ in IDS:
        data: list[dict[str, Any]] = []
        for number in range((END - START) // GRAIN):
            data.append({"timeStamp": f"{START + number * GRAIN:%Y-%m-%dT%H:%M:%SZ}"})
            if dice.random() < 0.8:
                data[-1]["average"] = dice.randrange(100) / 4
        metric = {
            "id": f"{id_}/providers/Microsoft.Insights/metrics/{METRIC}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": METRIC, "localizedValue": METRIC},
            "displayDescription": "Requests in a minute.",
            "unit": "Count",
            "timeseries": [{"metadatavalues": [], "data": data}],
            "errorCode": "Success",
        }
        times = {"starttime": f"{START:%Y-%m-%dT%H:%M:%SZ}", "endtime": f"{END:%Y-%m-%dT%H:%M:%SZ}", "interval": "PT5M"}
        values.append(
            {**times, "namespace": NAMESPACE, "resourceregion": "westeurope", "resourceid": id_, "value": [metric]}
        )
    return json.dumps({"values": values}).encode()


class Memory(BaseAdapter):
    """The same answer to every request."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """The answer."""
        found = requests.Response()
        found.status_code, found.request, found.url = 200, request, request.url or ""
        found.headers["Content-Type"] = "application/json; charset=utf-8"
        found.raw = BytesIO(self._body)
        return found

    def close(self) -> None:
        """There is nothing to close."""


class Anybody:
    """A credential that has its token at hand."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """A token for a day."""
        return AccessToken("token", int(time.time()) + 86_400)

    def close(self) -> None:
        """There is nothing to close."""


def askers(body: bytes) -> dict[str, Callable[[], dict[str, float]]]:
    """Each asks for the requests of all endpoints, and sums them up."""
    session = requests.Session()
    session.mount("https://", Memory(body))
    transport = RequestsTransport(session=session, session_owner=False)
    needed = {setting.name: "s" for setting in every_setting() if setting.default is MISSING}
    clients = Clients(Settings.read(needed))
    clients.__dict__ |= {"transport": transport, "credential": Anybody()}
    ours = Metrics(clients)
    theirs = MetricsClient(clients.metrics_url, Anybody(), transport=transport)

    def rest() -> dict[str, float]:
        found = ours.request_series(IDS, START, END)
        return {id_: each.sum for id_, each in found.items() if each}

    def sdk() -> dict[str, float]:
        found = theirs.query_resources(
            resource_ids=IDS,
            metric_namespace=NAMESPACE,
            metric_names=[METRIC],
            timespan=(START, END),
            granularity=GRAIN,
            aggregations=["Average"],
        )
        points = [[point.average or 0 for line in each.metrics[0].timeseries for point in line.data] for each in found]
        return {id_: sum(each) * (GRAIN / series.MINUTE) for id_, each in zip(IDS, points, strict=True)}

    def parse() -> dict[str, float]:
        found = series.read(body, IDS, METRIC, grain=GRAIN, end=END)
        return {id_: each.sum for id_, each in found.items() if isinstance(each, series.Series)}

    return {"rest": rest, "sdk": sdk, "parse": parse}


def measure(rounds: int) -> dict[str, Any]:
    """Medians in milliseconds, how many times ours Azure's client takes, and whether all find the same."""
    body = answer()
    asked = askers(body)
    found = [ask() for ask in asked.values()]  # which imports what they need
    took: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, ask in asked.items():
            begun = time.process_time()
            ask()
            took[name].append((time.process_time() - begun) * 1000)
    return {
        **{f"{name}_ms": round(statistics.median(each), 2) for name, each in took.items()},
        "ratio": round(statistics.median(sdk / rest for sdk, rest in zip(took["sdk"], took["rest"], strict=True)), 1),
        "least": LEAST,
        "same": all(each == found[0] and len(each) == RESOURCES for each in found),
        "bytes": len(body),
        "rounds": rounds,
    }


def main() -> int:
    """Prints a table or JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description="CPU time of metrics of 50 endpoints: REST against Azure's client.")
    parser.add_argument("--rounds", type=int, default=15, help="calls of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a result that a program can read")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps({"benchmark": "metrics", **result}))
    else:
        print(f"an answer of {result['bytes'] / 1e6:.2f} MB about {RESOURCES} endpoints: CPU ms")
        print(f"{"Azure's own client":40}{result['sdk_ms']:>10}")
        print(f"{"the app's call":40}{result['rest_ms']:>10}")
        print(f"{'of that, reading the answer':40}{result['parse_ms']:>10}")
        print(f"{result['ratio']} times the CPU with Azure's client (at least {LEAST:.0f})")
        if not result["same"]:
            print("They find different numbers.")
    return int(not result["same"] or result["ratio"] < LEAST)


if __name__ == "__main__":
    sys.exit(main())
