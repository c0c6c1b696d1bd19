"""`droptune login`: what is kept and what never is, which app a command asks, and keys asked of Azure.

`az` is a program on PATH that answers as the real one does, and Azure Resource Manager an HTTP server of the test.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli import azure
from cli.__main__ import main
from localcloud.environment import LISTENERS, Description, ProcessId
from localcloud.stack import Stack
from shared.api.schema import RunList
from tests.kit.answering import answering
from tests.kit.clouds import SETTINGS
from tests.kit.paths import ROOT

AZURE = ["login", "--subscription", "sub", "--group", "rg", "--function-app", "func-1"]
SITE = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Web/sites/func-1"
LIST_KEYS = f"{SITE}/host/default/listKeys"
TOKEN, KEY, MASTER = "the-token", "the-function-key", "the-master-key"


class _App(BaseHTTPRequestHandler):
    """An app without runs, which keeps what lets in."""

    got: list[tuple[str | None, str | None]]

    def do_GET(self) -> None:
        self.got.append((self.headers["x-functions-key"], self.headers["Authorization"]))
        body = b'{"runs": [], "waiting": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


class _Arm(BaseHTTPRequestHandler):
    """Azure Resource Manager."""

    got: list[tuple[str, str, str | None]]
    status: int
    keys: dict[str, Any]
    host: str

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        assert query == "api-version=2023-12-01"
        self.got.append((self.command, path, self.headers["Authorization"]))
        answers: dict[str, Any] = {SITE: {"properties": {"defaultHostName": self.host}}, LIST_KEYS: self.keys}
        status = self.status if path in answers else 404
        body = json.dumps(answers.get(path, {})).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server names them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def app() -> Iterator[str]:
    _App.got = []
    with answering(_App) as url:
        yield url


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch, az: Path) -> Iterator[str]:
    _Arm.got, _Arm.status, _Arm.host = [], 200, "func-1.azurewebsites.net"
    _Arm.keys = {"masterKey": MASTER, "functionKeys": {"default": KEY, "other": "x"}, "systemKeys": {}}
    with answering(_Arm) as url:
        monkeypatch.setattr(azure, "ARM", url)
        yield url


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `az` that is logged in, first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "az"
    answer = json.dumps({"accessToken": TOKEN, "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4070908800})
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    return program


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, far from any local cloud; and no repository with one either."""
    monkeypatch.setattr("cli.apps.REPO", tmp_path / "no-repository")
    folder = tmp_path / "some" / "where"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def running(state: Path, url: str) -> None:
    """What a local cloud whose app answers at the URL has written there."""
    state.mkdir(parents=True)
    ports = dict.fromkeys(LISTENERS, 1) | {"host": int(url.rpartition(":")[2])}
    processes = {"host": ProcessId(pid=os.getpid(), started=0.0)}
    replace(Description(state=state, ports=ports, processes=processes), function_key="local-key").save()


def kept(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(config.read_text())
    return found


# What is kept --------------------------------------------------------------------------------------------------------


def test_an_address_is_kept_and_nothing_else(
    config: Path, app: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPTUNE_KEY", "secret-key")
    monkeypatch.setenv("DROPTUNE_TOKEN", "secret-token")
    old = os.umask(0)
    try:
        assert main(["login", "--url", f"{app}/", "--app", "prod"]) == 0
    finally:
        os.umask(old)
    assert kept(config) == {"version": 1, "current": "prod", "apps": {"prod": {"url": app}}}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert [path.name for path in config.parent.iterdir()] == ["apps.json"]
    out = capsys.readouterr().out
    assert f"commands ask prod now: {app}\n" in out
    assert out.endswith("next: droptune runs\n")
    assert main(["runs", "--json"]) == 0
    assert _App.got == [("secret-key", "Bearer secret-token")]
    assert main(["login"]) == 0
    assert main(["login", "--json"]) == 0
    assert "secret" not in capsys.readouterr().out + config.read_text()


def test_a_file_that_others_could_read_is_closed(config: Path) -> None:
    config.parent.mkdir()
    config.write_text("{}")
    config.chmod(0o644)
    assert main(["login", "--url", "https://a.example"]) == 0
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_apps_are_listed_chosen_and_forgotten(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["login"]) == 0
    assert capsys.readouterr().out.startswith("no app is known")
    for host in ("one", "two"):
        assert main(["login", "--url", f"https://{host}.example"]) == 0
    assert main(["login", "--app", "one"]) == 0
    capsys.readouterr()
    assert main(["login"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["*", "one", "https://one.example"],
        ["two", "https://two.example"],
    ]
    assert main(["login", "--forget", "one"]) == 0
    capsys.readouterr()
    assert main(["login", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == kept(config)
    assert kept(config) == {"version": 1, "current": "", "apps": {"two": {"url": "https://two.example"}}}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "ftp://a"], "must start with https://"),
        (["--url", "https://a.example/?code=KEY"], "a key does not belong into it"),
        (["--url", "https://ada:KEY@a.example"], "a key does not belong into it"),
        (["--url", "http://a.example"], "everybody on the way reads the key"),
        (["--url", "https://a:b"], "is no address"),
        (["--url", "https://a.example", "--app", "a b"], "a name is 1 to 64 letters"),
        (["--app", "none"], "there is no app 'none' (none is known)"),
        (["--forget", "none"], "there is no app 'none' (none is known)"),
        (["--subscription", "s"], "is named by all three"),
        (["--group", "g"], "is named by all three|belong to --subscription"),
        (["--url", "https://a.example", "--state", "x"], "--state belongs to --local"),
        (["--local", "--state", "x"], "no local cloud with an app is in x: start it with `droptune local up`"),
        (["--local"], "start it with `droptune local up`"),
    ],
)
def test_what_can_not_be_kept_is_said_and_nothing_is_written(
    arguments: list[str], told: str, config: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["login", *arguments]) == 2
    error = capsys.readouterr().err
    assert any(each in error for each in told.split("|"))
    assert error.count("\n") == 1
    assert "KEY" not in error.replace("DROPTUNE_KEY", "")
    assert not config.exists()


@pytest.mark.parametrize(
    ("text", "told"), [("{", "is no list of apps"), ('{"apps": 1}', "is no list of apps"), ('{"version": 9}', "newer")]
)
def test_a_file_that_can_not_be_read_is_said_and_left_alone(
    text: str, told: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.parent.mkdir()
    config.write_text(text)
    for command in (["runs"], ["login"], ["login", "--url", "https://a.example"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert config.read_text() == text


def test_many_logins_at_once_lose_none(config: Path) -> None:
    several = [
        subprocess.Popen([sys.executable, "-m", "cli", "login", "--url", f"https://a{n}.example"], cwd=ROOT)
        for n in range(3)
    ]
    assert [process.wait(30) for process in several] == [0] * 3
    assert sorted(kept(config)["apps"]) == ["a0", "a1", "a2"]


# Which app a command asks --------------------------------------------------------------------------------------------


def test_a_running_local_cloud_is_found_from_its_folder_below_it_and_from_the_repository(
    app: str, elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["runs"]) == 2
    assert (
        "no app is running in .droptune of this folder, of one above it or of the repository" in capsys.readouterr().err
    )
    running(elsewhere.parent / ".droptune", app)
    assert main(["runs", "--json"]) == 0
    monkeypatch.chdir(elsewhere.parents[1])
    assert main(["runs", "--json"]) == 2
    monkeypatch.setattr("cli.apps.REPO", elsewhere.parent)
    assert main(["runs", "--json"]) == 0
    assert _App.got == [("local-key", None)] * 2


def test_a_local_cloud_is_found_from_anywhere_after_login(
    app: str,
    elsewhere: Path,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DROPTUNE_KEY", "of-another-app")
    running(elsewhere / "cloud", app)
    assert main(["login", "--local", "--state", "cloud"]) == 0
    assert kept(config)["apps"] == {"local": {"state": str(elsewhere / "cloud")}}
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "--json"]) == 0
    assert _App.got == [("local-key", None)], "whoever listens on this machine does not get the environment's key"
    (elsewhere / "cloud" / "cloud.json").unlink()
    capsys.readouterr()
    assert main(["runs"]) == 2
    assert f"app 'local': no app is running in {elsewhere / 'cloud'}: start one" in capsys.readouterr().err


def test_options_come_before_variables_and_these_before_the_last_login(
    app: str, elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "http://127.0.0.1:1"
    running(elsewhere / "cloud", app)
    for name, url in (("good", app), ("gone", gone)):
        assert main(["login", "--url", url, "--app", name]) == 0

    def reached(*arguments: str, **environ: str) -> bool:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            return main(["runs", "--json", *arguments]) == 0

    assert not reached()
    assert reached("--app", "good")
    assert reached("--url", app)
    assert reached("--state", "cloud")
    assert reached(DROPTUNE_APP="good")
    assert reached(DROPTUNE_URL=app)
    assert not reached("--app", "gone", DROPTUNE_URL=app)
    assert reached("--app", "good", DROPTUNE_URL=gone, DROPTUNE_APP="gone")
    assert reached("--state", "cloud", DROPTUNE_URL=gone)
    capsys.readouterr()
    assert not reached("--app", "goo")
    assert "there is no app 'goo' (known: good, gone)" in capsys.readouterr().err


def test_the_key_of_one_app_does_not_go_to_another(app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["login", "--url", app, "--app", "mine"]) == 0
    monkeypatch.setenv("DROPTUNE_URL", "https://another.example")
    monkeypatch.setenv("DROPTUNE_KEY", "of-another")
    monkeypatch.setenv("DROPTUNE_TOKEN", "of-another")
    assert main(["runs", "--json", "--app", "mine"]) == 0
    assert _App.got == [("", None)]


# Azure ---------------------------------------------------------------------------------------------------------------


def test_an_app_in_azure_is_asked_for_its_address_once_and_for_its_key_when_needed(
    arm: str, app: str, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(AZURE) == 0
    assert _Arm.got == [("GET", SITE, f"Bearer {TOKEN}")]
    address = {"subscription": "sub", "group": "rg", "function_app": "func-1"}
    assert kept(config)["apps"] == {"func-1": address | {"url": "https://func-1.azurewebsites.net"}}
    config.write_text(config.read_text().replace("https://func-1.azurewebsites.net", app))
    assert main(["runs", "--json"]) == 0
    assert _Arm.got[1:] == [("POST", LIST_KEYS, f"Bearer {TOKEN}")]
    assert _App.got == [(KEY, None)]
    for name, value in (("DROPTUNE_TOKEN", "t"), ("DROPTUNE_KEY", "own")):
        monkeypatch.setenv(name, value)
        assert main(["runs", "--json"]) == 0
    assert len(_Arm.got) == 2, "who brings a key or a token needs none of Azure"
    assert _App.got[1:] == [("", "Bearer t"), ("own", "Bearer t")]
    out, error = capsys.readouterr()
    left = [path.read_text() for path in config.parent.iterdir()]
    assert not [secret for secret in (TOKEN, KEY, MASTER) if secret in "".join([out, error, *left])]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "run `az login` for the app's tenant"),
        (403, "have someone give you the role Website Contributor on it"),
        (404, "check subscription, group and name"),
        (500, "Azure answered 500 when it was asked for the function app func-1"),
    ],
)
def test_what_azure_refuses_says_what_to_do(
    status: int, told: str, arm: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _Arm.status = status
    assert main(AZURE) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert TOKEN not in error
    assert not config.exists()


def test_the_master_key_is_never_taken(arm: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(AZURE) == 0
    _Arm.keys = {"masterKey": MASTER, "functionKeys": {}, "systemKeys": {}}
    assert main(["runs"]) == 2
    assert "func-1 has no function key" in capsys.readouterr().err


def test_a_site_without_a_host_name_is_no_app(arm: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _Arm.host = ""
    assert main(AZURE) == 2
    assert "give its address with --url" in capsys.readouterr().err


def test_nobody_who_is_logged_in_is_told_to(
    arm: str, az: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    az.write_text("#!/bin/sh\necho \"Please run 'az login' to setup account.\" >&2\nexit 1\n")
    assert main(AZURE) == 2
    error = capsys.readouterr().err
    assert "`az login`" in error
    assert error.count("\n") == 1
    assert _Arm.got == []


# The real local cloud ------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_app_of_a_real_local_cloud_is_found_and_logged_in_to(
    elsewhere: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Stack(elsewhere.parent / ".droptune", settings=SETTINGS)
    cloud.start()
    try:
        assert main(["runs", "--json"]) == 0
        assert msgspec.json.decode(capsys.readouterr().out, type=RunList).runs == []
        assert main(["login", "--local"]) == 0
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("cli.apps.REPO", tmp_path)
        capsys.readouterr()
        assert main(["runs", "--json"]) == 0
        assert msgspec.json.decode(capsys.readouterr().out, type=RunList).runs == []
        assert main(["pin", "none"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    finally:
        cloud.stop()
    assert main(["runs"]) == 2
    assert "start one with `droptune local up`" in capsys.readouterr().err


def test_a_local_cloud_that_starts_says_that_commands_go_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPTUNE_APP", "prod")
    with pytest.raises(SystemExit):
        main(["local", "up", "--no-such-option"])
    assert "commands go to prod, not here, unless they get --state DIR" in capsys.readouterr().err
    monkeypatch.delenv("DROPTUNE_APP")
    with pytest.raises(SystemExit):
        main(["local", "up", "--no-such-option"])
    assert "commands go to" not in capsys.readouterr().err
