"""Who may call: pure rules over the settings, and a request's method and headers.

`key`: the Functions host has asked for a function key before the app is reached, and nobody vouches for names.
`entra`: App Service's authentication stands before the app, takes away what callers send in its headers, and says there
who is signed in. Without it those headers are anybody's, so the door stays shut. Called by door.py.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from shared.settings import Access

PRINCIPAL = "x-ms-client-principal"
PRINCIPAL_ID = f"{PRINCIPAL}-id"
PRINCIPAL_NAME = f"{PRINCIPAL}-name"
_MEMBER_OF = ("groups", "roles")
"""Claims that say which groups somebody is in, or which roles of the app they have (an app has no groups)."""
_PORTS = {"http": 80, "https": 443}


class Kind(StrEnum):
    """Why a caller is turned away; answers.py gives each its status."""

    SHUT = "shut"
    NOBODY = "nobody"
    NOT_ALLOWED = "not allowed"
    WRONG_TYPE = "wrong type"


@dataclass(frozen=True)
class Refusal:
    """A caller is turned away; `why` says what to do."""

    kind: Kind
    why: str


@dataclass(frozen=True)
class Caller:
    """Somebody who may have what they ask for. `proven`: the platform says the name, not they."""

    name: str = ""
    proven: bool = False


class _Claim(msgspec.Struct):
    typ: str
    val: str


class _Principal(msgspec.Struct):
    claims: list[_Claim]


def judge(settings: Access, method: str, headers: Mapping[str, str]) -> Caller | Refusal:
    """Whether a request may be answered, and who asks."""
    given = {name.lower(): value for name, value in headers.items()}
    if refusal := shut(settings):
        return refusal
    if settings.auth == "key":
        found: Caller | Refusal = Caller(given.get(PRINCIPAL_NAME, ""))
    else:
        found = _signed_in(settings, method, given)
    if isinstance(found, Refusal) or method.upper() == "GET":
        return found
    return _unwanted(settings, given) or found


def shut(settings: Access) -> Refusal | None:
    """Why nobody may call, health included; None where the door can be kept."""
    if settings.auth == "key" or (settings.auth == "entra" and settings.platform_login):
        return None
    if settings.auth == "entra":
        return Refusal(
            Kind.SHUT,
            "API_AUTH is entra, but App Service's authentication is off (WEBSITE_AUTH_ENABLED is not True): "
            "switch it on for this app, or set API_AUTH to key",
        )
    return Refusal(Kind.SHUT, f"API_AUTH={settings.auth!r} is neither key nor entra: set it to one of them")


def _signed_in(settings: Access, method: str, given: Mapping[str, str]) -> Caller | Refusal:
    groups = _groups(given.get(PRINCIPAL, ""))
    name = given.get(PRINCIPAL_NAME, "").strip() or given.get(PRINCIPAL_ID, "").strip()
    if groups is None or not name:
        return Refusal(
            Kind.NOBODY, "nobody is signed in: send the header Authorization: Bearer TOKEN, with a token for this app"
        )
    if groups & settings.operators:
        return Caller(name, proven=True)
    if groups & settings.viewers:
        if method.upper() == "GET":
            return Caller(name, proven=True)
        return Refusal(
            Kind.NOT_ALLOWED, "you may look, not step in: ask to become a member of a group of API_OPERATORS"
        )
    return Refusal(
        Kind.NOT_ALLOWED,
        "you are in no group of API_VIEWERS or API_OPERATORS: ask to become a member, then sign in again",
    )


def _groups(principal: str) -> frozenset[str] | None:
    """The groups and roles of the platform's principal; None where there is none that can be read."""
    try:
        claims = msgspec.json.decode(base64.b64decode(principal, validate=True), type=_Principal).claims
    except ValueError:
        return None
    return frozenset(claim.val.casefold() for claim in claims if claim.typ in _MEMBER_OF)


def _unwanted(settings: Access, given: Mapping[str, str]) -> Refusal | None:
    """Why a request that changes something is refused: a page of another site may have had a browser send it.

    A browser sends the cookie of whoever is signed in along. It asks first before it sends JSON to another site.
    """
    own = (given.get("host", ""), *given.get("x-forwarded-host", "").split(","), settings.hostname)
    from_elsewhere = "origin" in given and not _is_own(given["origin"], own)
    if from_elsewhere or given.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return Refusal(Kind.NOT_ALLOWED, "another site's page asks for that: ask from this app's own, or with droptune")
    if given.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(Kind.WRONG_TYPE, "a command comes as JSON: send the header Content-Type: application/json")
    return None


def _is_own(origin: str, own: tuple[str, ...]) -> bool:
    scheme = origin.partition("://")[0].lower()
    place = _place(scheme, origin)
    return place is not None and any(_place(scheme, f"{scheme}://{host.strip()}") == place for host in own)


def _place(scheme: str, url: str) -> tuple[str, int] | None:
    """Host and port; None for what is no address on the web, as the origin `null`."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[scheme]
    except (ValueError, KeyError):
        return None
    return (parts.hostname, port) if parts.hostname else None
