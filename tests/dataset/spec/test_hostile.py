"""Mutated specs and names: each is one that a record and an address can hold, or it is refused in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from cli.__main__ import main
from shared import naming
from shared.dataset.spec.finetune import parse
from shared.errors import Permanent
from shared.records.run import Source
from shared.settings import SettingError, Settings
from tests.kit import mutated
from tests.kit.rows import chats

MORE = pytest.mark.thorough
MANY = pytest.mark.parametrize("numbers", [range(200), pytest.param(range(10_000), marks=MORE)])
ASSETS = (naming.BASE_MODEL, naming.MODEL, naming.COMPONENT, naming.VERSION, naming.JOB)
RESOURCES = (naming.REGISTRY, naming.COMPUTE, naming.ENDPOINT, naming.DEPLOYMENT, naming.ID)
NEEDED = (
    "DROPTUNE_STORAGE__blobServiceUri",
    "DROPTUNE_STORAGE__queueServiceUri",
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_RESOURCE_GROUP",
    "AZUREML_WORKSPACE",
    "AZURE_LOCATION",
    "TRAINING_IDENTITY_ID",
    "SWEEP_SCHEDULE",
    "CLEANUP_SCHEDULE",
)


@MANY
def test_a_mutated_spec_is_one_that_a_record_holds_or_a_rejection(numbers: range) -> None:
    taken = 0
    for number in numbers:
        try:
            spec = parse(mutated.spec(number))
        except Permanent as error:
            told = str(error)
            assert told.startswith("finetune.yaml"), number
            assert len(told) < 20_000, number
            told.encode()
            continue
        taken += 1
        kept = Source(
            folder="faq",
            base_model=spec.model or "Phi-4",
            parameters=dict(spec.parameters),
            policy=spec.policy,
            promotion=spec.promotion,
            hub=spec.hub,
        )
        assert msgspec.json.decode(msgspec.json.encode(kept), type=Source) == kept, number
    assert len(numbers) / 50 < taken < len(numbers) / 2, "some are taken"


@pytest.mark.parametrize(
    "numbers", [range(30), *(pytest.param(range(at, at + 1_000), marks=MORE) for at in range(0, 10_000, 1_000))]
)
def test_check_says_what_is_wrong_with_a_mutated_spec_and_ends_with_1_or_2(
    numbers: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are fine are checked with their rows: there the code may be 0."""
    for name in ("train.jsonl", "held-out.jsonl"):
        (tmp_path / name).write_bytes(chats(12, salt=name))
    codes = set()
    for number in numbers:
        data = mutated.spec(number)
        (tmp_path / "finetune.yaml").write_bytes(data)
        try:
            fine = bool(parse(data))
        except Permanent:
            fine = False
        code = main(["check", str(tmp_path)])
        told = capsys.readouterr()
        assert code in (0, 1, 2) if fine else code in (1, 2), number
        codes.add(code)
        assert "Traceback" not in told.out + told.err, number
        assert fine or re.search(r"/finetune\.yaml, line \d+, column \d+: ", " ".join(told.err.split())), number
    assert 0 in codes, "some come to their rows"


@MANY
def test_a_mutated_name_is_refused_or_is_the_same_in_an_address(numbers: range) -> None:
    """Quoted or not, it stands for itself: no part of an address ends or begins in it."""
    taken = 0
    for number in numbers:
        name = mutated.name(number)
        for kind in (*ASSETS, *RESOURCES):
            why = naming.refused(kind, name)
            if why:
                assert kind.what in why, number
                assert kind.must in why, number
                why.encode()
                assert len(why) < 500, number
            else:
                taken += 1
                assert quote(name, safe="") == name, number
                assert name.strip("."), number
        for kind in (naming.HUB_DATASET, naming.HUB_REVISION, naming.HUB_CONFIG, naming.FOLDER):
            if not naming.refused(kind, name):
                assert not naming.has_steps(name), number
                assert "\n" not in quote(name), number
    assert taken > len(numbers) / 10


@MANY
def test_a_model_of_a_spec_and_of_the_settings_is_judged_alike(numbers: range) -> None:
    for number in numbers:
        name = mutated.name(number)
        fine = not naming.refused(naming.BASE_MODEL, name)
        spec = f"train: a.csv\nmodel: {json.dumps(name)}".encode()
        if fine:
            assert parse(spec).model == name, number
        else:
            with pytest.raises(Permanent):
                parse(spec)
        if not name or "\0" in name or name != name.strip():
            continue  # no environment holds it; and what stands around a setting does not count
        environ = dict.fromkeys(NEEDED, "x") | {"BASE_MODEL": name}
        if fine:
            assert Settings.read(environ).training.base_model == name
        else:
            with pytest.raises(SettingError) as told:
                Settings.read(environ)
            assert naming.BASE_MODEL.must in str(told.value), number


@pytest.mark.parametrize(
    "setting", ["BASE_MODEL", "AZUREML_REGISTRY", "FINETUNE_COMPONENT", "FINETUNE_COMPUTE", "PREPROCESS_COMPUTE"]
)
@pytest.mark.parametrize("name", ["../../x", "..", "a#b", "a?b", "a/b", "a%2fb", "ü", "a b"])
def test_a_setting_that_can_be_no_name_is_told(setting: str, name: str) -> None:
    with pytest.raises(SettingError, match=rf"{setting}='.*' is not a.* name: it must be 1 to "):
        Settings.read(dict.fromkeys(NEEDED, "x") | {setting: name})
