"""Uploads that yield no run: what lies in no folder, and folders of which no file is trained on.

Read from one page of the container's listing, and from no file. A folder with a finetune.yaml is none of them: it is a
run, is rejected, or waits for files, which is told elsewhere. Called for `droptune status`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from shared.app import App
from shared.dataset.folder import DataFile, contents
from shared.dataset.spec.choices import FILE_NAME
from shared.records.layout import DATASETS, dataset_file

LOOKED_AT = 5000
"""Blobs: a page of a listing."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A blob's path in the container, why no run comes of it and what to do, and when it was uploaded."""

    path: str
    folder: str
    why: str
    at: datetime


def uploads_without_run(app: App) -> Iterator[Upload]:
    """Those among the first LOOKED_AT blobs of the container."""
    folders: dict[str, list[DataFile]] = defaultdict(list)
    for blob in islice(app.cloud.blobs.list(DATASETS), LOOKED_AT):
        folder, slash, name = blob.name.partition("/")
        if not slash:
            why = f"it lies in no folder: upload it as <dataset>/{blob.name}"
            yield Upload(path=blob.name, folder="", why=why, at=blob.last_modified)
        elif name and not name.endswith("/"):
            folders[folder].append(DataFile(name=name, etag=blob.etag, size=blob.size, modified=blob.last_modified))
    for folder, files in folders.items():
        if any(file.name == FILE_NAME for file in files):
            continue
        found = contents(folder, files, None)
        if found.datasets:
            continue
        for file in files:
            if reason := found.ignored.get(file.name):
                yield Upload(path=dataset_file(folder, file.name), folder=folder, why=reason, at=file.modified)
