"""`droptune init` and `start`: a folder that can be checked and pushed as it is, and a look into one by hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cli.__main__ import main
from localcloud.stack import Stack
from shared.api.schema import Told
from shared.app import App
from shared.dataset.spec.finetune import parse
from shared.intake.folder import read_folder, runs_of
from shared.records.layout import DATASETS
from tests.kit.near_app import near_app
from tests.kit.rows import chats


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, and what the command said."""
    code = main([str(each) for each in arguments])
    out, error = capsys.readouterr()
    return code, out, error


# init ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["faq.csv", "two words.csv", "train: x #1.csv", "übung.csv", "'q\".csv"])
def test_a_file_becomes_a_folder_that_passes_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = tmp_path / name
    source.write_text("prompt,completion\n" + "".join(f"What is {n}?,It is {n}.\n" for n in range(30)))
    made = tmp_path / "new folder" / "faq"
    code, out, error = said(capsys, "init", made, "--from", source)
    assert (code, error) == (0, "")
    assert (made / name).read_bytes() == source.read_bytes()
    assert sorted(path.name for path in made.iterdir()) == sorted(["finetune.yaml", name])
    assert parse((made / "finetune.yaml").read_bytes()).train == (name,)
    assert (made / "finetune.yaml").read_text().count("#") >= 5, "it explains itself"
    *_, check, push = out.splitlines()
    assert shlex.split(check) == ["next:", "droptune", "check", str(made)]
    assert shlex.split(push) == ["then:", "droptune", "push", str(made)]
    assert main(shlex.split(check)[2:]) == 0


def test_what_the_template_leaves_out_may_be_turned_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "init", tmp_path / "faq")[0] == 0
    text = (tmp_path / "faq" / "finetune.yaml").read_text()
    first, *rest = text.splitlines()
    every = parse("\n".join([first, *(line.removeprefix("# ") for line in rest)]).encode())
    assert (every.model, every.train, every.test) == ("Phi-4", ("train.jsonl",), ("test.jsonl",))
    assert every.policy.on_bad_rows == "drop"
    assert every.promotion.approve == "manual"
    assert every.parameters == {"num_train_epochs": 3}


def test_without_data_it_says_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "init", tmp_path / "faq")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("{"))
    (tmp_path / "faq" / "train.jsonl").write_text("".join(row.replace("...", f"a {n}") + "\n" for n in range(30)))
    assert main(["check", str(tmp_path / "faq")]) == 0


def test_data_that_are_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("chats.jsonl", "test.jsonl", "notes.txt"):
        (tmp_path / name).write_bytes(chats(30))
    assert said(capsys, "init", tmp_path)[0] == 0
    spec = parse((tmp_path / "finetune.yaml").read_bytes())
    assert (spec.train, spec.test) == (("chats.jsonl",), ("test.jsonl",))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{tmp}/has_spec"], "finetune.yaml is there already, and is left as it is"),
        (["{tmp}/has_data", "--from", "{tmp}/train.csv"], "train.csv is there already, and is left as it is"),
        (["{tmp}/train.csv"], "is there already, and is no folder"),
        (["{tmp}/new", "--from", "{tmp}/none.csv"], "there is no file"),
        (["{tmp}/new", "--from", "{tmp}/rows.txt"], "rows.txt is not read: its name does not end in .jsonl"),
        (["{tmp}/new", "--from", "{tmp}/" + "x" * 250 + ".json"], ""),
        (["{tmp}/two"], "two: 2 training files in one folder (a.csv, b.csv), and no finetune.yaml"),
        (["{tmp}/train.csv/new"], "can't be used"),
    ],
)
def test_mistakes_change_nothing(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("train.csv", "rows.txt", "has_spec/finetune.yaml", "has_data/train.csv", "two/a.csv", "two/b.csv"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, error = said(capsys, "init", *(each.format(tmp=tmp_path) for each in arguments))
    assert (code, out) == (2, "")
    assert told in error
    assert error.count("\n") == 1
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


# start ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(_app: App, cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names the app, which works while a test asks for `app`."""
    with near_app(_app, cloud, tmp_path_factory.mktemp("near") / "state") as state:
        yield state


def test_a_folder_is_looked_into(app: App, state: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(20))
    [run] = runs_of(read_folder(app, folder))
    code, out, error = said(capsys, "start", folder, "--state", state)
    assert (code, out, error) == (0, f"run {run} has started\nnext: droptune watch {run}\n", "")
    code, out, _ = said(capsys, "start", folder, "--state", state, "--json")
    assert msgspec.json.decode(out, type=Told).told == f"run {run} of the same files is received"
    assert list(json.loads(out)) == ["told", "runs"]


@pytest.mark.parametrize(
    ("name", "told"), [("none-such", "there is no folder"), ("..", "'..' is not a dataset folder's name")]
)
def test_a_folder_that_is_none_is_told(
    app: App, state: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = said(capsys, "start", name, "--state", state)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert told in error
