"""The base models that a finetune.yaml may name, and whether a run with one can be planned by this app's settings.

A registry's list has names alone, thousands in the public one, and only a model's own entry says whether it can be
fine-tuned: one call each. So the list is read once in ten minutes, and of what matches the app looks at LOOKED models
at most, the likeliest first; what it has read of a version it keeps. How many were left is told: part of a name finds
them. The verdict is planning's own (BaseModel.check, resolve). Called by views.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from shared import naming
from shared.api import models_schema
from shared.app import App
from shared.cloud.registry import Listed, Listing
from shared.errors import NotFound, Permanent, Transient
from shared.training.base_model import BaseModel
from shared.training.compute import size_of
from shared.training.parameters import ComponentInput, resolve

LOOKED = 40
"""Models that one answer tells of, at most."""
LOOK_SECONDS = 8.0
"""Time after which no further one is looked at."""
AT_ONCE = 8
_BELOW = 2**63  # of numbers: no greater one is a parameter
_CHATS = re.compile(r"instruct|chat|(?<![a-z])it(?![a-z])", re.IGNORECASE)
"""What names of models have that were made for chats."""


@dataclass(frozen=True, kw_only=True)
class _Here:
    """What a model is held against: the time, the sizes that this app trains and serves on, the component's inputs.

    `alone`: it is the only one that is told of, and whole.
    """

    now: datetime
    training_on: str
    serving_on: str
    inputs: Mapping[str, ComponentInput]
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a look has shown: the model, or in `why` why there is none to see. `gone`: the registry has none."""

    listed: Listed
    model: BaseModel | None = None
    why: str = ""
    gone: bool = False


def base_models(app: App, name: str, *, exact: bool = False) -> models_schema.ModelList:
    """Those whose name has `name` in it, in any case; with "" the app's own, and those that look made for chats, first.

    `exact`: the one of that name, or the app's own, alone, with what the component takes: the list is not read.
    Raises Transient or Permanent where registry, component or compute can't be read.
    """
    registry, settings = app.cloud.registry, app.settings
    listing = Listing(models=(), whole=True) if exact else registry.listing()
    found = [each for each in listing.models if name.casefold() in each.name.casefold()]
    asked_for = name or settings.training.base_model
    if all(each.name != asked_for for each in found) and not naming.refused(naming.BASE_MODEL, asked_for):
        found.append(Listed(name=asked_for, version=""))  # archived, or behind the list's end: planning finds it, too
    found.sort(key=lambda each: _order(each.name, name, settings.training.base_model))
    inputs = registry.component(settings.training.component).inputs
    here = _Here(
        now=app.cloud.blobs.now(),
        training_on=size_of(app.cloud.computes.get(settings.training.gpu_compute), settings.training.gpu_size),
        serving_on=settings.serving.size,
        inputs=inputs,
        alone=exact,
    )
    until = time.monotonic() + LOOK_SECONDS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looks = list(pool.map(lambda each: _look(app, each, until), found[:LOOKED]))
    kept = {settings.training.base_model, *([name] if exact else [])}  # told of though the registry has none
    seen = [each for each in looks if each and not (each.gone and each.listed.name not in kept)]
    gone = sum(each is not None for each in looks) - len(seen)
    wanted = {name, settings.training.base_model}
    told = [each for each in seen if each.model is None or each.model.fine_tunes or each.model.name in wanted]
    views = [_view(each, here, default=each.listed.name == settings.training.base_model) for each in told]
    return models_schema.ModelList(
        registry=settings.training.registry,
        training_on=here.training_on,
        serving_on=here.serving_on,
        models=sorted(views, key=lambda view: (not view.usable, not view.default)),
        found=len(found) - gone,
        others=len(seen) - len(told),
        left=len(found) - gone - len(seen),
        whole=listing.whole,
        inputs=[_input(each) for each in inputs.values()] if exact else [],
    )


def _input(each: ComponentInput) -> models_schema.InputView:
    return models_schema.InputView(
        name=each.name,
        type=each.type,
        enum=[value for value in each.enum if _is_plain(value)],
        min=each.min,
        max=each.max,
        default=each.default if _is_plain(each.default) else None,
        optional=each.optional,
    )


def _is_plain(value: object) -> bool:
    """Whether it is a parameter's value, and one that JSON has."""
    if isinstance(value, bool | str):
        return not isinstance(value, str) or naming.is_unicode(value)
    return isinstance(value, int | float) and abs(value) < _BELOW


def _order(name: str, wanted: str, default: str) -> tuple[bool, bool, bool]:
    return name != wanted, name != default, not _CHATS.search(name)


def _look(app: App, listed: Listed, until: float) -> _Seen | None:
    """None where there is no more time. A model that can't be looked at hides no other."""
    if why := naming.refused(naming.BASE_MODEL, listed.name):
        return _Seen(listed=listed, why=why)
    if time.monotonic() > until:
        return None
    try:
        return _Seen(listed=listed, model=app.cloud.registry.model(listed.name, listed.version or None))
    except Permanent as error:
        return _Seen(listed=listed, why=str(error), gone=isinstance(error.__cause__, NotFound))
    except Transient as error:
        return _Seen(listed=listed, why=f"it can't be looked at now: {error}")


def _view(seen: _Seen, here: _Here, *, default: bool) -> models_schema.ModelView:
    model = seen.model
    if model is None:
        name, version = seen.listed.name, seen.listed.version
        return models_schema.ModelView(name=name, version=version, default=default, usable=False, why=seen.why)
    why = _why_not(model, here)
    return models_schema.ModelView(
        name=model.name,
        version=model.version,
        licence=model.licence,
        training_sizes=list(model.allowed_sizes("finetune").allowed or ()),
        serving_sizes=list(model.allowed_sizes("inference").allowed or ()),
        least=model.least,
        default=default,
        usable=not why,
        why=why,
        notes=list(model.notes(here.now)),
        context=model.context,
        tools=model.takes_tools,
        defaults={key: value for key, value in model.defaults().items() if _is_plain(value)} if here.alone else {},
    )


def _why_not(model: BaseModel, here: _Here) -> str:
    """Why a run with it would fail as it is planned; "" if it would not."""
    try:
        model.check(here.now, training_on=here.training_on, serving_on=here.serving_on)
        resolve(model.defaults(), {}, here.inputs)
    except Permanent as error:
        return str(error)
    return ""
