"""The shapes of `GET /api/models`: base models of the registry. Made in models.py.

What schema.py says of shapes holds here too.
"""

from __future__ import annotations

from typing import Any

from msgspec import field

from shared.api.schema import VERSION, Shape


class ModelView(Shape, frozen=True, kw_only=True):
    """A base model of the registry, by what its newest version says of itself. Texts are as others wrote them.

    `training_sizes`, `serving_sizes`: the VM sizes that it is fine-tuned and served on; none where it names none, and
    all but the oldest will do. `least`: the least machine to fine-tune it on, in words; `licence`: "" where unknown.
    `default`: whether it is what a finetune.yaml without `model` means. `usable`: whether a run that names it can be
    planned with the app's settings as they are, by the rule of planning; `why`: why not.
    `notes`: what people should know of it all the same, as that it is deprecated. `context`: tokens that it holds, null
    where unknown; `tools`: its chat template takes tool turns; `defaults`: parameters that it asks for.
    """

    name: str
    version: str
    licence: str = ""
    training_sizes: list[str] = field(default_factory=list)
    serving_sizes: list[str] = field(default_factory=list)
    least: str = ""
    default: bool = False
    usable: bool
    why: str = ""
    notes: list[str] = field(default_factory=list)
    context: int | None = None
    tools: bool = False
    defaults: dict[str, Any] = field(default_factory=dict)


class InputView(Shape, frozen=True, kw_only=True):
    """What the fine-tune component takes: name, type, and which values. As the registry has it."""

    name: str
    type: str
    enum: list[Any] = field(default_factory=list)
    min: float | None = None
    max: float | None = None
    default: Any = None
    optional: bool = True


class ModelList(Shape, frozen=True, kw_only=True):
    """Base models that can be fine-tuned for chats, those that are usable first; and the app's own.

    `training_on`, `serving_on`: the VM sizes of this app. Of `found` models of the registry's list, or of those that
    match, nobody looked at `left`, and `others` say nothing of fine-tuning. `whole`: the list was read to its end.
    `inputs`: what the fine-tune component takes, where one model was asked for by its whole name.
    """

    version: int = VERSION
    registry: str
    training_on: str
    serving_on: str
    models: list[ModelView] = field(default_factory=list)
    found: int = 0
    others: int = 0
    left: int = 0
    whole: bool = True
    inputs: list[InputView] = field(default_factory=list)
