"""The parameters of a fine-tune job: the notebook's defaults < the base model's tag < finetune.yaml.

The SDK lets wrong values through to the service, and the service may find out on a GPU that is being paid for. So each
value is brought to the type that the component's input has, and checked against what it allows. Called when a run is
planned.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import Permanent
from shared.naming import PARAMETERS, called
from shared.training.base_model import DEFAULTS_TAG

FILE_NAME = "finetune.yaml"

type Value = str | int | float | bool

DEFAULTS: Mapping[str, Value] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "learning_rate": 5e-6,
    "lr_scheduler_type": "cosine",
    "apply_lora": "true",
    "apply_deepspeed": "true",
    "deepspeed_stage": "2",
}

# What Droptune itself decides on: which model, which data, which computes.
_OURS = ("compute_", "instance_type_", "huggingface_id", "num_nodes_finetune", "number_of_gpu_to_use_finetuning")
_NO_PARAMETER = "it is set by Droptune"
_LITERALS = frozenset({"string", "integer", "number", "boolean"})
_LONGEST = 256  # characters of a key whose meaning is guessed
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class ComponentInput:
    """An input of a pipeline component. `type`: integer, number, string, boolean, or a kind of asset (uri_file...)."""

    name: str
    type: str
    enum: tuple[object, ...] = ()
    min: float | None = None
    max: float | None = None
    default: object = None
    optional: bool = True

    @property
    def ours(self) -> bool:
        """Whether Droptune sets it, so that nobody else may."""
        return self.name.startswith(_OURS) or self.name == "task_name" or self.type.lower() not in _LITERALS


def resolve(
    model_defaults: Mapping[str, object], spec: Mapping[str, object], inputs: Mapping[str, ComponentInput]
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The job's parameters, of the types that `inputs` have, and what a person should know about them.

    `model_defaults` is the model's tag, of which keys that the component does not take are left out, and that is
    noted; `spec` is finetune.yaml's. Raises Permanent with every key that is unknown and every value not allowed.
    """
    found, notes, wrong = _resolved(model_defaults, spec, inputs)
    if wrong:
        raise Permanent(f"parameters: {'; '.join(text for _, text in wrong)}. Correct them in {FILE_NAME}.")
    return found, notes


def mistakes(
    model_defaults: Mapping[str, object], spec: Mapping[str, object], inputs: Mapping[str, ComponentInput]
) -> list[tuple[str, str]]:
    """What `resolve` would refuse: of each mistake the parameter, and what is wrong in a sentence."""
    return _resolved(model_defaults, spec, inputs)[2]


def _resolved(
    model_defaults: Mapping[str, object], spec: Mapping[str, object], inputs: Mapping[str, ComponentInput]
) -> tuple[dict[str, Value], tuple[str, ...], list[tuple[str, str]]]:
    notes: list[str] = []
    wrong = [(key, problem) for key in spec if (problem := _not_to_be_set(key, inputs))]
    merged: dict[str, tuple[object, str]] = {}
    for key, default in DEFAULTS.items():
        if key in inputs:
            merged[key] = (default, "the default")
        elif key not in spec:
            notes.append(f"{key} is left out: the component does not take it")
    tagged = {key: value for key, value in model_defaults.items() if not _not_to_be_set(key, inputs)}
    left_out = [key for key in model_defaults if key not in tagged]
    merged |= {key: (value, f"the model's tag {DEFAULTS_TAG}") for key, value in tagged.items()}
    merged |= {key: (value, FILE_NAME) for key, value in spec.items() if not _not_to_be_set(key, inputs)}
    found: dict[str, Value] = {}
    for key, (value, origin) in merged.items():
        try:
            found[key] = coerce(inputs[key], value)
        except ValueError as error:
            wrong.append((key, f"{key} is {reprlib.repr(value)} (from {origin}); {error}"))
    overridden = [
        f"{key}={found[key]} (default {DEFAULTS[key]})"
        for key in tagged
        if key in found and key in DEFAULTS and key not in spec and str(found[key]) != str(DEFAULTS[key])
    ]
    if overridden:
        notes.append(f"the model's tag {DEFAULTS_TAG} overrides defaults: {', '.join(overridden)}")
    chosen = [
        f"{key}={found[key]} ({before[1]}: {before[0]})"
        for key in spec
        if key in found and (before := _before(key, tagged)) and str(before[0]) != str(found[key])
    ]
    if chosen:
        notes.append(f"{FILE_NAME} overrides: {', '.join(chosen)}")
    if left_out:
        notes.append(f"of the model's tag {DEFAULTS_TAG} these are no parameters of the job: {', '.join(left_out)}")
    return found, tuple(notes), wrong


def may_set(key: str, inputs: Mapping[str, ComponentInput]) -> bool:
    """Whether it is a parameter that a finetune.yaml may set."""
    return key in inputs and not inputs[key].ours


def _before(key: str, tagged: Mapping[str, object]) -> tuple[object, str] | None:
    """What a parameter would be without finetune.yaml, and by what; None where neither says it."""
    if key in tagged:
        return tagged[key], "by the model's tag"
    return (DEFAULTS[key], "by default") if key in DEFAULTS else None


def coerce(wanted: ComponentInput, value: object) -> Value:
    """`value` as the input takes it. Raises ValueError saying what is allowed; the caller names key and value."""
    kind = wanted.type.lower()
    if kind == "string":
        return _text(wanted, value)
    if kind == "boolean":
        flag = _FLAGS.get(str(value).strip().lower())
        if flag is None:
            raise ValueError("it must be true or false")
        return flag
    number = _number(value, whole=kind == "integer")
    if wanted.enum and number not in [_number(each, whole=False) for each in wanted.enum]:
        raise ValueError(f"allowed: {', '.join(map(str, wanted.enum))}")
    if wanted.min is not None and number < float(wanted.min):
        raise ValueError(f"allowed: {wanted.min} or more")
    if wanted.max is not None and number > float(wanted.max):
        raise ValueError(f"allowed: {wanted.max} or less")
    return number


def _not_to_be_set(key: str, inputs: Mapping[str, ComponentInput]) -> str:
    if key not in inputs:
        meant = called({name: PARAMETERS.get(name, ()) for name, each in inputs.items() if not each.ours})
        close = difflib.get_close_matches(key[:_LONGEST].lower(), meant, n=1)
        return f"{reprlib.repr(key)} is not a parameter" + (f"; did you mean {meant[close[0]]}?" if close else "")
    return f"{key} can't be chosen: {_NO_PARAMETER}" if inputs[key].ours else ""


def _text(wanted: ComponentInput, value: object) -> str:
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))  # precision: 16.0
    elif isinstance(value, str | int | float):
        text = str(value)
    else:
        raise ValueError("it must be text")
    if not wanted.enum:
        return text
    allowed = [str(each).lower() if isinstance(each, bool) else str(each) for each in wanted.enum]
    for each in allowed:
        if text.strip().lower() == each.lower():
            return each
    raise ValueError(f"allowed: {', '.join(allowed)}")


def _number(value: object, *, whole: bool) -> int | float:
    try:
        text = "" if isinstance(value, bool) else str(value).strip()
        number = int(text) if text.lstrip("+-").isdecimal() else float(text)
        fine = math.isfinite(number) and (number == int(number) or not whole)
    except (ValueError, OverflowError):
        fine = False
    if not fine:
        raise ValueError("it must be a whole number" if whole else "it must be a number")
    return int(number) if whole else number
