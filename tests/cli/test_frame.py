"""The frame of the command line: help, version, exit codes, mistakes, Ctrl-C, completion, and the page of commands."""

from __future__ import annotations

import argparse
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from benchmarks import help_cost
from cli import completion, frame
from cli.__main__ import main, parser
from scripts import cli_page
from tests.kit.answering import answering
from tests.kit.paths import ROOT

COMMAND = [sys.executable, "-m", "cli"]
COMMANDS = sorted(parser().commands.choices)


def environ(**more: str) -> dict[str, str]:
    """Without what changes how Python writes."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | more


def mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that is said to arguments that are wrong."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, error = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert error.count("\n") == 1
    return error.removesuffix("\n")


# Help ----------------------------------------------------------------------------------------------------------------


def test_every_command_has_a_group_and_one_that_is_not_there_is_left_out() -> None:
    grouped = {group: names for group, _, names in parser().commands.grouped()}
    assert frame.OTHERS not in grouped, "add it to GROUPS of cli/frame.py"
    assert sorted(name for names in grouped.values() for name in names) == COMMANDS
    named = [name for _, names in frame.GROUPS.values() for name in names]
    assert len(named) == len(set(named))


def test_a_command_that_nobody_has_given_a_group_is_in_the_help_all_the_same() -> None:
    top = frame.Top()
    top.commands.add_parser("odd", help="of no group")
    assert re.search(r"^more\n  odd +of no group$", top.format_help(), re.MULTILINE)


def test_the_help_lists_the_commands_and_the_exit_codes_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    out, error = capsys.readouterr()
    assert (ended.value.code, error) == (0, "")
    assert [name for name in COMMANDS if not re.search(rf"^  {name} +\S", out, re.MULTILINE)] == []
    assert [code for code in frame.EXIT_CODES if not re.search(rf"^  {code} +\S", out, re.MULTILINE)] == []
    assert max(map(len, out.splitlines())) <= 80
    groups = [name for name in frame.GROUPS if f"\n{name}: " in out]
    assert [out.index(f"\n{name}: ") for name in groups] == sorted(out.index(f"\n{name}: ") for name in groups)


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "local"])
def test_each_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    sentence = parser().commands.sentences[command]
    assert sentence
    assert sentence[1:40] in " ".join(capsys.readouterr().out.split())
    assert set(frame.exit_codes(command)) <= set(frame.EXIT_CODES)


def test_the_local_cloud_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["local", "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: droptune local ")


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    project: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (ended.value.code, capsys.readouterr().out) == (0, f"droptune {project['version']}\n")


def test_the_help_loads_little() -> None:
    """The ratio of times is the benchmark's to hold, on a machine that does nothing else."""
    heavy = (
        "dataclasses",
        "inspect",
        "logging",
        "tempfile",
        "json",
        "urllib.request",
        "subprocess",
        "getpass",
        "asyncio",
    )
    code = (
        "import sys\nfrom cli.__main__ import parser\nparser().format_help()\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_benchmark_measures_the_help() -> None:
    result = help_cost.measure(1)
    assert result["limit"] == 7
    assert result["help_ms"] > result["nothing_ms"] > 0


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rnus"], "there is no command 'rnus'; did you mean runs?"),
        (["xyzzy"], "there is no command 'xyzzy'; `droptune --help` lists them"),
        ([], "no command is named; `droptune --help` lists them"),
        (["--versoin", "runs"], "unrecognized arguments: --versoin; did you mean --version?"),
        (["runs", "--jsno"], "unrecognized arguments: --jsno; did you mean --json?"),
        (["runs", "--ulr=x"], "unrecognized arguments: --ulr=x; did you mean --url or --folder or --all?"),
        (["show", "r1", "r2"], "unrecognized arguments: r2"),
        (["ask", "faq", "--row", "1", "hello"], "TEXT is not allowed with --row"),
        (["ask", "faq", "--both", "two", "texts"], "unrecognized arguments: two texts"),
        (["show"], "the following arguments are required: RUN"),
        (["completion", "bsh"], "argument shell: it can't be 'bsh'; did you mean bash or zsh?"),
        (["completion", "tcl"], "argument shell: it can't be 'tcl'; it is one of bash, zsh, fish"),
        (["runs", "--url", "http://a", "--app", "b"], "argument --app: not allowed with argument --url"),
        (["a\x1b[2J\u202e"], r"there is no command 'a\x1b[2J\u202e'; `droptune --help` lists them"),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_near_and_where_the_help_is(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f" {arguments[0]}" if arguments and arguments[0] in COMMANDS else ""
    where = "" if told.endswith("lists them") else f": see `droptune{command} --help`"
    assert mistake(arguments, capsys) == f"droptune: {told}{where}"


# Ctrl-C, and nobody who reads ----------------------------------------------------------------------------------------


class _Silent(BaseHTTPRequestHandler):
    """An app that takes a request and does not answer."""

    asked: threading.Event
    free: threading.Event

    def do_GET(self) -> None:
        self.asked.set()
        self.free.wait(30)
        self.send_error(500)

    do_POST = do_GET  # noqa: N815 - http.server names them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def silent() -> Iterator[str]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
    _Silent.asked, _Silent.free = threading.Event(), threading.Event()
    with answering(_Silent) as url:
        yield url
        _Silent.free.set()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("arguments", [["runs"], pytest.param(["pin", "faq"], marks=pytest.mark.thorough)])
def test_ctrl_c_ends_a_command_with_one_line(arguments: list[str], silent: str) -> None:
    with subprocess.Popen(
        [*COMMAND, *arguments, "--url", silent], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert _Silent.asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
        _Silent.free.set()
    holds = "" if arguments == ["runs"] else ": the app may carry it out all the same; next: droptune lines"
    assert (process.returncode, out, error) == (130, "", f"droptune: stopped{holds}\n")


def test_ctrl_c_on_a_terminal_ends_it_too(silent: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [*COMMAND, "runs", "--url", silent])
    assert _Silent.asked.wait(30)
    os.write(terminal, b"\x03")
    seen = read_all(terminal)
    _, status = os.waitpid(pid, 0)
    _Silent.free.set()
    ended = os.waitstatus_to_exitcode(status), seen.replace(b"^C", b"")
    assert ended == (130, b"droptune: stopped\r\n")


def read_all(terminal: int) -> bytes:
    """What comes until the other side ends."""
    seen = b""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux has it so at the end
            break
        if not more:
            break
        seen += more
    os.close(terminal)
    return seen


def test_ctrl_c_while_commands_are_imported_ends_it_too() -> None:
    code = (
        "import sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cli.look':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from cli.__main__ import main\n"
        "sys.exit(main(['runs']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "droptune: stopped\n")


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["--help"], ""),
        (["login"], ""),
        (["login"], "1"),
        *(
            pytest.param(arguments, unbuffered, marks=pytest.mark.thorough)
            for arguments in (["--help"], ["--version"], ["completion", "bash"])
            for unbuffered in ("", "1")
        ),
    ],
)
def test_nobody_who_reads_on_is_no_error(arguments: list[str], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=environ(PYTHONUNBUFFERED=unbuffered),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "login"], cwd=ROOT, env=environ(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "droptune: nothing more can be written: No space left on device\n"


def test_a_text_may_stand_behind_an_option() -> None:
    assert parser().parse_args(["ask", "faq", "--both", "hello there"]).text == "hello there"
    assert parser().parse_args(["ask", "faq", "--both", "-"]).text == "-"
    assert parser().parse_args(["ask", "--json", "faq"]).text is None


def test_a_connection_that_breaks_is_no_reader_who_is_gone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: argparse.Namespace) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("cli.look._runs", broken)
    assert main(["runs"]) == 2
    assert capsys.readouterr().err == "droptune: the connection was broken off: try again\n"


# The key -------------------------------------------------------------------------------------------------------------


class _Keys(BaseHTTPRequestHandler):
    """An app that says nothing and keeps the keys that come."""

    got: list[str]

    def do_GET(self) -> None:
        self.got.append(self.headers["x-functions-key"])
        body = b'{"runs": [], "waiting": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def keys() -> Iterator[str]:
    _Keys.got = []
    with answering(_Keys) as url:
        yield url


def test_a_key_on_the_command_line_is_warned_of(keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--json", "--url", keys, "--key", "k1"]) == 0
    out, error = capsys.readouterr()
    assert error == (
        "droptune: the process list shows --key to others on this machine: use DROPTUNE_KEY, or --key - to type it in\n"
    )
    assert "k1" not in out + error
    assert _Keys.got == ["k1"]


@pytest.mark.parametrize("given", ["k2\nmore\n", pytest.param("k2", marks=pytest.mark.thorough)])
def test_a_key_comes_from_standard_input(given: str, keys: str) -> None:
    done = subprocess.run(
        [*COMMAND, "runs", "--json", "--url", keys, "--key", "-"], cwd=ROOT, input=given, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr, _Keys.got) == (0, "", ["k2"])


def test_no_key_on_standard_input_is_said(keys: str) -> None:
    done = subprocess.run(
        [*COMMAND, "runs", "--url", keys, "--key", "-"], cwd=ROOT, input="\n", capture_output=True, text=True
    )
    assert (done.returncode, _Keys.got) == (2, [])
    assert done.stderr == "droptune: --key - found no key on standard input: one line with the key is what it reads\n"


def test_a_key_is_typed_without_being_shown(keys: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [*COMMAND, "runs", "--json", "--url", keys, "--key", "-"])
    seen = b""
    while b"Function key: " not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"k3\n")
    seen += read_all(terminal)
    _, status = os.waitpid(pid, 0)
    assert (os.waitstatus_to_exitcode(status), _Keys.got) == (0, ["k3"])
    assert b"k3" not in seen


# Completion ----------------------------------------------------------------------------------------------------------


def walked(made: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command of a parser with its options, by another way than the completion's."""
    yield words, set(made._option_string_actions)
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                if (words, name) != ("", "local"):
                    yield from walked(each, f"{words} {name}".strip())


def every() -> dict[str, set[str]]:
    from cli.local import own_parser

    return dict(walked(parser())) | dict(walked(own_parser(), "local"))


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_command_and_option_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for words, options in every().items():
        if shell != "fish":
            [row] = re.findall(rf'^ *"{re.escape(words)}"\) next="(.*)" options="(.*)" valued=', script, re.MULTILINE)
            assert set(row[1].split()) == options, words
            if words:
                before, _, name = words.rpartition(" ")
                [above] = re.findall(rf'^ *"{re.escape(before)}"\) next="([^"]*)" opt', script, re.MULTILINE)
                assert name in above.split()
            continue
        before, _, name = words.rpartition(" ")
        assert not name or f" -a {name} -d " in script, words
        seen = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in words.split())
        lines = [line for line in script.splitlines() if seen in line]
        for option in options:
            spelled = f" -l {option[2:]} " if option.startswith("--") else f" -s {option[1:]} "
            assert any(spelled in line for line in lines), (words, option)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ru"], {"runs"}),
        (["re"], {name for name in COMMANDS if name.startswith("re")}),
        (["--v"], {"--version"}),
        (["runs", "--js"], {"--json"}),
        (["runs", "--url", "http://x", "--js"], {"--json"}),
        (["runs", "--url", "--js"], set()),
        (["show", "runs", "--st"], {"--state"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["local", "up", "--st"], {"--state"}),
        (["local", "fault", "cl"], {"clear"}),
        (["--nonsense", "ru"], {"runs"}),
    ],
)
def test_bash_completes(typed: list[str], offered: set[str]) -> None:
    words = " ".join(f"'{word}'" for word in ["droptune", *typed])
    code = (
        f"{completion.script('bash')}\n"
        f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _droptune\n"
        'printf "%s\\n" "${COMPREPLY[@]}"; complete -p droptune'
    )
    done = subprocess.run(
        ["bash", "--norc", "-u", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    *found, registered = done.stdout.splitlines()
    assert {word for word in found if word} == offered
    assert registered.endswith("-F _droptune droptune")
    assert done.stderr == ""


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_of_commands_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "123")  # of a wide terminal: the page does not change with it
    assert cli_page.PAGE.read_text() == cli_page.page(), "run `.venv/bin/python -m scripts.pages`"
    assert os.environ["COLUMNS"] == "123"


def test_every_command_option_and_exit_code_is_on_the_page() -> None:
    page = cli_page.page()
    parts = dict(re.findall(r"^### droptune (\S+)\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    assert sorted(parts) == COMMANDS
    for words, options in every().items():
        if words:
            assert [each for each in options if each not in parts[words.split()[0]]] == [], words
    assert [code for code in frame.EXIT_CODES if f"\n| {code} | " not in page] == []
