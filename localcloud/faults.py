"""Faults on request, and the ledger: what a route is asked, how it fails, and how often.

One Fault type for the management listener (azureml/middleware.py) and for blobs and queues (storage_proxy.py), with the
codes and bodies that Azure has for them. Tests and `droptune local fault` ask at `/_local/faults`, and read at
`/_local/ledger` which requests there were. Both live in memory: a restart of the server forgets them.
"""

import json
import re
import socket
import struct
import uuid
from asyncio import BaseTransport, WriteTransport
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

type Json = dict[str, Any]
type Service = Literal["management", "blob", "queue"]
type Moment = Literal["before", "after", "delay", "stale"]

MOST_STALE = 3600.0
"""Local seconds for which what was there before a change is remembered."""
_TENANT = "00000000-0000-0000-0000-000000000002"
_CODES: dict[str, dict[int, tuple[str, str]]] = {
    "management": {
        400: ("UserError", "The request is at fault."),
        401: ("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."),
        403: ("AuthorizationFailed", "The client does not have authorization to perform this action."),
        404: ("ResourceNotFound", "The resource was not found."),
        409: ("Conflict", "Another operation on the resource is already in progress."),
        412: ("PreconditionFailed", "The condition in the request's headers is not met."),
        429: ("TooManyRequests", "Too many requests."),
        500: ("InternalServerError", "An internal error occurred."),
        503: ("ServiceUnavailable", "The service is unavailable."),
    },
    "blob": {
        401: ("InvalidAuthenticationInfo", "Server failed to authenticate the request. The token is expired."),
        403: ("AuthorizationPermissionMismatch", "This request is not authorized to perform this operation."),
        404: ("BlobNotFound", "The specified blob does not exist."),
        409: ("BlobAlreadyExists", "The specified blob already exists."),
        412: ("ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."),
        429: ("TooManyRequests", "Too many requests."),
        500: ("InternalError", "Server encountered an internal error. Please try again after some time."),
        503: ("ServerBusy", "The server is busy."),
    },
}
_CODES["queue"] = _CODES["blob"] | {
    404: ("QueueNotFound", "The specified queue does not exist."),
    409: ("QueueAlreadyExists", "The specified queue already exists."),
}
_CHALLENGE = {
    "management": 'Bearer authorization_uri="https://login.windows.net/", error="invalid_token"',
    "blob": f"Bearer authorization_uri=https://login.microsoftonline.com/{_TENANT}/oauth2/authorize "
    "resource_id=https://storage.azure.com",
}


@dataclass(kw_only=True)
class Fault:
    """One failure asked for, on the requests of a service that match.

    `before`: the request has no effect; `after`: it has, and its answer is lost; `delay`: it only waits; `stale`: a GET
    is answered as it was `seconds` ago.
    """

    service: str = "management"
    method: str = "*"
    path: str = ".*"
    """A regular expression, searched in the decoded path."""
    query: str = ""
    """Another, searched in the query as it was sent (`comp=blocklist`)."""
    content: str = ""
    """Another, searched in the request's body; for management alone."""
    skip: int = 0
    """So many matching requests pass first."""
    count: int | None = 1
    """So many fail then; None: all of them, until the fault is deleted."""
    moment: str = "before"
    status: int = 503
    code: str = ""
    """Azure's error code; without it, the one that the service has for the status."""
    message: str = ""
    retry_after: int | None = None
    """Seconds, for the header Retry-After."""
    headers: dict[str, str] = field(default_factory=dict)
    body: Json | str | None = None
    """In place of the error's own, as JSON; for management alone."""
    reset: bool = False
    """The connection is reset instead of an answer."""
    delay: float = 0
    """Seconds of real time to wait first, whatever the moment."""
    seconds: float = 60
    """Local seconds that a stale read lags behind."""
    taken: int = field(default=0, init=False)
    """How often it took place."""

    def __post_init__(self) -> None:
        """Raises ValueError for what makes no sense."""
        for name, known in (("service", Service), ("moment", Moment)):
            allowed = get_args(known.__value__)
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for pattern in (self.path, self.query, self.content):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if not (self.count is None or isinstance(self.count, int)) or not isinstance(self.skip, int):
            raise ValueError("count is a whole number or null, skip a whole number")
        if self.content and self.service != "management":
            raise ValueError("content is looked at for management only")
        if self.moment == "stale" and self.service != "management":
            raise ValueError("storage is strongly consistent: only management has stale reads")
        if not 0 <= self.seconds <= MOST_STALE:
            raise ValueError(f"seconds is a number from 0 to {MOST_STALE:.0f}")

    def take(self, service: str, method: str, path: str, query: str, content: str) -> bool:
        """Whether this request is to fail. Counts."""
        wanted = service == self.service and self.count != 0 and self.method in ("*", method)
        if self.moment == "stale" and method not in ("GET", "HEAD"):
            return False
        if not wanted or not re.search(self.path, path) or not re.search(self.query, query):
            return False
        if not re.search(self.content, content):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count is not None:
            self.count -= 1
        self.taken += 1
        return True

    def answer(self) -> tuple[dict[str, str], bytes]:
        """Headers and body of the error, as the service writes it."""
        codes = _CODES[self.service]
        code, message = codes.get(self.status, ("InjectedFault", f"A fault was asked for: {self.status}."))
        code, message = self.code or code, self.message or f"{message} (A fault was asked for.)"
        headers: dict[str, str] = {"x-ms-request-id": str(uuid.uuid4())}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = _CHALLENGE["management" if self.service == "management" else "blob"]
        if self.service == "management":
            headers["Content-Type"] = "application/json"
            content = json.dumps(self.body or {"error": {"code": code, "message": message}})
        else:
            headers |= {"Content-Type": "application/xml", "x-ms-error-code": code, "x-ms-version": "2025-05-05"}
            content = (
                '<?xml version="1.0" encoding="utf-8"?>'
                f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
            )
        return headers | self.headers, content.encode()


class Traffic:
    """The ledger and the faults of one server. `effect` tells what a management request changes, for the ledger."""

    def __init__(self, effect: Callable[[str], Json | None], *, size: int = 20_000) -> None:
        self.ledger: deque[Json] = deque(maxlen=size)
        self.faults: list[Fault] = []
        self.storage = False
        """Whether requests to storage are in the ledger too."""
        self._effect = effect

    def record(self, service: str, method: str, path: str, status: int, query: str = "") -> None:
        """Note one request that was answered; status 0: its connection was reset."""
        entry: Json = {"service": service, "method": method, "path": path, "status": status}
        if service == "management":
            if method not in ("GET", "HEAD") and (effect := self._effect(path)):
                entry |= effect
        else:
            entry["query"] = query
        self.ledger.append(entry)

    def take(self, service: str, method: str, path: str, query: str = "", content: str = "") -> Fault | None:
        """The first fault that matches, counted down."""
        return next((fault for fault in self.faults if fault.take(service, method, path, query, content)), None)

    def routes(self) -> list[Route]:
        """`/_local/ledger` and `/_local/faults`."""
        return [
            Route("/_local/ledger", self._ledger, methods=["GET", "POST", "DELETE"]),
            Route("/_local/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]

    async def _ledger(self, request: Request) -> Response:
        """POST {"storage": true} records requests to storage from now on, false stops that."""
        if request.method == "DELETE":
            self.ledger.clear()
            return Response(status_code=204)
        if request.method == "POST":
            try:
                wanted = (await request.json())["storage"]
            except (ValueError, KeyError, TypeError):
                wanted = None
            if not isinstance(wanted, bool):
                return _refused("InvalidLedger", '{"storage": true or false} is needed')
            self.storage = wanted
            return JSONResponse({"storage": self.storage})
        return JSONResponse(list(self.ledger))

    async def _faults(self, request: Request) -> Response:
        """POST takes one fault or a list of them, and adds them to those that are there."""
        if request.method == "DELETE":
            self.faults.clear()
            return Response(status_code=204)
        if request.method == "POST":
            try:
                given = await request.json()
                made = [_made(each) for each in (given if isinstance(given, list) else [given])]
            except (TypeError, ValueError) as error:
                return _refused("InvalidFault", str(error))
            self.faults += made
        return JSONResponse([asdict(fault) for fault in self.faults])


def _made(given: Any) -> Fault:
    if not isinstance(given, dict):
        raise TypeError("a fault is a JSON object")
    known = {each.name for each in fields(Fault) if each.init}
    if unknown := sorted(given.keys() - known):
        raise TypeError(f"unknown: {', '.join(unknown)}; a fault has {', '.join(sorted(known))}")
    always: Json = {"count": None} if given.get("moment") == "stale" else {}
    return Fault(**(always | given))


def _refused(code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, 400)


def reset(transport: BaseTransport) -> None:
    """End a connection as a crashed peer's system does: with a reset, and without what was still to be sent."""
    own = transport.get_extra_info("socket")
    if own is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, WriteTransport):
        transport.abort()
