"""The managed identity: what azure-identity asks at IDENTITY_ENDPOINT, as App Service and Functions offer it.

Tokens are real JWTs, signed with the state folder's secret, so that the local services can tell their own from others;
Azurite checks issuer, audience and lifetime by itself. The cloud server serves it over plain HTTP on loopback, as Azure
does. Contract: App Service managed identity, api-version 2019-08-01.
"""

from __future__ import annotations

import hmac
import time
from typing import Any

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TENANT = "00000000-0000-0000-0000-0000000000aa"
CLIENT_ID = "00000000-0000-0000-0000-00000000f00c"
"""The user-assigned identity `id-func` that the app runs as."""
OBJECT_ID = "00000000-0000-0000-0000-0000000000f1"
LIFETIME = 24 * 3600
"""Seconds of real time that a token is good for."""
_ISSUER = f"https://sts.windows.net/{TENANT}/"


class Identity:
    """Issues and recognises tokens. `secret` signs; `header` is what X-IDENTITY-HEADER must carry."""

    def __init__(self, *, secret: str, header: str, resource_id: str) -> None:
        self._secret, self._header, self._resource_id = secret, header, resource_id

    def token(self, resource: str) -> tuple[str, int]:
        """A token for an audience, and when it expires (seconds since 1970)."""
        now = int(time.time())
        expires = now + LIFETIME
        claims = {
            "aud": resource,
            "iss": _ISSUER,
            "iat": now,
            "nbf": now - 5,
            "exp": expires,
            "tid": TENANT,
            "oid": OBJECT_ID,
            "sub": OBJECT_ID,
            "appid": CLIENT_ID,
            "idtyp": "app",
            "ver": "1.0",
            "xms_mirid": self._resource_id,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256"), expires

    def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours that is still good, else None."""
        try:
            return jwt.decode(token, self._secret, algorithms=["HS256"], issuer=_ISSUER, options={"verify_aud": False})
        except jwt.InvalidTokenError:
            return None

    def authorized(self, token: str) -> bool:
        """Whether the token is one of ours and still good."""
        return self.claims(token) is not None

    def routes(self) -> list[Route]:
        """GET `/msi/token?api-version=2019-08-01&resource=AUDIENCE[&client_id=ID]`."""
        return [Route("/msi/token", self._route, methods=["GET"])]

    async def _route(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("x-identity-header", ""), self._header):
            return _refused(401, "The header X-IDENTITY-HEADER is missing or wrong.")
        query = request.query_params
        if query.get("api-version") != "2019-08-01":
            return _refused(400, "The query needs api-version=2019-08-01.")
        if not (resource := query.get("resource")):
            return _refused(400, "The query needs resource, the audience of the token.")
        client = query.get("client_id", CLIENT_ID)
        if client != CLIENT_ID:
            return _refused(400, f"No managed identity with client id {client} is assigned; {CLIENT_ID} is.")
        token, expires = self.token(resource)
        answer = {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"}
        return JSONResponse({**answer, "client_id": CLIENT_ID})


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"statusCode": status, "message": message, "error": message}, status_code=status)
