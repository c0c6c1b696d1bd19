"""What a person does to Droptune with Azure's SDKs, as a process of its own: uploads, asks an endpoint, looks around.

Started by cli/demo/show.py with the environment that points the SDKs at the local cloud, so that the demo's own process
never carries it: `python -m cli.demo.sdk upload|ask|look`, the request as JSON on standard input, the answer as JSON on
standard output.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shared.app import App
from shared.records.layout import DATASETS, PREPARED, part_of
from shared.serving.payload import answer_of, conversation_of, scoring_payload
from shared.settings import Settings

CHUNK = 1 << 20


def upload(app: App, files: dict[str, str]) -> dict[str, str]:
    """Uploads `{blob: path}` into the container of datasets, in that order. Returns the ETags."""
    return {blob: app.cloud.blobs.upload(DATASETS, blob, _chunks(Path(path))) for blob, path in files.items()}


def ask(app: App, asked: dict[str, str]) -> dict[str, Any]:
    """Asks the endpoint, greedily, a question that it was not trained on: a test row of the data below `prepared`."""
    first = next(app.cloud.blobs.stream(PREPARED, part_of(asked["prepared"], "test")))
    lines = first.splitlines()[: None if first.endswith(b"\n") else -1]
    row = json.loads(random.Random(asked["seed"]).choice(lines))  # noqa: S311
    conversation = conversation_of(row)
    answer = answer_of(app.cloud.endpoints.score(asked["endpoint"], scoring_payload(conversation, greedy=True)))
    return {
        "question": conversation[-1]["content"],
        "expected": row["messages"][-1]["content"],
        "answer": answer,
    }


def look(app: App, endpoint: str) -> dict[str, Any]:
    """What is left: whether the endpoint exists, the deployments on it, the jobs that still run."""
    there = app.cloud.endpoints.get(endpoint) is not None
    return {
        "endpoint": there,
        "deployments": [one.name for one in app.cloud.endpoints.deployments(endpoint)] if there else [],
        "jobs": [job.name for job in app.cloud.jobs.active()],
    }


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def main() -> None:
    """One request, one answer."""
    app = App.of(Settings.read(os.environ))
    visits: dict[str, Callable[[App, Any], dict[str, Any]]] = {"upload": upload, "ask": ask, "look": look}
    print(json.dumps(visits[sys.argv[1]](app, json.load(sys.stdin))))
    app.cloud.close()


if __name__ == "__main__":
    main()
