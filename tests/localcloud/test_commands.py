"""`droptune local`: what is typed, told and refused; a folder that is not a local cloud's is never deleted."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
import requests

from cli.__main__ import main
from cli.local import wrong_with
from localcloud import pki
from localcloud.__main__ import main as local
from localcloud.environment import CHANGEABLE, LISTENERS, MADE, Description, ProcessId, app_environment, no_internet
from localcloud.options import STATE
from localcloud.stack import Stack
from shared.settings import every_setting
from tests.kit.paths import ROOT

type Typed = Callable[..., tuple[int, str, str]]
COMMANDS = ("up", "down", "env", "reset", "clock", "clock advance", "clock rate", "fault", "fault add", "pretend jobs")


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type `droptune local ...`: its exit code, output and errors."""

    def typed(*words: str | Path) -> tuple[int, str, str]:
        try:
            code = main(["local", *map(str, words)])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return typed


def refused(result: tuple[int, str, str]) -> str:
    """What is said by a command that is not carried out: one line."""
    code, out, error = result
    assert (code, out) == (2, "")
    assert error.startswith("droptune: ")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    return error


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of a local cloud that is stopped."""
    folder = tmp_path / "state"
    folder.mkdir()
    Description(state=folder, ports=dict.fromkeys(LISTENERS, 1)).save()
    for name in ("azurite", "azureml", "logs", "pki"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    (folder / "clock.json").write_text("{}")
    (folder / "lock").touch()
    return folder


@contextmanager
def up(state: Path, *more: str, cwd: Path = ROOT) -> Iterator[list[str]]:
    """A local cloud in a process of its own. Yields what it tells until it says what comes next."""
    command = [sys.executable, "-m", "cli", "local", "up", "--state", str(state), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told: list[str] = []
            while not told or (told[-1] and not told[-1].startswith("next")):
                told.append(process.stdout.readline())
            yield told
        finally:
            process.terminate()
            process.communicate(timeout=40)


# Help ----------------------------------------------------------------------------------------------------------------


def test_help_is_the_local_clouds_own(typed: Typed) -> None:
    code, out, error = typed("--help")
    assert (code, error) == (0, "")
    assert out.startswith("usage: droptune local [-h] COMMAND")
    for command in COMMANDS:
        assert command.split()[0] in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_fits(typed: Typed, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = typed(*command.split(), "--help")
    assert code == 0
    assert out.startswith(f"usage: droptune local {command} ")
    assert max(map(len, out.splitlines())) <= 80


def test_without_a_command_help_is_shown_and_nothing_done(typed: Typed) -> None:
    code, out, error = typed()
    assert (code, out) == (2, "")
    assert error == typed("--help")[1]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "up --host",
        "clock forward",
        "fault",
        "reset --yes now",
        "fault add nope",
        "fault add busy --count x",
        "pretend jobs --metric loss",
    ],
)
def test_mistakes_of_typing_are_one_line(typed: Typed, line: str) -> None:
    assert re.search(r": see `droptune local.* --help`$", refused(typed(*line.split())))


# A cloud that doesn't run ---------------------------------------------------------------------------------------------

NEEDS = ("env", "clock", "clock rate 60", "fault list", "pretend clear")


@pytest.mark.parametrize("line", NEEDS)
def test_without_a_cloud_it_says_how_to_start_one(typed: Typed, line: str, tmp_path: Path) -> None:
    said = refused(typed(*line.split(), "--state", tmp_path))
    assert f"no local cloud is running in {tmp_path}: start it with `droptune local up --state {tmp_path}`" in said


@pytest.mark.parametrize("line", NEEDS)
def test_one_that_was_killed_does_not_run(typed: Typed, line: str, state: Path) -> None:
    gone = ProcessId(pid=os.getpid(), started=1.0)  # a process of the same number that began at another time
    description = Description.load(state)
    assert description is not None
    replace(description, processes=dict.fromkeys(("supervisor", "server", "host"), gone)).save()
    assert "no local cloud is running" in refused(typed(*line.split(), "--state", state))


def test_one_that_does_not_answer_is_told_in_one_line(typed: Typed, state: Path) -> None:
    description = Description.load(state)
    assert description is not None
    me = ProcessId(pid=os.getpid(), started=psutil.Process().create_time())
    replace(description, processes={"supervisor": me, "server": me}).save()
    pki.ensure(state / "pki")
    assert "doesn't answer" in refused(typed("clock", "--state", state))


@pytest.mark.parametrize("line", ["up", "down", "env", "clock", "reset --yes"])
@pytest.mark.parametrize("content", ["[]", "{}", "no json", '{"processes": {}, "ports": {}}', '{"name": "my cloud"}'])
def test_somebody_elses_cloud_json_is_left_alone(typed: Typed, line: str, content: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "cloud.json").write_text(content)
    said = refused(typed(*line.split(), "--state", tmp_path))
    assert f"{tmp_path}/cloud.json was not written by a local cloud" in said
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("cloud.json", content)]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_state_folder_that_is_a_file_is_refused(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "name another folder with --state" in refused(typed("up", "--state", tmp_path / "file"))


# The shell that points at it ------------------------------------------------------------------------------------------


def shell(script: str, cwd: Path, **environment: str) -> str:
    """What bash prints, started with hardly any environment."""
    given = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(["bash", "-ec", script], cwd=cwd, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shell_has_what_the_page_says_whatever_folder_it_is_in(cloud: Stack, tmp_path: Path) -> None:
    (tmp_path / ".droptune").symlink_to(cloud.state)  # the folder that is meant when none is named
    foreign = {"AZURE_CLIENT_SECRET": "of a real tenant", "APPLICATIONINSIGHTS_CONNECTION_STRING": "a real one"}
    variables = f"{shlex.quote(sys.executable)} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    script = f'eval "$({shlex.quote(sys.executable)} -m cli local env)"; cd /; {variables}'
    seen = json.loads(shell(script, tmp_path, **foreign))
    wanted = app_environment(cloud.description) | no_internet(cloud.description)
    assert wanted.items() <= seen.items()
    assert seen["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert not foreign.keys() & seen.keys()
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        assert Path(seen[name]).is_absolute()
        assert Path(seen[name]).read_bytes() == (cloud.state / "pki" / "ca.pem").read_bytes()

    before = len(cloud.control("GET", "/_local/denied"))
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://example.invalid/", proxies={"https": seen["HTTPS_PROXY"]}, timeout=10)
    assert len(cloud.control("GET", "/_local/denied")) == before + 1


def snippets() -> list[str]:
    """The blocks of code of the page's part on such a shell."""
    page = (ROOT / "docs" / "local-cloud.md").read_text()
    [part] = re.findall(r"^## A shell that points at it\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    return re.findall(r"```sh\n(.*?)```", part, re.DOTALL)


@pytest.mark.thorough
def test_the_pages_own_snippet_works(cloud: Stack, tmp_path: Path) -> None:
    (tmp_path / ".droptune").symlink_to(cloud.state)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tmp_path / "droptune").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli "$@"\n')
    for program in ("droptune", ".venv/bin/python"):
        (tmp_path / program).chmod(0o755)
    [snippet] = snippets()
    assert re.fullmatch(r"\[.*\]\n", shell(snippet, tmp_path))  # names of jobs; those that other tests have made


# Settings of the app --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("IDEL_WINDOW=PT1H", "no setting IDEL_WINDOW: did you mean IDLE_WINDOW?"),
        ("cleanup_mode=delete", "no setting cleanup_mode: did you mean CLEANUP_MODE?"),
        ("XYZZY=1", "no setting XYZZY: docs/settings.md lists all"),
        ("CLEANUP_MODE=del", "CLEANUP_MODE='del' is not one of delete, report"),
        (
            "IDLE_WINDOW=1h",
            "IDLE_WINDOW='1h' is not an ISO 8601 duration such as PT30S, PT2H or P7D: write IDLE_WINDOW=PT1H",
        ),
        ("IDLE_WINDOW=2 days", "write IDLE_WINDOW=P2D"),
        ("MAX_ACTIVE_JOBS=0", "a whole number of 1 or more"),
        ("CLEANUP_SCHEDULE=* * * * *", "six fields, seconds first"),
        ("CLEANUP_SCHEDULE=", "CLEANUP_SCHEDULE is not set"),
        ("AZURE_SUBSCRIPTION_ID=mine", "AZURE_SUBSCRIPTION_ID is what points the app at the local cloud"),
        ("API_AUTH=entra", "API_OPERATORS is not set"),
        ("BASE_MODEL=a\x1b[31m", "BASE_MODEL='a\\x1b[31m' has characters that can't be printed"),
        ("CLEANUP_MODE", "'CLEANUP_MODE' is not NAME=VALUE"),
        ("=delete", "'=delete' is not NAME=VALUE"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(typed: Typed, given: str, said: str, tmp_path: Path) -> None:
    state = tmp_path / "none"
    assert said in refused(typed("up", "--set", "CLEANUP_TARGET=endpoint", "--set", given, "--state", state))
    assert not state.exists()


def test_each_setting_can_be_set_unless_it_points_the_app_at_the_cloud(tmp_path: Path) -> None:
    pointing = app_environment(Description(state=tmp_path, ports=dict.fromkeys(LISTENERS, 1))).keys() - set(CHANGEABLE)
    texts = {"timedelta": "PT1H", "int": "1", "float": "1.5", "bool": "true", "tuple[tuple[str, str], ...]": "a=b"}
    texts |= {"Decimal | None": "1.5"}
    exact = {"PRICE_CURRENCY": "EUR", "PRICE_API": "https://prices.example"}
    said = {}
    for setting in every_setting():
        text = setting.choices[0] if setting.choices else texts.get(setting.kind, "text")
        text = "0 */5 * * * *" if setting.name.endswith("_SCHEDULE") else exact.get(setting.name, text)
        said[setting.name] = wrong_with({setting.name: text, "API_OPERATORS": "someone"})
    assert {name for name, wrong in said.items() if wrong} == pointing & said.keys()


def test_without_the_app_nothing_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        local(["up", "--set", "CLEANUP_MODE=delete"])
    assert capsys.readouterr().err.startswith("droptune: unrecognized arguments: --set")


@pytest.mark.thorough
def test_settings_are_the_apps_for_one_start(tmp_path: Path, typed: Typed) -> None:
    state = tmp_path / "state"
    given = {"CLEANUP_MODE": "delete", "IDLE_WINDOW": "PT1H", "RESOURCE_TAGS": "owner=it's me"}
    with up(state, *(word for name, value in given.items() for word in ("--set", f"{name}={value}"))) as told:
        assert [line[12:].split(" (")[0] for line in told[:3]] == [f"{name}={value}" for name, value in given.items()]
        assert told[-1] == f"next: droptune push DIR --state {state}\n"
        description = Description.load(state)
        assert description is not None
        family = psutil.Process(description.processes["host"].pid).children(recursive=True)
        assert all(given.items() <= each.environ().items() for each in family)
        assert "export IDLE_WINDOW='PT1H'\n" in typed("env", "--state", state)[1]
        assert {each.name for each in state.iterdir()} <= set(MADE)
        assert "is running: stop it first" in refused(typed("reset", "--yes", "--state", state))
    stopped = Description.load(state)
    assert stopped is not None
    assert stopped.settings == {}
    with up(state, "--no-host") as told:
        assert not told[0].startswith("setting")
        assert told[-1].startswith(f'next: eval "$(droptune local env --state {state})"')
        assert "IDLE_WINDOW" not in typed("env", "--state", state)[1]
    code, out, _ = typed("reset", "--yes", "--state", state)
    assert (code, out.startswith(f"deleted the local cloud in {state}")) == (0, True)
    assert not state.exists()


# Time -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_real_rate(cloud: Stack) -> Iterator[Stack]:
    yield cloud
    cloud.control("POST", "/_local/clock", {"rate": 1})


def now(cloud: Stack) -> datetime:
    return datetime.fromisoformat(cloud.control("GET", "/_local/clock")["now"])


def test_the_clock_is_shown_advanced_and_given_a_rate(at_real_rate: Stack, typed: Typed) -> None:
    cloud, where = at_real_rate, ("--state", str(at_real_rate.state))
    code, out, error = typed("clock", *where)
    assert (code, error) == (0, "")
    shown = re.fullmatch(r"local time  (\S+ \S+) .+\nrate        1: a real second is 1 of local time\n", out)
    assert shown is not None
    assert abs(datetime.fromisoformat(shown[1]).astimezone() - now(cloud)) < timedelta(seconds=5)

    before = now(cloud)
    code, out, error = typed("clock", "advance", "1h30m", *where)
    assert (code, error) == (0, "")
    assert now(cloud) - before >= timedelta(hours=1, minutes=30)
    assert re.search(r"h( \d+ min)? ahead of this machine's\n", out) or " d " in out
    assert out.splitlines()[-1].startswith("Due timers and events go off within a second")

    code, out, error = typed("clock", *where, "rate", "60")
    assert (code, error) == (0, "")
    assert "rate        60: a real second is 60 of local time\n" in out
    answer = json.loads(typed("clock", "--json", *where)[1])
    assert answer.keys() == {"now", "rate"}
    assert answer["rate"] == 60
    assert datetime.fromisoformat(answer["now"]).utcoffset() == timedelta(0)


NO_LENGTHS = (
    "",
    "x",
    "3",
    "3 h",
    "3x",
    "0h",
    "-3h",
    "p",
    "pt",
    "367d",
    f"{'9' * 30}d",
    f"{'9' * 5000}s",
    "1.5h",
    "\u0663h",
)


@pytest.mark.parametrize("length", NO_LENGTHS, ids=ascii)
def test_wrong_lengths_are_refused(cloud: Stack, typed: Typed, length: str) -> None:
    before = now(cloud)
    assert "LENGTH" in refused(typed("clock", "advance", "--state", cloud.state, length))
    assert now(cloud) - before < timedelta(minutes=10)


@pytest.mark.parametrize("rate", ["", "x", "0", "-1", "nan", "inf", "1e300", "1e-300", "60x"])
def test_wrong_rates_are_refused(cloud: Stack, typed: Typed, rate: str) -> None:
    assert "NUMBER" in refused(typed("clock", "rate", "--state", cloud.state, rate))
    assert cloud.control("GET", "/_local/clock")["rate"] == 1


# Reset ----------------------------------------------------------------------------------------------------------------


def names(folder: Path) -> set[str]:
    """Everything in it, by its path."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_state_folder_is_deleted(typed: Typed, state: Path) -> None:
    code, out, error = typed("reset", "--yes", "--state", state)
    assert (code, error) == (0, "")
    assert out == f"deleted the local cloud in {state}: `droptune local up --state {state}` begins anew\n"
    assert not state.exists()
    code, out, _ = typed("reset", "--yes", "--state", state)
    assert (code, out) == (0, f"there is no local cloud in {state}: nothing to delete\n")


def test_what_is_not_the_local_clouds_stays(typed: Typed, state: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "precious").touch()
    (state / "demo").mkdir()
    (state / "demo" / "kept").touch()
    (state / "logs" / "link").symlink_to(others)
    (state / "pki" / "file").unlink()
    (state / "pki").rmdir()
    (state / "pki").symlink_to(others)
    code, out, _ = typed("reset", "--yes", "--state", state)
    assert (code, out.splitlines()[1]) == (0, "kept what is not the local cloud's: demo")
    assert names(state) == {"demo", "demo/kept"}
    assert names(others) == {"precious"}
    assert "it has no cloud.json: nothing was deleted" in refused(typed("reset", "--yes", "--state", state))


@pytest.mark.thorough
def test_a_cloud_started_in_somebodys_folder_takes_nothing_along(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine").touch()
    (tmp_path / "train.jsonl").touch()
    with up(tmp_path, "--no-host"):
        pass
    with up(tmp_path, "--no-host"):  # a second start must not take them for its own
        pass
    code, out, _ = typed("reset", "--yes", "--state", tmp_path)
    assert (code, out.splitlines()[1]) == (0, "kept what is not the local cloud's: logs, train.jsonl")
    assert {"logs/mine", "train.jsonl"} <= names(tmp_path)
    assert not {"cloud.json", "azurite", "pki"} & names(tmp_path)


@pytest.mark.parametrize("name", ["", "folder"])
def test_a_folder_that_is_no_local_clouds_is_refused(typed: Typed, name: str, tmp_path: Path) -> None:
    (tmp_path / "azurite").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "lock").touch()
    before = names(tmp_path)
    assert "no state folder of a local cloud" in refused(typed("reset", "--yes", "--state", tmp_path / name))
    assert names(tmp_path) == before


def test_a_cloud_that_runs_is_refused(typed: Typed, cloud: Stack) -> None:
    said = refused(typed("reset", "--yes", "--state", cloud.state))
    assert f"is running: stop it first with `droptune local down --state {cloud.state}`" in said
    assert cloud.control("GET", "/_local/health")


def test_off_a_terminal_nobody_is_asked(typed: Typed, state: Path) -> None:
    before = names(state)
    assert "say so with --yes" in refused(typed("reset", "--state", state))
    assert names(state) == before


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 2), (b"\x03", 130), (b"\x04", 2)])
@pytest.mark.thorough
def test_on_a_terminal_somebody_is_asked(state: Path, answer: bytes, code: int) -> None:
    command = [sys.executable, "-m", "cli", "local", "reset", "--state", str(state)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, command)
    said = b""
    while not said.endswith(b"? [y/N] "):
        said += os.read(terminal, 1000)
    assert b"all uploads, runs, models and endpoints" in said
    os.write(terminal, answer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    os.close(terminal)
    assert state.exists() == (code != 0)
    assert (state / "azurite" / "file").exists() == (code != 0)


def test_the_folder_that_is_meant_without_a_name_needs_none_in_advice(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        refused(typed("env")) == f"droptune: no local cloud is running in {STATE}: start it with `droptune local up`\n"
    )
