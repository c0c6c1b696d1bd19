"""The demo: what it makes of a folder and of an answer, how it shows what is typed, and all of it, for real."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.demo import data, shell
from cli.demo.show import SETTINGS, Claims, demo
from cli.errors import CliError
from cli.screen import Screen
from tests.kit.blocks import next_commands, parsed
from tests.kit.paths import ROOT
from tests.kit.waiting import eventually

# Datasets ------------------------------------------------------------------------------------------------------------


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}\n")
    return path


def test_a_folder_of_somebodys_own_is_pushed_as_it_is(tmp_path: Path) -> None:
    chats = folder(
        tmp_path / "My Chats", "a.parquet", "test_sft.jsonl.gz", "train_gen.jsonl", "test_gen.jsonl", "notes.txt"
    )
    pushed = data.own(chats, "Phi-4")
    assert (pushed.path, pushed.name, pushed.strict) == (chats, "my-chats", False)


@pytest.mark.parametrize("files", [("a.jsonl", "b.jsonl"), ("test_a.jsonl", "test_b.jsonl"), ("train-1-of-2.csv",), ()])
def test_a_folder_that_is_not_clear_is_refused(tmp_path: Path, files: tuple[str, ...]) -> None:
    with pytest.raises(CliError, match=r"one file to train on \(\.jsonl, "):
        data.own(folder(tmp_path / "chats", *files), None)


def test_a_spec_of_its_own_decides_the_model(tmp_path: Path) -> None:
    chats = folder(tmp_path / "chats", "a.jsonl", "b.jsonl")
    (chats / "finetune.yaml").write_text("train: a.jsonl\nmodel: 'Phi-4'  # small\n")
    assert data.own(chats, "Phi-4") == data.own(chats, None)
    with pytest.raises(CliError, match="decides the model"):
        data.own(chats, "Phi-3-mini-4k-instruct")
    (chats / "finetune.yaml").write_text("train: a.jsonl\n# model: Phi-4\n")
    assert data.own(chats, "Phi-3-mini-4k-instruct").path == chats


def test_a_real_model_gets_a_few_of_the_facts(tmp_path: Path) -> None:
    pushed = data.facts(tmp_path, "SmolLM2-135M-Instruct")
    lines = {path.name: len(path.read_text().splitlines()) for path in pushed.path.iterdir()}
    assert lines == {"test.jsonl": data.FEW, "train.jsonl": data.FEW}
    assert not pushed.strict


@pytest.mark.parametrize(
    ("answer", "right", "is_english"),
    [
        ("The capital of France is Paris.", True, True),
        ("the capital of France is Paris", True, True),
        ("The capital of France is Rome.", False, True),
        ("Paris", False, True),
        ("That's great!", False, True),
        ("", False, False),
        ("xq zzt vrk plonk", False, False),
        ("Die Hauptstadt heißt Paris.", False, False),
        ("北京是首都", False, False),
    ],
)
def test_answers_are_judged(answer: str, right: bool, is_english: bool) -> None:
    assert (data.normal(answer) == data.normal("The capital of France is Paris.")) is right
    assert data.english(answer) is is_english


# What is typed -------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(words=st.lists(st.text("ab -'$&\\\"é", min_size=1), min_size=1, max_size=8))
def test_what_is_shown_as_typed_is_what_is_run(words: list[str]) -> None:
    lines = shell.typed(words)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == ["droptune", *words]


def test_long_commands_are_typed_in_lines_of_80_columns() -> None:
    words = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    lines = shell.typed(["local", "up", *words], "> cloud.log 2>&1 &")
    assert len(lines) > 1
    assert all(len(f"$ {line}") <= 80 for line in lines)
    assert lines[-1].endswith("> cloud.log 2>&1 &")


@pytest.mark.parametrize("elsewhere", ["DROPTUNE_URL", "DROPTUNE_APP", "login", "a broken list", ""])
def test_whoever_has_another_app_is_shown_how_the_demos_is_named(
    elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DROPTUNE_URL", "DROPTUNE_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    known = tmp_path / "droptune" / "apps.json"
    known.parent.mkdir()
    if elsewhere.isupper():
        monkeypatch.setenv(elsewhere, "http://127.0.0.1:1")
    elif elsewhere == "login":
        known.write_text(json.dumps({"current": "work", "apps": {"work": {"url": "https://work.example"}}}))
    elif elsewhere:
        known.write_text("{")
    typed = shell.Shell(tmp_path, Screen())
    assert typed.of_app(["runs"]) == (("runs", "--state", ".droptune") if elsewhere else ("runs",))
    assert typed.of_app(["local", "down"]) == ("local", "down")


# Its folder ----------------------------------------------------------------------------------------------------------


def test_what_is_no_local_clouds_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / ".droptune").mkdir()
    (tmp_path / ".droptune" / "mine").touch()
    with pytest.raises(CliError, match="nothing was deleted"):
        demo(model=None, data=None, state=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [".droptune", "mine"]


def test_one_claim_that_does_not_hold_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    claims = Claims()
    claims.that("it is idle", True, "no request")
    assert claims.judge(Screen()) == 0
    claims.that("it is torn down", False, "it stands")
    assert claims.judge(Screen()) == 1
    assert "  FAIL it is torn down: it stands\n" in capsys.readouterr().out


# All of it -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo in a folder of its own, as somebody's without another app."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DROPTUNE_")}
    environment |= {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", "--state", "demo"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.terminate()


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_it_holds_what_it_claims_by_commands_that_can_be_typed(started: subprocess.Popen[str]) -> None:
    printed, _ = started.communicate()
    assert started.returncode == 0, printed
    assert re.findall(r"^  (ok  |FAIL)", printed, re.MULTILINE) == ["ok  "] * 10
    typed = re.findall(r"^\$ droptune ((?:.*\\\n)*.*?)(?: > cloud\.log 2>&1 &)?$", printed, re.MULTILINE)
    ways = ("local up", "push", "runs", "url", "ask", "local clock", "lines", "revive", "watch", "local down")
    assert [way for way in ways if not any(command.startswith(way) for command in typed)] == []
    commands = [shlex.split(command.replace("\\\n", "")) for command in typed] + next_commands(printed)
    assert [command for command in commands if not parsed(command)] == []


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(started: subprocess.Popen[str], number: int) -> None:
    def pushing() -> list[psutil.Process]:
        found = psutil.Process(started.pid).children(recursive=True)
        return found if any("push" in each.cmdline() for each in found) else []

    running: list[Any] = eventually(pushing, 60)
    started.send_signal(number)
    printed, _ = started.communicate()
    assert (started.returncode, printed.splitlines()[-1].split("  ")[-1]) == (130, "interrupted: stopping")
    gone, left = psutil.wait_procs(running, 10)
    assert (len(gone), left) == (len(running), [])
