"""Which runs the files in a dataset's folder give, and what a folder still waits for.

An upload wakes; what it means is decided here, from the whole folder as it is listed, so that the order in which files
arrive, and how often their events do, makes no difference. Called by the intake and the sweep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.dataset.spec import FILE_NAME, SUFFIX, Spec


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A blob in a dataset's folder: its name below the folder, ETag, size in bytes, last modification in UTC."""

    name: str
    etag: str
    size: int
    modified: datetime


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The files of one run. What is None is cut from `train`."""

    folder: str
    train: DataFile
    validation: DataFile | None
    test: DataFile | None
    spec: DataFile | None

    @property
    def path(self) -> str:
        """The training file's path in the container."""
        return f"{self.folder}/{self.train.name}"

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
    folder's validation and test files; with one, the files that it names are the one dataset.
    """
    there = {file.name: file for file in files}
    spec_file = there.pop(FILE_NAME, None)
    if (spec is None) != (spec_file is None):
        raise ValueError(f"{folder}: {FILE_NAME} and its parsed form must be given together, or neither")
    if spec:
        return _as_spec_says(folder, there, spec, spec_file)
    ignored = {name: reason for name in there if (reason := _not_data(name))}
    data = [file for name, file in sorted(there.items()) if name not in ignored]
    uses = {file.name: _use(file.name) for file in data}
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
    ignored = {name: _not_data(name) or f"{FILE_NAME} does not name it" for name in there if name not in spec.files}
    missing = tuple(name for name in spec.files if name not in there)
    if missing:
        return Contents(waiting=Waiting(folder=folder, for_=missing), ignored=ignored)
    dataset = Dataset(
        folder=folder,
        train=there[spec.train],
        validation=there[spec.validation] if spec.validation else None,
        test=there[spec.test] if spec.test else None,
        spec=spec_file,
    )
    return Contents(datasets=(dataset,), ignored=ignored)


def _not_data(name: str) -> str:
    if "/" in name:
        return f"it is not directly in the folder: upload it as <dataset>/{name.rpartition('/')[2]}"
    if not name.endswith(SUFFIX):
        return f"its name does not end in {SUFFIX}"
    return ""


_REASONS = {
    "validation": "a validation file is never trained on",
    "test": "a test file is never trained on",
    "try": "a file of prompts for trying the endpoint (*_gen) is never trained on",
}


def _use(name: str) -> str:
    stem = name.removesuffix(SUFFIX).lower()
    if stem.endswith("_gen"):
        return "try"
    if stem.startswith("test"):
        return "test"
    if stem.startswith("validation"):
        return "validation"
    return "train"


def _kin(train: DataFile, held: list[DataFile]) -> DataFile | None:
    """Of several held-out files the one named like the training file (train_sft, test_sft), else the plain one."""

    def ending(file: DataFile) -> str:
        return re.sub(r"^(train|test|validation)", "", file.name.removesuffix(SUFFIX).lower())

    own = ending(train)
    return min(held, key=lambda file: (ending(file) != own, ending(file) != "", file.name), default=None)
