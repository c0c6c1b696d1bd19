"""What a dataset's card says of its splits, rows and columns, held against the files: a card is easily older than they.

The files decide, and Droptune reads rows as they are. But `datasets` would end with a cast error where a column is of
another type than the card says, and people count on what they read there: so all that differs is told, with the file
and the column. Rows are sampled: one of each batch that is read, and more at the beginning. Used by `hub`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shared.dataset.judging.calls import kind
from shared.dataset.reading.files import Broken, Elements, Records

MOST = 10
"""Differences that are told of a split."""
_SAMPLED = 20  # rows of the first batch
_KINDS: Mapping[str, tuple[type, ...]] = {"string": (str,), "large_string": (str,), "bool": (bool,)}
_NUMBERS = ("int", "uint", "float", "double", "half", "decimal")
_TEXTS = re.compile(r"[.][ct]sv($|[.])", re.IGNORECASE)
_CURE = "the files count; who owns the card can mend its dataset_info"


class Card:
    """What the card says of one split, and what is found to differ. `features`: by column; None: it says nothing."""

    def __init__(self, features: Mapping[str, Any] | None, rows: int | None) -> None:
        self._features = features
        self._rows = rows
        self._seen: set[str] = set()
        self._told: dict[tuple[str, str], str] = {}

    def look(self, file: str, batch: Elements | Records) -> None:
        """Looks at a few rows of a batch, whose numbers are those of its file."""
        if not self._features:
            return
        # In a table of texts a number is one, too.
        features = dict.fromkeys(self._features) if _TEXTS.search(file) else self._features
        for at, row in _sample(batch, 1 if self._seen else _SAMPLED):
            self._seen.update(row)
            for column, found in _differing(features, row, ""):
                told = f"{file}, row {batch.numbers[at]}: the column {column} {found}; {_CURE}"
                if len(self._told) < MOST:
                    self._told.setdefault((file, column), told)

    def stale(self, rows: int | None) -> list[str]:
        """What differs, a sentence each. `rows`: how many the split has, if that is known."""
        told = list(self._told.values())
        missing = [column for column in self._features or () if column not in self._seen] if self._seen else []
        if missing:
            told.append(f"its card has the columns {', '.join(missing[:MOST])}, which the rows have not; {_CURE}")
        if rows is not None and self._rows and rows != self._rows:
            told.append(f"its card says {self._rows:,} rows, and its files have {rows:,}; {_CURE}")
        return told


def splits_that_differ(said: Mapping[str, Any] | None, have: Mapping[str, Any]) -> list[str]:
    """What the card says of splits, and the files do not have, or the other way."""
    if not said:
        return []
    told = []
    if gone := [str(split) for split in said if split not in have]:
        told.append(f"its card names {_splits(gone)}, for which there are no files; {_CURE}")
    if new := [str(split) for split in have if split not in said]:
        told.append(f"its card does not know {_splits(new)}, for which there are files; {_CURE}")
    return told


def _splits(names: list[str]) -> str:
    return f"the split{'' if len(names) == 1 else 's'} {', '.join(names[:MOST])}"


def _sample(batch: Elements | Records, most: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    given = batch.data if isinstance(batch, Elements) else batch.rows
    for at, row in enumerate(given[:most]):
        if isinstance(row, bytes):
            try:
                row = msgspec.json.decode(row)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                continue  # it is told by who judges the row
        if isinstance(row, Mapping) and not isinstance(row, Broken):
            yield at, row


def _differing(feature: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The columns, as `messages[].content`, whose value is not of the card's type, and what is wrong."""
    if value is None:
        return
    name = type(feature).__name__
    if isinstance(feature, Mapping):
        if not isinstance(value, Mapping):
            yield path, f"is {kind(value)}, where its card has an object"
            return
        for key, each in value.items():
            below = f"{path}.{key}" if path else str(key)
            if key in feature:
                yield from _differing(feature[key], each, below)
            elif each is not None:
                yield below, "is not in its card"
    elif isinstance(feature, list) or name in ("List", "LargeList", "Sequence"):
        inner = feature[0] if isinstance(feature, list) else feature.feature
        if isinstance(value, list):
            for each in value[:_SAMPLED]:
                yield from _differing(inner, each, f"{path}[]")
        elif not isinstance(value, Mapping):  # lists of objects may be stored as an object of lists
            yield path, f"is {kind(value)}, where its card has a list"
    elif name == "Value" and not _fits(feature.dtype, value):
        yield path, f"is {kind(value)}, where its card has {feature.dtype}"


def _fits(dtype: str, value: Any) -> bool:
    if dtype in _KINDS:
        return isinstance(value, _KINDS[dtype])
    if dtype.startswith(_NUMBERS):
        whole = dtype.startswith(("int", "uint"))
        return isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    return True  # times, bytes and the like come in several forms
