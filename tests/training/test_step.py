"""The first step of a big dataset's job: its names, its code, its environment."""

from __future__ import annotations

import io
import re
import zipfile
from importlib import metadata
from pathlib import Path

import yaml

from shared.training.step import (
    COMMAND,
    FEEDS,
    INPUTS,
    PACKAGES,
    PAGES,
    PARTS,
    PYTHON,
    Step,
    code,
    code_files,
    conda,
    step,
)
from tests.kit.component import INPUTS as COMPONENT_INPUTS
from tests.kit.paths import ROOT

BELOW = "azureml://datastores/prepared/paths/r/1"
OUTPUTS = {name: f"{BELOW}/{name}" for name in (*PARTS, *PAGES)}


def made(*, source: str = "azureml://datastores/datasets/paths/faq", compute: str = "cpu-cluster") -> Step:
    return step(code=f"{BELOW}/c.zip", task=f"{BELOW}/task.json", source=source, outputs=OUTPUTS, compute=compute)


def test_what_the_command_names_is_given_and_what_is_given_is_named() -> None:
    asked = made()
    named = re.findall(r"\$\{\{(\w+)\.(\w+)\}\}", COMMAND)
    assert {name for kind, name in named if kind == "inputs"} == asked.inputs.keys() == INPUTS.keys()
    assert {name for kind, name in named if kind == "outputs"} == asked.outputs.keys() == OUTPUTS.keys()


def test_every_part_feeds_an_input_that_the_fine_tune_component_has() -> None:
    assert FEEDS.keys() <= made().outputs.keys()
    assert {COMPONENT_INPUTS[name].type for name in FEEDS.values()} == {"uri_file"}


def test_names_come_from_content_alone() -> None:
    assert made().component_version == made(source="azureml://elsewhere", compute="other").component_version
    assert made().environment_version == made().environment_version
    changed = Step(inputs=made().inputs, outputs=made().outputs, compute="cpu-cluster", conda="other packages")
    assert changed.environment_version != made().environment_version
    assert changed.component_version != made().component_version


def test_the_code_is_the_same_zip_as_long_as_the_modules_are(tmp_path: Path) -> None:
    for name, file in code_files().items():
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    assert code(tmp_path) == code()
    (tmp_path / "shared" / "dataset" / "more.py").write_text("")
    assert code(tmp_path)[0] != code()[0]


def test_the_code_is_the_engine_and_nothing_of_the_app() -> None:
    names = zipfile.ZipFile(io.BytesIO(code()[1])).namelist()
    assert {
        "shared/__init__.py",
        "shared/errors.py",
        "shared/dataset/job_step.py",
        "shared/dataset/judging/rules.py",
    } <= set(names)
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == {"dataset", "serving"}
    assert [name for name in names if name.count("/") == 1] == [
        "shared/__init__.py",
        "shared/errors.py",
        "shared/logs.py",
        "shared/naming.py",
    ]


def test_the_environment_pins_what_runs_here() -> None:
    environment = yaml.safe_load(conda(PACKAGES))
    python, _, pip = environment["dependencies"]
    assert python == f"python={PYTHON}"
    assert (ROOT / ".python-version").read_text().startswith(PYTHON)
    pins = dict(pin.split("==") for pin in pip["pip"])
    assert set(PACKAGES) <= pins.keys()
    assert pins == {name: metadata.version(name) for name in pins}
    assert {"fsspec", "pandas", "huggingface-hub"} <= pins.keys(), "what the packages need is pinned too"
    assert not {name for name in pins if name.startswith("azure")}
    assert "://" not in conda(PACKAGES), "no index: the node's own"
