"""The inputs of the fine-tune component, as the local registry has them."""

from __future__ import annotations

import json
from pathlib import Path

import localcloud.azureml.catalog
from shared.training.parameters import ComponentInput

_CATALOG = Path(localcloud.azureml.catalog.__file__).with_name("components.json")
_PIPELINE = json.loads(_CATALOG.read_text())["chat_completion_pipeline"]["0.0.82"]

INPUTS = {
    name: ComponentInput(
        name=name,
        type=spec["type"],
        enum=tuple(spec.get("enum", ())),
        min=spec.get("min"),
        max=spec.get("max"),
        default=spec.get("default"),
        optional=spec.get("optional", False),
    )
    for name, spec in _PIPELINE["inputs"].items()
}
