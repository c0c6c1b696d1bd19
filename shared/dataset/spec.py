"""finetune.yaml: what a dataset's owner wants done with it, read strictly.

    model: Phi-4                  # optional; the app's BASE_MODEL otherwise
    train: train.jsonl
    validation: validation.jsonl  # optional; cut from train otherwise
    test: test.jsonl              # optional; cut from train otherwise
    parameters:                   # optional; inputs of the fine-tune component
      num_train_epochs: 1

A misspelt key must not cost a training: what isn't known is an error that guesses what was meant. The file is written
by others, so it is small, has no aliases or tags, and its values are never trusted. Called by the intake.
"""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from shared.dataset.split import Part
from shared.errors import Permanent

FILE_NAME = "finetune.yaml"
SIZE_LIMIT = 64 * 1024
SUFFIX = ".jsonl"

_FILES = ("train", "validation", "test")
_KEYS = ("model", *_FILES, "parameters")
_TEXT_LIMIT = 256

type Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What becomes of bad rows, how many rows are enough, and how the rows are split. Kept in the run's record."""

    on_bad_rows: Literal["reject", "drop"] = "reject"
    max_bad_percent: float = 5.0
    min_rows: int = 10
    validation_percent: int = 10
    test_percent: int = 10
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A dataset of the Hugging Face Hub: which of its splits are for what, and how much of them is taken."""

    name: str
    revision: str = "main"
    config: str | None = None
    splits: Mapping[Part, str] = field(default_factory=lambda: {"train": "train"})
    percent: float = 100.0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A finetune.yaml: its data, files below its folder (`train` at least) or `hub`, and what is to be done with it.

    `parameters` are as they were written, not yet checked.
    """

    model: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    hub: Hub | None = None
    policy: Policy = field(default_factory=Policy)
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The data files that it names."""
        return tuple(name for name in (self.train, self.validation, self.test) if name)


def parse(data: bytes) -> Spec:
    """The Spec that `data` holds. Raises Permanent with everything that is wrong, by key, or by line if not YAML."""
    document = _load(data)
    _check_kept(document)
    if not isinstance(document, dict):
        raise Permanent(f"{FILE_NAME}: it must hold keys and values ({', '.join(_KEYS)}), not a {_kind(document)}")
    wrong = [_unknown(key) for key in document if key not in _KEYS]
    for key in ("model", *_FILES):
        if (value := document.get(key)) is not None:
            wrong += _check_text(key, value)
    wrong += _check_files(document)
    parameters = document.get("parameters")
    if parameters is None:
        parameters = {}
    if isinstance(parameters, dict):
        for key, value in parameters.items():
            if not isinstance(key, str):
                wrong.append(f"parameters: the key {reprlib.repr(key)} is a {_kind(key)}; put it in quotes")
            elif not isinstance(value, str | int | float):
                wrong.append(f"parameters.{key} is a {_kind(value)}; it must be text, a number, true or false")
    else:
        wrong.append(f"parameters is a {_kind(parameters)}; it must hold keys and values")
    if wrong:
        raise Permanent(f"{FILE_NAME}: {'; '.join(wrong)}")
    return Spec(
        model=document.get("model"),
        train=document["train"],
        validation=document.get("validation"),
        test=document.get("test"),
        parameters=parameters,
    )


def _load(data: bytes) -> Any:
    import yaml

    if len(data) > SIZE_LIMIT:
        raise Permanent(f"{FILE_NAME}: {len(data)} bytes; it may have {SIZE_LIMIT}")
    try:
        return yaml.load(data.decode("utf-8-sig"), Loader=_loader())  # noqa: S506 - a SafeLoader, and stricter
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Permanent(f"{FILE_NAME}, line {line}: it is not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Permanent(f"{FILE_NAME}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Permanent(f"{FILE_NAME}: it can't be read as YAML: {str(error)[:_TEXT_LIMIT]}") from None


@cache
def _loader() -> Any:
    import yaml

    class Strict(yaml.SafeLoader):
        """Refuses aliases, by which a small file grows without end, tags, and a key that is there twice."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise yaml.MarkedYAMLError(problem="aliases and tags are not taken", problem_mark=event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise yaml.MarkedYAMLError(
                            problem=f"the key {key.value} is there twice", problem_mark=key.start_mark
                        )
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Strict


def _check_kept(document: object) -> None:
    """What the run's record can't hold is refused here, where it can still be told."""
    try:
        json.dumps(document, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError):
        raise Permanent(f"{FILE_NAME}: it holds text that is no Unicode, or a number of thousands of digits") from None


def _unknown(key: object) -> str:
    close = difflib.get_close_matches(str(key)[:_TEXT_LIMIT], _KEYS, n=1)
    return f"{reprlib.repr(key)} is not a key" + (f"; did you mean {close[0]}?" if close else f" ({', '.join(_KEYS)})")


def _check_text(key: str, value: object) -> list[str]:
    if not isinstance(value, str):
        return [f"{key} is {reprlib.repr(value)}, a {_kind(value)}; it must be text (put it in quotes)"]
    if not value.strip() or len(value) > _TEXT_LIMIT:
        return [f"{key} must have 1 to {_TEXT_LIMIT} characters"]
    if key in _FILES and ("/" in value or "\\" in value or not value.endswith(SUFFIX)):
        return [f"{key} is {value!r}; it must be the name of a {SUFFIX} file in the same folder"]
    return []


def _check_files(document: Mapping[Any, Any]) -> list[str]:
    if document.get("train") is None:
        return ["train is missing: name the file to train on"]
    named = [document[key] for key in _FILES if isinstance(document.get(key), str)]
    return ["train, validation and test must be different files"] if len(set(named)) < len(named) else []


def _kind(value: object) -> str:
    names = {dict: "mapping", list: "list", str: "text", bool: "true or false", int: "number", float: "number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
