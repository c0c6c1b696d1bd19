"""What is done to Droptune beside its commands, with Azure's SDKs: another tool uploads, and somebody looks around.

Started by cli/demo/shell.py as a process of its own, with the environment that points the SDKs at the local cloud:
`python -m cli.demo.sdk upload FOLDER FILE`, `uploads FOLDER` or `endpoint NAME`; the answer is JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.app import App
from shared.records.layout import DATASETS
from shared.settings import Settings


def upload(app: App, folder: str, file: str) -> str:
    """Uploads a file into a folder of the container of datasets, whatever is in it. Returns its ETag."""
    path = Path(file)
    return app.cloud.blobs.write(DATASETS, f"{folder}/{path.name}", path.read_bytes())


def uploads(app: App, folder: str) -> list[str]:
    """The blobs that are in such a folder."""
    return [blob.name for blob in app.cloud.blobs.list(DATASETS, f"{folder}/")]


def endpoint(app: App, name: str) -> dict[str, Any]:
    """What is left: whether the endpoint exists, the deployments on it, the jobs that still run."""
    there = app.cloud.endpoints.get(name) is not None
    return {
        "endpoint": there,
        "deployments": [one.name for one in app.cloud.endpoints.deployments(name)] if there else [],
        "jobs": [job.name for job in app.cloud.jobs.active()],
    }


def main() -> None:
    """One question, one answer."""
    app = App.of(Settings.read(os.environ))
    visits: dict[str, Callable[..., Any]] = {"upload": upload, "uploads": uploads, "endpoint": endpoint}
    print(json.dumps(visits[sys.argv[1]](app, *sys.argv[2:])))
    app.cloud.close()


if __name__ == "__main__":
    main()
