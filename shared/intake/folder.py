"""A dataset's folder in blob storage, as it stands now: its files, its finetune.yaml, and the runs that they yield.

Read when an upload's event comes, and again when the run that it made is about to start: what counts is what stands
there then. Called when something arrives (arrivals.py), and by the look at a run that was received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared import naming
from shared.app import App
from shared.dataset.folder import Contents, DataFile, Dataset, contents
from shared.dataset.names import piece_of
from shared.dataset.spec.choices import FILE_NAME, SIZE_LIMIT, Spec
from shared.dataset.spec.finetune import parse
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.records.layout import DATASETS, dataset_file
from shared.records.run import File


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A dataset's folder as it stands now. `unread`: why its finetune.yaml can't be followed.

    `installation`: the id of the installation whose storage it lies in. `settle`: after so long without another file
    an upload counts as whole. `at`: when it was listed. `archived`: its finetune.yaml is, so that nobody knows yet what
    it says; `unread` says so too.
    """

    name: str
    installation: str
    settle: timedelta
    files: dict[str, DataFile]
    spec: Spec | None = None
    unread: str = ""
    archived: bool = False
    at: datetime | None = None

    def grows(self, file: DataFile) -> bool:
        """Whether it is an append blob that was written to just now, so that it may not be whole."""
        return file.appended and self.at is not None and self.at - file.modified < self.settle

    @property
    def data(self) -> list[DataFile]:
        """Those of its files that are not passed over, its finetune.yaml among them; none where nobody knows."""
        if self.unread:
            return []
        found = self.contents
        taken = {name for dataset in found.datasets for name in dataset.etags}
        return [file for name, file in self.files.items() if name in taken or name not in found.ignored]

    @property
    def last(self) -> DataFile:
        """Which of its files was written last. What is passed over may be written to for ever, and does not count."""
        known = [self.files[FILE_NAME]] if self.unread else self.data
        return max(known or self.files.values(), key=lambda file: (file.modified, file.name))

    @property
    def newest(self) -> datetime:
        """When that was: from there the settle time counts."""
        return self.last.modified

    @property
    def contents(self) -> Contents:
        """What it yields. Raises ValueError where its finetune.yaml can't be followed."""
        return contents(self.name, self.files.values(), self.spec)

    @property
    def problem(self) -> str:
        """Why nothing is trained on before somebody mends it."""
        return self.unread or self.contents.problem


_GROWS = "grows"
"""Stands for the ETag of a file that has another one with each piece that is appended."""


def read_folder(app: App, name: str) -> Folder:
    """Lists the folder and reads its finetune.yaml. Raises Transient when that changes under the reader's hands."""
    prefix = dataset_file(name)
    found = [
        DataFile(
            name=blob.name.removeprefix(prefix),
            etag=blob.etag,
            size=blob.size,
            modified=blob.last_modified,
            archived=blob.archived,
            rehydrates=blob.rehydrates,
            appended=blob.appended,
            md5=blob.md5,
        )
        for blob in app.cloud.blobs.list(DATASETS, prefix)
        if not blob.name.endswith("/")
    ]
    files = {file.name: file for file in found}
    settings = app.settings
    folder = Folder(
        name=name,
        installation=settings.storage.installation,
        settle=settings.data.settle,
        files=files,
        at=app.cloud.blobs.now(),
    )
    if FILE_NAME not in files:
        return folder
    file = files[FILE_NAME]
    if file.archived:
        told = "its rehydration is under way" if file.rehydrates else "rehydrate it"
        return replace(folder, archived=True, unread=f"{FILE_NAME} is in the access tier Archive: {told}")
    if file.size > SIZE_LIMIT:
        return replace(folder, unread=f"{FILE_NAME}: {file.size} bytes; it may have {SIZE_LIMIT}")
    try:
        data, _ = app.cloud.blobs.read(DATASETS, dataset_file(name, FILE_NAME), if_match=file.etag)
    except NotFound:
        raise Transient(f"{name}/{FILE_NAME} was deleted while it was read", after=timedelta(seconds=1)) from None
    except Conflict:
        raise Transient(f"{name}/{FILE_NAME} was written to while it was read", after=timedelta(seconds=1)) from None
    try:
        return replace(folder, spec=parse(data))
    except Permanent as error:
        return replace(folder, unread=str(error).encode(errors="backslashreplace").decode())


def datasets_of(folder: Folder) -> dict[str, Dataset]:
    """The datasets that the folder yields now, by the id of the run of each.

    Without a finetune.yaml the training files alone make the id: the folder's test and validation files are taken as
    they are when the run starts, and a repeated event must not make a second run because one of them came later. With
    one it counts too, and for a source on the hub alone: who wants a newer state of that uploads finetune.yaml again.
    As long as a file grows, its state makes no difference: one run waits until it is whole, and gives way then.

    Of pieces of which nobody says how many there are, the first id is the same for all that one upload brings, however
    slowly: it is that of its first piece, and of what was there before. The second is of precisely the pieces that are
    there, for those that come when the run of the first has read the others already.
    """
    if folder.problem or not folder.files:
        return {}
    found = {}
    for dataset in folder.contents.datasets:
        spec = dataset.spec.etag if dataset.spec else None
        ways: list[tuple[str, dict[str, str]]]
        if not dataset.train:
            ways = [(dataset.folder, {})]
        elif dataset.spec:
            ways = [(dataset.path, dataset.etags)]
        elif _may_be_more(dataset):
            at = _first_of_upload(folder, dataset.train)
            began = sorted(dataset.train, key=_when)[: at + 1]
            ways = [
                (dataset_file(dataset.folder, began[at].name), {file.name: file.etag for file in began}),
                (dataset_file(dataset.folder), {file.name: file.etag for file in dataset.train}),
            ]
        else:
            ways = [(dataset.path, {file.name: file.etag for file in dataset.train})]
        for path, etags in ways:
            state = {name: _GROWS if folder.grows(folder.files[name]) else etag for name, etag in etags.items()}
            found[naming.run_id(path, state, spec, 0, installation=folder.installation)] = dataset
    return found


def _may_be_more(dataset: Dataset) -> bool:
    """Whether others like it are pieces too, and no name says how many there are."""
    piece = piece_of(dataset.train[0].name)
    return piece.of is None and (piece.apart or piece.number is not None)


def _when(file: DataFile) -> tuple[datetime, str]:
    return file.modified, file.name


def _first_of_upload(folder: Folder, files: Sequence[DataFile]) -> int:
    """Which of them, in the order in which they came, is the first that came with the last of them.

    That is without more than the settle time between two of them.
    """
    came = sorted(files, key=_when)
    at = len(came) - 1
    while at and came[at].modified - came[at - 1].modified <= folder.settle:
        at -= 1
    return at


def runs_of(folder: Folder) -> list[str]:
    """Ids of the runs that it yields now; of those that may say, where nothing is trained on, why that is so."""
    if not folder.files:
        return []
    if folder.unread or folder.contents.misnamed:
        return [rejected_run(folder)]
    return list(told_by(folder)) if folder.contents.several else list(datasets_of(folder))


def told_by(folder: Folder) -> tuple[str, ...]:
    """Ids of the runs that say of several training files that nobody has said which one is meant.

    The first stays the same however many files an upload brings one after the other: it is that of the upload's first
    file. The second is of precisely the files that are there, for those that come when the first has said its say.
    """
    if folder.unread or not folder.contents.several:
        return ()
    several = sorted(folder.contents.several, key=_when)
    first = several[_first_of_upload(folder, several)]
    return tuple(
        naming.run_id(folder.name, {file.name: file.etag for file in files}, None, 0, installation=folder.installation)
        for files in ([first], several)
    )


def rejected_run(folder: Folder) -> str:
    """Id of the run that says why the folder's finetune.yaml can't be followed, or what may be meant for one."""
    path, spec = dataset_file(folder.name, FILE_NAME), folder.files.get(FILE_NAME)
    misnamed = {} if folder.unread else {file.name: file.etag for file in folder.contents.misnamed}
    return naming.run_id(path, misnamed, spec.etag if spec else None, 0, installation=folder.installation)


def taken(folder: str, dataset: Dataset) -> dict[str, Any]:
    """The fields of a run's Source that say which blobs it takes."""

    def file(found: DataFile) -> File:
        return File(name=dataset_file(folder, found.name), etag=found.etag, size=found.size, md5=found.md5)

    parts = (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test))
    taken: dict[str, Any] = {part: tuple(map(file, found)) for part, found in parts}
    return taken | {"spec": file(dataset.spec) if dataset.spec else None}
