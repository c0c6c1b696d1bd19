"""The kinds of data files, told by their names."""

from __future__ import annotations

from typing import Literal, get_args

type Kind = Literal[".jsonl", ".jsonl.gz", ".parquet", ".json", ".csv"]
KINDS: tuple[Kind, ...] = get_args(Kind.__value__)


def kind_of(name: str) -> Kind | None:
    """The kind that a file's ending tells, in whatever case; None for one that is not read."""
    lower = name.lower()
    return next((kind for kind in KINDS if lower.endswith(kind)), None)
