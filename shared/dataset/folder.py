"""Which runs the files in a dataset's folder give, and what a folder still waits for.

An upload wakes; what it means is decided here, from the whole folder as it is listed, so that the order in which files
arrive, and how often their events do, makes no difference. Called by intake/folder.py and by `droptune check`.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher

from shared.dataset import names
from shared.dataset.kinds import HIDDEN, kind_of, unread
from shared.dataset.names import Set, use_of
from shared.dataset.spec.choices import FILE_NAME, Hub, Spec
from shared.dataset.spec.finetune import parse
from shared.dataset.split import Part
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
    """The data of one run: files, of which missing parts are cut from `train`, or what `spec` names on the hub.

    A part may have several files, which are read in order of name.
    """

    folder: str
    train: tuple[DataFile, ...] = ()
    validation: tuple[DataFile, ...] = ()
    test: tuple[DataFile, ...] = ()
    hub: Hub | None = None
    spec: DataFile | None = None

    def __post_init__(self) -> None:
        if bool(self.train) == bool(self.hub) or (self.hub and not self.spec):
            raise ValueError(f"{self.folder}: a dataset has a training file, or a source that its {FILE_NAME} names")

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The data files that the run takes (without finetune.yaml)."""
        return (*self.train, *self.validation, *self.test)

    @property
    def path(self) -> str:
        """Path in the container of what makes it a dataset: the training file, or the finetune.yaml with a source.

        Of several training files the first.
        """
        file = self.train[0] if self.train else self.spec
        return f"{self.folder}/{file.name if file else ''}"

    @property
    def told(self) -> str:
        """The path, and the source or how many other files are trained on."""
        more = f" and {len(self.train) - 1} more" if len(self.train) > 1 else ""
        return f"{self.path}, which names {self.hub.name} on the hub" if self.hub else f"{self.path}{more}"

    @property
    def etags(self) -> dict[str, str]:
        """Name to ETag of each data file that the run takes (without finetune.yaml)."""
        return {file.name: file.etag for file in self.files}

    @property
    def newest(self) -> datetime:
        """When the last of its files arrived: the settle time counts from here."""
        return max(file.modified for file in (*self.files, self.spec) if file)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A folder that lacks files (as yet), of which `told` says how one knows."""

    folder: str
    for_: tuple[str, ...]
    told: str = f"which {FILE_NAME} names"

    def __str__(self) -> str:
        """What it waits for, in words."""
        return f"{_told(list(self.for_), _TEXT)}, {self.told}"


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

    A folder is one dataset, at most. Without a spec it is its one training file, or one in pieces, with the folder's
    validation and test files; of several, nothing is trained until somebody says which are meant. Where there is none
    to train on directly in the folder, its `data/` counts too, as in a clone of a dataset of the hub. With a spec, it
    is the files or the source that this names. What may be meant for a spec, and is none, is never passed over: perhaps
    it forbids what would be done without it.
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
    uses = {name: use_of(name) for name in there if name not in ignored}
    if "train" not in uses.values():
        uses |= {name: use_of(name) for name in there if _is_in_data(name)}
        ignored = {name: why for name, why in ignored.items() if name not in uses}
    alone = "train" not in uses.values()
    ignored |= {name: _REASONS[use] + _out(name) * alone for name, use in uses.items() if use in _REASONS}
    proper = {use: name for name, use in sorted(uses.items()) if not name.lower().endswith(HIDDEN)}
    texts = {name: proper[use] for name, use in uses.items() if use in proper and name.lower().endswith(HIDDEN)}
    ignored |= {
        name: f"it ends in {HIDDEN}, and {other} is taken; delete one of the two" for name, other in texts.items()
    }
    uses = {name: use for name, use in uses.items() if name not in texts}
    train, *held = (names.sets_of(name for name, use in uses.items() if use == each) for each in _USES)
    if not train:
        return Contents(ignored=ignored)
    if len(train) > 1:
        likely = sorted(
            train, key=lambda each: (names.word_of(each.names[0]) != "train", bool(each.missing), len(each.names[0]))
        )
        several = tuple(there[name] for each in train for name in each.names)
        lines = (_line(_parts(each, held)) for each in likely[:_NAMED])
        return Contents(several=several, problem=_which(several, next(filter(None, lines), "")), ignored=ignored)
    parts = _parts(train[0], held)
    for use, sets, taken in zip(_USES[1:], held, parts[1:], strict=True):
        if taken:
            left = [name for each in sets for name in each.names if name not in taken.names]
            ignored |= dict.fromkeys(left, _not_taken(use, taken.names[0]))
    if missing := tuple(name for each in parts if each for name in each.missing):
        return Contents(waiting=Waiting(folder=folder, for_=missing, told=_PIECES), ignored=ignored)
    first, *others = (tuple(there[name] for name in each.names) if each else () for each in parts)
    dataset = Dataset(folder=folder, train=first, validation=others[0], test=others[1])
    return Contents(datasets=(dataset,), ignored=ignored)


type _Parts = tuple[Set, Set | None, Set | None]
"""What is trained on, validation and test."""


def _parts(train: Set, held: Sequence[Sequence[Set]]) -> _Parts:
    validation, test = (_kin(train, each) for each in held)
    return train, validation, test


def _line(meant: _Parts) -> str:
    """A finetune.yaml of one line that says that it is meant; "" where its names can't be in one, or are too many."""
    listed = {use: each.names for use, each in zip(_USES, meant, strict=True) if each}
    values = {use: each[0] if len(each) == 1 else each for use, each in listed.items()}
    line = ", ".join(f"{use}: {json.dumps(value, ensure_ascii=False)}" for use, value in values.items())
    if len(line) > _LINE and any(len(each) > 1 for each in listed.values()):
        return ""
    try:
        parse(f"{{{line}}}".encode())
    except (Permanent, UnicodeError):
        return ""
    return f"{{{line}}}"


def _which(train: Sequence[DataFile], line: str) -> str:
    """Names the files, and says what to do: at the end a finetune.yaml of one line, which can be pasted."""
    listed = [file.name for file in train]
    named = f"upload a {FILE_NAME} that lists all of them, or names one, with this line: {line}"
    if not line:
        named = f"give one a name that {FILE_NAME} can have"
    return (
        f"{len(listed)} training files in one folder ({_told(listed, _TEXT - len(line))}), and no {FILE_NAME} that "
        f"says which are meant: put them together into one file, or each into a folder of its own, or {named}"
    )


def _not_taken(use: str, taken: str) -> str:
    return f"{taken} is taken for {use}; to take both, list them in {FILE_NAME}"


def _told(listed: Sequence[str], room: int) -> str:
    """The first of the names, of which so many are told as `room` characters hold; one at least, cut if need be."""
    shown = 1
    while shown < min(len(listed), _NAMED) and len(", ".join(listed[: shown + 1])) <= room:
        shown += 1
    first = ", ".join(listed[:shown])
    cut = first if shown > 1 or len(first) <= max(room, _ONE) else f"{first[: max(room, _ONE)]}…"
    return cut + (f" and {len(listed) - shown} more" if len(listed) > shown else "")


def _as_spec_says(folder: str, there: dict[str, DataFile], spec: Spec, spec_file: DataFile | None) -> Contents:
    unnamed = f"{FILE_NAME} names a source instead" if spec.hub else f"{FILE_NAME} does not name it"
    ignored = {name: _no_file(name) or unnamed for name in there if name not in spec.files}
    missing = tuple(name for name in spec.files if name not in there)
    if missing:
        told = Waiting.told + _meant(missing, there.keys() - {*spec.files})
        return Contents(waiting=Waiting(folder=folder, for_=missing, told=told), ignored=ignored)
    dataset = Dataset(
        folder=folder,
        train=tuple(there[name] for name in spec.train),
        validation=tuple(there[name] for name in spec.validation),
        test=tuple(there[name] for name in spec.test),
        hub=spec.hub,
        spec=spec_file,
    )
    return Contents(datasets=(dataset,), ignored=ignored)


def _out(name: str) -> str:
    """How a file is trained on all the same."""
    return f"; if it is to be, name it in {FILE_NAME} (train: {json.dumps(name, ensure_ascii=False)})"


def _meant(missing: Sequence[str], there: Iterable[str]) -> str:
    """Which of the files that are there may be meant by one that is not; empty if none is like it."""
    data = sorted(name for name in there if kind_of(name) and not name.endswith("/"))
    for name in missing:
        if re.search(r"[*?\[]", name):
            listed = _told(fnmatch.filter(data, name)[:_NAMED], _TEXT // 2)
            return f" (patterns are not read: list the files{f', [{listed}]' * bool(listed)})"
        if like := next((each for each in data if _stem(each) == _stem(name)), ""):
            return f" (there is {like}: name that, if it is meant)"
    return ""


def _stem(name: str) -> str:
    return name[: -len(kind_of(name) or "") or None].lower()


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


def _misnamed(folder: str, listed: list[str], *, beside: bool) -> str:
    told = _told(list(map(_shown, listed)), _TEXT - 2 * len(folder))
    what = f"lies beside {FILE_NAME}, which alone is read" if beside else "may be meant for it, and is not read"
    renamed = f"rename it to {FILE_NAME} (in the storage: upload it as {folder}/{FILE_NAME}, and delete this)"
    mend = "delete it" if beside else renamed
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
    return names.not_data(name) or _no_file(name)


def _is_in_data(name: str) -> bool:
    """Whether it lies where a clone of a dataset of the hub has its data, and may be data."""
    last = name.removeprefix(names.DATA)
    return last != name and not _not_data(last)


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
_NAMED = 20
"""Files that are named one by one."""
_TEXT, _ONE = 480, 40
"""Characters for names in a reason, with those in what is to be pasted, which comes last: lists of runs cut a reason
(records/mark.py). And for the one that is named at least."""
_LINE = 400
"""Characters of a line to paste that lists files."""
_USES: tuple[Part, ...] = ("train", "validation", "test")
_PIECES = "which the names of the other pieces speak of"
_REASONS = {
    "validation": "a validation file is never trained on",
    "test": "a test file is never trained on",
    "try": "a file of prompts for trying the endpoint (*_gen) is never trained on",
}


def _kin(train: Set, held: Sequence[Set]) -> Set | None:
    """Of several held-out sets the one that is named like the training file (train_sft, test_sft), else the plain one.

    First counts which word it is named by, see VALIDATION. Of two that are named alike, the one of the same kind.
    """
    meant = train.names[0]

    def far(each: Set) -> tuple[int, bool, bool, bool, bool, tuple[str, ...]]:
        name = each.names[0]
        word = names.word_of(name)
        rank = names.VALIDATION.index(word) if word in names.VALIDATION else 0
        kin = names.kin_of(name)
        folder = name.rpartition("/")[0] != meant.rpartition("/")[0]
        return rank, kin != names.kin_of(meant), kin != "", folder, kind_of(name) != kind_of(meant), each.names

    return min(held, key=far, default=None)
