"""What a file's name says: what its rows are for, whether it is data at all, and which files are one set in pieces.

Nobody looks into a file for that. `droptune check`, `push`, `init`, `fetch` and the app all ask here, so that none of
them takes for a test what another trains on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from shared.dataset.kinds import form_of, kind_of

type Use = Literal["train", "validation", "test", "try", "none"]

VALIDATION = ("validation", "valid", "val", "dev", "eval")
"""Words for it: of two files the one with the earlier word is taken."""
DATA = "data/"
"""The folder in which a clone of a dataset of the hub has its files."""

_WORDS: dict[str, Use] = {"train": "train", "test": "test", **dict.fromkeys(VALIDATION, "validation")}
_SAME = {
    "training": "train",
    "testing": "test",
    "tests": "test",
    "holdout": "test",
    "evaluation": "eval",
    "validate": "validation",
    "devel": "dev",
}
BEHIND = ("set", "sets", "data", "dataset", "split", "file", "rows")
"""What may stand behind a word, as in testset."""
_GLUED = re.compile(rf"({'|'.join((*_WORDS, *_SAME))})(?:{'|'.join(BEHIND)})")
_LETTERS = re.compile(r"(?:[^\W\d_]|[\u0300-\u036f])+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def use_of(name: str) -> Use:
    """What a file is for by its name; `try`: prompts for trying the endpoint, `none`: it is not taken for data."""
    if not_data(name) or not kind_of(name):
        return "none"
    base = piece_of(name).base
    if base.lower().endswith("_gen"):
        return "try"
    return _WORDS[_split_word(base) or "train"]


def words_for(use: Use) -> list[str]:
    """The words in names that say it."""
    return [word for word in (*_WORDS, *_SAME) if _WORDS[_SAME.get(word, word)] == use]


def word_of(name: str) -> str:
    """The word in a name that says which split it is, as `val`; "" without one. Of several words the last counts."""
    return _split_word(piece_of(name).base)


def kin_of(name: str) -> str:
    """What is left of a name without its split's word: the same for `train_sft` and `test_sft`."""
    base = piece_of(name).base
    words = [found for run in _LETTERS.finditer(base) for found in _humps(run)]
    for start, word in reversed(words):
        if _meant(word):
            return re.sub(r"[\W_]+", "", f"{base[:start]}{base[start + len(word) :]}").lower()
    return re.sub(r"[\W_]+", "", base).lower()


def _split_word(base: str) -> str:
    words = (_meant(word) for run in _LETTERS.finditer(base) for _, word in _humps(run))
    return next(reversed([word for word in words if word]), "")


def _humps(run: re.Match[str]) -> Iterable[tuple[int, str]]:
    """The words of a run of letters, and where each begins: `chatTest` has two."""
    at = run.start()
    for word in _HUMP.split(run[0]):
        yield at, word
        at += len(word)


def _meant(word: str) -> str:
    small = word.lower()
    glued = _GLUED.fullmatch(small)
    small = glued[1] if glued else small
    small = _SAME.get(small, small)
    return small if small in _WORDS else ""


# What is no data ------------------------------------------------------------------------------------------------------

_ABOUT = ("report", "readme", "dataset_info", "dataset_infos", "finetune.schema")
"""Stems of files of any kind that lie beside data and tell about it."""
_SETTINGS = re.compile(
    r"(?:.*[_.-])?(?:config|configs|state|metadata|args|params|hparams|schema|manifest|index|info|infos|results|stats)"
    r"|dataset_dict|dataset-metadata|croissant|tokenizer.*|special_tokens_map|added_tokens|vocab|merges|chat_template"
    r"|modules|package|package-lock|settings|license|citation|zenodo|datapackage"
)
"""Stems of .json files that tools write beside data and models."""
_LITTER = re.compile(
    r"\..*|~\$.*|#.*#|.*~|.*\.(?:bak|swp|swo|tmp|temp|orig|old|part|partial|crdownload|download)", re.S
)
"""Names of what an editor, an office program, a file system or a download leaves beside a file."""


def not_data(name: str) -> str:
    """Why a file that nobody named is not taken for data, whatever its ending; "" if it may be."""
    last = name.rpartition("/")[2].lower()
    if _LITTER.fullmatch(last):
        return "by its name it was left there by a program, and is no data"
    stem = last[: -len(kind_of(last) or "") or None]
    if stem in _ABOUT or (form_of(last) == ".json" and _SETTINGS.fullmatch(stem)):
        return "by its name it tells about data or a model; name it in finetune.yaml if it is data"
    return ""


# Pieces ---------------------------------------------------------------------------------------------------------------

_OF = re.compile(
    r"(?P<base>.*?)[-_. ]*(?<!\d)(?P<number>\d{1,6})[-_. ]?of[-_. ]?(?P<of>\d{1,6})(?:-[0-9a-f]{8,64})?", re.S
)
"""How datasets that are published in pieces number them: train-00000-of-00002, some with a hash behind."""
_UUID = r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"
_WRITTEN = re.compile(
    rf"(?P<base>.*?)[-_. ]*(?:(?<!\d)(?P<number>\d+)[-_.](?:tid-\d+-)?)?(?<![0-9a-f]){_UUID}(?![0-9a-f])(?P<rest>.*)",
    re.S,
)
"""How engines name what each of their workers writes: part-00000-<uuid>-c000.snappy."""
_NUMBERED = re.compile(r"(?P<base>.*?)(?P<between>[-_. ]*)(?<!\d)(?P<number>\d{1,9})", re.S)
_VERSION = re.compile(r"(?:.*[\W\d_])?(?:v|ver|version|rev|revision|release|draft|copy|try|attempt)[-_. ]*", re.S)
"""What a number stands behind that tells states of the same rows apart, and not pieces."""
_YEAR = re.compile(r"(?:.*\D)?(?:19|20)\d\d(?:[-_. ]?(?:0[1-9]|1[0-2]))?[-_. ]*", re.S)
_MOST, _WIDE = 100_000, 5


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A name as that of a piece. `base`: the name without what tells pieces apart; `key`: equal for those of one set.

    `number`: None where none tells; `of`: how many there are, where the name says it; `apart`: the rest of the name
    tells it from others for sure, without any number.
    """

    base: str
    key: tuple[str, ...]
    number: int | None = None
    of: int | None = None
    apart: bool = False


@lru_cache(4096)
def piece_of(name: str) -> Piece:
    """What a name says of the set that it is a piece of; a name that says nothing is a set of its own."""
    folder, _, last = name.rpartition("/")
    kind = kind_of(last) or ""
    stem = last[: -len(kind) or None]
    small = stem.lower() if len(stem.lower()) == len(stem) else stem
    if (found := _OF.fullmatch(small)) and 0 < int(found["of"]) <= _MOST and int(found["number"]) <= int(found["of"]):
        base, of = found["base"], int(found["of"])
        key: tuple[str, ...] = (folder, base, "of", found["of"], kind)
        return Piece(base=stem[: len(base)], key=key, number=int(found["number"]), of=of)
    if found := _WRITTEN.fullmatch(small):
        rest = re.sub(r"\d+", "#", found["rest"])
        return Piece(base=stem[: len(found["base"])], key=(folder, found["base"], "uuid", rest, kind), apart=True)
    found = _NUMBERED.fullmatch(small)
    if found and found["number"].isascii() and not _VERSION.fullmatch(found["base"] + found["between"]):
        base, number = found["base"], int(found["number"])
        if not _YEAR.fullmatch(base + found["between"]):
            key = (folder, base, "number", found["between"], kind)
            return Piece(base=stem[: len(base)], key=key, number=number)
    return Piece(base=stem, key=(folder, stem, "", kind))


@dataclass(frozen=True, kw_only=True)
class Set:
    """Files that are one, in order of name, and the names of those that are still missing."""

    names: tuple[str, ...]
    missing: tuple[str, ...] = ()


def sets_of(names: Iterable[str]) -> list[Set]:
    """The files, put together to sets: those whose names are the same but for a number, a uuid or -of-.

    Numbers follow one another, without a gap and none twice, and are no years: what else is numbered may be something
    else than pieces, or not all of it is there, which no name tells.
    """
    of: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(names):
        of.setdefault(piece_of(name).key, []).append(name)
    return sorted((each for same in of.values() for each in _sets(same)), key=lambda each: each.names)


def _sets(same: Sequence[str]) -> list[Set]:
    """The sets that files of one key are: one, or each for itself."""
    pieces = {name: piece_of(name) for name in same}
    first = pieces[same[0]]
    numbers = sorted(piece.number for piece in pieces.values() if piece.number is not None)
    if first.apart:
        return [Set(names=tuple(same))]
    if len(set(numbers)) < len(numbers) or len(numbers) < len(same):
        return [Set(names=(name,)) for name in same]
    if first.of is not None:
        begin = _begin(first.key, numbers, first.of)
        if numbers[0] < begin or numbers[-1] >= begin + first.of:
            return [Set(names=(name,)) for name in same]
        missing = sorted({*range(begin, begin + first.of)} - {*numbers})
        return [Set(names=tuple(same), missing=tuple(_numbered(same[0], number) for number in missing))]
    whole = numbers[-1] - numbers[0] + 1 == len(numbers)
    if len(same) > 1 and (not whole or _are_dates(numbers)):
        return [Set(names=(name,)) for name in same]
    return [Set(names=tuple(same))]


def _begin(key: tuple[str, ...], numbers: Sequence[int], of: int) -> int:
    """Whether the pieces are counted from 0, as those of five digits that libraries write, or from 1, as people do."""
    if 0 in numbers:
        return 0
    return int(of in numbers or len(key[3]) < _WIDE)


def _are_dates(numbers: Sequence[int]) -> bool:
    """Whether all of them look like years, or days: 2026, 20261124."""
    return all(1900 <= number <= 2099 or 19_000_101 <= number <= 20_991_231 for number in numbers)


def _numbered(name: str, number: int) -> str:
    """The name of another piece of the same set, of which the names tell how many there are."""
    folder, slash, last = name.rpartition("/")
    found = _OF.match(last.lower())
    if not found:
        return name
    start, end = found.span("number")
    return f"{folder}{slash}{last[:start]}{number:0{end - start}}{last[end:]}"
