"""finetune.yaml: what a dataset's owner wants done with it, read strictly.

    model: Phi-4
    train: train.parquet
    on_bad_rows: drop
    parameters:
      num_train_epochs: 1

All its keys are in the table KEYS, from which docs/finetune.md and its JSON Schema are made. A misspelt key must not
cost a training: what isn't known is an error that guesses what was meant. The file is written by others, so it is
small, has no aliases or tags, and its values are never trusted. Called by intake/folder.py.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from shared.dataset.spec.choices import FILE_NAME, SIZE_LIMIT, Hub, Policy, Spec
from shared.dataset.spec.keys import KEYS, LARGE
from shared.dataset.spec.schema import kind_of, wrong
from shared.dataset.split import Part
from shared.errors import Permanent
from shared.serving.gate import Bounds, Gate, Promotion

_TOLD = 256  # characters of somebody else's error message


def parse(data: bytes) -> Spec:
    """The Spec that `data` holds. Raises Permanent with everything that is wrong, by key, or by line if not YAML."""
    document = _load(data)
    _check_kept(document)
    if not isinstance(document, dict):
        names = ", ".join(key.name for key in KEYS)
        raise Permanent(f"{FILE_NAME}: it must hold keys and values ({names}), not {kind_of(document)}")
    if told := [*wrong(document, KEYS), *_wrong_together(document)]:
        raise Permanent(f"{FILE_NAME}: {'; '.join(told)}")
    given = {key: value for key, value in document.items() if value is not None}
    return Spec(
        model=given.get("model"),
        train=given.get("train"),
        validation=given.get("validation"),
        test=given.get("test"),
        hub=_hub(given) if "source" in given else None,
        policy=_policy(given),
        promotion=_promotion(given),
        parameters=given.get("parameters", {}),
    )


def _wrong_together(document: Mapping[str, Any]) -> Iterator[str]:
    split = document.get("split")
    percents = [split.get("validation"), split.get("test")] if isinstance(split, dict) else []
    if sum(percent for percent in percents if isinstance(percent, int | float) and 0 < percent < 100) >= 100:
        yield "split.validation and split.test leave nothing to train on: together they must be less than 100"
    if document.get("strategy") == "replace" and document.get("approve") == "manual":
        yield "approve: manual does not go with strategy: replace: nothing would answer until somebody approves"
    gate = document.get("gate")
    if not isinstance(gate, dict):
        return
    if gate.get("rows") == 0 and _number(gate.get("min_score"), 0) > 0:
        yield "gate.min_score counts for nothing where gate.rows is 0: no row is asked"
    metrics = gate.get("metrics")
    for name, bounds in metrics.items() if isinstance(metrics, dict) else ():
        if isinstance(bounds, dict) and _number(bounds.get("least"), -LARGE) > _number(bounds.get("most"), LARGE):
            yield f"gate.metrics.{reprlib.repr(name)[1:-1]}: least is above most, which nothing can be"


def _number(value: object, default: float) -> float:
    return value if isinstance(value, int | float) else default


def _hub(given: Mapping[str, Any]) -> Hub:
    splits: dict[Part, str] = {part: name for part, name in given.get("splits", {}).items() if name is not None}
    return Hub(
        name=given["source"],
        revision=given.get("revision", Hub.revision),
        config=given.get("config"),
        splits=splits or {"train": "train"},
        percent=float(given.get("percent", Hub.percent)),
    )


def _policy(given: Mapping[str, Any]) -> Policy:
    split = {key: int(value) for key, value in given.get("split", {}).items() if value is not None}
    return Policy(
        on_bad_rows=given.get("on_bad_rows", Policy.on_bad_rows),
        max_bad_percent=float(given.get("max_bad_percent", Policy.max_bad_percent)),
        min_rows=int(given.get("min_rows", Policy.min_rows)),
        validation_percent=split.get("validation", Policy.validation_percent),
        test_percent=split.get("test", Policy.test_percent),
        seed=split.get("seed", Policy.seed),
    )


def _promotion(given: Mapping[str, Any]) -> Promotion:
    gate = {key: value for key, value in given.get("gate", {}).items() if value is not None}
    metrics = gate.get("metrics", {})
    return Promotion(
        approve=given.get("approve", Promotion.approve),
        strategy=given.get("strategy", Promotion.strategy),
        gate=Gate(
            rows=int(gate.get("rows", Gate.rows)),
            score=gate.get("score", Gate.score),
            min_score=float(gate.get("min_score", Gate.min_score)),
            max_drop=float(gate.get("max_drop", Gate.max_drop)),
            metrics={name: _bounds(bounds) for name, bounds in metrics.items() if bounds is not None},
        ),
    )


def _bounds(given: Mapping[str, float | None]) -> Bounds:
    least, most = given.get("least"), given.get("most")
    return Bounds(least=None if least is None else float(least), most=None if most is None else float(most))


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
        raise Permanent(f"{FILE_NAME}: it can't be read as YAML: {str(error)[:_TOLD]}") from None


@cache
def _loader() -> Any:
    import yaml

    class Strict(yaml.SafeLoader):
        """Refuses aliases, by which a small file grows without end, tags, merges, and a key that is there twice."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise yaml.MarkedYAMLError(problem="aliases and tags are not taken", problem_mark=event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    raise yaml.MarkedYAMLError(problem="<< is not taken", problem_mark=key.start_mark)
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
