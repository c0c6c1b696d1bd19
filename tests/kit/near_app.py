"""The app's API over HTTP in this process, as a local cloud's state folder has it: for commands, without a host.

It answers with the app's own functions over the session's cloud. Uploads' events are handled when it is asked for runs,
as the queue's trigger would.
"""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from localcloud.environment import ProcessId
from localcloud.stack import Stack
from shared.api import requests, views
from shared.api.access import Caller
from shared.api.health import about
from shared.app import App
from shared.intake.arrivals import uploaded
from shared.records.layout import DATASET_EVENTS_QUEUE
from tests.kit.answering import answering


class _Api(BaseHTTPRequestHandler):
    app: App

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        kind, _, name = unquote(url.path).removeprefix("/api/").partition("/")
        match kind:
            case "about":
                answer = about(self.app)
            case "runs" if not name:
                for event in upload_events(self.app):
                    uploaded(self.app, event)
                answer = views.runs(self.app, dict(parse_qsl(url.query)))
            case "runs":
                answer = views.run(self.app, name)
            case "models":
                query = dict(parse_qsl(url.query))
                answer = views.models(self.app, query.get("name", ""), exact=query.get("exact") == "true")
            case "lines" if not name:
                answer = views.lines(self.app)
            case _:
                answer = views.line(self.app, name)
        self._answer(*answer)

    def do_POST(self) -> None:
        *_, folder, command = unquote(urlsplit(self.path).path).split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*requests.on_folder(self.app, command, folder, body, Caller()))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def upload_events(app: App) -> list[bytes]:
    """Takes what Event Grid has told of uploads so far."""
    queue = app.cloud.clients.queue_service.get_queue_client(DATASET_EVENTS_QUEUE)
    found = []
    for message in queue.receive_messages():
        queue.delete_message(message)
        found.append(base64.b64decode(message.content))
    return found


@contextmanager
def near_app(app: App, cloud: Stack, state: Path) -> Iterator[Path]:
    """A state folder that names the app, as long as the block runs."""
    handler = type("_OfThisApp", (_Api,), {"app": app})
    with answering(handler) as url:
        state.mkdir(parents=True)
        (state / "pki").symlink_to(cloud.state / "pki")
        ports = {**cloud.description.ports, "host": int(url.rpartition(":")[2])}
        mine = {"host": ProcessId(pid=0, started=0)}
        replace(cloud.description, state=state, ports=ports, processes=mine).save()
        try:
            yield state
        finally:
            urllib.request.install_opener(None)  # it keeps the proxies of this environment
