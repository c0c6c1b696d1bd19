"""Whether what was uploaded can be read yet, and what became of it since: words that are true at that moment.

A blob may be archived, still grow, or be another one by now. Called by the looks at a run before its data are read, and
by their check.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import urlsplit

from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.dataset.folder import DataFile
from shared.dataset.spec.choices import FILE_NAME
from shared.errors import Permanent, Refused, Transient
from shared.intake.folder import Folder, datasets_of, rejected_run, told_by
from shared.lifecycle.moment import minute
from shared.records.layout import DATASETS, dataset_file
from shared.records.run import File, Run

ARCHIVED_FOR = timedelta(days=7)
"""How long a run waits for somebody to rehydrate its files."""
LOOKED_AT = timedelta(hours=1)
"""Between two looks at an archived blob: it takes hours to come back, and no event tells of it."""
GROWS_FOR = timedelta(hours=24)
"""How long a run waits for an append blob to come to rest."""


def wait_for_growth(app: App, run: Run, folder: Folder) -> None:
    """Raises Transient while a data file of the folder is written to, and Permanent once that has lasted."""
    growing = [file for file in folder.data if folder.grows(file)]
    if not growing:
        return
    file = max(growing, key=lambda file: file.modified)
    name, now = dataset_file(folder.name, file.name), app.cloud.blobs.now()
    rest = f"{folder.settle.total_seconds():.0f} s (SETTLE_TIME)"
    if now - run.since >= GROWS_FOR:
        raise Permanent(
            f"{DATASETS}/{name} is an append blob that was still written to after {_length(GROWS_FOR)}: once nothing "
            f"was appended for {rest}, droptune start {shlex.quote(folder.name)} reads it"
        )
    ago = max(0, int((now - file.modified).total_seconds()))
    raise Transient(
        f"{DATASETS}/{name} is an append blob that was still written to {ago} s ago: it is read once nothing was "
        f"appended for {rest}, if that is so before {minute(run.since + GROWS_FOR)}",
        after=max(folder.settle - (now - file.modified), timedelta(seconds=1)),
    )


def wait_for_archive(app: App, run: Run, files: Iterable[tuple[str, DataFile | BlobInfo]]) -> None:
    """Raises where one of the files, by their names in the container, is archived.

    Refused where a person has to do something, who is told; Transient where it is on its way back; Permanent once
    either has lasted.
    """
    archived = [(name, file) for name, file in files if file.archived]
    if not archived:
        return
    until, now = run.since + ARCHIVED_FOR, app.cloud.blobs.now()
    asleep = [name for name, file in archived if not file.rehydrates]
    names = ", ".join(f"{DATASETS}/{name}" for name in asleep or (name for name, _ in archived))
    if now >= until:
        spec = any(name.endswith(f"/{FILE_NAME}") for name, _ in archived)
        again = f"droptune start {shlex.quote(run.source.folder)}" if spec else f"droptune retry {run.id}"
        raise Permanent(
            f"{names} was still in the access tier Archive after {_length(ARCHIVED_FOR)}, and can't be read: rehydrate "
            f"it ({_set_tier(app, (asleep or [archived[0][0]])[0])}), then {again}"
        )
    lasts = f"it is looked at every hour until {minute(until)}"
    if asleep:
        raise Refused(
            f"{names} is in the access tier Archive, and can't be read: rehydrate it, which takes up to 15 hours: "
            f"{_set_tier(app, asleep[0])}; {lasts}",
            after=LOOKED_AT,
        )
    raise Transient(
        f"{names} comes back from the access tier Archive: somebody has asked to rehydrate it, which takes up to 15 "
        f"hours; {lasts}",
        after=LOOKED_AT,
    )


def archived_of(app: App, files: Iterable[File]) -> list[tuple[str, BlobInfo]]:
    """Those of a run's files that are archived now, by their names in the container."""
    found = ((file.name, app.cloud.blobs.head(DATASETS, file.name)) for file in files)
    return [(name, blob) for name, blob in found if blob and blob.archived]


def with_archived(app: App, run: Run, why: str) -> str:
    """Why a job failed that was to read the run's files, and which of them it could not read."""
    names = ", ".join(f"{DATASETS}/{name}" for name, _ in archived_of(app, run.source.files))
    if not names:
        return why
    told = f"{names} is in the access tier Archive: rehydrate it, then droptune retry {run.id}"
    return f"{why}; {told}" if why else told


def what_changed(run: Run, folder: Folder) -> str:
    """Why a folder that is read anew does not yield the run any more, in words."""
    prefix = dataset_file(folder.name)
    taken = {file.name.removeprefix(prefix): file for file in (*run.source.files, *filter(None, [run.source.spec]))}
    deleted = [name for name in taken if name not in folder.files]
    written = [name for name, file in taken.items() if name in folder.files and folder.files[name].etag != file.etag]
    if deleted:
        what = f"{', '.join(deleted)} was deleted before it was read"
    elif run.source.spec and run.source.spec.name == dataset_file(folder.name, FILE_NAME) and _is_about_spec(run):
        what = f"{FILE_NAME} can be read now"
    elif written:
        what = f"{', '.join(written)} was written to before it was read"
    elif FILE_NAME in folder.files and not run.source.spec:
        what = f"{FILE_NAME} came before the data were read"
    else:
        what = "the folder has changed before its data were read"
    return f"{what}: {newer_state(folder, but=run.id)}"


def _is_about_spec(run: Run) -> bool:
    """Whether it stands for a finetune.yaml that could not be read."""
    return run.source.spec in run.source.train


def newer_state(folder: Folder, *, but: str = "") -> str:
    """Which run, `but` the one that asks, is of the folder as it stands now, in words.

    Whoever ends with them makes that run.
    """
    if ids := [run_id for run_id in datasets_of(folder) if run_id != but]:
        return f"run {ids[0]} is of the folder as it stands now"
    if not folder.files:
        return "nothing is left in the folder"
    if told_by(folder) or folder.problem:
        told = f" (run {rejected_run(folder)} says so too)" if not told_by(folder) else ""
        return f"nothing of the folder is trained on as it stands now: {folder.problem}{told}"
    if waiting := folder.contents.waiting:
        return f"the folder waits for {waiting}"
    return "nothing that is left in the folder is trained on"


def _set_tier(app: App, name: str) -> str:
    address = urlsplit(app.settings.storage.blob_uri)
    account = address.path.strip("/") or (address.hostname or "").partition(".")[0]
    return (
        f"az storage blob set-tier --account-name {account} --container-name {DATASETS} --name {shlex.quote(name)} "
        "--tier Hot --auth-mode login"
    )


def _length(time: timedelta) -> str:
    return f"{time.days} days" if time.days > 1 else f"{time / timedelta(hours=1):.0f} hours"
