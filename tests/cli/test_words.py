"""Whatever the app, a file or a name holds: nothing that a terminal would obey reaches it, nor a forged line."""

from __future__ import annotations

import io
import json
import re
import types
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from cli.__main__ import main
from cli.say import escaped
from cli.screen import Screen
from shared.api.cost_schema import CostView
from shared.api.models_schema import ModelList
from shared.api.schema import (
    AnswersView,
    FolderList,
    LineList,
    LineView,
    LogsView,
    Recovered,
    Refused,
    RunList,
    RunView,
    StatusView,
    Told,
)
from shared.dataset.report import Report
from tests.kit.answering import answering
from tests.kit.hostile import LONE, WORST, harm, texts

AT = datetime(2026, 11, 1, tzinfo=UTC)
names = texts | st.text(st.sampled_from(sorted(LONE)) | st.characters())


def full(kind: Any, text: str) -> Any:
    """A value of that type, as JSON has it, in which each text is `text`: of a new field, too."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is str or kind is Any:
        return text
    if kind is datetime:
        return AT.isoformat()
    if kind in (int, float, bool):
        return kind(1)
    if kind is Decimal:
        return "1.000000"
    if origin is types.UnionType:
        return full(arguments[0], text)
    if origin in (list, tuple):
        several = origin is tuple and arguments[-1] is not ...
        return [full(each, text) for each in (arguments if several else arguments[:1])]
    if origin in (dict, Mapping):
        return {str(full(arguments[0], text)): full(arguments[1], text)}
    if is_dataclass(kind):
        return {field.name: full(get_type_hints(kind)[field.name], text) for field in fields(kind)}
    return {name: full(each, text) for name, each in get_type_hints(kind).items() if not name.startswith("__")}


def answers(text: str) -> dict[str, Any]:
    """What the app answers, by the last part of the path."""
    run = full(RunView, text)
    run["report"] = full(Report, text)
    run["metrics"] = {f"loss {text}": [[1, 2.0], [2, None]]}
    return {
        "status": full(StatusView, text),
        "answers": full(AnswersView, text),
        "logs": full(LogsView, text),
        "a_line": full(LineView, text),
        "start": full(Told, text),
        "runs": full(RunList, text),
        "folders": full(FolderList, text),
        "lines": full(LineList, text),
        "models": full(ModelList, text),
        "cost": full(CostView, text),
        "recover": full(Recovered, text),
        "a_run": run,
        "cancel": full(Told, text),
        "pin": full(Told, text),
        "approve": full(Refused, text),
    }


class _App(BaseHTTPRequestHandler):
    said: dict[str, Any]
    status = 200

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        last = urlsplit(self.path).path.rpartition("/")[2]
        found = self.said.get(last, self.said["approve"])
        body = json.dumps(found).encode()
        self.send_response(self.status if last in self.said and last != "approve" else 409)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server names them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering(_App) as url:
        yield url


class _Terminal(io.StringIO):
    """What is written there, without what colours and moves."""

    def isatty(self) -> bool:
        return True

    def getvalue(self) -> str:
        drawn = re.sub(r"\r(?=\x1b\[)|\x1b\[2K", "\n", super().getvalue())
        return re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", drawn)


def said(*arguments: str, terminal: bool = False) -> tuple[int, str, str]:
    """Exit code and what the command writes; nothing harmful is in it."""
    out, error = (_Terminal(), _Terminal()) if terminal else (io.StringIO(), io.StringIO())
    with redirect_stdout(out), redirect_stderr(error):
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
    assert not harm(out.getvalue() + error.getvalue())
    return code, out.getvalue(), error.getvalue()


COMMANDS = {
    "runs": RunList,
    "models": ModelList,
    "cost": CostView,
    "cost --by run": CostView,
    "show a_run": RunView,
    "show a_run --answers": AnswersView,
    "show a_run --logs": LogsView,
    "show a_run --data": RunView,
    "show a_run --metrics": RunView,
    "status": StatusView,
    "lines": LineList,
    "watch a_run": RunView,
    "compare a_run": AnswersView,
    "url a_line": LineView,
    "start faq": Told,
    "cancel r1": Told,
    "pin faq": Told,
    "recover": Recovered,
}
"""Those that show what the app says, and what they print as JSON; `ask` and `push` are below."""
LOGS = "show a_run --logs"
"""A log has the lines that it has."""
BADLY = ("watch a_run",)
"""Those that end with 1 here: the run has come to something else than is known."""


LONG = f"{'x' * 5_000}{WORST}{'y' * 5_000}"


@pytest.mark.parametrize("command", [*COMMANDS, "approve r1"])
@settings(max_examples=2, deadline=None)
@given(text=texts)
@example(text=WORST)
def test_no_text_of_an_app_steers_the_terminal_or_forges_a_line(url: str, command: str, text: str) -> None:
    shows(url, command, text)


@pytest.mark.thorough
@pytest.mark.parametrize("command", [*COMMANDS, "approve r1"])
@settings(max_examples=20, deadline=None)
@given(text=texts)
@example(text=LONG)
@example(text="漢字" * 2_000)
def test_no_long_text_does_either(url: str, command: str, text: str) -> None:
    shows(url, command, text)


def shows(url: str, command: str, text: str) -> None:
    """Asserts what holds of a command where all that the app says is that text."""
    text, words = f"{text}.", command.split()  # what is empty has no line
    _App.said = answers(text)
    code, out, error = said(*words, "--url", url)
    assert code == (2 if command == "approve r1" else int(command in BADLY)), error
    if command != LOGS:
        assert (out + error).count("\n") - (CUT in out) == usual(command, url)
        _App.said = answers(text)
    if kind := COMMANDS.get(command):
        expected = msgspec.convert(_App.said[path_of(words)], kind)
        assert msgspec.json.decode(said(*words, "--url", url, "--json")[1], type=kind) == expected, "the same values"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERM", "xterm-256color")
        _, out, error = said(*words, "--url", url, terminal=True)
    free = ("next: ", "droptune: ")  # to paste, and errors, which are one line
    lines = [line for line in (out + error).split("\n") if not line.lstrip().startswith(free)]
    assert command in (LOGS, "url a_line") or max(map(cell_len, lines)) <= 80
    whole = "".join("".join(map(escaped, text.split("\n") if command == LOGS else [text])).split())
    assert command == "approve r1" or whole in "".join((out + error).split()) or CUT in out, "whole, or marked"


@pytest.mark.parametrize("command", ["compare a_run", "show a_run --answers", "show a_run", "status", "runs"])
def test_what_is_broken_passes_for_no_other_line(url: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    for at in range(40, 75, 3):
        _App.said = answers("x")
        written = f"{'q' * at} live      forged"
        for row in _App.said["answers"]["rows"]:
            row.update(question=written, expected=written)
        for run in (_App.said["a_run"]["run"], *_App.said["runs"]["runs"], *_App.said["status"]["needs"]):
            run["status"] = run["what"] = written
        _App.said["a_run"]["history"][0]["what"] = _App.said["a_run"]["deployment"]["gate"]["why"] = written
        _, out, _ = said(*command.split(), "--url", url, terminal=True)
        assert "forged" in out
        assert not re.search("^ {0,6}(live +)?forged", out, re.MULTILINE)


CUT = "\n… stands for text that is cut; "


@cache
def usual(command: str, url: str) -> int:
    """How many lines the command writes of texts that do no harm."""
    _App.said = answers("harmless")
    _, out, error = said(*command.split(), "--url", url)
    return (out + error).count("\n")


def path_of(words: list[str]) -> str:
    """The last part of what a command asks for."""
    part = words[-1].removeprefix("--")
    if part in ("answers", "logs"):
        return part
    return {"show": "a_run", "watch": "a_run", "compare": "answers", "url": "a_line"}.get(words[0], words[0])


@settings(max_examples=10, deadline=None)
@given(name=names)
@example(name=WORST)
@example(name="\udcff\udcfe")
def test_no_name_on_the_command_line_does_either(url: str, name: str) -> None:
    _App.said = answers("x")
    for command in (["show"], ["cancel"], ["pin"], ["check"], ["runs", "more"], ["check", "a", "--spec"], ["x"]):
        code, out, error = said(
            *command, f"_{name}", *(["--url", url] if command[0] in ("show", "cancel", "pin") else [])
        )
        assert code in (0, 2)
        assert len((out + error).split("\n")) <= 2
    code, _, error = said("runs", "--url", f"http://127.0.0.1:1/{name}")
    assert (code, error.count("\n")) == (2, 1)


def on_screen(text: str, *, terminal: bool) -> str:
    """All that a screen can show, with that text wherever one goes. What colours is left out."""
    written = io.StringIO()
    screen = Screen(Console(file=written, force_terminal=terminal, width=60, highlight=False, legacy_windows=False))
    screen.title(text)
    screen.line(text, title=text, style="red")
    screen.prompt(text)
    screen.table(text, [(text, text)])
    screen.check(text, holds=True, found=text)
    screen.verdict(good=False, text=text)
    screen.text(text, indent=2, style="dim")
    screen.columns([(text, text), ("a", text)], right=(1,))
    screen.rule(text)
    return re.sub(r"\x1b\[[\d;]*m", "", written.getvalue())


@settings(max_examples=15, deadline=None)
@given(text=texts, terminal=st.booleans())
@example(text=WORST, terminal=True)
@example(text="[bold]:warning: \\[/bold] {task.fields}", terminal=True)
def test_a_screen_shows_text_and_nothing_else(text: str, terminal: bool) -> None:
    shown = on_screen(text, terminal=terminal)
    assert not harm(shown)
    for each in ("[bold]", ":warning:", "{task.fields}"):
        assert each not in text or each in shown, "no markup, emoji or format of rich's"


def test_a_bars_title_is_text_too() -> None:
    written = io.StringIO()
    screen = Screen(Console(file=written, force_terminal=True, width=200, legacy_windows=False))
    with screen.progress("{task.id}\u202e\n[b]") as bar:
        bar(0.5, "[red]{x}\u2066\n")
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", written.getvalue())
    assert not harm(shown) - {"\r"}
    assert "{task.id}\\u202e\\n" in shown
    assert "[red]{x}\\u2066\\n" in shown


HOSTILE = "x\x1b[2J\u202e\u2028\x9b"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", f'"prompt{HOSTILE}","completion"\n"a{HOSTILE}","b"\n'),
        ("train.jsonl", json.dumps({"messages": [{"role": HOSTILE, HOSTILE: HOSTILE}]}, ensure_ascii=False) + "\n"),
        ("train.json", json.dumps([{"messages": HOSTILE}], ensure_ascii=False)),
        ("finetune.yaml", f'"{HOSTILE.encode("unicode_escape").decode()}": "x"\n'),
        ("finetune.yaml", 'model: "a\\e[2J\\u202E\\nb"\ntrain: "\\e\\u2028.jsonl"\n'),
        (f"tr{HOSTILE}.jsonl", "{}\n"),
    ],
)
def test_nothing_of_a_dataset_does(name: str, content: str, tmp_path: Path) -> None:
    folder = tmp_path / f"a{HOSTILE}\nb"
    folder.mkdir()
    (folder / name).write_text(content)
    (folder / f"notes{HOSTILE}\n.txt").write_text("x")
    for more in ([], ["--all"], ["--json"]):
        code, out, error = said("check", str(folder), *more)
        assert code in (1, 2), "a bad row or key is in it"
        assert more or "x1b[2J" in out + error
        if more == ["--json"] and code == 1:
            assert json.loads(out)
