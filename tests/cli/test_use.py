"""`droptune ask` and `url` against endpoints of the local cloud, whose deployments pretend."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import msgspec
import pytest

from cli import endpoint_key
from cli.__main__ import main
from cli.errors import CliError
from cli.scoring import AskedView
from localcloud.stack import Stack
from shared.api import views
from shared.api.schema import LineView
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import DATASETS, PREPARED
from shared.records.line import Empty, Line, NotMade, Removed, Standing, TearingDown
from shared.records.run import Attempt, Data, Deployed, File, Run, Source, Waiting
from shared.serving.payload import scoring_payload
from shared.settings import Settings
from tests.kit.answering import answering
from tests.kit.azureml import MODEL
from tests.kit.clouds import SETTINGS, pointed_at
from tests.kit.paths import ROOT
from tests.kit.records import NOW, serving
from tests.kit.rows import chats, jsonl, messages
from tests.kit.waiting import eventually

LINES = re.compile(r"/api/lines/([^/]+)(/question)?")
ROWS = 4


class _Api(BaseHTTPRequestHandler):
    """The app's own answers to what these commands GET, without a host."""

    app: App

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if found := LINES.fullmatch(parts.path):
            name = unquote(found[1])
            row = query.get("row", [""])[0]
            status, body = views.question(self.app, name, row) if found[2] else views.line(self.app, name)
        else:
            status, body = views.run(self.app, unquote(parts.path.rpartition("/")[2]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A line that serves, with a newer version that is being checked."""

    app: App
    stack: Stack
    url: str
    line: Line
    new: Run
    key: str

    def run(self, *words: str) -> int:
        """The command on that app, in this process."""
        return main([*words, "--url", self.url, "--state", str(self.stack.state)])

    def command(self, *words: str) -> list[str]:
        """The same, to be run in a process of its own."""
        return [sys.executable, "-m", "cli", *words, "--url", self.url, "--state", str(self.stack.state)]

    def fault(self, **fault: Any) -> None:
        self.stack.control("POST", "/_local/faults", fault)


@pytest.fixture(scope="module")
def _place(cloud: Stack, _app: App) -> Iterator[Place]:
    key = uuid4().hex[:8]
    cloud.control(
        "POST", "/_local/pretend", {"deployments": {"match": f"^use-{key}/", "answer": "{deployment} {question}"}}
    )
    with pointed_at(cloud):
        line, new = _made(_app, key)
        secret = str(_app.cloud.clients.ml.online_endpoints.get_keys(line.endpoint).primary_key)
    cloud.control("DELETE", "/_local/pretend")
    _Api.app = _app
    with answering(_Api) as url:
        yield Place(app=_app, stack=cloud, url=url, line=line, new=new, key=secret)
    with pointed_at(cloud):
        _app.cloud.endpoints.delete(line.endpoint)


@pytest.fixture
def place(cloud_env: Stack, _place: Place) -> Iterator[Place]:
    yield _place
    cloud_env.control("DELETE", "/_local/faults")
    cloud_env.control("DELETE", "/_local/rules")


def _made(app: App, key: str) -> tuple[Line, Run]:
    """The endpoint, with a deployment that has the traffic and one that has none, and the records of that."""
    endpoint = f"use-{key}"
    app.cloud.endpoints.create(endpoint)
    _ready(app, endpoint)
    runs = [f"ruse{key}{name}" for name in ("a", "b")]
    for run in runs:
        app.cloud.endpoints.deploy(endpoint, f"{run}-1", MODEL, "Standard_DS3_v2", 1)
    eventually(lambda: {each.state for each in app.cloud.endpoints.deployments(endpoint)} == {"Succeeded"})
    app.cloud.endpoints.set_traffic(endpoint, {f"{runs[0]}-1": 100})
    _ready(app, endpoint)
    folder = f"use {key}"
    live, new = (_run(app, run, folder, endpoint) for run in runs)
    assert app.runs.create(replace(live, phase=Phase.LIVE))
    assert app.runs.create(replace(new, waiting=Waiting(why="waits for you", hold="approval")))
    now = serving(live.id)
    line = Line(
        id=f"luse{key}",
        folder=folder,
        base_model="Phi-4",
        endpoint=endpoint,
        state=Standing(),
        serving=now,
        latest=now,
        rollout=new.id,
    )
    assert app.lines.create(line)
    return line, new


def _ready(app: App, endpoint: str) -> None:
    eventually(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")


def _run(app: App, run: str, folder: str, endpoint: str) -> Run:
    made = Run(
        id=run,
        line=f"luse{endpoint.removeprefix('use-')}",
        order=Order(uploaded=NOW),
        source=Source(folder=folder, base_model="Phi-4", train=(File(name=f"{folder}/a.jsonl", etag="1", size=1),)),
        since=NOW,
        phase=Phase.CHECKING,
        attempt=Attempt(
            data=Data(fingerprint="f", rows={"test": ROWS}), deployed=Deployed(endpoint=endpoint, name=f"{run}-1")
        ),
    )
    rows = [{"messages": messages(f"Q{number}?", f"A{number}.")} for number in range(1, ROWS + 1)]
    tool = {"messages": [*messages("T?"), {"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]}
    app.cloud.blobs.write(PREPARED, layout.part_of(made.prepared, "test"), jsonl([tool, *rows]))
    return made


@contextmanager
def changed_line(place: Place, **changes: Any) -> Iterator[None]:
    """The line's record is otherwise in the block."""
    before = place.app.lines.load(place.line.id)
    assert before
    etag = place.app.lines.save(replace(before.record, **changes), before.etag)
    yield
    place.app.lines.save(before.record, etag)


# ask -----------------------------------------------------------------------------------------------------------------


def test_a_held_out_row_is_asked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    live = place.line.serving
    assert live
    assert place.run("ask", place.line.folder, "--row", "2") == 0
    out, error = capsys.readouterr()
    assert out.splitlines() == [
        f"row       2 of {ROWS} that were held out, of run {live.run}",
        "question  Q2?",
        f"answer    {place.line.endpoint}/{live.deployment} Q2?",
        "expected  A2.",
    ]
    assert error == ""
    assert place.run("ask", place.line.id) == 0
    assert re.search(r"^expected  A[1-4]\.$", capsys.readouterr().out, re.MULTILINE)
    assert place.run("ask", place.line.endpoint, "--random-row", "--json") == 0
    out = capsys.readouterr().out
    view = msgspec.json.decode(out, type=AskedView)
    assert (view.count, view.line, view.endpoint) == (ROWS, place.line.id, place.line.endpoint)
    assert view.question == [{"role": "user", "content": f"Q{view.number}?"}]
    assert [(each.which, each.deployment, each.run) for each in view.answers] == [("live", live.deployment, live.run)]
    assert msgspec.to_builtins(view) == json.loads(out), "nothing else is in it"


@pytest.mark.thorough
def test_a_text_of_ones_own_is_asked(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "a\x1b[2J\u202eb\nexpected  forged ü"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{odd}\n".encode())))
    assert place.run("ask", place.line.id, "-") == 0
    out = capsys.readouterr().out
    assert "question  a\\x1b[2J\\u202eb\n          expected  forged ü\nanswer    " in out
    assert "row  " not in out
    assert not re.search("^expected", out, re.MULTILINE)
    long = odd + "x" * 10_000
    assert place.run("ask", place.line.id, long, "--json") == 0
    view = msgspec.json.decode(capsys.readouterr().out, type=AskedView)
    assert (view.question[0]["content"], view.number, view.run, view.expected) == (long, 0, "", "")
    assert view.answers[0].answer.endswith(long)


@pytest.mark.thorough
def test_both_versions_are_asked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    live = place.line.serving
    assert live
    assert place.run("ask", place.line.id, "Hello?", "--both") == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "question  Hello?",
        f"new       {place.line.endpoint}/{place.new.deployed.name} Hello?",
        f"live      {place.line.endpoint}/{live.deployment} Hello?",
        f"asked     new: deployment {place.new.deployed.name}; live: deployment {live.deployment}",
        f"next: droptune approve {place.new.id}",
    ]
    assert place.run("ask", place.line.id, "--row", "1", "--both", "--json") == 0
    view = msgspec.json.decode(capsys.readouterr().out, type=AskedView)
    assert [each.which for each in view.answers] == ["new", "live"]
    with changed_line(place, rollout=""):
        assert place.run("ask", place.line.id, "Hello?", "--both") == 0
        out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("live      ")
    assert out[-1] == "there is no new version that is being checked"
    with changed_line(place, serving=None, latest=None):
        assert place.run("ask", place.line.id, "--row", "1", "--both") == 0, "the first version, before it serves"
        out = capsys.readouterr().out.splitlines()
    assert out[2].startswith("new       ")
    assert "nothing serves yet" in out


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": Empty(since=NOW)}, "is torn down and costs nothing"),
        ({"state": Removed(since=NOW)}, "is torn down, its endpoint too"),
        ({"state": TearingDown(whole=False, emptied=None)}, "is being torn down"),
    ],
)
def test_a_line_that_is_torn_down_says_what_brings_it_back(
    place: Place, changes: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["ask", place.line.id], ["ask", place.line.id, "x", "--json"], ["url", place.line.id]):
        with changed_line(place, serving=None, rollout="", **changes):
            assert place.run(*words) == 1
        out, error = capsys.readouterr()
        assert told in error
        assert f"droptune revive '{place.line.folder}'" in error
        assert error.count("\n") == 1
        assert out.count("\n") == (words[0] == "url"), "the address stays"


@pytest.mark.thorough
def test_a_line_that_has_served_nothing_yet(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"serving": None, "latest": None, "state": NotMade()}
    with changed_line(place, **nothing):
        assert place.run("ask", place.line.id) == 1
    assert f"has served nothing yet: droptune watch {place.new.id}" in capsys.readouterr().err
    with changed_line(place, rollout="", **nothing):
        assert place.run("ask", place.line.id) == 1
    assert "droptune runs --folder " in capsys.readouterr().err
    with changed_line(place, serving=None):
        assert place.run("ask", place.line.id) == 1
    assert f"while run {place.new.id} is rolled out" in capsys.readouterr().err


@pytest.mark.thorough
def test_an_endpoint_that_somebody_deleted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with changed_line(place, endpoint="use-gone", rollout=""):
        assert place.run("ask", place.line.id) == 1
        error = capsys.readouterr().err
        assert "use-gone is gone: somebody deleted it: droptune revive" in error
        assert place.run("url", place.line.id) == 1
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    place.fault(method="GET", path=f"/onlineEndpoints/{place.line.endpoint}$", status=404, code="ResourceNotFound")
    assert place.run("ask", place.line.id) == 1
    assert f"endpoint {place.line.endpoint} is gone: droptune revive" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, "as many questions as it can take (429): try again in 7 s"),
        ({"status": 408}, "took too long (408)"),
        ({"status": 424, "code": "ModelError", "message": "CUDA\nout of memory"}, "failed (424): CUDA out of memory"),
        ({"status": 503}, "is not ready (503)"),
        ({"status": 401}, "refuses what Azure gave out for it (401)"),
        ({"status": 302, "headers": {"Location": "https://localhost:1/elsewhere"}}, "answered 302"),
        ({"status": 200, "body": {"nothing": 1}}, "can't be read: the endpoint's response holds no answer"),
        ({"reset": True}, "endpoint"),
    ],
)
def test_an_endpoint_without_an_answer_says_why(
    place: Place, fault: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fault(method="POST", path="/inference/", **fault)
    assert place.run("ask", place.line.id, "Hello?", "--json") == 1
    out, error = capsys.readouterr()
    assert told in error
    assert error.count("\n") == 1
    view = msgspec.json.decode(out, type=AskedView)
    assert view.answers[0].answer == ""
    assert told in view.answers[0].error


@pytest.mark.thorough
def test_a_model_that_tells_the_key_is_not_repeated(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for told in ({"status": 424, "message": f"Bearer {place.key}"}, {"status": 200, "body": {"output": place.key}}):
        place.fault(method="POST", path="/inference/", **told)
        place.run("ask", place.line.id, "Hello?")
        out, error = capsys.readouterr()
        assert "***" in out + error
        assert place.key not in out + error


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ask", "LINE", "--row", "99"], "must be a number from 1 to 4"),
        (["ask", "LINE", ""], "the text to ask is empty"),
        (["ask", "LINE", "\udcff"], "no Unicode"),
        (["ask", "nobodys"], "there is no line nobodys"),
        (["url", "LINE", "--json", "--show-key"], "a key is never in it"),
    ],
)
def test_what_can_not_be_carried_out(
    place: Place, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run(*(place.line.id if word == "LINE" else word for word in words)) == 2
    out, error = capsys.readouterr()
    assert told in error
    assert (out, error.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "words",
    [["--row", "0"], ["--row", "x"], ["--row", ""], ["text", "--row", "1"], ["--row", "1", "--random-row"]],
)
def test_wrong_arguments(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ask", "LINE", *words])
    assert ended.value.code == 2
    assert "droptune ask" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ask", "url"])
def test_no_cloud(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "faq", "--state", str(tmp_path)]) == 2
    assert "no app is running" in capsys.readouterr().err


# The key -------------------------------------------------------------------------------------------------------------


def test_the_address_is_printed_and_the_key_only_when_asked_for(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{place.stack.urls['management']}/inference/{place.line.endpoint}/score"
    place.stack.control("DELETE", "/_local/ledger")
    shown: dict[str, str] = {}
    for how in ("", "--curl", "--python", "--json"):
        assert place.run("url", place.line.folder, *filter(None, [how])) == 0
        out, error = capsys.readouterr()
        assert place.key not in out + error
        assert ("--show-key" in error) is (how in ("--curl", "--python"))
        shown[how] = out
    assert shown[""] == f"{address}\n"
    assert msgspec.json.decode(shown["--json"], type=LineView).address == address
    keys = [each for each in place.stack.control("GET", "/_local/ledger") if each["path"].endswith("/listKeys")]
    assert not keys, "nobody asks for what is not shown"
    assert place.run("url", place.line.id, "--show-key") == 0
    out, error = capsys.readouterr()
    assert out.splitlines() == [address, place.key]
    assert place.key not in error


@pytest.mark.thorough
def test_no_error_and_no_repr_has_the_key(place: Place) -> None:
    manager = endpoint_key.manager_of(f"{place.stack.urls['management']}/x", place.stack.state)
    found = place.app.cloud.endpoints.get(place.line.endpoint)
    assert found
    door = endpoint_key.door_of(manager, found.id)
    assert (door.secret, door.mode) == (place.key, "key")
    assert place.key not in repr(door) + repr(manager)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            {"path": "/listKeys$", "status": 403, "code": "AuthorizationFailed"},
            "workspaces/onlineEndpoints/listKeys/action on its workspace, as AzureML Data Scientist is",
        ),
        *(
            pytest.param(*each, marks=pytest.mark.thorough)
            for each in [
                (
                    {"path": "/onlineEndpoints/use-[^/]*$", "method": "GET", "status": 403},
                    "onlineEndpoints/read on its",
                ),
                ({"path": "/listKeys$", "status": 401}, "sign in again"),
                ({"path": "/listKeys$", "status": 503}, "try again"),
                ({"path": "/listKeys$", "status": 200, "body": {}}, "gives out no key"),
                ({"path": "/listKeys$", "status": 200, "body": {"primaryKey": "evil\r\nX-Other: 1"}}, "is no key"),
                ({"path": "/listKeys$", "reset": True}, "Azure Resource Manager at"),
            ]
        ),
    ],
)
def test_who_may_not_have_the_key_is_told_what_it_takes(
    place: Place, fault: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fault(**fault)
    assert place.run("ask", place.line.id, "Hello?") == 2
    out, error = capsys.readouterr()
    assert told in error
    assert "evil" not in error
    assert (out, error.count("\n")) == ("", 1)


@pytest.mark.thorough
def test_a_deny_assignment_names_the_action_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rule = {"kind": "denyAssignment", "name": "stack", "actions": "listKeys/action$"}
    place.stack.control("POST", "/_local/rules", rule)
    assert place.run("url", place.line.id, "--show-key") == 2
    error = capsys.readouterr().err
    assert "DenyAssignmentAuthorizationFailed" in error
    assert "onlineEndpoints/listKeys/action" in error


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["aml_token", "aad_token"])
def test_endpoints_that_take_tokens(place: Place, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    endpoints = place.app.cloud.clients.ml.online_endpoints

    def turned(mode: str) -> None:
        found = endpoints.get(place.line.endpoint)
        found.auth_mode = mode
        endpoints.begin_create_or_update(found)
        _ready(place.app, place.line.endpoint)

    turned(mode)
    try:
        assert place.run("ask", place.line.id, "Hello?") == 0
        assert "Hello?" in capsys.readouterr().out
    finally:
        turned("key")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "endpoint",
    ["", "/subscriptions/s/resourceGroups/g", "https://elsewhere/x", "/subscriptions/s/../x", "{}/listKeys?a=", "{}\n"],
)
def test_the_caller_s_token_goes_to_no_other_resource(place: Place, endpoint: str) -> None:
    manager = endpoint_key.manager_of(f"{place.stack.urls['management']}/x", place.stack.state)
    found = place.app.cloud.endpoints.get(place.line.endpoint)
    assert found
    with pytest.raises(CliError, match="no id of one"):
        endpoint_key.door_of(manager, endpoint.replace("{}", found.id))


@pytest.mark.thorough
def test_an_endpoint_here_needs_the_local_cloud_s_folder(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["ask", place.line.id, "x"], ["url", place.line.id, "--curl"]):
        assert main([*words, "--url", place.url, "--state", str(tmp_path)]) == 2
        assert "name its folder with --state" in capsys.readouterr().err


AZ = """#!/bin/sh
{told}
"""


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a command `az` on the path that does so, and has azure-identity ask nobody else."""

    def put(script: str) -> None:
        (tmp_path / "az").write_text(AZ.format(told=script))
        (tmp_path / "az").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    return put


@pytest.mark.thorough
def test_in_azure_it_is_asked_as_whoever_is_signed_in(
    place: Place, az: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = endpoint_key.manager_of(f"{place.stack.urls['management']}/x", place.stack.state)
    manager = endpoint_key.manager_of("https://e.westeurope.inference.ml.azure.com/score", Path("none"))
    assert (manager.url, manager.ca) == ("https://management.azure.com", None)
    token = here.token(f"{here.url}/.default")
    az(f"""echo '{{"accessToken": "{token}", "expires_on": 4102444800}}'; echo "$@" > "$(dirname "$0")/said" """)
    found = place.app.cloud.endpoints.get(place.line.endpoint)
    assert found
    door = endpoint_key.door_of(replace(manager, url=here.url, ca=here.ca), found.id)
    assert door.secret == place.key
    az("echo 'ERROR: AADSTS700082: The refresh token has expired.' >&2; exit 1")
    with pytest.raises(CliError, match=r"sign in with `az login`$") as refused:
        manager.token("https://management.azure.com/.default")
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().err == ""


# Snippets ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
@pytest.mark.parametrize("shown", [(), pytest.param(("--show-key",), marks=pytest.mark.thorough)])
def test_the_curl_command_works_as_pasted(
    place: Place, shown: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("url", place.line.id, "--curl", *shown) == 0
    out = capsys.readouterr().out
    assert (place.key in out) is bool(shown)
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "localhost"} | (
        {} if shown else {"DROPTUNE_ENDPOINT_KEY": place.key}
    )
    done = subprocess.run(["/bin/sh", "-c", out], env=environment, capture_output=True, text=True)
    assert json.loads(done.stdout)["output"].endswith("What can you tell me?"), done


@pytest.mark.parametrize("shown", [(), pytest.param(("--show-key",), marks=pytest.mark.thorough)])
def test_the_python_code_works_as_pasted(
    place: Place, shown: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("url", place.line.id, "--python", *shown) == 0
    out = capsys.readouterr().out
    assert (place.key in out) is bool(shown)
    environment = {"NO_PROXY": "localhost"} | ({} if shown else {"DROPTUNE_ENDPOINT_KEY": place.key})
    for how in [["-I", "-c", out], *([["-I", "-i", "-q"]] if shown else [])]:
        done = subprocess.run([sys.executable, *how], input=out, env=environment, capture_output=True, text=True)
        assert "What can you tell me?'}" in done.stdout, done


def test_a_snippet_for_azure_trusts_this_machine_s_authorities() -> None:
    from cli import snippets

    address, payload = (
        "https://e.westeurope.inference.ml.azure.com/score",
        scoring_payload([{"role": "user", "content": "it's"}]),
    )
    for make in (snippets.curl, snippets.python):
        text = "\n".join(make(address, payload))
        assert address in text
        assert "cacert" not in text
        assert "cafile" not in text
    compile("\n".join(snippets.python(address, payload)), "snippet", "exec")


# On a terminal -------------------------------------------------------------------------------------------------------


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Its exit code and what it shows on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while read := os.read(ours, 4096):
            shown += read
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode()


@pytest.mark.thorough
def test_on_a_terminal_a_long_answer_is_broken(place: Place) -> None:
    code, shown = on_a_terminal(place.command("ask", place.line.id, "word " * 100))
    assert code == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.replace("\r", "\n")).splitlines()
    assert sum(line.startswith("          word") for line in lines) >= 10
    assert max(map(len, lines)) <= 80
    done = subprocess.run(
        place.command("ask", place.line.id, "word " * 100), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


# The whole way -------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_with_a_real_host_from_the_upload_to_the_revival(tmp_path: Path) -> None:
    settings = SETTINGS | {"SETTLE_TIME": "PT0S", "POLL_INTERVAL": "PT1S"}
    with Stack(tmp_path / "state", settings=settings) as stack:
        stack.control("POST", "/_local/pretend", {"jobs": {}, "deployments": {"answer": "It is {question}"}})
        stack.control("POST", "/_local/clock", {"rate": 20})

        def droptune(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "cli", *words, "--state", str(stack.state)]
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

        def asked(*words: str) -> AskedView | None:
            done = droptune("ask", "faq", *words, "--json")
            return msgspec.json.decode(done.stdout, type=AskedView) if done.returncode == 0 else None

        def upload(data: bytes, spec: bytes) -> None:
            with pointed_at(stack):
                app = App.of(Settings.read(stack.environment))
                app.cloud.blobs.write(DATASETS, "faq/finetune.yaml", spec)
                app.cloud.blobs.write(DATASETS, "faq/train.jsonl", data)
                app.cloud.close()

        upload(chats(40), b"train: train.jsonl\n")
        first = eventually(asked, 120, every=0.5)
        assert first.answers[0].answer == f"It is {first.question[-1]['content']}"
        assert first.expected == first.question[-1]["content"].replace("Question", "Answer").replace("?", ".")
        upload(chats(60), b"train: train.jsonl\napprove: manual\n")

        def both_asked() -> AskedView | None:
            view = asked("Well?", "--both")
            return view if view and len(view.answers) == 2 else None

        both = eventually(both_asked, 60, every=0.5)
        assert {each.answer for each in both.answers} == {"It is Well?"}
        assert both.answers[1].deployment == first.answers[0].deployment
        address, key = droptune("url", "faq", "--show-key").stdout.splitlines()
        shown = droptune("url", "faq", "--python")
        assert key not in shown.stdout + shown.stderr
        export = shown.stderr.removeprefix("droptune: its key: ").replace("droptune ", f"{sys.executable} -m cli ", 1)
        code = f"{export}\n{sys.executable} - <<'END'\n{shown.stdout}\nEND"
        done = subprocess.run(["/bin/sh", "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert "It is Hello!" in done.stdout, done
        assert address == droptune("url", "faq").stdout.strip()
