"""An app of the session's cloud that every command can be run against: in a pipe, on a terminal, and by who may not.

It answers over HTTP in this process, with the app's own functions. The first part of the path says how: `open`;
`nobody` is signed in but in no group, `viewer` may only look, `keyless` has no key.
"""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

from azure.ai.ml.entities import Model

from localcloud.stack import Stack
from shared.api import requests, views
from shared.api.access import PRINCIPAL, PRINCIPAL_NAME, Caller, Refusal, judge
from shared.api.answers import Answer, refused, turned_away
from shared.api.health import about
from shared.app import App
from shared.intake.arrivals import uploaded
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import DATASETS, PREPARED, STATE
from shared.records.line import Empty, Line, Standing
from shared.records.run import Approval, Attempt, Data, Deployed, Entry, File, Parked, Run, Source, Waiting
from shared.serving.gate import Scores
from shared.settings import Access
from tests.kit.answering import answering
from tests.kit.azureml import MODEL
from tests.kit.clouds import pointed_at
from tests.kit.near_app import upload_events
from tests.kit.paths import ROOT
from tests.kit.records import NOW, serving
from tests.kit.rows import chats, jsonl, messages
from tests.kit.waiting import eventually

VIEWERS, OPERATORS = "viewers", "operators"
ENTRA = Access(
    auth="entra", viewers=frozenset([VIEWERS]), operators=frozenset([OPERATORS]), platform_login=True, hostname=""
)
LONGEST = 60.0
"""Seconds that a command may take."""


# The app -------------------------------------------------------------------------------------------------------------


class _Api(BaseHTTPRequestHandler):
    app: ClassVar[App]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, mode, _, *parts = unquote(url.path).split("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match mode:
            case "keyless":  # the Functions host itself says no more
                answer: Answer = (401, b"")
            case "nobody" | "viewer":
                refusal = judge(ENTRA, self.command, dict(self.headers) | _signed_in(mode))
                answer = turned_away(refusal) if isinstance(refusal, Refusal) else self._found(parts, url.query, body)
            case _:
                answer = self._found(parts, url.query, body)
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(answer[1])))
        self.end_headers()
        self.wfile.write(answer[1])

    do_POST = do_GET  # noqa: N815 - http.server names them

    def _found(self, parts: list[str], query: str, body: bytes) -> Answer:
        app, wanted = self.app, dict(parse_qsl(query))
        match self.command, parts:
            case "GET", ["about"]:
                return about(app)
            case "GET", ["runs"]:
                for event in upload_events(app):
                    uploaded(app, event)
                return views.runs(app, wanted)
            case "GET", ["models"]:
                return views.models(app, wanted.get("name", ""))
            case "GET", ["cost"]:
                return views.cost(app, wanted)
            case "GET", ["folders" | "lines" | "status" as kind]:
                return {"folders": views.folders, "lines": views.lines, "status": views.status}[kind](app)
            case "GET", ["runs", name]:
                return views.run(app, name)
            case "GET", ["runs", name, "answers"]:
                return views.answers(app, name)
            case "GET", ["runs", name, "logs"]:
                return views.logs(app, name)
            case "GET", ["lines", name]:
                return views.line(app, name)
            case "GET", ["lines", name, "question"]:
                return views.question(app, name, wanted.get("row", ""))
            case "POST", ["recover"]:
                return requests.recovered(app, body, Caller())
            case "POST", ["runs" | "lines" | "folders" as kind, name, command]:
                of = {"runs": requests.on_run, "lines": requests.on_line, "folders": requests.on_folder}
                return of[kind](app, command, name, body, Caller())
        return refused(404, "there is no such route")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def _signed_in(mode: str) -> dict[str, str]:
    """What App Service says of who asks."""
    groups = [VIEWERS] if mode == "viewer" else ["another"]
    claims = {"claims": [{"typ": "groups", "val": group} for group in groups]}
    return {PRINCIPAL: base64.b64encode(json.dumps(claims).encode()).decode(), PRINCIPAL_NAME: "vera"}


# What is in it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """A line that serves one version while the next one waits for an approval; a run that is parked; a dataset."""

    app: App
    cloud: Stack
    url: str
    key: str
    line: Line
    live: Run
    new: Run
    parked: Run
    data: Path
    texts: Mapping[str, str] = field(default_factory=dict)

    def at(self, mode: str = "open") -> str:
        """The app's address for who asks so."""
        return f"{self.url}/{mode}"

    def named(self) -> dict[str, str]:
        """What rows of tables name by a word in braces; `fresh` is new each time."""
        return {
            "line": self.line.id,
            "live": self.live.id,
            "new": self.new.id,
            "parked": self.parked.id,
            "folder": self.data.name,
            "data": str(self.data),
            "state": str(self.cloud.state),
            "fresh": f"any-{uuid4().hex[:10]}",
            "tmp": str(self.data.parent),
        }

    def reset(self, **line: Any) -> None:
        """All records as they were; the line's with these fields instead."""
        for run in (self.live, self.new, self.parked):
            _put(self.app.runs, run)
        _put(self.app.lines, replace(self.line, **line))

    def fault(self, **fault: Any) -> None:
        """Has a service of the local cloud refuse, as Azure does."""
        self.cloud.control("POST", "/_local/faults", fault)


@contextmanager
def silent() -> Iterator[tuple[int, threading.Event]]:
    """A port of this machine on which somebody takes connections and says nothing; set once one has come."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            with suppress(OSError):  # it is closed
                while True:
                    held.append(server.accept()[0])
                    came.set()

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield server.getsockname()[1], came
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()


def silent_cloud(place: Place, port: int) -> Path:
    """The state folder of a local cloud that runs, and does not answer."""
    state = place.data.parent / f"silent-{port}"
    state.mkdir()
    (state / "pki").symlink_to(place.cloud.state / "pki")
    ports = dict.fromkeys(place.cloud.description.ports, port)
    replace(place.cloud.description, state=state, ports=ports).save()
    return state


def _put(store: Any, record: Any) -> None:
    if loaded := store.load(record.id):
        store.save(record, loaded.etag)
    else:
        assert store.create(record)


@contextmanager
def place(app: App, cloud: Stack, tmp: Path, texts: Mapping[str, str] | None = None) -> Iterator[Place]:
    """The app as long as the block runs. `texts`: what others have written, by where."""
    key = uuid4().hex[:8]
    told = {"answer": "{deployment} {question}", "log": ""} | dict(texts or {})
    cloud.control("POST", "/_local/pretend", {"deployments": {"match": f"^any-{key}/", "answer": told["answer"]}})
    with pointed_at(cloud):
        made = _made(app, cloud, key, tmp, told)
    cloud.control("DELETE", "/_local/pretend")
    _Api.app = app
    with answering(_Api) as url:
        yield replace(made, url=url)
    with pointed_at(cloud):
        app.cloud.endpoints.delete(made.line.endpoint)


def _made(app: App, cloud: Stack, key: str, tmp: Path, told: Mapping[str, str]) -> Place:
    endpoint, folder = f"any-{key}", f"any-{key}"
    ready = eventually
    app.cloud.endpoints.create(endpoint)
    ready(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")
    runs = [f"rany{key}{name}" for name in ("a", "b", "c")]
    for run in runs[:2]:
        app.cloud.endpoints.deploy(endpoint, f"{run}-1", MODEL, "Standard_DS3_v2", 1)
    ready(lambda: {each.state for each in app.cloud.endpoints.deployments(endpoint)} == {"Succeeded"})
    app.cloud.endpoints.set_traffic(endpoint, {f"{runs[0]}-1": 100})
    ready(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")
    model = Model(name=f"m-{key}", version="1", path="azureml://datastores/prepared/paths/x", type="mlflow_model")
    app.cloud.clients.ml.models.create_or_update(model)
    line_id = f"lany{key}"
    scores = Scores(
        rows=2, score="chrf", new=60.0, metrics={}, passed=True, why=told.get("why", "as good as what serves")
    )
    live, new, parked = (_run(app, run, line_id, folder, endpoint, told) for run in runs)
    live = replace(live, phase=Phase.LIVE)
    deployed = new.deployed
    asked = replace(deployed, scores=scores, approval=Approval(needed=True))
    new = replace(new.in_attempt(deployed=asked), waiting=Waiting(why=told.get("why", "an approval"), hold="approval"))
    parked = replace(
        parked.in_attempt(deployed=None),
        phase=Phase.TRAINING,
        parked=Parked(at=NOW, why=told.get("why", "its job can't be read")),
    )
    now = serving(live.id, f"m-{key}:1")
    line = Line(
        id=line_id,
        folder=folder,
        base_model=told.get("base_model", "Phi-4"),
        endpoint=endpoint,
        state=Standing(),
        serving=now,
        latest=now,
        previous=replace(now, run=parked.id, deployment=f"{parked.id}-1"),
        rollout=new.id,
    )
    data = tmp / folder
    data.mkdir(parents=True)
    (data / "train.jsonl").write_bytes(chats(30))
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(30))
    said = {which: told.get(which, "A.") for which in ("expected", "new", "live")}
    row = {
        "question": told.get("question", "Q?"),
        "expected": said["expected"],
        "new": {"answer": said["new"], "score": 0.5},
        "live": {"answer": said["live"], "score": 1.0},
    }
    answers = {
        "score": "chrf",
        "new": f"{new.id}-1",
        "live": f"{live.id}-1",
        "rows": [row | {"line": number} for number in (1, 2)],
    }
    app.cloud.blobs.write(PREPARED, layout.answers(new.prepared), json.dumps(answers).encode())
    app.cloud.blobs.write(PREPARED, layout.answers(live.prepared), json.dumps(answers).encode())
    app.cloud.blobs.write(STATE, layout.log_of(f"{parked.id}-1"), told["log"].encode())
    found = Place(
        app=app, cloud=cloud, url="", key=key, line=line, live=live, new=new, parked=parked, data=data, texts=told
    )
    found.reset()
    return found


def _run(app: App, run: str, line: str, folder: str, endpoint: str, told: Mapping[str, str]) -> Run:
    made = Run(
        id=run,
        line=line,
        order=Order(uploaded=NOW),
        source=Source(
            folder=folder,
            base_model=told.get("base_model", "Phi-4"),
            train=(File(name=f"{folder}/{told.get('file', 'a')}.jsonl", etag="1", size=1),),
        ),
        since=NOW,
        phase=Phase.CHECKING,
        attempt=Attempt(
            data=Data(fingerprint="f", rows={"test": 2}), deployed=Deployed(endpoint=endpoint, name=f"{run}-1")
        ),
        history=(Entry(at=NOW, phase=Phase.CHECKING, what=told.get("what", "is asked its questions")),),
    )
    rows = [{"messages": messages(told.get("question", "Q?"), told.get("expected", "A."))} for _ in range(2)]
    app.cloud.blobs.write(PREPARED, layout.part_of(made.prepared, "test"), jsonl(rows))
    return made


def torn_down(place: Place) -> None:
    """The line serves nothing any more."""
    place.reset(serving=None, rollout="", state=Empty(since=NOW))


def settled(place: Place) -> None:
    """The line serves, and nothing is rolled out."""
    place.reset(rollout="")
    _put(place.app.runs, replace(place.new, phase=Phase.CANCELLED, waiting=None))
    _put(place.app.runs, replace(place.parked, phase=Phase.CANCELLED, parked=None))


# Commands ------------------------------------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a command ended. On a terminal all is in `out`."""

    code: int
    out: str
    error: str


def in_pipe(arguments: list[str], env: Mapping[str, str], *, cwd: Path = ROOT) -> Ended:
    """The command, whose outputs are no terminal and which has no input."""
    done = subprocess.run(
        _command(arguments), cwd=cwd, env=_environ(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(arguments: list[str], env: Mapping[str, str], *, width: int = 80) -> Ended:
    """The command on a terminal of its own of that width."""
    with started_on_terminal(arguments, env, width=width) as (process, mine):
        shown = read_all(mine)
        return Ended(process.wait(LONGEST), shown, "")


@contextmanager
def started_on_terminal(
    arguments: list[str], env: Mapping[str, str], *, width: int = 80
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command, which leads a session with that terminal: a Ctrl-C typed there reaches it and its children."""
    mine, its = pty.openpty()
    termios.tcsetwinsize(its, (40, width))
    set_up = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", set_up, *_command(arguments)],
        cwd=ROOT, env=_environ(env) | {"TERM": "xterm-256color"}, stdin=its, stdout=its, stderr=its,
        start_new_session=True,
    )  # fmt: skip
    os.close(its)
    try:
        yield process, mine
    finally:
        os.close(mine)
        if process.poll() is None:
            process.kill()
        process.wait(LONGEST)


def type_into(terminal: int, keys: bytes) -> None:
    """As somebody at the terminal does."""
    os.write(terminal, keys)


def read_until(terminal: int, wanted: bytes) -> str:
    """All that comes until that has come."""
    return _read(terminal, wanted)


def read_all(terminal: int) -> str:
    """All that comes until the other side ends."""
    return _read(terminal)


def _read(terminal: int, wanted: bytes | None = None) -> str:
    seen, end = b"", time.monotonic() + LONGEST
    while (left := end - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        try:
            more = os.read(terminal, 65536)
        except OSError:  # how a terminal ends on Linux
            break
        if not more:
            break
        seen += more
        if wanted is not None and wanted in seen:
            break
    return seen.decode().replace("\r\n", "\n")


def interrupted(arguments: list[str], env: Mapping[str, str], waits: threading.Event) -> Ended:
    """The command, to which SIGINT is sent once it waits."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
    try:
        with subprocess.Popen(
            _command(arguments), cwd=ROOT, env=_environ(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                while not waits.wait(0.05):
                    assert process.poll() is None, process.communicate()
                process.send_signal(signal.SIGINT)
                out, error = process.communicate(timeout=10)
            finally:
                process.kill()
    finally:
        signal.signal(signal.SIGINT, handler)
    return Ended(process.returncode, out.decode(), error.decode())


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "cli", *arguments]


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what names an app or colours."""
    dropped = ("DROPTUNE_URL", "DROPTUNE_KEY", "DROPTUNE_TOKEN", "DROPTUNE_APP", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
    return {name: value for name, value in os.environ.items() if name not in dropped} | {"TZ": "UTC"} | dict(more)
