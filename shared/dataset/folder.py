"""Which runs the files in a dataset's folder give, and what a folder still waits for.

An upload wakes; what it means is decided here, from the whole folder as it is listed, so that the order in which files
arrive, and how often their events do, makes no difference. Called by intake/folder.py and by `droptune check`.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from typing import Literal

from shared.dataset.kinds import kind_of, unread
from shared.dataset.spec.choices import FILE_NAME, Hub, Spec
from shared.dataset.spec.finetune import parse
from shared.errors import Permanent


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A blob in a dataset's folder: its name below the folder, ETag, size in bytes, last modification in UTC.

    `archived`, `rehydrates`, `appended`, `md5`: see BlobInfo.
    """

    name: str
    etag: str
    size: int
    modified: datetime
    archived: bool = False
    rehydrates: bool = False
    appended: bool = False
    md5: str = ""


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
    """A folder, read: its run, what it waits for, and why files of it are not trained on, by name.

    `several`: training files of which nobody said which one is meant. `misnamed`: files that may be meant for its
    finetune.yaml, and are none. `problem`: why no run that trains can be made of
    the folder, and what to do, "" where there is nothing to mend.
    """

    datasets: tuple[Dataset, ...] = ()
    several: tuple[DataFile, ...] = ()
    misnamed: tuple[DataFile, ...] = ()
    problem: str = ""
    waiting: Waiting | None = None
    ignored: Mapping[str, str]


def contents(folder: str, files: Iterable[DataFile], spec: Spec | None) -> Contents:
    """What the files of `folder` give. `spec` is its finetune.yaml, parsed, and None exactly if it has none.

    A folder is one dataset, at most. Without a spec it is its one training file, with the folder's validation and test
    files; of several, nothing is trained until somebody says which one is meant. With a spec, it is the files or the
    source that this names. What may be meant for a spec, and is none, is never passed over: perhaps it forbids what
    would be done without it.
    """
    there = {file.name: file for file in files}
    spec_file = there.pop(FILE_NAME, None)
    if (spec is None) != (spec_file is None):
        raise ValueError(f"{folder}: {FILE_NAME} and its parsed form must be given together, or neither")
    found = _as_spec_says(folder, there, spec, spec_file) if spec else _without_spec(folder, there)
    nested_counts = not spec and bool(found.datasets or found.several)
    misnamed = [
        file
        for name, file in sorted(there.items())
        if _may_be_a_spec(name, alone=not spec)
        and not (spec and name in spec.files)
        and ("/" not in name or nested_counts)
    ]
    if not misnamed:
        return found
    ignored = {name: why for name, why in found.ignored.items() if there[name] not in misnamed}
    problem = _misnamed(folder, [file.name for file in misnamed], beside=spec is not None)
    return Contents(misnamed=tuple(misnamed), problem=problem, ignored=ignored)


def _without_spec(folder: str, there: Mapping[str, DataFile]) -> Contents:
    ignored = {name: reason for name in there if (reason := _not_data(name))}
    data = [file for name, file in sorted(there.items()) if name not in ignored]
    uses = {file.name: use_of(file.name) for file in data}
    ignored |= {name: _REASONS[use] for name, use in uses.items() if use in _REASONS}
    held = {use: [file for file in data if uses[file.name] == use] for use in ("validation", "test")}
    train = [file for _, file in sorted(there.items()) if uses.get(file.name) == "train" or _is_piece(file.name)]
    if len(train) > 1:
        ignored = {name: why for name, why in ignored.items() if there[name] not in train}
        likely = sorted(train, key=lambda file: "train" not in _stem(file.name))
        lines = (_line(_dataset(folder, file, held)) for file in likely[:_NAMED])
        problem = _which(train, next(filter(None, lines), ""))
        return Contents(several=tuple(train), problem=problem, ignored=ignored)
    datasets = tuple(_dataset(folder, file, held) for file in train if file.name not in ignored)
    return Contents(datasets=datasets, ignored=ignored)


def _dataset(folder: str, train: DataFile, held: Mapping[str, list[DataFile]]) -> Dataset:
    return Dataset(
        folder=folder, train=train, validation=_kin(train, held["validation"]), test=_kin(train, held["test"])
    )


def _line(meant: Dataset) -> str:
    """A finetune.yaml of one line that says that it is meant; "" where its names can't be in one."""
    parts = (("train", meant.train), ("validation", meant.validation), ("test", meant.test))
    line = ", ".join(f"{part}: {json.dumps(file.name, ensure_ascii=False)}" for part, file in parts if file)
    try:
        parse(f"{{{line}}}".encode())
    except (Permanent, UnicodeError):
        return ""
    return f"{{{line}}}"


def _which(train: list[DataFile], line: str) -> str:
    """Names the files, and says what to do: at the end a finetune.yaml of one line, which can be pasted."""
    names = [file.name for file in train]
    named = f"upload a {FILE_NAME} with this line: {line}" if line else f"give one a name that {FILE_NAME} can have"
    return (
        f"{len(names)} training files in one folder ({_told(names, _TEXT - len(line))}), and no {FILE_NAME} that says "
        f"which one is meant: put them together into one file, or each into a folder of its own, or {named}"
    )


def _told(names: list[str], room: int) -> str:
    """The first of the names, of which so many are told as `room` characters hold; one at least, cut if need be."""
    shown = 1
    while shown < min(len(names), _NAMED) and len(", ".join(names[: shown + 1])) <= room:
        shown += 1
    first = ", ".join(names[:shown])
    cut = first if shown > 1 or len(first) <= max(room, _ONE) else f"{first[: max(room, _ONE)]}…"
    return cut + (f" and {len(names) - shown} more" if len(names) > shown else "")


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


def _may_be_a_spec(name: str, *, alone: bool) -> bool:
    """Whether a file, not named finetune.yaml, may be meant for one; `alone`: there is none, so that more may be."""
    *above, last = name.split("/")
    if above:
        return alone and (last == FILE_NAME or _may_be_a_spec(last, alone=False))
    plain = re.sub(r"[\s_-]", "", _plain(last))
    stem = plain.removeprefix(".")
    while ending := next((each for each in _SPEC_ENDINGS if stem.endswith(each)), ""):
        stem = stem.removesuffix(ending)
    if stem == _SPEC_STEM:
        return True
    return alone and not _SWAP.search(plain) and _is_like_a_spec(plain)


def _is_like_a_spec(plain: str) -> bool:
    """Whether a name says nearly `finetune`, and then nearly `yaml`, whatever stands behind: `~`, `.bak`, `.jsonl`."""
    parts = [part for part in re.split(r"\W+", re.sub(r"^(\w+)(ya?ml)$", r"\1.\2", plain)) if part]
    exactly = kind_of(plain)  # a name of data says it in full, or means something else
    kinds = [at for at, part in enumerate(parts) if at and (part in ("yaml", "yml") if exactly else _is_kind(part))]
    return bool(kinds) and _is_near("".join(parts[: kinds[0]]), _SPEC_STEM)


def _is_kind(part: str) -> bool:
    return part in _SPEC_KINDS or (len(part) > 2 and _is_near(part, "yaml", "yml"))


def _is_near(text: str, *meant: str) -> bool:
    return any(len(text) < 2 * len(each) and SequenceMatcher(None, text, each).ratio() >= _NEAR for each in meant)


def _plain(name: str) -> str:
    """The name in small ASCII letters, where it has others that look the same: of Cyrillic, accented, wide ones."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    return "".join(each for each in plain if unicodedata.category(each) not in ("Mn", "Cf")).translate(_LOOKS_LIKE)


def _misnamed(folder: str, names: list[str], *, beside: bool) -> str:
    told = _told(list(map(_shown, names)), _TEXT - 2 * len(folder))
    what = f"lies beside {FILE_NAME}, which alone is read" if beside else "may be meant for it, and is not read"
    mend = "delete it" if beside else f"upload it as {folder}/{FILE_NAME}, and delete it"
    return (
        f"{told}: a specification is named {FILE_NAME}, in small letters, directly in the folder; this {what}: "
        f"{mend}, or give it another name if it is no specification; then droptune start {shlex.quote(folder)}"
    )


def _shown(name: str) -> str:
    """The name, and its codes where letters of it may look like others."""
    return name if name.isascii() else f"{name} ({name.encode('ascii', 'backslashreplace').decode()})"


def _no_file(name: str) -> str:
    """Why it can't be a data file, whatever it is named for."""
    if "/" in name:
        return f"it is not directly in the folder: upload it as <dataset>/{name.rpartition('/')[2]}"
    if not kind_of(name):
        return unread(name)
    return ""


def _not_data(name: str) -> str:
    """Why a file that nobody named is not taken for data."""
    if why := _no_file(name):
        return why
    stem = _stem(name)
    if stem in ABOUT:
        return f"by its name it tells about data; name it in {FILE_NAME} if it is data"
    if pieces := _pieces(stem):
        return f"it is one of {pieces} pieces of a file: put them together, or name one in {FILE_NAME}"
    return ""


def _pieces(stem: str) -> int:
    """Of how many pieces it is one by its name; 0 of a whole file."""
    shard = _SHARD.search(stem)
    return int(shard[1]) if shard and int(shard[1]) > 1 else 0


def _is_piece(name: str) -> bool:
    """Whether it is a piece of a file that would be trained on."""
    stem = _stem(name)
    return not _no_file(name) and _pieces(stem) > 0 and _by_stem(_SHARD.sub("", stem)) == "train"


def _stem(name: str) -> str:
    """The name in small letters, without the ending that tells the kind."""
    return name[: -len(kind_of(name) or "") or None].lower()


_SPEC_STEM, _SPEC_ENDINGS = "finetune", (".yaml", ".yml", ".json", ".txt")
_NEAR = 0.75
"""How like `finetune`, or `yaml`, a word is, from 0 to 1, that is taken for a mistyped one."""
_SPEC_KINDS = ("toml", "ini", "cfg", "conf", "config")
"""Endings of other files that settings are written in."""
_SWAP = re.compile(r"^\..*\.sw[a-p]$")
"""What an editor keeps beside a file that is open."""
_LOOKS_LIKE = str.maketrans(
    "\u0430\u0435\u0456\u04cf\u0443\u04af\u0442\u043c\u043f\u0438"
    "\u03b1\u03b5\u03b9\u03b7\u03bd\u03bc\u03c4\u03c5\u0131\u0142\u0192",
    "aeilyytmnuaeinnmtuilf",
)
"""Cyrillic, Greek and Latin letters, by their codes, and those of `finetune.yaml` that they look like."""
ABOUT = ("report", "readme", "dataset_info", "dataset_infos", "finetune.schema")
"""Stems of files that lie beside data and tell about it."""
_NAMED = 20
"""Files that are named one by one."""
_TEXT, _ONE = 480, 40
"""Characters for names in a reason, with those in what is to be pasted, which comes last: lists of runs cut a reason
(records/mark.py). And for the one that is named at least."""
_SHARD = re.compile(r"-\d{5}-of-(\d{5})$", re.ASCII)
"""How datasets that are published in pieces number them."""
_REASONS = {
    "validation": "a validation file is never trained on",
    "test": "a test file is never trained on",
    "try": "a file of prompts for trying the endpoint (*_gen) is never trained on",
}


def use_of(name: str) -> Literal["train", "validation", "test", "try", "none"]:
    """What a file is for by its name; `try`: prompts for trying the endpoint, `none`: it is not taken for data."""
    return "none" if _not_data(name) else _by_stem(_stem(name))


def _by_stem(stem: str) -> Literal["train", "validation", "test", "try"]:
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
