"""finetune.yaml: what a dataset's owner wants done with it, read strictly.

    model: Phi-4
    train: train.parquet
    on_bad_rows: drop
    parameters:
      num_train_epochs: 1

All its keys are in the table KEYS, from which docs/finetune.md and its JSON Schema are made. A misspelt key must not
cost a training: what isn't known is an error that guesses what was meant. The file is written by others, so it is
small, has no aliases or tags, and its values are never trusted. Called by the intake.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from shared.dataset.files import KINDS
from shared.dataset.schema import CLEAN, Key, Scalar, ending, kind_of, wrong
from shared.dataset.split import Part
from shared.errors import Permanent
from shared.serving.gate import Bounds, Gate, Promotion

FILE_NAME = "finetune.yaml"
SIZE_LIMIT = 64 * 1024

_TOLD = 256  # characters of somebody else's error message


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What becomes of bad rows, how many rows are enough, and how the rows are split. Kept in the run's record.

    `max_bad_percent` counts with `drop` only; `min_rows` are good rows of the training data, before the split; the
    other two percentages are of the prompts, where the part has no file of its own.
    """

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
    promotion: Promotion = field(default_factory=Promotion)
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The data files that it names."""
        return tuple(name for name in (self.train, self.validation, self.test) if name)


_FILES, _HUB = "files of the folder", "a dataset of the Hugging Face Hub"
_FILE = CLEAN + r"[^/\\]*" + ending(KINDS)
_A_FILE = f"the name of a {', '.join(KINDS[:-1])} or {KINDS[-1]} file in the same folder"
_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_SOURCE = CLEAN + rf"(?!.*(?:--|[.][.]|[.]git$))(?:{_WORD}/)?{_WORD}$"
_A_SOURCE = "owner/name or name of a dataset on the Hugging Face Hub"
_SPLIT = CLEAN + r"[A-Za-z0-9_]+(?:[.][A-Za-z0-9_]+)*$"
_A_SPLIT = "the name of a split (letters, digits, _ and .)"
_LARGE = 10**9

KEYS = (
    Key(
        name="model",
        kind="text",
        help="Base model, by its name in the registry.",
        unset="the setting `BASE_MODEL`",
        example="Phi-4",
        also=("base_model", "model_name"),
    ),
    Key(
        name="train",
        kind="text",
        help="File to train on.",
        example="train.jsonl",
        pattern=_FILE,
        must=_A_FILE,
        needed=True,
        way=_FILES,
        unlike="files",
        also=("train_file", "training", "file", "data"),
    ),
    Key(
        name="validation",
        kind="text",
        help="File to validate on while training.",
        unset="cut from the training rows",
        example="validation.jsonl",
        pattern=_FILE,
        must=_A_FILE,
        way=_FILES,
        unlike="files",
        also=("validation_file", "valid", "val", "dev"),
    ),
    Key(
        name="test",
        kind="text",
        help="File that is held out; the finished model is tried with a row of it.",
        unset="cut from the training rows",
        example="test.jsonl",
        pattern=_FILE,
        must=_A_FILE,
        way=_FILES,
        unlike="files",
        also=("test_file", "eval"),
    ),
    Key(
        name="source",
        kind="text",
        help="Dataset of the Hugging Face Hub, `owner/name` or `name`, instead of files.",
        example="HuggingFaceH4/ultrachat_200k",
        pattern=_SOURCE,
        must=_A_SOURCE,
        needed=True,
        way=_HUB,
        also=("dataset", "dataset_name", "hub", "repo"),
    ),
    Key(
        name="revision",
        kind="text",
        help="Branch, tag or commit of the source. A run keeps to the commit that it finds first.",
        default=Hub.revision,
        example="refs/convert/parquet",
        way=_HUB,
        also=("commit", "branch", "tag"),
    ),
    Key(
        name="config",
        kind="text",
        help="Configuration of the source, which the Hub's pages call its subset.",
        unset="the source's default",
        example="en",
        way=_HUB,
        also=("subset", "config_name", "configuration"),
    ),
    Key(
        name="splits",
        kind="keys",
        help="Which split of the source is used for what.",
        default={"train": "train"},
        example={"train": "train_sft", "test": "test_sft"},
        way=_HUB,
        keys=(
            Key(
                name="train",
                kind="text",
                help="Split to train on.",
                example="train_sft",
                pattern=_SPLIT,
                must=_A_SPLIT,
                needed=True,
                unlike="splits",
                also=("training",),
            ),
            Key(
                name="validation",
                kind="text",
                help="Split to validate on while training.",
                unset="cut from the training rows",
                example="validation",
                pattern=_SPLIT,
                must=_A_SPLIT,
                unlike="splits",
                also=("valid", "val", "dev"),
            ),
            Key(
                name="test",
                kind="text",
                help="Split that is held out; the finished model is tried with a row of it.",
                unset="cut from the training rows",
                example="test_sft",
                pattern=_SPLIT,
                must=_A_SPLIT,
                unlike="splits",
                also=("eval",),
            ),
        ),
    ),
    Key(
        name="percent",
        kind="number",
        help="How many percent of each split are taken, from its beginning.",
        default=Hub.percent,
        example=5,
        above=0,
        most=100,
        way=_HUB,
        also=("dataset_split_pc", "percentage", "share"),
    ),
    Key(
        name="on_bad_rows",
        kind="text",
        help="What bad rows mean: `reject` refuses the dataset, `drop` trains on its good rows.",
        default=Policy.on_bad_rows,
        example="drop",
        choices=("reject", "drop"),
        also=("bad_rows", "on_error"),
    ),
    Key(
        name="max_bad_percent",
        kind="number",
        help="With `drop`: if more of the rows are bad, the dataset is refused all the same.",
        default=Policy.max_bad_percent,
        example=1,
        least=0,
        most=100,
    ),
    Key(
        name="min_rows",
        kind="whole",
        help="Good rows that the training data must have at least, before other parts are cut from it.",
        default=Policy.min_rows,
        example=100,
        least=1,
        most=1_000_000_000,
    ),
    Key(
        name="split",
        kind="keys",
        help="How parts without a file or split of their own are cut from the training rows, by the rows' prompts.",
        unset="each as it says",
        example={"validation": 5, "test": 5},
        keys=(
            Key(
                name="validation",
                kind="whole",
                help="Percent of the prompts for validation.",
                default=Policy.validation_percent,
                example=5,
                least=1,
                most=50,
                also=("validation_percent", "valid", "val", "dev"),
            ),
            Key(
                name="test",
                kind="whole",
                help="Percent of the prompts for the test; less than 100 with those for validation.",
                default=Policy.test_percent,
                example=5,
                least=1,
                most=50,
                also=("test_percent", "eval"),
            ),
            Key(
                name="seed",
                kind="whole",
                help="Another seed, another split; the same seed, the same one.",
                default=Policy.seed,
                example=7,
                least=0,
                most=2**31 - 1,
            ),
        ),
    ),
    Key(
        name="parameters",
        kind="values",
        help=(
            "Inputs of the fine-tune component by their names there: text, numbers, true or false. They are checked "
            "against the component before anything is paid for."
        ),
        unset="the base model's own",
        example={"num_train_epochs": 1, "apply_lora": True},
        also=("hyperparameters", "params"),
    ),
    Key(
        name="gate",
        kind="keys",
        help="What a new version has to be like before callers get it.",
        unset="each as it says",
        example={"score": "exact", "min_score": 80},
        also=("gates", "quality_gate", "evaluation", "thresholds"),
        keys=(
            Key(
                name="rows",
                kind="whole",
                help="Held-out rows that the new version and the one that serves are asked. `0`: no comparison.",
                default=Gate.rows,
                example=50,
                least=0,
                most=200,
                also=("held_out_rows", "questions"),
            ),
            Key(
                name="score",
                kind="text",
                help="How an answer is compared with the row's own: by what they have in common, or by being the same.",
                default=Gate.score,
                example="exact",
                choices=("chrf", "exact"),
                also=("scoring", "scorer"),
            ),
            Key(
                name="min_score",
                kind="number",
                help="Score that the new version's answers must have at least, on average.",
                default=Gate.min_score,
                example=80,
                least=0,
                most=100,
                also=("minimum_score", "threshold"),
            ),
            Key(
                name="max_drop",
                kind="number",
                help="How many points its score may lie below that of the version that serves.",
                default=Gate.max_drop,
                example=0,
                least=0,
                most=100,
                also=("margin", "tolerance"),
            ),
            Key(
                name="metrics",
                kind="named",
                help="What metrics of the training must have come to, by the names that the job logs.",
                unset="none is looked at",
                example={"eval_loss": {"most": 1.5}},
                also=("metric",),
                keys=(
                    Key(
                        name="least",
                        kind="number",
                        help="Least last value.",
                        unset="no least",
                        example=0.5,
                        least=-_LARGE,
                        most=_LARGE,
                        also=("min", "minimum", "at_least"),
                    ),
                    Key(
                        name="most",
                        kind="number",
                        help="Greatest last value.",
                        unset="no most",
                        example=1.5,
                        least=-_LARGE,
                        most=_LARGE,
                        also=("max", "maximum", "at_most"),
                    ),
                ),
            ),
        ),
    ),
    Key(
        name="approve",
        kind="text",
        help="Who lets a version have callers that passed the gate: `auto`, the gate does; `manual`, a person does.",
        default=Promotion.approve,
        example="manual",
        choices=("auto", "manual"),
        also=("approval", "promote", "promotion"),
    ),
    Key(
        name="strategy",
        kind="text",
        help=(
            "`blue_green` makes the new version beside the one that serves; `replace` removes that one first, which "
            "needs no spare quota, but callers get errors until the new one answers, and nothing is compared with. It "
            "does not go with `approve: manual`."
        ),
        default=Promotion.strategy,
        example="replace",
        choices=("blue_green", "replace"),
        also=("rollout", "deployment_strategy"),
    ),
)


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
        if isinstance(bounds, dict) and _number(bounds.get("least"), -_LARGE) > _number(bounds.get("most"), _LARGE):
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
