"""finetune.yaml: what a dataset's owner wants done with it, read strictly.

    model: Phi-4
    train: train.parquet
    on_bad_rows: drop
    parameters:
      num_train_epochs: 1

All its keys are in the table KEYS, from which docs/finetune.md and its JSON Schema are made. A misspelt key must not
cost a training: what isn't known is an error that guesses what was meant. The file is written by others, so it is
small, read strictly (strict.py), and its values are never trusted. Called by intake/folder.py.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from shared import naming
from shared.dataset.spec import hub_address
from shared.dataset.spec.choices import FILE_NAME, SIZE_LIMIT, Hub, Policy, Spec
from shared.dataset.spec.keys import KEYS, LARGE
from shared.dataset.spec.schema import At, Mistake, kind_of, texts_of, wrong
from shared.dataset.spec.strict import Unread, read
from shared.dataset.split import Part
from shared.errors import Permanent
from shared.serving.gate import Bounds, Gate, Promotion


def parse(data: bytes) -> Spec:
    """The Spec that `data` holds. Raises Permanent with what is wrong, each mistake with line and column; only that.

    With more than 20 mistakes the first ones of the file are told.
    """
    if len(data) > SIZE_LIMIT:
        raise Permanent(f"{FILE_NAME}: {len(data)} bytes; it may have {SIZE_LIMIT}")
    try:
        found = read(data)
    except Unread as error:
        raise Permanent(f"{FILE_NAME}, {error.place}: {error}") from None
    document = found.value
    if not isinstance(document, dict):
        names = ", ".join(key.name for key in KEYS)
        raise Permanent(
            f"{FILE_NAME}, {found.place(())}: it must hold keys and values ({names}), not {kind_of(document)}"
        )
    if mistakes := [*wrong(document, KEYS), *_wrong_together(document)]:
        raise Permanent(f"{FILE_NAME}, {found.told((each.at.keys, each.of_key, each.text) for each in mistakes)}")
    given = {key: value for key, value in document.items() if value is not None}
    return Spec(
        model=given.get("model"),
        train=tuple(sorted(texts_of(given.get("train")))),
        validation=tuple(sorted(texts_of(given.get("validation")))),
        test=tuple(sorted(texts_of(given.get("test")))),
        hub=_hub(given) if "source" in given else None,
        policy=_policy(given),
        promotion=_promotion(given),
        parameters=given.get("parameters", {}),
    )


def _wrong_together(document: Mapping[str, Any]) -> Iterator[Mistake]:
    yield from _wrong_source(document)
    split = document.get("split")
    percents = [split.get("validation"), split.get("test")] if isinstance(split, dict) else []
    if sum(percent for percent in percents if isinstance(percent, int | float) and 0 < percent < 100) >= 100:
        told = "split.validation and split.test leave nothing to train on: together they must be less than 100"
        yield Mistake(At(("split",)), told)
    if document.get("strategy") == "replace" and document.get("approve") == "manual":
        told = "approve: manual does not go with strategy: replace: nothing would answer until somebody approves"
        yield Mistake(At(("approve",)), told, of_key=True)
    gate = document.get("gate")
    if not isinstance(gate, dict):
        return
    if gate.get("rows") == 0 and _number(gate.get("min_score"), 0) > 0:
        told = "gate.min_score counts for nothing where gate.rows is 0: no row is asked"
        yield Mistake(At(("gate", "min_score")), told, of_key=True)
    metrics = gate.get("metrics")
    for name, bounds in metrics.items() if isinstance(metrics, dict) else ():
        if isinstance(bounds, dict) and _number(bounds.get("least"), -LARGE) > _number(bounds.get("most"), LARGE):
            told = f"gate.metrics.{reprlib.repr(name)[1:-1]}: least is above most, which nothing can be"
            yield Mistake(At(("gate", "metrics", name, "least")), told)


def _wrong_source(document: Mapping[str, Any]) -> Iterator[Mistake]:
    """What is wrong with an address, and with other keys that say otherwise."""
    source = document.get("source")
    if not isinstance(source, str) or naming.refused(naming.HUB_SOURCE, source):
        return  # told already
    try:
        address = hub_address.read(source)
    except hub_address.NoAddress as error:
        yield Mistake(At(("source",)), f"source is {reprlib.repr(source)}, which {error}")
        return
    for key, said in (("revision", address.revision), ("config", address.config)):
        given = document.get(key)
        if said is not None and given is not None and given != said:
            yield Mistake(At((key,)), f"{key} is {reprlib.repr(given)}, but source says {said!r}: keep one of them")
    splits = document.get("splits")
    if address.split is not None and isinstance(splits, dict) and splits.get("train") not in (None, address.split):
        told = f"splits.train is {reprlib.repr(splits['train'])}, but source says {address.split!r}: keep one of them"
        yield Mistake(At(("splits", "train")), told)


def _number(value: object, default: float) -> float:
    return value if isinstance(value, int | float) else default


def _hub(given: Mapping[str, Any]) -> Hub:
    address = hub_address.read(given["source"])
    splits: dict[Part, str] = {"train": address.split or "train"}
    splits |= {part: name for part, name in given.get("splits", {}).items() if name is not None}
    return Hub(
        name=address.name,
        revision=address.revision or given.get("revision", Hub.revision),
        config=address.config or given.get("config"),
        splits=splits,
        percent=float(given.get("percent", Hub.percent)),
    )


def _policy(given: Mapping[str, Any]) -> Policy:
    ignore = given.get("ignore") or ()
    split = {key: int(value) for key, value in given.get("split", {}).items() if value is not None}
    return Policy(
        on_bad_rows=given.get("on_bad_rows", Policy.on_bad_rows),
        max_bad_percent=float(given.get("max_bad_percent", Policy.max_bad_percent)),
        min_rows=int(given.get("min_rows", Policy.min_rows)),
        validation_percent=split.get("validation", Policy.validation_percent),
        test_percent=split.get("test", Policy.test_percent),
        seed=split.get("seed", Policy.seed),
        safety=given.get("safety", Policy.safety),
        ignore=tuple([ignore] if isinstance(ignore, str) else ignore),
        map={key: name for key, name in (given.get("map") or {}).items() if name is not None},
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
