"""An app of a test's own, which answers with shapes of the API, and commands that are run against it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

import msgspec

from shared.api.schema import DataView, EntryView, LineView, Refused, RunSummary, RunView, ServingView, Shape
from tests.kit.answering import answering
from tests.kit.paths import ROOT

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
SERVED = ServingView(run="rold", deployment="rold-1", model="m-facts:1", since=AT)
LINE = LineView(
    id="lfacts",
    folder="facts",
    base_model="Phi-4",
    endpoint="facts-1",
    state="standing",
    serving=SERVED,
    latest=SERVED,
    address="https://facts-1.example/score",
    endpoint_id="/subscriptions/x",
)

type Said = dict[str, Shape | list[Shape | None]]
"""What is answered, by path; of a list the next one each time, the last for good. None: the app does not answer."""


def summary(phase: str = "training", **changes: Any) -> RunSummary:
    """A run in a list."""
    run = RunSummary(
        id="rnew", line="lfacts", folder="facts", base_model="Phi-4", attempt=1, phase=phase, since=AT, outcome=""
    )
    return msgspec.structs.replace(run, **changes)


def view(phase: str = "training", **changes: Any) -> RunView:
    """A run; what is not a field of the view is one of its summary."""
    own = {name: changes.pop(name) for name in list(changes) if name in RunView.__struct_fields__}
    entries = [
        EntryView(at=AT + timedelta(seconds=each * 100), phase=name, what=f"is {name} now")
        for each, name in enumerate(dict.fromkeys(("received", phase)))
    ]
    data = DataView(address="datasets/facts/train.jsonl", prepared="rnew/1")
    whole = RunView(run=summary(phase, **changes), serves=False, data=data, history=entries)
    return msgspec.structs.replace(whole, **own)


class _App(BaseHTTPRequestHandler):
    url = ""
    said: Said

    def do_GET(self) -> None:
        path = unquote(self.path).removeprefix("/api/")
        found = self.said.get(path)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
            if found is None:
                self._answer(503, Refused(error="the app is not ready"))
                return
        self._answer(200 if found else 404, found or Refused(error=f"there is no {path}"))

    def _answer(self, status: int, shape: Shape) -> None:
        body = msgspec.json.encode(shape)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@contextmanager
def serving() -> Iterator[None]:
    """`app` can be used while the block runs: one server for a file of tests, which is slow to stop."""
    with answering(_App) as _App.url:
        yield


@contextmanager
def app(said: Said) -> Iterator[str]:
    """Its address while the block runs."""
    _App.said = said
    yield _App.url


def on_terminal(
    *arguments: str, seen: Callable[[bytes, subprocess.Popen[bytes]], None] = lambda *_: None, **environment: str
) -> tuple[int, str]:
    """The command on a terminal of 80 columns: its exit code, and all that it writes there.

    `seen` is called with what was written so far, whenever there is more.
    """
    mine, its = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "TZ": "UTC"} | environment
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments], cwd=ROOT, stdin=its, stdout=its, stderr=its, env=env
    ) as process:
        os.close(its)
        written = b""
        try:
            while more := os.read(mine, 65536):
                written += more
                seen(written, process)
        except OSError:  # how a terminal ends on Linux
            pass
        finally:
            os.close(mine)
        return process.wait(30), written.decode()
