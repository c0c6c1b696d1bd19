"""What stands before every route of the management listener: bearer check, ledger, faults, error bodies.

The ledger is what tests and the demo read to know which effects took place (`GET /_local/ledger`); faults let them ask
for the failures that Azure really has (429, 5xx, a lost answer) on a route of their choice (`POST /_local/faults`).
localcloud/server.py wraps its application in it; `/_local` itself is never checked, recorded or disturbed.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localcloud.azureml.core import WORKSPACE_ID, ArmError, Json, body, unsupported

OPEN = ("/metadata/endpoints", "/discovery", "/logs/", "/inference/")
"""Answered without a token: metadata and discovery are public, logs have signed addresses, scoring has its own keys."""
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]


@dataclass(kw_only=True)
class Fault:
    """One failure asked for. `before`: the route never runs; `after`: it runs, and its answer is lost."""

    method: str = "*"
    path: str = ".*"
    """A regular expression, searched in the path."""
    count: int = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: Json | None = None
    moment: Literal["before", "after", "delay"] = "before"
    """`delay` only waits, then lets the request through."""
    delay: float = 0
    """Seconds of real time to wait first."""

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is to fail."""
        return self.count > 0 and self.method in ("*", method) and re.search(self.path, path) is not None

    def response(self) -> Response:
        """The answer in place of the route's."""
        error = {"error": {"code": "InjectedFault", "message": f"A fault was asked for: {self.status}."}}
        return JSONResponse(self.body or error, status_code=self.status, headers=self.headers)


class Traffic:
    """The ledger and the faults of one server; both live in memory only."""

    def __init__(self, *, size: int = 20_000) -> None:
        self.ledger: deque[Json] = deque(maxlen=size)
        self.faults: list[Fault] = []

    def record(self, method: str, path: str, status: int) -> None:
        """Note one request that was answered."""
        entry: Json = {"method": method, "path": path, "status": status}
        if method not in ("GET", "HEAD") and (effect := effect_of(path)):
            entry |= effect
        self.ledger.append(entry)

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault that matches, counted down."""
        for fault in self.faults:
            if fault.matches(method, path):
                fault.count -= 1
                return fault
        return None

    def routes(self) -> list[Route]:
        """`/_local/ledger` and `/_local/faults`."""
        return [
            Route("/_local/ledger", self._ledger, methods=["GET", "DELETE"]),
            Route("/_local/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]

    async def _ledger(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.ledger.clear()
            return Response(status_code=204)
        return JSONResponse(list(self.ledger))

    async def _faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
            return Response(status_code=204)
        if request.method == "POST":
            try:
                fault = Fault(**await body(request))
                re.compile(fault.path)
            except (TypeError, re.error) as error:
                raise ArmError(400, "InvalidFault", str(error)) from error
            self.faults.append(fault)
        return JSONResponse([asdict(fault) for fault in self.faults])


def effect_of(path: str) -> Json | None:
    """What a request below the workspace changes: `{kind, name, parent?, action?}`.

    `jobs/a/cancel` -> jobs, a, cancel; `onlineEndpoints/e/deployments/d` -> deployments, d with the parent e;
    `models/m/versions/3` -> models, `m:3`.
    """
    if not path.startswith(WORKSPACE_ID + "/"):
        return None
    parts = [unquote(part) for part in path.removeprefix(WORKSPACE_ID + "/").split("/")]
    action = {"action": parts.pop()} if len(parts) % 2 else {}
    if len(parts) < 2:
        return None
    if len(parts) == 4 and parts[2] == "versions":
        return {"kind": parts[0], "name": f"{parts[1]}:{parts[3]}", **action}
    parent = {"parent": parts[1]} if len(parts) == 4 else {}
    return {"kind": parts[-2], "name": parts[-1], **parent, **action}


class Management:
    """The ASGI middleware. `authorized` says whether the identity server issued a token (JWT text)."""

    def __init__(self, app: ASGIApp, *, traffic: Traffic, authorized: Callable[[str], bool]) -> None:
        self._app, self._traffic, self._authorized = app, traffic, authorized

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, disturb, run, record."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        status = 500

        async def remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, remember, method, path)
        except ArmError as error:
            await error.response()(scope, receive, remember)
        finally:
            if not path.startswith("/_local/"):
                self._traffic.record(method, path, status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, method: str, path: str) -> None:
        if path.startswith("/_local/"):
            await self._app(scope, receive, send)
            return
        if not path.startswith(OPEN):
            self._check(scope)
        fault = self._traffic.take(method, path)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        if fault.moment == "after":
            await self._app(scope, receive, _lost)
        if fault.moment == "delay":
            await self._app(scope, receive, send)
        else:
            await fault.response()(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not self._authorized(token):
            headers = {"WWW-Authenticate": "Bearer"}
            raise ArmError(
                401, "AuthenticationFailed", "A bearer token of the local identity is needed.", headers=headers
            )


async def _failed(request: Request, error: Exception) -> Response:
    """An error that a route raised. One that isn't an ArmError is a bug of ours: 500, and a traceback in the log."""
    if isinstance(error, ArmError):
        return error.response()
    message = f"{type(error).__name__} in {request.method} {request.url.path}: {error}"
    return ArmError(500, "InternalServerError", message).response()


async def _lost(message: Message) -> None:
    """Where the answer of a route goes whose client never hears it."""


def management(app: Starlette, authorized: Callable[[str], bool]) -> tuple[ASGIApp, Traffic]:
    """Wrap the management application: control routes first, the 501 for all that is unknown last."""
    traffic = Traffic()
    app.router.routes[:0] = traffic.routes()
    app.router.routes.append(Route("/{path:path}", unsupported, methods=METHODS))
    app.add_exception_handler(ArmError, _failed)
    app.add_exception_handler(Exception, _failed)
    return Management(app, traffic=traffic, authorized=authorized), traffic
