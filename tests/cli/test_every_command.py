"""Every command of the parser, each in the same ways: what it writes where, wrong arguments, no app, no rights, Ctrl-C.

`ROWS` has a row for each; a command without one fails. What another file tests is named there by the test.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from rich.cells import cell_len

from cli import completion
from cli.__main__ import main, parser
from cli.apps import Apps
from cli.local import own_parser
from cli.scoring import AskedView
from localcloud.stack import Stack
from shared.api.cost_schema import CostView
from shared.api.models_schema import ModelList
from shared.api.schema import (
    AnswersView,
    CleanupView,
    LineList,
    LineView,
    LogsView,
    Recovered,
    RunList,
    RunView,
    StatusView,
    Told,
)
from shared.app import App
from shared.dataset.report import Report
from tests.kit import any_command
from tests.kit.any_command import Place, in_pipe, interrupted, on_terminal, settled, torn_down
from tests.kit.hostile import WORST, harm
from tests.kit.hub import Hub, ultrachat
from tests.kit.paths import ROOT
from tests.kit.rows import chats

NOBODY = "you are in no group of API_VIEWERS or API_OPERATORS: ask to become a member, then sign in again"
VIEWER = "you may look, not step in: ask to become a member of a group of API_OPERATORS"
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
STYLE = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")
CLOSED = "http://127.0.0.1:1"

type Kind = Literal["app", "local", "hub", "none"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A command, and how it is tried.

    `words`: what follows its name, with names of the place in braces; `more`: other ways of it, tried in a pipe and on
    a terminal. `asks`: whom it waits for. `json`: what `--json` prints. `code`: where it is done. `ready`: makes the
    records what it needs. `changes`: a POST, which a viewer may not. `wrong`: arguments, and what is said of them.
    `holds`: what is said after Ctrl-C. `long`: what may be wider than a terminal. `elsewhere`: what is tested by
    another file, by its way.
    """

    words: str = ""
    more: tuple[str, ...] = ()
    asks: Kind = "app"
    json: Any = None
    code: int = 0
    ready: Callable[[Place], None] = Place.reset
    changes: bool = False
    wrong: tuple[str, str] = ("--nope", "--nope")
    holds: str = ""
    long: str = ""
    elsewhere: Mapping[str, str] = field(default_factory=dict)


def _post(
    words: str, *, ready: Callable[[Place], None] = Place.reset, look: str = "droptune lines", **more: Any
) -> Row:
    """A command that asks the app to do something."""
    holds = f"the app may carry it out all the same; next: {look}"
    return Row(words=words, json=Told, ready=ready, changes=True, wrong=("", "are required"), holds=holds, **more)


CLOUD = "--state {state}"
ROWS: dict[str, Row] = {
    "init": Row(words="{tmp}/{fresh} --from {data}/train.jsonl", asks="none", wrong=("", "DIR"), long="made"),
    "check": Row(
        words="{data}",
        more=("{data}/train.jsonl --all",),
        asks="none",
        json=Report,
        wrong=("{data} --context x", "'x'"),
    ),
    "fetch": Row(
        words="acme/chats --out {tmp}/{fresh}",
        asks="hub",
        wrong=("acme/chats --percent x", "--percent"),
        holds="nothing was written to",
        long=".",
    ),
    "push": Row(
        words="{data} --as {fresh}",
        json=RunList,
        wrong=("", "DIR|FILE"),
        holds="the same command goes on with what is still missing",
    ),
    "start": Row(
        words="{folder}",
        json=Told,
        changes=True,
        wrong=("", "FOLDER"),
        holds="the app may start a run all the same; next: droptune runs --folder",
    ),
    "models": Row(json=ModelList, wrong=("a b", "unrecognized arguments: b")),
    "status": Row(json=StatusView, wrong=("more", "more")),
    "runs": Row(more=("--folder {folder} --all",), json=RunList, wrong=("--limit 3 --all", "--limit")),
    "show": Row(
        words="{new}",
        more=("{new} --answers", "{new} --logs", "{new} --data", "{new} --metrics"),
        json=RunView,
        wrong=("a --data --logs", "--logs"),
    ),
    "watch": Row(
        words="{live}",
        json=RunView,
        wrong=("a --timeout x", "'x'"),
        holds="detached, nothing is stopped by that; next: droptune watch",
    ),
    "cleanup": Row(more=("--why {line}",), json=CleanupView, wrong=("more", "more")),
    "lines": Row(json=LineList, wrong=("more", "more")),
    "cost": Row(
        more=("--for all --by day", "--csv"),
        json=CostView,
        wrong=("--by week", "'week'"),
        long=",(kind|serving|training),",
    ),
    "compare": Row(words="{new}", more=("{new} --with {live} --only worse",), json=AnswersView, wrong=("", "RUN")),
    "ask": Row(
        words="{line} --row 1", more=("{line} Hello --both",), json=AskedView, wrong=("a --row x", "'x'"), long="answer"
    ),
    "url": Row(
        words="{line}",
        more=("{line} --curl", "{line} --python"),
        json=LineView,
        wrong=("a --curl --python", "--python"),
        long=".",
    ),
    "approve": _post("{new}", look="droptune show"),
    "cancel": _post("{new}", look="droptune show"),
    "retry": _post("{parked}", look="droptune show"),
    "rollback": _post("{line}", ready=settled),
    "revive": _post("{line}", ready=torn_down),
    "pin": _post("{line}"),
    "unpin": _post("{line}"),
    "keep": _post("{line} --until 1h --why demo"),
    "hours": _post("{line} --end"),
    "stop": _post("{line} --why over", ready=settled),
    "recover": Row(
        json=Recovered,
        changes=True,
        wrong=("more", "more"),
        holds="the app may go on with it all the same; next: droptune runs",
    ),
    "demo": Row(
        asks="none",
        wrong=("--model", "--model"),
        elsewhere={
            "pipe": "test_ctrl_c_ends_the_demo_and_all_that_it_has_started",  # whole, it takes minutes: make demo
            "terminal": "test_ctrl_c_ends_the_demo_and_all_that_it_has_started",
        },
    ),
    "login": Row(
        words="--url https://any.example --app any",
        more=("",),
        asks="none",
        json=Apps,
        long="kept",
        wrong=("--url a --local", "--local"),
        elsewhere={"rights": "tests/cli/test_login.py::test_what_azure_refuses_says_what_to_do"},
    ),
    "completion": Row(words="bash", more=("zsh", "fish"), asks="none", wrong=("csh", "'csh'"), long="."),
    "local up": Row(
        words="--no-host --state {tmp}/{fresh}",
        asks="none",
        wrong=("--set x", "'x'"),
        long="next|state and logs",
        elsewhere={
            "pipe": "test_a_local_cloud_is_started_and_stopped_on_a_terminal",
            "terminal": "test_a_local_cloud_is_started_and_stopped_on_a_terminal",
        },
    ),
    "local down": Row(words="--state {tmp}/{fresh}", asks="none", wrong=("more", "more"), long="state"),
    "local env": Row(
        words=CLOUD,
        asks="local",
        wrong=("more", "more"),
        long=".",
        elsewhere={"interrupt": "tests/localcloud/test_commands.py::test_without_a_cloud_it_says_how_to_start_one"},
    ),
    "local reset": Row(words="--state {tmp}/{fresh} --yes", asks="none", wrong=("more", "more"), long="."),
    "local clock": Row(words=CLOUD, asks="local", json=dict[str, Any], wrong=("--rate", "--rate")),
    "local clock advance": Row(words=f"1s {CLOUD}", asks="local", json=dict[str, Any], wrong=("x", "'x'"), holds="may"),
    "local clock rate": Row(words=f"1 {CLOUD}", asks="local", json=dict[str, Any], wrong=("x", "'x'"), holds="may"),
    "local fault list": Row(words=CLOUD, asks="local", wrong=("more", "more")),
    "local fault add": Row(words=f"busy --path /none-such {CLOUD}", asks="local", wrong=("odd", "odd"), holds="may"),
    "local fault events": Row(words=f"lose 0 {CLOUD}", asks="local", wrong=("odd 1", "odd"), holds="may"),
    "local fault job": Row(
        words=f"none-such Failed {CLOUD}", asks="local", code=2, wrong=("a Odd", "Odd"), holds="may",
    ),
    "local fault clear": Row(words=CLOUD, asks="local", wrong=("more", "more"), holds="may"),
    "local pretend list": Row(words=CLOUD, asks="local", wrong=("more", "more")),
    "local pretend jobs": Row(
        words=f"--match none-such --seconds 1 {CLOUD}", asks="local", wrong=("--outcome Odd", "Odd"), holds="may"
    ),
    "local pretend deployments": Row(
        words=f"--match none-such --seconds 1 {CLOUD}", asks="local", wrong=("--outcome Odd", "Odd"), holds="may"
    ),
    "local pretend clear": Row(words=CLOUD, asks="local", wrong=("more", "more"), holds="may"),
}  # fmt: skip
SAMPLE = ("status",)
"""Those that are tried each time; the others by `make test-all`."""


def names() -> Iterator[str]:
    """All commands that can be typed, those of the local cloud too."""
    for name, command in parser().commands.choices.items():
        if name != "local":
            yield from _below(name, command)
    for name, command in _subcommands(own_parser()).items():
        yield from _below(f"local {name}", command)


def _below(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    found = _subcommands(command)
    needed = any(isinstance(each, argparse._SubParsersAction) and each.required for each in command._actions)
    if not needed:
        yield name
    for each, below in found.items():
        yield from _below(f"{name} {each}", below)


def _subcommands(command: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = [each.choices for each in command._actions if isinstance(each, argparse._SubParsersAction)]
    return found[0] if found else {}


def test_every_command_has_a_row() -> None:
    assert sorted(ROWS) == sorted(names())


def _tried(how: str, asks: tuple[Kind, ...] = ("app", "local", "hub", "none")) -> list[Any]:
    """A parameter for each command that is tried so here."""
    return [
        pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.thorough])
        for name, row in ROWS.items()
        if row.asks in asks and how not in row.elsewhere
    ]


ELSEWHERE = {
    "pipe": "what it writes into a pipe, --json too",
    "terminal": "what it writes on a terminal",
    "rights": "what is said to who may not",
    "interrupt": "Ctrl-C",
}


def test_what_another_file_tests_is_there() -> None:
    for row in ROWS.values():
        assert set(row.elsewhere) <= set(ELSEWHERE)
        for place in row.elsewhere.values():
            file, _, test = place.rpartition("::")
            assert f"\ndef {test}(" in (ROOT / (file or f"tests/cli/{Path(__file__).name}")).read_text()


# What it is run on ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(_app: App, cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with any_command.place(_app, cloud, tmp_path_factory.mktemp("any")) as made:
        yield made


@pytest.fixture
def place(app: App, made: Place) -> Place:
    """The same while the app can work."""
    return made


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as served:
        files = ultrachat({"train_sft": (30, 1)})
        served.add("acme/chats", files)
        served.add("acme/gated", files, gated=True)
        yield served


def typed(place: Place, name: str, words: str, *more: str, where: tuple[str, ...] | None = None) -> list[str]:
    """A command with its words, at the app that answers everybody, which has what it needs; or at another one."""
    row = ROWS[name]
    if where is None:
        row.ready(place)
    at = ("--url", place.at(), "--state", str(place.cloud.state)) if where is None else where
    return [*name.split(), *words.format(**place.named()).split(), *(at if row.asks == "app" else ()), *more]


def environ(row: Row, hub: Hub, home: Path) -> dict[str, str]:
    """What a command is run with. Each writes to a home of its own."""
    made = {"XDG_CONFIG_HOME": str(home)}
    return made | ({"HF_ENDPOINT": hub.url, "HOME": str(home), "HF_TOKEN": ""} if row.asks == "hub" else {})


class Said:
    """What a command says in this process, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        try:
            self.code = main(arguments)
        except SystemExit as end:
            self.code = int(end.code or 0)
        self.out, self.error = capsys.readouterr()


# What it writes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _tried("pipe"))
def test_in_a_pipe(name: str, place: Place, hub: Hub, tmp_path: Path) -> None:
    row = ROWS[name]
    for words in (row.words, *row.more):
        found = in_pipe(typed(place, name, words), environ(row, hub, tmp_path))
        assert (found.code, bool(found.out)) == (row.code, row.code == 0), found
        assert "Traceback" not in found.error
        assert not ESCAPES.search(found.out + found.error)
        assert all(line.startswith("droptune: ") for line in found.error.splitlines()), "nothing but notes"
    if row.json is None:
        assert "--json" not in " ".join(options(name)), "add what it prints to the row"
        return
    found = in_pipe(typed(place, name, row.words, "--json"), environ(row, hub, tmp_path))
    assert found.code == row.code
    if row.json is Report:
        assert json.loads(json.dumps(Report.of(json.loads(found.out)).as_dict())) == json.loads(found.out)
    else:
        decoded = msgspec.json.decode(found.out, type=row.json)
        assert json.loads(msgspec.json.encode(decoded)) == json.loads(found.out), "its fields, and no others"
    assert json.loads(found.out), "it is alone on standard output"
    assert not ESCAPES.search(found.out)


def options(name: str) -> list[str]:
    """All that the command knows, those below it left out."""
    [known] = [each for each in completion.known() if " ".join(each.words) == name]
    return [option for each in known.options for option in each.names]


@pytest.mark.parametrize("name", _tried("terminal"))
def test_on_a_terminal(name: str, place: Place, hub: Hub, tmp_path: Path) -> None:
    row = ROWS[name]
    for words in (row.words, *row.more):
        found = on_terminal(typed(place, name, words), environ(row, hub, tmp_path))
        assert found.code == row.code, found
        assert "Traceback" not in found.out
        plain = STYLE.sub("", found.out.replace("\r", "\n"))
        assert not ESCAPES.search(plain)
        wide = [line for line in plain.split("\n") if cell_len(line) > 80 and not may_be_wide(row, line)]
        assert wide == []
    found = on_terminal(typed(place, name, row.words), environ(row, hub, tmp_path) | {"NO_COLOR": "1"})
    assert found.code == row.code
    assert not ESCAPES.search(found.out), "neither colours nor bars"


def may_be_wide(row: Row, line: str) -> bool:
    """A command to paste, an error, which is one line, what its row names, and a path, which can't be broken."""
    if line.startswith(("next: ", "then: ", "droptune: ")) or (row.long and re.search(row.long, line)):
        return True
    return cell_len(re.sub(r"/\S{40,}", "PATH", line)) <= 80


def test_a_terminal_gets_colours_and_a_pipe_none(place: Place, tmp_path: Path) -> None:
    assert "\x1b[1m" in on_terminal(typed(place, "show", "{new}"), {"XDG_CONFIG_HOME": str(tmp_path)}).out


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_wrong_arguments_are_one_line_that_names_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, told = ROWS[name].wrong
    for arguments, named in ((words.split(), told), (["--no-such-option"], "")):
        said = Said(capsys, *name.split(), *arguments)
        assert (said.code, said.out, said.error.count("\n")) == (2, "", 1)
        assert said.error.startswith("droptune: ")
        assert named in said.error
        assert "--help`" in said.error


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.asks == "app"])
def test_without_an_app_it_says_what_to_do(
    name: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ROWS[name]
    for where, told in (
        (("--url", CLOSED), "Connection refused: is the app's address right? --url, --app or `droptune login`"),
        (("--state", str(tmp_path / "none")), "start one with `droptune local up`"),
    ):
        said = Said(capsys, *typed(place, name, row.words, where=where))
        assert (said.code, said.out, said.error.count("\n")) == (2, "", 1), said.error
        assert told in said.error
    assert "local up" in Said(capsys, *typed(place, name, row.words, "--json", where=("--state", "/none"))).error


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.asks == "local"])
def test_without_a_local_cloud_it_says_how_to_start_one(
    name: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ROWS[name].words.format(**place.named() | {"state": str(tmp_path / "none")})
    said = Said(capsys, *name.split(), *words.split())
    assert (said.code, said.out, said.error.count("\n")) == (2, "", 1)
    assert f"start it with `droptune local up --state {tmp_path / 'none'}`" in said.error


@pytest.mark.thorough
def test_without_a_hub_it_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    for words, more, told in (
        ("acme/chats", {"HF_ENDPOINT": CLOSED}, "can't be reached"),
        ("acme/gated", {}, "HF_TOKEN"),
    ):
        found = in_pipe(["fetch", words, "--out", str(tmp_path / "x")], environ(ROWS["fetch"], hub, tmp_path) | more)
        assert (found.code, found.out, found.error.count("\n")) == (2, "", 1)
        assert told in found.error
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.asks == "app"])
def test_who_may_not_is_told_who_must_give_what(name: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    row = ROWS[name]
    refusals = {"nobody": NOBODY, "keyless": "refuses the key: give it with --key or DROPTUNE_KEY"}
    if row.changes:
        refusals["viewer"] = VIEWER
    for mode, told in refusals.items():
        where = ("--url", place.at(mode), "--state", str(place.cloud.state))
        said = Said(capsys, *typed(place, name, row.words, where=where))
        assert (said.code, said.out, said.error.count("\n")) == (2, "", 1), said.error
        assert told in said.error


@pytest.mark.parametrize(
    ("name", "words", "fault", "told"),
    [
        ("ask", "{line} Hello", {"method": "POST", "path": "listKeys"}, "listKeys/action"),
        ("url", "{line} --show-key", {"method": "POST", "path": "listKeys"}, "AzureML Data Scientist"),
        ("push", "{data} --as {fresh}", {"service": "blob", "method": "PUT"}, "Storage Blob Data Contributor"),
        ("push", "{data} --as {fresh}", {"service": "blob", "method": "GET"}, "Storage Blob Data Contributor"),
    ],
)
def test_who_may_not_in_azure_is_told_the_role(
    name: str, words: str, fault: Mapping[str, Any], told: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    command = typed(place, name, words)
    own = {"path": command[3]} if name == "push" else {}
    place.fault(**fault, **own, status=403, count=None)
    try:
        said = Said(capsys, *command)
    finally:
        place.cloud.control("DELETE", "/_local/faults")
    assert (said.code, said.error.count("\n")) == (2, 1), said.error
    assert told in said.error


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _tried("interrupt", ("app", "local", "hub")))
def test_ctrl_c_says_what_holds(name: str, place: Place, hub: Hub, tmp_path: Path) -> None:
    row = ROWS[name]
    with any_command.silent() as (port, came):
        url = f"http://127.0.0.1:{port}"
        state = any_command.silent_cloud(place, port) if row.asks == "local" else place.cloud.state
        words = row.words.replace("{state}", str(state))
        command = typed(place, name, words, where=("--url", url, "--state", str(state)))
        ended = interrupted(command, environ(row, hub, tmp_path) | {"HF_ENDPOINT": url}, came)
    assert ended.code == 130, ended
    said = ended.error + ended.out
    assert said.count("\n") == 1, said
    assert row.holds in said
    assert (said == "droptune: stopped\n") == (not row.holds)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["check", "push"])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("after", ["0.0", "0.4"])
def test_ctrl_c_ends_a_long_check_with_its_processes(
    name: str, alone: bool, after: str, place: Place, tmp_path: Path
) -> None:
    """On a terminal all processes get it; sent to the command `alone`, it ends the others."""
    data = tmp_path / "long"
    data.mkdir()
    rows = b"".join(chats(1, at, prompt="Question {n} " + "x y " * 300) for at in range(2000))
    with (data / "train.jsonl").open("wb") as file:
        for _ in range(150):
            file.write(rows)
    words = ["check", str(data)] if name == "check" else typed(place, name, f"{data} --as {{fresh}}")
    home = {"XDG_CONFIG_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    with any_command.started_on_terminal(words, home) as (process, terminal):
        shown = any_command.read_until(terminal, b"train.jsonl")
        time.sleep(float(after))  # somewhere in the start of the other processes, or in the work of all
        if alone:
            process.send_signal(signal.SIGINT)
        else:
            any_command.type_into(terminal, b"\x03")
        begun = time.monotonic()
        shown += any_command.read_all(terminal)
        code = process.wait(30)
    assert code == 130, shown
    assert time.monotonic() - begun < 3
    assert "Traceback" not in shown
    assert shown.count("droptune: stopped") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["long"], "nothing is left of it"


# A local cloud --------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_local_cloud_is_started_and_stopped_on_a_terminal(tmp_path: Path) -> None:
    state = tmp_path / "cloud"
    with any_command.started_on_terminal(
        ["local", "up", "--no-host", "--state", str(state)], {"XDG_CONFIG_HOME": str(tmp_path)}
    ) as (process, terminal):
        shown = any_command.read_until(terminal, b"Ctrl-C stops it")
        any_command.type_into(terminal, b"\x03")
        shown += any_command.read_all(terminal)
        assert process.wait(30) == 0
    assert shown.replace("^C", "").endswith("\nstopped\n")
    assert not ESCAPES.search(shown.replace("^C", ""))
    for words, told in ((["down"], "no local cloud is running in"), (["reset", "--yes"], "deleted the local cloud in")):
        found = in_pipe(["local", *words, "--state", str(state)], {})
        assert (found.code, found.error) == (0, "")
        assert found.out.startswith(told)
    assert not state.exists()


@pytest.mark.thorough
def test_ctrl_c_ends_the_demo_and_all_that_it_has_started(tmp_path: Path) -> None:
    command = ["demo", "--state", str(tmp_path / "demo")]
    with any_command.started_on_terminal(command, {"XDG_CONFIG_HOME": str(tmp_path)}) as (process, terminal):
        shown = any_command.read_until(terminal, b"Azurite")
        any_command.type_into(terminal, b"\x03")
        shown += any_command.read_all(terminal)
        assert process.wait(60) == 130
    assert "Traceback" not in shown
    assert shown.endswith("interrupted: stopping\n")


# Help, pages and completion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_help_page_and_completion_know_it(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = Said(capsys, *name.split(), "--help")
    assert (said.code, said.error) == (0, "")
    assert said.out.startswith(f"usage: droptune {name} [-h]")
    assert max(map(len, said.out.splitlines())) <= 80
    assert [option for option in options(name) if option not in said.out] == []
    page, what = ("local-cloud.md", name) if name.startswith("local ") else ("cli.md", f"\n### droptune {name}\n")
    assert what in (ROOT / "docs" / page).read_text()


# The text of others ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(_app: App, cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The same, with such text wherever people, models and services write."""
    texts = {what: f"{what} {WORST}" for what in ("question", "expected", "new", "live", "why", "what", "base_model")}
    texts |= {"answer": f"{WORST} {'x' * 10_000} {{question}}", "file": "a\x1b[2J\u202e"}
    with any_command.place(_app, cloud, tmp_path_factory.mktemp("odd"), texts) as made:
        yield made


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("show {new}", RunView, ("why", "what", "base_model")),
        ("show {new} --answers", AnswersView, ("question", "expected", "new", "live")),
        ("show {new} --logs", LogsView, ()),
        ("compare {new}", AnswersView, ("question", "expected", "new", "live")),
        ("status", StatusView, ()),
        ("runs", RunList, ("base_model",)),
        ("lines", LineList, ("base_model",)),
        ("watch {new}", RunView, ("why", "what")),
        ("ask {line} --row 1", AskedView, ("question", "expected", "answer")),
    ],
)
def test_what_others_have_written_stays_text(
    words: str, kind: Any, said: tuple[str, ...], odd: Place, app: App, tmp_path: Path
) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    name, rest = (words + " ").split(" ", 1)
    piped, shown = in_pipe(typed(odd, name, rest), home), on_terminal(typed(odd, name, rest), home)
    assert piped.code == shown.code
    assert not harm(piped.out + piped.error)
    drawn = STYLE.sub("", re.sub(r"\r(?=\x1b\[)", "", shown.out))
    assert not harm(drawn)
    assert not [line for line in drawn.split("\n") if "forged" in line and line.lstrip().startswith("[2026-01-01")]
    out = in_pipe(typed(odd, name, rest, "--json"), home).out
    assert msgspec.json.decode(out, type=kind)
    found = set(texts_in(json.loads(out)))
    for each in said:
        text = odd.texts[each].replace("{question}", odd.texts["question"])
        assert any(text in one for one in found), f"the very text of {each}"


def texts_in(value: Any) -> Iterator[str]:
    """All texts of a JSON value."""
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from texts_in(each)
        case dict():
            for each in value.values():
                yield from texts_in(each)
