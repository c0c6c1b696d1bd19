"""What is known of the base model before anything is uploaded, and what of a finetune.yaml would be refused for it.

Asks an app where there is one to ask, and else the catalogue of what Azure had published, shared/training/catalogue.py.
The rules are those that planning uses. Called by `check` and `push`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cli.errors import CliError

if TYPE_CHECKING:
    from cli.client import AppClient
    from shared.api.models_schema import ModelList
    from shared.dataset.spec.choices import Spec
    from shared.training.base_model import BaseModel, Purpose
    from shared.training.parameters import ComponentInput

_SIZES: tuple[tuple[Purpose, str], ...] = (("finetune", "FINETUNE_SIZE"), ("inference", "SERVING_SIZE"))


class Wrong(NamedTuple):
    """A mistake: the keys of finetune.yaml that it is about, whether it is the last key itself, and a sentence."""

    keys: tuple[str, ...]
    of_key: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the model `name`: context in tokens, whether it takes tools, None where nobody knows; notes."""

    name: str
    context: int | None = None
    tools: bool | None = None
    notes: tuple[str, ...] = ()


def known(spec: Spec | None, place: Path | None, client: AppClient | None, *, insist: bool = False) -> Known:
    """What is known of the model that `spec` names, or of the one that is meant without. `place`: of the finetune.yaml.

    Raises CliError with all mistakes, each with its line and column, where planning would refuse model or parameters;
    and with `insist` where the app can't be asked.
    """
    try:
        found, wrong = _asked(spec, client) if client else _of_the_catalogue(spec)
    except CliError as error:
        if insist:
            raise
        told = f"Not checked: model and parameters, as the app could not be asked ({error}); it checks them itself."
        named = spec.model if spec else None
        return Known(name=named or "the base model of the app", notes=(told,))
    if wrong:
        raise CliError(_told(wrong, place))
    return found


def local_app() -> AppClient | None:
    """The app of a local cloud that runs here; None where none does."""
    from cli.apps import local_state

    if not (state := local_state(Path.cwd())):
        return None
    from cli.client import AppClient

    try:
        return AppClient.of({}, state=state)
    except CliError:
        return None


def _told(wrong: Sequence[Wrong], place: Path | None) -> str:
    """All mistakes, in the order of the file."""
    from shared.dataset.spec.strict import read

    if place is None:
        return "; ".join(each.text for each in wrong)
    return f"{place}, {read(place.read_bytes()).told(wrong)}"


def _parameters(
    spec: Spec | None, defaults: Mapping[str, object], inputs: Mapping[str, ComponentInput]
) -> Iterator[Wrong]:
    """What planning would refuse of the parameters."""
    from shared.training.parameters import may_set, mistakes

    given = spec.parameters if spec else {}
    for key, text in mistakes(defaults, given, inputs):
        if key in given:
            yield Wrong(("parameters", key), not may_set(key, inputs), f"parameters: {text}")
        else:  # the model's own defaults, which the component does not take
            yield Wrong(("model",), False, text)


# By the catalogue ----------------------------------------------------------------------------------------------------


def _of_the_catalogue(spec: Spec | None) -> tuple[Known, list[Wrong]]:
    from shared.settings import Training
    from shared.training.catalogue import catalogue

    listed, now = catalogue(), datetime.now(UTC)
    named = spec.model if spec else None
    name = named or os.environ.get("BASE_MODEL") or Training.base_model
    wrong, notes = list[Wrong](), list[str]()
    if not named:
        notes.append(f"Checked for {name}, which is trained where neither finetune.yaml nor BASE_MODEL names another.")
    model = listed.models.get(name)
    if model is not None:
        wrong += _of_model(model, now, named=named is not None)
        notes += _notes(model, now)
    elif meant := listed.meant(name):
        wrong.append(Wrong(("model",), False, f"model is {name!r}; did you mean {meant}?"))
    else:
        guess = f"; did you mean {like}?" if (like := listed.like(name)) else "."
        notes.append(
            f"Not checked: whether there is a model {name}, its context and where it runs. The catalogue of "
            f"{listed.date:%Y-%m-%d} does not have it: --online asks your app{guess}"
        )
    component = os.environ.get("FINETUNE_COMPONENT") or listed.component
    if component == listed.component:
        wrong += _parameters(spec, model.defaults() if model else {}, listed.inputs)
    elif spec and spec.parameters:
        notes.append(
            f"Not checked: the parameters, as the catalogue does not have {component}: --online asks your app."
        )
    if old := listed.age(now):
        notes.append(old)
    elif model is not None:
        notes.append(
            f"Model and parameters were held against what Azure had published by {listed.date:%Y-%m-%d}; --online asks "
            "your app."
        )
    tools = model.takes_tools if model else None
    return Known(name=name, context=model.context if model else None, tools=tools, notes=tuple(notes)), wrong


def _of_model(model: BaseModel, now: datetime, *, named: bool) -> Iterator[Wrong]:
    """What planning would refuse it for: of the sizes those that this environment names, as the app's are not known."""
    from shared.errors import Permanent

    try:
        model.check_retirement(now)
    except Permanent as error:
        if named:
            yield Wrong(("model",), False, f"{error}{_others(now)}")
        return
    for purpose, setting in _SIZES:
        size = os.environ.get(setting)
        try:
            if size:
                model.check_size(size, purpose)
        except Permanent as error:
            yield Wrong(("model",), False, str(error))


def _others(now: datetime) -> str:
    """Models of the catalogue that can be fine-tuned for chats."""
    from shared.errors import Permanent
    from shared.training.catalogue import catalogue

    found = []
    for model in catalogue().models.values():
        try:
            model.check_retirement(now)
        except Permanent:
            continue
        if model.fine_tunes:
            found.append(model.name)
    return f" Not retired: {', '.join(found)}." if found else ""


def _notes(model: BaseModel, now: datetime) -> Iterator[str]:
    from shared.settings import Serving, Training
    from shared.training.catalogue import catalogue

    yield from (f"{note}." for note in model.notes(now))
    if model.name in catalogue().archived:
        yield f"{model} is archived in the registry."
    if not model.fine_tunes:
        yield f"{model} does not say that it can be fine-tuned for chats."
    usual: dict[Purpose, str] = {"finetune": Training.gpu_size, "inference": Serving.size}
    for purpose, setting in _SIZES:
        rule = model.allowed_sizes(purpose)
        if not os.environ.get(setting) and not rule.allows(usual[purpose]):
            yield f"{model} does not run on {usual[purpose]}, the default of {setting}. It allows {rule}."


# By an app -----------------------------------------------------------------------------------------------------------


def _asked(spec: Spec | None, client: AppClient) -> tuple[Known, list[Wrong]]:
    named = spec.model if spec else None
    found = client.model(named or "")
    view = next((each for each in found.models if (each.name == named if named else each.default)), None)
    which = f"the local cloud in {client.state}" if client.state else client.url
    wrong, notes = list[Wrong](), [f"Model and parameters: as {which} has them."]
    if view is None or not view.usable:
        why = view.why if view else f"registry {found.registry} has no model {named or ''}".rstrip()
        wrong.append(Wrong(("model",), False, f"{why}{_guess(client, named)}"))
    else:
        notes += [f"{note}." for note in view.notes]
    inputs = _inputs(found)
    if inputs:
        wrong += _parameters(spec, view.defaults if view else {}, inputs)
    elif spec and spec.parameters:
        notes.append("Not checked: the parameters, as this app is of an older version; it checks them itself.")
    name = view.name if view else named or ""
    context, tools = (view.context, view.tools) if view else (None, None)
    return Known(name=name, context=context, tools=tools, notes=tuple(notes)), wrong


def _inputs(found: ModelList) -> dict[str, ComponentInput]:
    from shared.training.parameters import ComponentInput

    return {
        each.name: ComponentInput(
            name=each.name,
            type=each.type,
            enum=tuple(each.enum),
            min=each.min,
            max=each.max,
            default=each.default,
            optional=each.optional,
        )
        for each in found.inputs
    }


def _guess(client: AppClient, named: str | None) -> str:
    """What of the registry's models may have been meant."""
    from difflib import get_close_matches

    if not named:
        return ""
    try:
        names = {each.name.lower(): each.name for each in client.models().models if each.usable and each.name != named}
    except CliError:
        return ""
    close = get_close_matches(named.lower(), names, n=1, cutoff=0.6)
    return f" Did you mean {names[close[0]]}?" if close else ""
