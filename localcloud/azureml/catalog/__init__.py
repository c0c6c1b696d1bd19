"""What the service offers without anybody having made it: base models, the component and its inputs, machine sizes.

Read once from the JSON files beside this one. Names, types, enums, minima and defaults of the component are those of
chat_completion_pipeline 0.0.82 in the registry `azureml`; the models' defaults are those of the small local stand-ins.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

type Json = dict[str, Any]


@cache
def models() -> dict[str, dict[str, Json]]:
    """Base models: name -> version -> {tags, systemMetadata}. defaults.json: what suits the small ones."""
    found: dict[str, dict[str, Json]] = _read("models")
    for name, defaults in _read("defaults").items():
        for version in found[name].values():
            version["tags"]["model_specific_defaults"] = defaults
    return found


@cache
def components() -> dict[str, dict[str, Json]]:
    """Components: name -> version -> {inputs, outputs}."""
    found: dict[str, dict[str, Json]] = _read("components")
    return found


@cache
def sizes() -> dict[str, Json]:
    """Machine sizes by lower-case name: {name, family, vCPUs, memoryGB, gpus}."""
    return {size["name"].lower(): size for size in _read("sizes")["sizes"]}


@cache
def families() -> dict[str, Json]:
    """Families of sizes: {label, limit}, the limit in vCPUs."""
    found: dict[str, Json] = _read("sizes")["families"]
    return found


def _read(name: str) -> Any:
    return json.loads((Path(__file__).parent / f"{name}.json").read_text())
