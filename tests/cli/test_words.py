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
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.__main__ import main
from cli.screen import Screen
from shared.api.schema import FolderList, LineList, Recovered, Refused, RunList, RunView, Told
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
        "runs": full(RunList, text),
        "folders": full(FolderList, text),
        "lines": full(LineList, text),
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


def said(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what the command writes; nothing harmful is in it."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
    assert not harm(out.getvalue() + error.getvalue())
    return code, out.getvalue(), error.getvalue()


COMMANDS = (["runs"], ["show", "a_run"], ["cancel", "r1"], ["pin", "faq"], ["recover"])


@settings(max_examples=15, deadline=None)
@given(text=texts)
@example(text=WORST)
def test_no_text_of_an_app_steers_the_terminal_or_forges_a_line(url: str, text: str) -> None:
    text = f"{text}."  # what is empty has no line
    for command in (*COMMANDS, ["approve", "r1"]):
        lengths = []
        for each in ("harmless", text):
            _App.said = answers(each)
            code, out, error = said(*command, "--url", url)
            assert code == (2 if command[0] == "approve" else 0), error
            cut = "\n… stands for text that is cut; --json has all of it" in out
            assert not cut or each == text
            lengths.append((out + error).count("\n") - cut)
        assert lengths[0] == lengths[1], command
    for command in COMMANDS:
        _, out, _ = said(*command, "--url", url, "--json")
        kind = {"runs": RunList, "show": RunView, "recover": Recovered}.get(command[0], Told)
        expected = answers(text)["a_run" if command[0] == "show" else command[0]]
        assert msgspec.json.decode(out, type=kind) == msgspec.convert(expected, kind), "the same values"


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
    screen.detail(text)
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
