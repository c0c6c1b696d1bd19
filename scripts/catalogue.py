"""Writes shared/training/catalogue.json from what Azure publishes of its registry: base models, fine-tune component.

    git clone --filter=blob:none --no-checkout https://github.com/Azure/azureml-assets
    .venv/bin/python -m scripts.catalogue azureml-assets

Facts alone are taken, as the published specs have them: what shared/training/ judges a model and its parameters by. Of
the models those for text. The date is that of the clone's newest commit. With `--record FILE` what was read is kept,
without its long texts: tests/training/test_catalogue.py makes the catalogue again from that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parents[1] / "shared" / "training" / "catalogue.json"
SOURCE = "https://github.com/Azure/azureml-assets"
LICENCE = "MIT, Copyright (c) Microsoft Corporation"
COMPONENT = "assets/training/finetune_acft_hf_nlp/components/pipeline_components/chat_completion/spec.yaml"
MODELS = "assets/models/system"
TASKS = frozenset({"chat-completion", "text-generation"})
_INPUT = ("type", "enum", "min", "max", "default", "optional")
_LONG = 300  # characters of a text that the record leaves out


def made(read: Mapping[str, Any]) -> str:
    """The catalogue, of what `read_clone` gave, as the file is to hold it: a line for each model and input."""
    sizes: list[list[str]] = []
    models = {spec["name"]: _model(spec, sizes) for spec in read["models"] if _is_for_text(spec)}
    component = read["component"]
    head = {
        "about": "Made by scripts/catalogue.py. Facts of Azure's registry `azureml`; the licence is the source's.",
        "source": SOURCE,
        "licence": LICENCE,
        "commit": read["commit"],
        "date": read["date"],
        "component": component["name"],
        "component_version": str(component["version"]),
    }
    inputs = {name: {key: each[key] for key in _INPUT if key in each} for name, each in component["inputs"].items()}
    parts = [*(f"{_json(key)}: {_json(value)}" for key, value in head.items())]
    parts += [f'"sizes": [\n{_lines(map(_json, sizes))}\n]']
    for name, table in (("inputs", inputs), ("models", dict(sorted(models.items())))):
        parts.append(f'"{name}": {{\n{_lines(f"{_json(key)}: {_json(value)}" for key, value in table.items())}\n}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _model(spec: Mapping[str, Any], sizes: list[list[str]]) -> dict[str, Any]:
    """What is kept of a model: its version, and tags and metadata by their own names. Lists of sizes: their numbers."""
    tags, metadata = spec.get("tags") or {}, spec.get("system_metadata") or {}
    kept: dict[str, Any] = {}
    for key in ("license", "textContextWindow", "deprecation"):
        if metadata.get(key):
            kept[key] = metadata[key]
    if tasks := metadata.get("tasks", {}).get("fineTuningTasks"):
        kept["tasks"] = {"fineTuningTasks": tasks}
    if least := metadata.get("SKU", {}).get("finetuneMinSkuSpec"):
        kept["SKU"] = {"finetuneMinSkuSpec": least}
    computes = metadata.get("supportedComputes") or {}
    numbers = {
        key: _number(computes[key], sizes) for key in ("finetuneComputes", "inferenceComputes") if computes.get(key)
    }
    if numbers:
        kept["supportedComputes"] = numbers
    defaults = tags.get("model_specific_defaults")
    return {
        "version": str(spec["version"]),
        **({"archived": True} if spec.get("isArchived") else {}),
        **({"defaults": defaults} if defaults else {}),
        "metadata": kept,
    }


def _number(names: Sequence[str], sizes: list[list[str]]) -> int:
    if list(names) not in sizes:
        sizes.append(list(names))
    return sizes.index(list(names))


def _is_for_text(spec: Mapping[str, Any]) -> bool:
    tasks = (spec.get("system_metadata") or {}).get("tasks")
    if not isinstance(tasks, dict):
        return False
    return not TASKS.isdisjoint({*(tasks.get("fineTuningTasks") or ()), *(tasks.get("inferenceTasks") or ())})


def _lines(each: Iterator[str]) -> str:
    return ",\n".join(f"  {line}" for line in each)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def read_clone(clone: Path) -> dict[str, Any]:
    """The component's and all models' specs of a clone, with or without a work tree, and which state it is of."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", clone, *arguments], check=True, capture_output=True, text=True).stdout

    commit, seconds = git("log", "-1", "--format=%H %ct").split()
    names = [
        name for name in git("ls-tree", "-r", "--name-only", "HEAD", MODELS).split("\n") if name.endswith("/spec.yaml")
    ]
    return {
        "commit": commit,
        "date": f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d}",
        "component": yaml.load(git("show", f"HEAD:{COMPONENT}"), yaml.CSafeLoader),
        "models": [yaml.load(git("show", f"HEAD:{name}"), yaml.CSafeLoader) for name in names],
    }


def recorded(read: Mapping[str, Any]) -> str:
    """What was read, of the models that count, without long texts."""
    models = [_short(spec) for spec in read["models"] if _is_for_text(spec)]
    component = {key: _short(read["component"][key]) for key in ("name", "version", "inputs")}
    head = {"source": SOURCE, "licence": LICENCE, "commit": read["commit"], "date": read["date"]}
    parts = [f"{_json(key)}: {_json(value)}" for key, value in (head | {"component": component}).items()]
    return "{\n" + ",\n".join([*parts, f'"models": [\n{_lines(map(_json, models))}\n]']) + "\n}\n"


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _short(each)
            for key, each in value.items()
            if key not in ("description", "languages") and not (isinstance(each, str) and len(each) > _LONG)
        }
    return [_short(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    """Reads the clone, and writes the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clone", type=Path, help=f"a clone of {SOURCE}")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep what was read, for the tests")
    options = parser.parse_args()
    read = read_clone(options.clone)
    if options.record:
        options.record.write_text(recorded(read), encoding="utf-8")
    PAGE.write_text(made(read), encoding="utf-8")
    print(f"{PAGE.name}: the state of {read['date']}")


if __name__ == "__main__":
    main()
