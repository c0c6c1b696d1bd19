"""The catalogue of base models and parameters: made from recorded specs, light to load, judged as planning judges."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.azureml import catalog
from scripts import catalogue as script
from shared.naming import PARAMETERS
from shared.training.catalogue import FRESH, catalogue
from shared.training.parameters import mistakes, resolve

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((Path(__file__).parent / "azureml_assets.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 30, tzinfo=UTC)
KNOWN = sorted(catalogue().models)


def test_it_is_what_the_script_makes_of_the_recorded_specs() -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.made(RECORDED)
    assert script.recorded(RECORDED) == (Path(__file__).parent / "azureml_assets.json").read_text(encoding="utf-8")


def test_a_clone_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    """A repository of the same layout: what is in no spec of a model, and what is no model for text, does not count."""
    model = next(spec for spec in RECORDED["models"] if spec["name"] == "Phi-4")
    other = {"name": "t5", "version": 1, "system_metadata": {"tasks": {"fineTuningTasks": ["translation"]}}}
    files = {
        script.COMPONENT: RECORDED["component"] | {"jobs": {}},
        f"{script.MODELS}/Phi-4/spec.yaml": model | {"description": "x" * 1000},
        f"{script.MODELS}/t5/spec.yaml": other,
        f"{script.MODELS}/t5/notes.yaml": {"name": "none"},
    }
    for name, spec in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(spec))
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "specs", "--date=2026-01-02T03:04:05Z"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)
    read = script.read_clone(tmp_path)
    made = json.loads(script.made(read))
    assert list(made["models"]) == ["Phi-4"]
    assert made["models"]["Phi-4"] == json.loads(script.made(RECORDED | {"models": [model]}))["models"]["Phi-4"]
    assert len(made["commit"]) == 40
    assert datetime.fromisoformat(made["date"])


def test_it_names_its_source_and_the_licence_of_that() -> None:
    found = json.loads(script.PAGE.read_text(encoding="utf-8"))
    assert found["source"] == "https://github.com/Azure/azureml-assets"
    assert found["licence"].startswith("MIT, Copyright (c) Microsoft")
    assert script.PAGE.stat().st_size < 64 * 1024


def test_it_knows_which_models_have_retired_their_context_and_their_sizes() -> None:
    models = catalogue().models
    phi = models["Phi-4"]
    assert (phi.version, phi.context, phi.licence, phi.takes_tools, phi.fine_tunes) == ("8", 16384, "MIT", False, True)
    assert phi.least == "24 vCPUs, 1 GPU, 220 GB of memory"
    assert phi.allowed_sizes("finetune").allows("standard_nc24ads_a100_v4")
    assert not phi.allowed_sizes("inference").allows("Standard_NC6s_v3")
    assert phi.defaults()["deepspeed_stage"] == 3
    old = models["Phi-3-mini-4k-instruct"]
    assert old.allowed_sizes("inference").allows("Standard_NC6s_v3")
    assert [date.year for _, date in old._dates("RetirementDate")] == [2025, 2025]
    assert "Phi-3-mini-4k-instruct" in catalogue().archived
    assert not models["gpt2"].fine_tunes


def test_its_inputs_are_those_of_the_component_as_the_local_cloud_has_it() -> None:
    """Two that were written down apart, of the same version."""
    listed = catalog.components()[catalogue().component][catalogue().component_version]["inputs"]
    assert catalogue().inputs.keys() == listed.keys()
    for name, each in catalogue().inputs.items():
        assert (each.type, each.min, list(each.enum)) == (
            listed[name]["type"],
            listed[name].get("min"),
            listed[name].get("enum", []),
        )


def test_what_people_call_parameters_is_known_of_each_that_may_be_set() -> None:
    assert set(PARAMETERS) == {name for name, each in catalogue().inputs.items() if not each.ours}


@pytest.mark.parametrize("name", [name for name in KNOWN if catalogue().models[name].fine_tunes])
def test_the_defaults_of_each_model_are_taken(name: str) -> None:
    resolve(catalogue().models[name].defaults(), {}, catalogue().inputs)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("num_train_epochs", 0, "num_train_epochs is 0 (from finetune.yaml); allowed: 1 or more"),
        ("num_train_epochs", "three", "it must be a whole number"),
        ("precision", 8, "allowed: 32, 16"),
        ("epochs", 3, "'epochs' is not a parameter; did you mean num_train_epochs?"),
        ("instance_type_finetune", "Standard_NC6", "instance_type_finetune can't be chosen"),
    ],
)
def test_a_parameter_that_planning_refuses_is_told_by_its_key(key: str, value: object, told: str) -> None:
    [(found, text)] = mistakes({}, {"seed": 1, key: value}, catalogue().inputs)
    assert found == key
    assert told in text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Phi4", "Phi-4"),
        ("phi-4", "Phi-4"),
        ("PHI_4", "Phi-4"),
        ("Phi-3-mini-4k-instuct", "Phi-3-mini-4k-instruct"),
        ("Phi-3-mini-4k-instrcut", "Phi-3-mini-4k-instruct"),
        ("Phi-3-mini-4k-instructt", "Phi-3-mini-4k-instruct"),
        ("Phi-3-mini-4k-instract", "Phi-3-mini-4k-instruct"),
        ("Phi-4", ""),
        ("Phi-5", ""),
        ("Phi-4-mini-instruct", ""),
        ("Phi-3-mini-8k-instruct", ""),
        ("Llama-2-7b-chats-of-others", ""),
        ("SmolLM2-135M-Instruct", ""),
        ("", ""),
    ],
)
def test_a_slip_of_the_fingers_is_known_and_another_model_is_none(name: str, meant: str) -> None:
    assert catalogue().meant(name) == meant


@given(st.sampled_from(KNOWN), st.data())
def test_one_letter_too_few_or_too_many_is_a_slip_and_a_digit_never_is(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    other = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[:at] + "x" + name[at:]]))
    found = catalogue().meant(other)
    if other in catalogue().models:
        assert not found
    elif name[at].isdigit() and len(other) < len(name):
        assert found != name
    elif found:
        assert found in catalogue().models


def test_it_says_when_it_is_old_and_what_renews_it() -> None:
    listed = catalogue()
    assert listed.age(listed.date + FRESH) == ""
    told = listed.age(listed.date + FRESH + timedelta(days=1))
    assert "181 days old" in told
    assert "python -m scripts.catalogue" in told
    assert "--online" in told


def test_it_is_light_to_load() -> None:
    code = (
        "import sys\nfrom shared.training.catalogue import catalogue\ncatalogue()\n"
        "heavy = {'azure', 'yaml', 'numpy', 'msgspec', 'pyarrow'}\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
