"""`droptune check`: base model and parameters, before a row is read."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import base_model
from cli.__main__ import main
from localcloud.stack import Stack
from shared.app import App
from tests.kit.near_app import near_app
from tests.kit.rows import chats, of

SIZE = "Standard_NC6s_v3"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No local cloud of whoever runs this has a say."""
    monkeypatch.setattr("cli.apps.REPO", tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "train.jsonl").write_bytes(chats(40))
    return tmp_path / "faq"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([*map(str, arguments)])
    told = capsys.readouterr()
    return code, " ".join(told.out.split()), " ".join(told.err.split())


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("model: Phi4\n", "line 2, column 8: model is 'Phi4'; did you mean Phi-4?"),
        (
            "model: Phi-3-mini-4k-instruct\n",
            "line 2, column 8: model Phi-3-mini-4k-instruct:15 has retired from fine-tuning on 2025-08-30 and "
            "inference on 2025-08-30. Name another base model in finetune.yaml (model: ...) or in the setting "
            "BASE_MODEL. Not retired: Phi-4",
        ),
        (
            "parameters:\n  epochs: 3\n  precision: 8\n  num_train_epochs: 0\n  learning_rate: fast\n",
            "line 3, column 3: parameters: 'epochs' is not a parameter; did you mean num_train_epochs?; "
            "line 4, column 14: parameters: precision is 8 (from finetune.yaml); allowed: 32, 16; "
            "line 5, column 21: parameters: num_train_epochs is 0 (from finetune.yaml); allowed: 1 or more; "
            "line 6, column 18: parameters: learning_rate is 'fast' (from finetune.yaml); it must be a number",
        ),
        (
            "model: tiiuae-falcon-40b\n",
            "line 2, column 8: model tiiuae-falcon-40b:11 has retired from inference on 2026-09-15.",
        ),
        (
            "model: tiiuae-falcon-7b-instruct\n",
            "line 2, column 8: precision is '4' (from the model's tag model_specific_defaults); allowed: 32, 16",
        ),
        (
            "model: SmolLM2-135M-Instruct\nparameters: {instance_type_finetune: Standard_NC6}\n",
            "line 3, column 14: parameters: instance_type_finetune can't be chosen: it is set by Droptune",
        ),
    ],
)
def test_what_planning_would_refuse_is_refused_with_its_place_before_a_row_is_read(
    folder: Path, spec: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.jsonl").write_bytes(b"{")
    (folder / "finetune.yaml").write_text(f"train: train.jsonl\n{spec}")
    code, out, err = said(capsys, "check", folder)
    assert (code, out) == (2, "")
    assert err.startswith(f"droptune: {folder}/finetune.yaml, {told}")


@pytest.mark.parametrize(
    ("name", "guess"), [("Phi-5", "."), ("SmolLM2-135M-Instruct", "."), ("Ph-4", "; did you mean Phi-4?")]
)
def test_a_model_that_the_catalogue_does_not_have_is_told_and_not_refused(
    folder: Path, name: str, guess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "finetune.yaml").write_text(f"train: train.jsonl\nmodel: {name}\nparameters: {{num_train_epochs: 1}}\n")
    code, out, err = said(capsys, "check", folder)
    assert (code, err) == (0, "")
    assert f"Not checked: whether there is a model {name}, its context and where it runs. The catalogue of 20" in out
    assert f"does not have it: --online asks your app{guess}" in out
    assert "Not checked: over_context" in out


def test_a_size_of_this_environment_that_the_model_does_not_run_on_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "finetune.yaml").write_text("train: train.jsonl\nmodel: Phi-4\n")
    monkeypatch.setenv("SERVING_SIZE", SIZE)
    code, out, err = said(capsys, "check", folder)
    assert (code, out) == (2, "")
    assert f"finetune.yaml, line 2, column 8: model Phi-4:8 does not allow inference on {SIZE}. It allows Stand" in err
    assert err.endswith("Set SERVING_SIZE to one of them, or choose another base model")


def test_context_and_tools_are_known_of_the_model_unless_options_say_otherwise(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = of({"role": "user", "content": "word " * 20_000}, {"role": "assistant", "content": "x"})
    (folder / "train.jsonl").write_bytes(chats(40) + long + b"\n")
    code, out, _ = said(capsys, "check", folder)
    assert code == 0
    assert "over_context" in out
    assert "Checked for Phi-4, which is trained where neither finetune.yaml nor BASE_MODEL names another." in out
    assert "over_context" not in said(capsys, "check", folder, "--context", 100_000)[1]
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}
    turns = [{"role": "user", "content": "Where?"}, call, {"role": "tool", "content": "there"}]
    tools = of(*turns, {"role": "assistant", "content": "It is there."})
    (folder / "train.jsonl").write_bytes(chats(40) + tools + b"\n")
    (folder / "finetune.yaml").write_text("train: train.jsonl\nmodel: Qwen2.5-7B-Instruct\n")
    assert said(capsys, "check", folder)[0] == 1, "nobody knows what it takes"
    assert said(capsys, "check", folder, "--tools")[0] == 0


def test_an_old_catalogue_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls(2030, 1, 1, tzinfo=tz)

    monkeypatch.setattr(base_model, "datetime", Later)
    _, out, _ = said(capsys, "check", folder)
    assert "days old: python -m scripts.catalogue CLONE renews it (docs/models.md), and --online asks your app" in out


def test_without_an_app_online_says_how_to_name_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    code, out, err = said(capsys, "check", folder, "--online")
    assert (code, out) == (2, "")
    assert "no app is running" in err


# By the app that would plan it ---------------------------------------------------------------------------------------


@pytest.fixture
def state(app: App, cloud: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app that runs where a local cloud is looked for."""
    monkeypatch.chdir(tmp_path)
    with near_app(app, cloud, tmp_path / ".droptune") as state:
        yield state


def test_where_a_local_cloud_runs_its_app_is_asked(
    folder: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = folder / "finetune.yaml"
    spec.write_text("train: train.jsonl\nmodel: Phi-3-mini-4k-instruct\n")
    code, out, err = said(capsys, "check", folder)
    assert (code, err) == (0, ""), "the small stand-in has not retired"
    assert f"Model and parameters: as the local cloud in {state} has them." in out
    assert "Not checked" not in out
    spec.write_text("train: train.jsonl\nmodel: Phi-3-medium-4k-instruct\n")
    code, _, err = said(capsys, "check", folder)
    assert code == 2
    assert "line 2, column 8: model Phi-3-medium-4k-instruct:6 has retired from fine-tuning" in err


def test_the_app_is_asked_for_what_may_have_been_meant(
    folder: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = folder / "finetune.yaml"
    spec.write_text("train: train.jsonl\nmodel: Phi-44\nparameters: {epochs: 3}\n")
    for command in (["check", folder], ["check", folder, "--online"]):
        code, out, err = said(capsys, *command)
        assert (code, out) == (2, "")
        assert f"{spec}, line 2, column 8: model Phi-44" in err
        assert "Did you mean Phi-4?" in err
        assert "line 3, column 14: parameters: 'epochs' is not a parameter; did you mean num_train_epochs?" in err
