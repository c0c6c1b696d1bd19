"""Which runs the files in a dataset's folder give, and what a folder still waits for.

An upload wakes; what it means is decided here, from the whole folder as it is listed, so that the order in which files
arrive, and how often their events do, makes no difference. Called by intake/folder.py and by `droptune check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.dataset.kinds import KINDS, kind_of
from shared.dataset.spec.choices import FILE_NAME, Hub, Spec


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A blob in a dataset's folder: its name below the folder, ETag, size in bytes, last modification in UTC."""

    name: str
    etag: str
    size: int
    modified: datetime


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The data of one run: files, of which missing ones are cut from `train`, or what `spec` names on the hub."""

    folder: str
    train: DataFile | None = None
    validation: DataFile | None = None
    test: DataFile | None = None
    hub: Hub | None = None
    spec: DataFile | None = None

    def __post_init__(self) -> None:
        if (self.train is None) == (self.hub is None) or (self.hub and not self.spec):
            raise ValueError(f"{self.folder}: a dataset has a training file, or a source that its {FILE_NAME} names")

    @property
    def path(self) -> str:
        """Path in the container of what makes it a dataset: the training file, or the finetune.yaml with a source."""
        file = self.train or self.spec
        return f"{self.folder}/{file.name if file else ''}"

    @property
    def told(self) -> str:
        """The path, and the source."""
        return f"{self.path}, which names {self.hub.name} on the hub" if self.hub else self.path

    @property
    def etags(self) -> dict[str, str]:
        """Name to ETag of each data file that the run takes (without finetune.yaml)."""
        return {file.name: file.etag for file in (self.train, self.validation, self.test) if file}

    @property
    def newest(self) -> datetime:
        """When the last of its files arrived: the settle time counts from here."""
        return max(file.modified for file in (self.train, self.validation, self.test, self.spec) if file)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A folder whose finetune.yaml names files that are not there (yet)."""

    folder: str
    for_: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A folder, read: its runs, what it waits for, and why files of it are not trained on, by name."""

    datasets: tuple[Dataset, ...] = ()
    waiting: Waiting | None = None
    ignored: Mapping[str, str]


def contents(folder: str, files: Iterable[DataFile], spec: Spec | None) -> Contents:
    """What the files of `folder` give. `spec` is its finetune.yaml, parsed, and None exactly if it has none.

    Without a spec each data file is a training set of its own, save those named for another use, and takes the
    folder's validation and test files; with one, the files or the source that it names are the one dataset.
    """
    there = {file.name: file for file in files}
    spec_file = there.pop(FILE_NAME, None)
    if (spec is None) != (spec_file is None):
        raise ValueError(f"{folder}: {FILE_NAME} and its parsed form must be given together, or neither")
    if spec:
        return _as_spec_says(folder, there, spec, spec_file)
    ignored = {name: reason for name in there if (reason := _not_data(name))}
    data = [file for name, file in sorted(there.items()) if name not in ignored]
    uses = {file.name: use_of(file.name) for file in data}
    ignored |= {name: _REASONS[use] for name, use in uses.items() if use in _REASONS}
    held = {use: [file for file in data if uses[file.name] == use] for use in ("validation", "test")}
    datasets = tuple(
        Dataset(
            folder=folder,
            train=file,
            validation=_kin(file, held["validation"]),
            test=_kin(file, held["test"]),
            spec=None,
        )
        for file in data
        if uses[file.name] == "train"
    )
    return Contents(datasets=datasets, ignored=ignored)


def _as_spec_says(folder: str, there: dict[str, DataFile], spec: Spec, spec_file: DataFile | None) -> Contents:
    unnamed = f"{FILE_NAME} names a source instead" if spec.hub else f"{FILE_NAME} does not name it"
    ignored = {name: _no_file(name) or unnamed for name in there if name not in spec.files}
    missing = tuple(name for name in spec.files if name not in there)
    if missing:
        return Contents(waiting=Waiting(folder=folder, for_=missing), ignored=ignored)
    dataset = Dataset(
        folder=folder,
        train=there[spec.train] if spec.train else None,
        validation=there[spec.validation] if spec.validation else None,
        test=there[spec.test] if spec.test else None,
        hub=spec.hub,
        spec=spec_file,
    )
    return Contents(datasets=(dataset,), ignored=ignored)


def _no_file(name: str) -> str:
    """Why it can't be a data file, whatever it is named for."""
    if "/" in name:
        return f"it is not directly in the folder: upload it as <dataset>/{name.rpartition('/')[2]}"
    if name.lower() in _SPECS:
        return f"a specification is named {FILE_NAME}, in small letters"
    if not kind_of(name):
        return f"its name does not end in {', '.join(KINDS[:-1])} or {KINDS[-1]}"
    return ""


def _not_data(name: str) -> str:
    """Why a file that nobody named is not taken for data."""
    if why := _no_file(name):
        return why
    stem = _stem(name)
    if stem in ABOUT:
        return f"by its name it tells about data; name it in {FILE_NAME} if it is data"
    shard = _SHARD.search(stem)
    if shard and int(shard[1]) > 1:
        return f"it is one of {int(shard[1])} pieces of a file: put them together, or name one in {FILE_NAME}"
    return ""


def _stem(name: str) -> str:
    """The name in small letters, without the ending that tells the kind."""
    return name[: -len(kind_of(name) or "") or None].lower()


_SPECS = (FILE_NAME, "finetune.yml", "finetune.json")
ABOUT = ("report", "readme", "dataset_info", "dataset_infos", "finetune.schema")
"""Stems of files that lie beside data and tell about it."""
_SHARD = re.compile(r"-\d{5}-of-(\d{5})$", re.ASCII)
"""How datasets that are published in pieces number them."""
_REASONS = {
    "validation": "a validation file is never trained on",
    "test": "a test file is never trained on",
    "try": "a file of prompts for trying the endpoint (*_gen) is never trained on",
}


def use_of(name: str) -> Literal["train", "validation", "test", "try", "none"]:
    """What a file is for by its name; `try`: prompts for trying the endpoint, `none`: it is not taken for data."""
    if _not_data(name):
        return "none"
    stem = _stem(name)
    if stem.endswith("_gen"):
        return "try"
    if stem.startswith("test"):
        return "test"
    if stem.startswith("validation"):
        return "validation"
    return "train"


def _kin(train: DataFile, held: list[DataFile]) -> DataFile | None:
    """Of several held-out files the one named like the training file (train_sft, test_sft), else the plain one.

    Of two that are named alike, the one of the same kind.
    """

    def ending(file: DataFile) -> str:
        return re.sub(r"^(train|test|validation)", "", _stem(file.name))

    def far(file: DataFile) -> tuple[bool, bool, bool, str]:
        other_kind = kind_of(file.name) != kind_of(train.name)
        return (ending(file) != ending(train), ending(file) != "", other_kind, file.name)

    return min(held, key=far, default=None)
