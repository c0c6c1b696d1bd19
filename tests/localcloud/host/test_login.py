"""The pretended login of the platform: it alone says who is signed in, where it is on."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest

from localcloud.host.login import PRINCIPAL, signed_in
from localcloud.host.settings import is_disabled

SECRET = "s" * 32
ON = {"WEBSITE_AUTH_ENABLED": "True", "LOCAL_LOGIN_SECRET": SECRET}
FORGED = {PRINCIPAL: "e30=", f"{PRINCIPAL}-name": "eve", f"{PRINCIPAL}-anything": "x", "x-test": "stays"}


def bearer(secret: str = SECRET, **claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt.encode({'oid': 'o', **claims}, secret, 'HS256')}"}


def test_where_it_is_off_headers_are_the_callers() -> None:
    for off in ({}, {"WEBSITE_AUTH_ENABLED": "False", "LOCAL_LOGIN_SECRET": SECRET}):
        assert signed_in(FORGED | bearer(), off) == FORGED | bearer()


def test_who_has_a_token_is_told_to_the_app() -> None:
    got = signed_in(FORGED | bearer(preferred_username="ada", groups=["a", "b"]), ON)
    assert (got[f"{PRINCIPAL}-id"], got[f"{PRINCIPAL}-name"], got["x-test"]) == ("o", "ada", "stays")
    assert f"{PRINCIPAL}-anything" not in got
    claims = json.loads(base64.b64decode(got[PRINCIPAL]))["claims"]
    assert [each["val"] for each in claims if each["typ"] == "groups"] == ["a", "b"]


@pytest.mark.parametrize(
    "token",
    [
        {},
        bearer("x" * 32),
        bearer(exp=int(time.time()) - 60),
        {"authorization": "Basic abc"},
        {"authorization": "Bearer"},
    ],
)
def test_others_pass_as_nobody(token: dict[str, str]) -> None:
    assert signed_in(FORGED | token, ON) == {"x-test": "stays"} | token


def test_without_a_secret_nobody_can_sign_in() -> None:
    assert PRINCIPAL not in signed_in(bearer(), {"WEBSITE_AUTH_ENABLED": "True"})


def test_a_function_is_left_alone_on_request() -> None:
    assert is_disabled("f", {"AzureWebJobs.f.Disabled": "True"})
    assert is_disabled("f", {"AzureWebJobs.f.Disabled": "1"})
    assert not is_disabled("f", {"AzureWebJobs.f.Disabled": "false", "AzureWebJobs.g.Disabled": "true"})
