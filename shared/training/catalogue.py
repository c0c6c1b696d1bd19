"""Base models and the fine-tune component as Azure had published them by a date: for a check that asks nobody.

`catalogue.json` is made by scripts/catalogue.py and holds facts alone; the rules on them are the ones that planning
uses (base_model.py, parameters.py). What the catalogue does not know is nowhere refused: registries have more models
than Azure publishes. Called by `droptune check`, where no app is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from shared.training.base_model import DEFAULTS_TAG, BaseModel
from shared.training.parameters import ComponentInput

FRESH = timedelta(days=180)
"""Age from which on it is told that the catalogue is old."""
RENEW = "python -m scripts.catalogue CLONE"
"""What makes it again; docs/models.md says of what."""
REGISTRY = "azureml"
"""The registry that it is of."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What is known. `component`: name and version; `inputs`: what it can be given; `source` is under `licence`."""

    date: datetime
    source: str
    licence: str
    component: str
    component_version: str
    inputs: Mapping[str, ComponentInput]
    models: Mapping[str, BaseModel]
    archived: frozenset[str]

    def meant(self, name: str) -> str:
        """The model whose name `name` is misspelt of, beyond doubt; "" where it is none, or may be another model.

        Two models differ in a number, or in a word; a slip of the fingers is a letter, or how words are joined.
        """
        if name in self.models:
            return ""
        plain = _plain(name)
        for each in self.models:
            other = _plain(each)
            if plain == other:
                return each
            if _digits(plain) == _digits(other) and _is_slip(plain, other):
                return each
        return ""

    def like(self, name: str) -> str:
        """A model that may be meant: one of the same numbers; "" where none is anything like it."""
        digits = _digits(_plain(name))
        plain = {_plain(each): each for each in self.models if _digits(_plain(each)) == digits}
        close = get_close_matches(_plain(name), plain, n=1, cutoff=0.75)
        return plain[close[0]] if close else ""

    def age(self, now: datetime) -> str:
        """That the catalogue is old, and what renews it; "" of a fresh one."""
        if now - self.date <= FRESH:
            return ""
        return (
            f"The catalogue of models and parameters is of {self.date:%Y-%m-%d}, {(now - self.date).days} days old: "
            f"{RENEW} renews it (docs/models.md), and --online asks your app instead."
        )


_LONGEST = 256
_LEAST = 6  # letters of a name that one of them may be wrong in


@cache
def catalogue() -> Catalogue:
    """The one beside this module, read once."""
    found = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return Catalogue(
        date=datetime.fromisoformat(found["date"]).replace(tzinfo=UTC),
        source=found["source"],
        licence=found["licence"],
        component=found["component"],
        component_version=found["component_version"],
        inputs={name: _input(name, each) for name, each in found["inputs"].items()},
        models={name: _model(name, each, found["sizes"]) for name, each in found["models"].items()},
        archived=frozenset(name for name, each in found["models"].items() if each.get("archived")),
    )


def _input(name: str, spec: Mapping[str, Any]) -> ComponentInput:
    return ComponentInput(
        name=name,
        type=spec["type"],
        default=spec.get("default"),
        optional=spec.get("optional", False),
        enum=tuple(spec.get("enum", ())),
        min=spec.get("min"),
        max=spec.get("max"),
    )


def _model(name: str, spec: Mapping[str, Any], sizes: list[list[str]]) -> BaseModel:
    metadata = dict(spec["metadata"])
    if computes := metadata.get("supportedComputes"):
        metadata["supportedComputes"] = {key: sizes[number] for key, number in computes.items()}
    return BaseModel(
        name=name,
        version=spec["version"],
        id=f"azureml://registries/{REGISTRY}/models/{name}/versions/{spec['version']}",
        tags={DEFAULTS_TAG: json.dumps(spec["defaults"])} if "defaults" in spec else {},
        system_metadata=metadata,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name[:_LONGEST].lower())


def _digits(plain: str) -> list[str]:
    return re.findall(r"[0-9]+", plain)


def _is_slip(one: str, other: str) -> bool:
    """Whether a letter is missing, one too many, another one, or two are swapped."""
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < _LEAST:
        return False
    start = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if start is None:
        return len(one) != len(other)
    rest, others = one[start:], other[start:]
    return (
        rest[1:] == others[1:]
        or rest[1:] == others
        or rest == others[1:]
        or (rest[1::-1], rest[2:]) == (others[:2], others[2:])
    )
