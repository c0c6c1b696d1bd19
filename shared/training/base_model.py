"""What a base model of the registry says about itself: VM sizes it runs on, parameters it wants, when it retires.

Older versions say it in tags (Python literals or JSON in a string), newer ones in system metadata, both written by
others: read safely, and what can't be read counts as not said. Called when a run is planned, and to list models.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from shared.errors import Permanent

type Purpose = Literal["finetune", "inference"]

DEFAULTS_TAG = "model_specific_defaults"
TASK = "chat-completion"
"""What the component fine-tunes for, as models name it among their tasks."""
# The notebook's own list, for models that bring none: sizes too old for any of them.
DENIED = ("standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r")

# Families whose published chat template has tool turns; others drop or refuse them, in the middle of a training.
_TOOLS = (
    r"llama-3\.[1-9]",
    r"mistral-(large|nemo|small)|ministral",
    r"qwen-?(2\.5|3)",
    r"phi-4-mini",
    r"command-r",
    r"gpt-oss",
)

_LITERAL_LIMIT = 64 * 1024
_SETTINGS = {"finetune": "FINETUNE_SIZE", "inference": "SERVING_SIZE"}
_DOINGS = {"finetune": "fine-tuning", "inference": "inference"}


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Which VM sizes are fine: those in `allowed`, or if that is None, all that are not in `denied`."""

    source: str
    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()

    def allows(self, size: str) -> bool:
        """Whether `size` is fine; Azure's sizes have no case."""
        names = self.denied if self.allowed is None else self.allowed
        return (size.lower() in {name.lower() for name in names}) == (self.allowed is not None)

    def __str__(self) -> str:
        if self.allowed is None:
            return f"all but {', '.join(self.denied)} ({self.source})"
        return f"{', '.join(self.allowed)} ({self.source})"


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A version of a model in the registry. `id` is its azureml://registries/... address."""

    name: str
    version: str
    id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    system_metadata: Mapping[str, Any] | None = None

    def allowed_sizes(self, purpose: Purpose) -> SizeRule:
        """The model's list for `purpose`: of its tag, else of its metadata, else the notebook's deny list."""
        tag = f"{purpose}_compute_allow_list"
        if names := _names(literal(self.tags.get(tag, ""))):
            return SizeRule(source=f"tag {tag}", allowed=names)
        if names := _names(self._metadata("supportedComputes").get(f"{purpose}Computes")):
            return SizeRule(source="the model's supported computes", allowed=names)
        return SizeRule(source="the model lists no sizes", denied=DENIED)

    @property
    def fine_tunes(self) -> bool:
        """Whether it says of itself that it is fine-tuned for chats: by its tasks, or by sizes or defaults for that."""
        tasks = self._metadata("tasks").get("fineTuningTasks")
        if isinstance(tasks, list | tuple) and tasks:
            return TASK in tasks
        said = (self.tags.get("finetune_compute_allow_list"), self.tags.get(DEFAULTS_TAG))
        return any(said) or bool(self._metadata("supportedComputes").get("finetuneComputes"))

    @property
    def licence(self) -> str:
        """By its tag, else by its metadata; "" where neither says it."""
        found = self.tags.get("license") or (self.system_metadata or {}).get("license")
        return found if isinstance(found, str) else ""

    def check(self, now: datetime, *, training_on: str, serving_on: str) -> None:
        """Raises Permanent when no run can be planned with it now, on machines of these sizes."""
        self.check_retirement(now)
        self.check_size(training_on, "finetune")
        self.check_size(serving_on, "inference")

    def check_size(self, size: str, purpose: Purpose) -> None:
        """Raises Permanent, naming the sizes there are, when the model can't be run on `size`."""
        rule = self.allowed_sizes(purpose)
        if not rule.allows(size):
            raise Permanent(
                f"{self} does not allow {_DOINGS[purpose]} on {size}. It allows {rule}. Set {_SETTINGS[purpose]} to "
                "one of them, or choose another base model."
            )

    def check_retirement(self, now: datetime) -> None:
        """Raises Permanent when fine-tuning or inference of the model has retired by `now` (aware)."""
        gone = [f"{doing} on {date:%Y-%m-%d}" for doing, date in self._dates("RetirementDate") if date <= now]
        if gone:
            raise Permanent(
                f"{self} has retired from {' and '.join(gone)}. Name another base model in finetune.yaml (model: ...) "
                "or in the setting BASE_MODEL."
            )

    def defaults(self) -> dict[str, Any]:
        """The parameters that the model's tag model_specific_defaults asks for; none when there is no such tag."""
        found = literal(self.tags.get(DEFAULTS_TAG, ""))
        return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}

    @property
    def least(self) -> str:
        """The least machine that fine-tunes it, in words, as tag or metadata say it; "" where neither does."""
        said = self.tags.get("finetune_min_sku_spec") or self._metadata("SKU").get("finetuneMinSkuSpec")
        numbers = re.fullmatch(r"([0-9]{1,6})[|]([0-9]{1,6})[|]([0-9]{1,6})[|][0-9]{1,6}", str(said).strip())
        if not numbers:
            return ""
        vcpus, gpus, memory = map(int, numbers.groups())
        return f"{vcpus} vCPUs, {gpus} GPU{'' if gpus == 1 else 's'}, {memory} GB of memory"

    @property
    def context(self) -> int | None:
        """Tokens that the model's context holds; None where its metadata does not say."""
        found = (self.system_metadata or {}).get("textContextWindow")
        try:
            return int(found) if found else None
        except (TypeError, ValueError):
            return None

    @property
    def takes_tools(self) -> bool:
        """Whether its chat template has a form for tool turns. The registry does not tell; the models' cards do."""
        return any(re.search(pattern, self.name, re.IGNORECASE) for pattern in _TOOLS)

    def notes(self, now: datetime) -> tuple[str, ...]:
        """What a person should hear of the model though it is no error: retirement ahead, a tag that can't be read."""
        found = [
            f"{self} is deprecated for {doing} since {date:%Y-%m-%d}: plan for another base model"
            for doing, date in self._dates("DeprecationDate")
            if date <= now
        ]
        tags = [DEFAULTS_TAG, "finetune_compute_allow_list", "inference_compute_allow_list"]
        found += [
            f"the tag {tag} of {self} can't be read and was left out"
            for tag in tags
            if tag in self.tags and literal(self.tags[tag]) is None
        ]
        return tuple(found)

    def __str__(self) -> str:
        return f"model {self.name}:{self.version}"

    def _metadata(self, key: str) -> Mapping[str, Any]:
        found = (self.system_metadata or {}).get(key)
        return found if isinstance(found, Mapping) else {}

    def _dates(self, kind: str) -> Iterator[tuple[str, datetime]]:
        for purpose, doing in _DOINGS.items():
            try:
                date = datetime.fromisoformat(str(self._metadata("deprecation").get(f"{purpose}{kind}")))
            except ValueError:
                continue
            yield doing, date if date.tzinfo else date.replace(tzinfo=UTC)


def literal(text: str) -> Any:
    """The value that `text` spells in JSON or as a Python literal; None if neither, or beyond 64 KiB. Runs nothing."""
    if not text.strip() or len(text) > _LITERAL_LIMIT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _names(found: object) -> tuple[str, ...]:
    if not isinstance(found, list | tuple | set | frozenset):
        return ()
    names = [name.strip() for name in found if isinstance(name, str) and name.strip()]
    return tuple(sorted(names) if isinstance(found, set | frozenset) else names)
