"""What stands before every route of the management listener: bearer check, ledger, faults, error bodies.

The ledger is what tests and the demo read to know which effects took place; faults let them ask for the failures that
Azure really has (localcloud/faults.py has both, for storage too). localcloud/server.py wraps its application in it;
`/_local` itself is never checked, recorded or disturbed.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localcloud import faults
from localcloud.azureml.arm import WORKSPACE_ID, ArmError, unsupported
from localcloud.azureml.store import LAG, Json

OPEN = ("/metadata/endpoints", "/discovery", "/logs/", "/inference/")
"""Answered without a token: metadata and discovery are public, logs have signed addresses, scoring has its own keys."""
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]


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

    def __init__(self, app: ASGIApp, *, traffic: faults.Traffic, authorized: Callable[[str], bool]) -> None:
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
        except ConnectionResetError:
            status = 0
            await _reset(receive)
        finally:
            if not path.startswith("/_local/"):
                self._traffic.record("management", method, path, status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, method: str, path: str) -> None:
        if path.startswith("/_local/"):
            await self._app(scope, receive, send)
            return
        if not path.startswith(OPEN):
            self._check(scope)
        content = ""
        if any(fault.content for fault in self._traffic.faults):
            content, receive = await _looked_into(receive)
        fault = self._traffic.take("management", method, path, scope["query_string"].decode("latin-1"), content)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        match fault.moment:
            case "delay":
                await self._app(scope, receive, send)
                return
            case "stale":
                lag = LAG.set(timedelta(seconds=fault.seconds))
                try:
                    await self._app(scope, receive, send)
                finally:
                    LAG.reset(lag)
                return
            case "after":
                await self._app(scope, receive, _lost)
        if fault.reset:
            raise ConnectionResetError
        headers, answer = fault.answer()
        await Response(answer, fault.status, headers)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not self._authorized(token):
            headers = {"WWW-Authenticate": "Bearer"}
            raise ArmError(
                401, "AuthenticationFailed", "A bearer token of the local identity is needed.", headers=headers
            )


async def _looked_into(receive: Receive) -> tuple[str, Receive]:
    """The request's body, and where the application gets it from."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    content = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return content.decode("utf-8", "replace"), again


async def _failed(request: Request, error: Exception) -> Response:
    """An error that a route raised. One that isn't an ArmError is a bug of ours: 500, and a traceback in the log."""
    if isinstance(error, ArmError):
        return error.response()
    message = f"{type(error).__name__} in {request.method} {request.url.path}: {error}"
    return ArmError(500, "InternalServerError", message).response()


async def _lost(message: Message) -> None:
    """Where the answer of a route goes whose client never hears it."""


async def _reset(receive: Receive) -> None:
    """Reset the connection. ASGI has no word for that: uvicorn's own object behind `receive` knows the transport."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("the connection was reset, as it was asked to be")
    faults.reset(transport)
    while (await receive())["type"] != "http.disconnect":
        pass


def management(app: Starlette, authorized: Callable[[str], bool], traffic: faults.Traffic | None = None) -> ASGIApp:
    """Wrap the management application: control routes first, the 501 for all that is unknown last."""
    traffic = traffic or faults.Traffic(effect_of)
    app.router.routes[:0] = traffic.routes()
    app.router.routes.append(Route("/{path:path}", unsupported, methods=METHODS))
    app.add_exception_handler(ArmError, _failed)
    app.add_exception_handler(Exception, _failed)
    return Management(app, traffic=traffic, authorized=authorized)
