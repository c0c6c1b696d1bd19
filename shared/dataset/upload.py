"""What an upload of a folder starts, and what of its finetune.yaml counts for nothing: in words, before it is made.

Pure, and of what the app itself decides by (folder.py). Called by `droptune check`.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.dataset.folder import DataFile, Dataset
from shared.dataset.report import brief, counted
from shared.dataset.spec.choices import Policy, Spec
from shared.dataset.split import Part
from shared.serving.gate import Gate, Promotion

_NAMED = 5  # files of a part, one by one


def starts(dataset: Dataset, spec: Spec | None, model: str) -> Iterator[tuple[str, str]]:
    """What there is to tell of the run, a word and a text each: what it trains, on which files, and what follows."""
    policy = spec.policy if spec else Policy()
    promotion = spec.promotion if spec else Promotion()
    yield "starts", f"one run, which trains {model} on {_where(dataset, 'train')}"
    cuts: dict[Part, int] = {"validation": policy.validation_percent, "test": policy.test_percent}
    for part, percent in cuts.items():
        yield part, _where(dataset, part) or f"cut from the training rows: {percent} %"
    yield "then", "; ".join(_steps(promotion))


def _where(dataset: Dataset, part: Part) -> str:
    """What the part is read from; "" where it is cut."""
    if dataset.hub:
        split = dataset.hub.splits.get(part)
        share = "" if dataset.hub.percent >= 100 else f", the first {dataset.hub.percent:g} %"
        return f"split {split} of {dataset.hub.name} on the hub{share}" if split else ""
    files = [file.name for file in _files(dataset, part)]
    if len(files) > _NAMED:
        return brief(files)
    return f"{', '.join(files)}{', as one' if len(files) > 1 else ''}"


def _files(dataset: Dataset, part: Part) -> tuple[DataFile, ...]:
    found: tuple[DataFile, ...] = getattr(dataset, part)
    return found


def _steps(promotion: Promotion) -> Iterator[str]:
    """What a run does, in order."""
    gate = promotion.gate
    yield "it checks and splits the rows, trains, and registers the model"
    if promotion.strategy == "replace":
        yield "it removes the version that serves, and deploys the new one: callers get errors until that answers"
    else:
        yield "it deploys the model beside the version that serves, if one does"
    asked = f"asks it {counted(gate.rows, 'test row')}" if gate.rows else "asks it a test row, to see that it answers"
    compared = " and the version that serves the same ones" if gate.rows and promotion.strategy != "replace" else ""
    yield f"it {asked}{compared}"
    yield "it waits until a person approves it" if promotion.approve == "manual" else "if it passes, callers get it"


def without_effect(dataset: Dataset, spec: Spec | None) -> Iterator[str]:
    """What of the finetune.yaml says something else than the default, and counts for nothing; why, a sentence each."""
    if spec is None:
        return
    policy, gate = spec.policy, spec.promotion.gate
    if policy.on_bad_rows == "reject" and policy.max_bad_percent != Policy.max_bad_percent:
        yield "max_bad_percent: one bad row is enough, as on_bad_rows is reject"
    whole: list[Part] = [part for part in ("validation", "test") if _where(dataset, part)]
    if "validation" in whole and policy.validation_percent != Policy.validation_percent:
        yield f"split.validation: it is {_where(dataset, 'validation')}, and not cut"
    if "test" in whole and policy.test_percent != Policy.test_percent:
        yield f"split.test: it is {_where(dataset, 'test')}, and not cut"
    if len(whole) == 2 and policy.seed != Policy.seed:
        yield "split.seed: nothing is cut"
    why = "gate.rows is 0" if not gate.rows else "strategy: replace leaves nothing to compare with"
    if (not gate.rows or spec.promotion.strategy == "replace") and gate.max_drop != Gate.max_drop:
        yield f"gate.max_drop: {why}"
    if not gate.rows and gate.score != Gate.score:
        yield f"gate.score: no answer is compared, as {why}"
