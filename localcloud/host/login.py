"""App Service's authentication, pretended: what stands before the Functions host in Azure and says who is signed in.

On where the app's environment says WEBSITE_AUTH_ENABLED=True. It takes away the headers `x-ms-client-principal*` that a
caller sends, and sets them for one whose `Authorization: Bearer` is a JWT signed with LOCAL_LOGIN_SECRET. Others pass
without them, as where Azure is told to let everybody through: so the app's own refusal is seen. Called by `http`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt

PRINCIPAL = "x-ms-client-principal"


def signed_in(headers: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The headers as the app gets them. Names are in lower case."""
    if environ.get("WEBSITE_AUTH_ENABLED") != "True":
        return dict(headers)
    passed = {name: value for name, value in headers.items() if not name.startswith(PRINCIPAL)}
    claims = _claims(headers.get("authorization", ""), environ.get("LOCAL_LOGIN_SECRET", ""))
    if claims is None:
        return passed
    each = [(typ, val) for typ, found in claims.items() for val in (found if isinstance(found, list) else [found])]
    principal = {"auth_typ": "aad", "claims": [{"typ": typ, "val": str(val)} for typ, val in each]}
    return passed | {
        PRINCIPAL: base64.b64encode(json.dumps(principal).encode()).decode(),
        f"{PRINCIPAL}-id": str(claims.get("oid", "")),
        f"{PRINCIPAL}-name": str(claims.get("preferred_username", "")),
        f"{PRINCIPAL}-idp": "aad",
    }


def _claims(authorization: str, secret: str) -> dict[str, Any] | None:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret:
        return None
    try:
        return jwt.decode(token.strip(), secret, algorithms=["HS256"], options={"verify_aud": False})
    except jwt.InvalidTokenError:
        return None
