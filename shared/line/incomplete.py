"""Folders that lack files which their finetune.yaml names, or the names of a dataset's other pieces speak of: no run
comes of them until somebody uploads these.

The rest of an upload may be on its way; what still lacks after a while was mistyped, or forgotten. Called by the sweep,
which has people hear of each once it is that old, and once a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from shared import naming
from shared.app import App
from shared.dataset.folder import DataFile, contents
from shared.dataset.spec.choices import FILE_NAME
from shared.errors import NotFound
from shared.line.waits import Need
from shared.records.base import from_json
from shared.records.layout import DATASETS, STATE, WAITING, dataset_file

EVENT = "Upload.Waiting"
PATIENCE = timedelta(hours=1)
"""So long the rest of an upload may take before people are told."""
_NAMED = 20
"""Files that are named one by one."""


def waiting_folders(app: App) -> Iterator[tuple[str, list[str]]]:
    """Each folder that waits for files, as it was looked into last, and their names. Raises Transient, Permanent."""
    blobs = app.cloud.blobs
    for blob in blobs.list(STATE, WAITING):
        try:
            names = from_json(blobs.read(STATE, blob.name)[0], list[str])
        except (NotFound, ValueError):  # it has just been completed; or somebody broke it
            continue
        yield blob.name.removeprefix(WAITING).removesuffix(".json"), names


def needs_of_folders(app: App) -> Iterator[Need]:
    """Of those that still wait: no event tells that their finetune.yaml was deleted. Raises Transient, Permanent."""
    for folder, names in waiting_folders(app):
        prefix = dataset_file(folder)
        there = [blob.name.removeprefix(prefix) for blob in app.cloud.blobs.list(DATASETS, prefix)]
        others = [name for name in there if name != FILE_NAME and not name.endswith("/")]
        named = FILE_NAME in there
        lacking = [name for name in names if name not in there] if named else _lacking(folder, others)
        if not lacking:
            continue
        yield Need(
            key=f"waiting {naming.line_id(folder, '', installation=app.settings.storage.installation)}",
            event=EVENT,
            subject=f"datasets/{folder}",
            why=f"{folder} waits for {_named(lacking)}, "
            + (f"which its {FILE_NAME} names; there " if named else "as the other pieces say by their names; there ")
            + (f"are: {_named(others)}" if others else "is no other file"),
            dataset=folder,
            after=PATIENCE,
        )


def _lacking(folder: str, names: Sequence[str]) -> Sequence[str]:
    """The pieces that a folder without a finetune.yaml lacks."""
    files = [DataFile(name=name, etag="", size=0, modified=datetime.min.replace(tzinfo=UTC)) for name in names]
    waiting = contents(folder, files, None).waiting
    return waiting.for_ if waiting else ()


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
