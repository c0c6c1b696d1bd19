"""HTTP triggers and the few admin routes, as an ASGI app.

`GET /` and `/admin/host/ping`, `/admin/host/status`, `/admin/functions` tell what runs; `POST /admin/functions/NAME`
with `{"input": "text"}` runs any function but an HTTP one by hand. Everything else is an HTTP function's route. The
real host has many keys; here one key opens what needs one. Served by `__main__`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

from localcloud.host.invocations import Invocations
from localcloud.host.login import signed_in
from localcloud.host.settings import HostError, HostSettings, resolve
from localcloud.host.timers import timer_data
from localcloud.host.worker import Function

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

PLACEHOLDER = re.compile(r"\{(?P<rest>\*{0,2})(?P<name>\w+)(?::(?P<type>\w+))?(?P<optional>\?)?\}")
TYPES = {"int": r"-?\d+", "long": r"-?\d+", "guid": r"[0-9a-fA-F-]{36}", "alpha": r"[A-Za-z]+", "bool": r"true|false"}


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where an HTTP function answers. `methods` empty: all. `literal`: how much of it is fixed text, for precedence."""

    function: Function
    pattern: re.Pattern[str]
    methods: frozenset[str]
    anonymous: bool
    literal: int


def route(function: Function, settings: HostSettings, environ: Mapping[str, str]) -> Route:
    """An HTTP function's route, from its binding.

    Raises:
        HostError: the template asks for something that this host doesn't know.
    """
    where = f"function {function.name}: its route"
    template = resolve(function.trigger.get("route") or function.name, environ, where=where).strip("/")
    full = "/".join(part for part in (settings.route_prefix, template) if part)
    pattern = ""
    for segment in full.split("/") if full else []:
        match = PLACEHOLDER.fullmatch(segment)
        if match is None:
            pattern += "/" + _segment(segment, where)
        elif match["rest"]:
            pattern += rf"(?:/(?P<{match['name']}>.*))?"
        else:
            one = f"/(?P<{match['name']}>{_type(match['type'], where)})"
            pattern += f"(?:{one})?" if match["optional"] else one
    return Route(
        function=function,
        pattern=re.compile(pattern + "/?", re.IGNORECASE),
        methods=frozenset(method.upper() for method in function.trigger.get("methods") or ()),
        anonymous=str(function.trigger.get("authLevel", "function")).lower() == "anonymous",
        literal=len(PLACEHOLDER.sub("", full)),
    )


class HttpListener:
    """The ASGI app.

    The environment's LOCAL_FUNCTION_KEY opens functions with authLevel function or admin, and the admin route that runs
    something; without a key nothing does.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        routes: Sequence[Route],
        *,
        environ: Mapping[str, str],
        protocol: Any,
        invocations: Invocations,
        spawn: Callable[..., None],
    ) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._routes = sorted(routes, key=lambda one: -one.literal)
        self._key = environ.get("LOCAL_FUNCTION_KEY", "")
        self._environ = environ
        self._protocol = protocol
        self._invocations = invocations
        self._spawn = spawn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        from starlette.requests import Request
        from starlette.responses import Response

        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = scope["path"]
        if path == "/":
            response = Response("Your Functions host is running, in Droptune's local cloud.\n", media_type="text/plain")
        elif path == "/admin" or path.startswith("/admin/"):
            response = await self._admin(request, path.removeprefix("/admin").strip("/"))
        else:
            response = await self._call(request, path)
        await response(scope, receive, send)

    async def _call(self, request: Request, path: str) -> Response:
        from starlette.responses import Response

        for candidate in self._routes:
            match = candidate.pattern.fullmatch(path)
            if match and (not candidate.methods or request.method in candidate.methods):
                break
        else:
            return Response(status_code=404)
        if not candidate.anonymous and not self._may(request):
            return Response(status_code=401)
        function = candidate.function
        headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
        call = self._protocol.RpcHttp(
            method=request.method,
            url=str(request.url),
            headers=signed_in(headers, self._environ),
            query={name: ",".join(request.query_params.getlist(name)) for name in request.query_params},
            params={name: value for name, value in match.groupdict().items() if value is not None},
            body=self._protocol.TypedData(bytes=await request.body()),
        )
        reason = "This function was programmatically called via the host APIs."
        answer = await self._invocations.run(function, {"http": call}, {}, reason=reason)
        if answer.error is not None:
            return Response(status_code=500)
        outputs = [name for name, output in function.outputs.items() if output["type"] == "http"]
        return _response(next((answer.outputs[name] for name in outputs if name in answer.outputs), None))

    async def _admin(self, request: Request, path: str) -> Response:
        from starlette.responses import JSONResponse, Response

        match request.method, path.split("/"):
            case "GET" | "POST", ["host", "ping"]:
                return Response()
            case "GET", ["host", "status"]:
                return JSONResponse({"state": "Running", "version": "local", "processUptime": None})
            case "GET", ["functions"]:
                return JSONResponse([self._described(function) for function in self._functions.values()])
            case "GET", ["functions", name] if name.lower() in self._functions:
                return JSONResponse(self._described(self._functions[name.lower()]))
            case "POST", ["functions", name] if name.lower() in self._functions:
                if not self._may(request):
                    return Response(status_code=401)
                return await self._by_hand(request, self._functions[name.lower()])
        return Response(status_code=404)

    async def _by_hand(self, request: Request, function: Function) -> Response:
        from starlette.responses import JSONResponse, Response

        try:
            document = json.loads(await request.body() or b"{}")
            text = document.get("input") or ""
        except (ValueError, AttributeError):
            return JSONResponse({"message": 'The body has to be {"input": "..."}.'}, 400)
        if function.kind == "httpTrigger":
            return JSONResponse({"message": f"{function.name} has an HTTP trigger: call its route."}, 400)
        given = timer_data(None, past_due=False) if function.kind == "timerTrigger" else {"string": str(text)}
        reason = "This function was programmatically called via the host APIs."
        self._spawn(self._invocations.run(function, given, {}, reason=reason))
        return Response(status_code=202)

    def _may(self, request: Request) -> bool:
        given = request.headers.get("x-functions-key") or request.query_params.get("code") or ""
        return bool(self._key) and secrets.compare_digest(given.encode(), self._key.encode())

    def _described(self, function: Function) -> dict[str, Any]:
        return {"name": function.name, "config": {"bindings": [function.trigger, *function.outputs.values()]}}


def _response(value: Any) -> Response:
    """The worker's HTTP output (protobuf TypedData) for the caller; no output is 204, as on Azure."""
    from starlette.responses import Response

    kind = value.WhichOneof("data") if value is not None else None
    if kind is None:
        return Response(status_code=204)
    if kind != "http":
        content = getattr(value, kind)
        return Response(content, media_type="application/json" if kind == "json" else "text/plain")
    body_kind = value.http.body.WhichOneof("data")
    response = Response(
        getattr(value.http.body, body_kind) if body_kind else b"",
        status_code=int(value.http.status_code or 200),
        headers=dict(value.http.headers),
    )
    for cookie in value.http.cookies:
        response.headers.append("set-cookie", _cookie(cookie))
    return response


def _cookie(cookie: Any) -> str:
    jar: SimpleCookie = SimpleCookie({cookie.name: cookie.value})
    morsel = jar[cookie.name]
    for ours, theirs in (("domain", cookie.domain), ("path", cookie.path), ("secure", cookie.secure)):
        morsel[ours] = theirs.value if theirs.ByteSize() else morsel[ours]
    morsel["httponly"] = cookie.http_only.value
    if cookie.max_age.ByteSize():
        morsel["max-age"] = int(cookie.max_age.value)
    if cookie.expires.ByteSize():
        morsel["expires"] = cookie.expires.value.ToDatetime().strftime("%a, %d %b %Y %H:%M:%S GMT")
    same_site = {1: "Lax", 2: "Strict", 3: "None"}.get(cookie.same_site)
    if same_site:
        morsel["samesite"] = same_site
    return morsel.OutputString()


def _segment(segment: str, where: str) -> str:
    if "{" in segment or "}" in segment:
        raise HostError(
            f"{where} has the segment {segment!r}; the local host knows whole segments like {{name}} or {{*rest}}"
        )
    return re.escape(segment)


def _type(name: str | None, where: str) -> str:
    if name is None:
        return "[^/]+"
    if name not in TYPES:
        raise HostError(f"{where} asks for the type {name!r}; the local host knows {', '.join(TYPES)}")
    return TYPES[name]
