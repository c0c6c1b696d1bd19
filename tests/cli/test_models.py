"""`droptune models`: which base models a finetune.yaml may name, over the local cloud's registry and the real SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.__main__ import main
from localcloud.azureml.registry import REGISTRY_ID
from localcloud.stack import Stack
from shared.api.models_schema import ModelList, ModelView
from shared.app import App
from shared.dataset.spec.finetune import parse
from tests.kit.hostile import WORST, harm
from tests.kit.looked_at import app as saying
from tests.kit.looked_at import on_terminal, serving
from tests.kit.near_app import near_app
from tests.kit.settings import changed

A100 = "Standard_NC24ads_A100_v4"
MODELS = f"{REGISTRY_ID}/models"
FOUND = ModelList(
    registry="azureml",
    training_on=A100,
    serving_on=A100,
    models=[
        ModelView(
            name="Phi-4",
            version="8",
            licence="MIT",
            training_sizes=[A100, *(f"Standard_NC{number}ads_A100_v4" for number in (48, 96, 192, 384))],
            serving_sizes=[A100],
            least="24 vCPUs, 1 GPU, 220 GB of memory",
            default=True,
            usable=True,
        ),
        ModelView(name="bare", version="1", usable=True, notes=["it is deprecated"]),
        ModelView(name="old", version="2", usable=False, why="model old:2 has retired", notes=["it is deprecated"]),
    ],
    found=1432,
    others=1,
    left=1392,
    whole=False,
)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with serving():
        yield


@pytest.fixture
def state(app: App, cloud: Stack, tmp_path: Path) -> Iterator[Path]:
    """Names an app that has read no list yet, and has no cluster."""
    made = App.of(changed(app.settings, FINETUNE_COMPUTE="none-yet"))
    with near_app(made, cloud, tmp_path / "state") as state:
        yield state
    made.cloud.close()


@pytest.fixture
def faults(cloud: Stack) -> Iterator[Any]:
    """Has the registry answer otherwise until the test ends."""

    def fault(path: str, status: int, body: Any = None) -> None:
        wanted = {"method": "GET", "path": path, "status": status, "count": None}
        cloud.control("POST", "/_local/faults", wanted | ({"body": body} if body else {}))

    yield fault
    cloud.control("DELETE", "/_local/faults")


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, and what the command said."""
    code = main([str(each) for each in arguments])
    out, error = capsys.readouterr()
    return code, out, error


def test_the_models_of_the_registry_are_shown(state: Path, app: App, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = said(capsys, "models", "--state", state)
    assert (code, error) == (0, "")
    lines = out.splitlines()
    default = app.settings.training.base_model
    assert re.fullmatch(rf"{default} +[0-9]+ +default", lines[0]), lines[0]
    assert lines[1] == "    fine-tuned on NC24ads_A100_v4, NC48ads_A100_v4, NC96ads_A100_v4 and 2 more"
    at = next(number for number, line in enumerate(lines) if line.startswith("Phi-3-medium-4k-instruct"))
    assert lines[at + 1].startswith("    can't be used: model Phi-3-medium-4k-instruct:6 has retired from fine-tuning")
    assert lines[-1] == "next: droptune init DIR"
    named = re.findall(r"^to choose one, say in finetune.yaml  (model: \S+)\n    without it: ", out, re.M)
    assert parse(f"train: a.csv\n{named[0]}\n".encode()).model in (
        "Phi-4",
        "Phi-3-mini-4k-instruct",
        "SmolLM2-135M-Instruct",
    )
    wide = [line for line in lines if len(line) > 80]
    assert all(line.startswith(("    can't be used: ", "    note: ")) for line in wide), wide


def test_one_of_them_is_shown_whole(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "models", "phi-4", "--state", state)[1]
    assert "Standard_NC80adis_H100_v5" in out
    assert "    served on Standard_NC24ads_A100_v4, " in out
    assert " more" not in out
    assert "to choose one, say in finetune.yaml  model: Phi-4" in out


def test_json_is_what_the_app_says(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "models", "--state", state, "--json")
    found = msgspec.json.decode(out, type=ModelList)
    assert code == 0
    assert {"Phi-4", "Phi-3-mini-4k-instruct", "Phi-3-medium-4k-instruct"} <= {each.name for each in found.models}
    with saying({"models": FOUND, "models?name=a+%26b": FOUND, "models?name=a+&b": FOUND}) as url:
        for more in ([], ["a &b"]):
            code, out, _ = said(capsys, "models", *more, "--json", "--url", url)
            assert (code, msgspec.json.decode(out, type=ModelList)) == (0, FOUND)


def test_what_is_not_shown_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with saying({"models": FOUND}) as url:
        assert said(capsys, "models", "--url", url) == (
            0,
            f"""\
Phi-4  8  MIT  default
    fine-tuned on NC24ads_A100_v4, NC48ads_A100_v4, NC96ads_A100_v4 and 2 more
    needs at least 24 vCPUs, 1 GPU, 220 GB of memory
bare   1
    fine-tuned on any but the oldest sizes: it names none
    note: it is deprecated
old    2
    can't be used: model old:2 has retired
left out: 1 model that says nothing of fine-tuning for chats
not looked at: 1392 of 1432 models in registry azureml
    part of a name finds them, as in droptune models llama
note: the list of registry azureml was not read to its end
    a whole name finds what is behind it
this app fine-tunes on {A100}
    and serves on {A100}
to choose one, say in finetune.yaml  model: bare
    without it: Phi-4
next: droptune init DIR
""",
            "",
        )


def test_a_name_that_is_too_long_for_a_column_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    own = msgspec.structs.replace(FOUND.models[1], name="n" * 255)
    with saying({"models": msgspec.structs.replace(FOUND, models=[own])}) as url:
        assert said(capsys, "models", "--url", url)[1].splitlines()[0] == f"{'n' * 255}  1"


def test_nothing_found_says_so_and_how_to_see_all(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "models", "no-such", "--state", state)
    assert code == 0
    assert out.startswith(
        "registry azureml shows no model with 'no-such' in its name that can be fine-tuned for chats\n"
    )
    assert out.endswith("\nnext: droptune models\n")


@pytest.mark.thorough
def test_on_a_terminal_lines_are_broken_at_80_columns(state: Path) -> None:
    code, out = on_terminal("models", "--state", str(state))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out).replace("\r", "")
    assert code == 0
    assert max(map(len, plain.splitlines())) <= 80
    assert "has retired from" in " ".join(plain.split())
    assert plain.endswith("next: droptune init DIR\n")


@pytest.mark.parametrize("arguments", [["a", "b"], ["--folder", "x"], ["--app", "a", "--url", "b"]])
def test_wrong_arguments_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["models", *arguments])
    out, error = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert error.startswith("droptune: ")
    assert error.endswith("see `droptune models --help`\n")


def test_without_a_cloud_it_says_what_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = said(capsys, "models", "--state", tmp_path)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "start one with `droptune local up`" in error
    code, out, error = said(capsys, "models", "--url", "http://127.0.0.1:1")
    assert (code, out, error.count("\n")) == (2, "", 1)


def test_an_app_that_may_not_read_the_registry_says_which_role_it_lacks(
    state: Path, faults: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    faults("/registries/azureml", 403)
    code, out, error = said(capsys, "models", "--state", state)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "Check that the app's identity has AzureML Registry User on the registry" in error


BAD, LONG = f"evil{WORST}", "x" * 10_000


def hostile(faults: Any) -> None:
    """The registry's list and a model of it, in others' words."""
    names = (BAD, LONG, "licensed-chat", "l" * 255)
    entries = [{"id": "azureml://x", "name": name, "properties": {"latestVersion": "1"}} for name in names]
    faults(f"{MODELS}$", 200, {"value": entries})
    tags = {"license": BAD, "finetune_compute_allow_list": repr([BAD, LONG]), "model_specific_defaults": LONG}
    properties = {"modelType": "mlflow_model", "modelUri": "azureml://x", "flavors": {}, "tags": tags}
    model = {"id": "azureml://x/1", "name": "1", "properties": properties}
    faults(f"{MODELS}/(licensed-chat|l+)/versions/1$", 200, model)


def test_text_of_others_is_harmless_in_words_and_exact_in_json(
    state: Path, faults: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile(faults)
    code, out, error = said(capsys, "models", "--state", state)
    assert (code, error) == (0, "")
    assert not harm(out)
    assert "evilr1\\n[2026-01-01" in out
    assert max(map(len, out.splitlines())) < 600, "what is longer is cut"
    assert re.search(rf"^{'l' * 255}  1 +evilr1", out, re.M), "a name that finetune.yaml takes is whole"
    [row] = [line for line in out.splitlines() if line.startswith("licensed-chat ")]
    assert len(row) <= 80, "neither long names nor its licence break the columns"
    one = said(capsys, "models", "licensed-chat", "--state", state)[1]
    assert "    fine-tuned on evilr1\\n[2026-01-01" in one
    assert max(map(len, one.splitlines())) < 2100, "what is longer is cut"
    assert not harm(one)
    code, out, error = said(capsys, "models", "--state", state, "--json")
    assert not harm(out + error)
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert found.keys() >= {BAD, LONG, "licensed-chat"}
    assert found["licensed-chat"]["licence"] == BAD
    assert found["licensed-chat"]["training_sizes"] == [BAD, LONG]


@pytest.mark.thorough
def test_a_terminal_stays_whole_whatever_the_registry_says(state: Path, faults: Any) -> None:
    hostile(faults)
    code, out = on_terminal("models", "--state", str(state))
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out).replace("\r", "")
    assert not harm(plain)
    assert max(map(len, plain.splitlines())) <= 80
