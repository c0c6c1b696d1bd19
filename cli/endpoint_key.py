"""An endpoint's key, asked of Resource Manager with the rights of whoever typed the command: the app hands out none.

It is kept in memory, and in no error, repr or JSON. In the local cloud the person is its one identity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.errors import CliError
from cli.https import Reply, Silent, send
from cli.local_identity import local_cloud_of, token_of
from cli.say import escaped

API_VERSION = "2024-10-01"
AZURE = "https://management.azure.com"
ENTRA = "https://ml.azure.com/.default"
"""Whom a token has to be for that an endpoint in mode aad_token takes."""
ROLE = "AzureML Data Scientist"
TIMEOUT = 30.0
_ACTIONS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_NAME = r"[A-Za-z0-9._()-]+"
_ID = re.compile(
    rf"/subscriptions/{_NAME}/resourceGroups/{_NAME}/providers/Microsoft\.MachineLearningServices/workspaces/{_NAME}"
    rf"/onlineEndpoints/(?P<endpoint>[A-Za-z0-9_-]+)",
    re.IGNORECASE,
)


class Gone(Exception):
    """There is no such endpoint any more."""


@dataclass(frozen=True, kw_only=True)
class Manager:
    """Resource Manager of one cloud. `token`: the caller's for a scope; raises CliError. `ca`: as for `send`."""

    url: str
    token: Callable[[str], str] = field(repr=False)
    ca: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where an endpoint is asked, as Resource Manager says, and with what. `mode`: key, aml_token or aad_token."""

    endpoint: str
    address: str
    mode: str
    secret: str = field(repr=False)
    ca: Path | None = None


def manager_of(address: str, state: Path) -> Manager:
    """Who is asked for the key of the endpoint at `address`. Raises CliError.

    `state`: the state folder of the local cloud, for an endpoint on this machine.
    """
    local = local_cloud_of(address, state)
    if local is None:
        return Manager(url=AZURE, token=_token_of_caller)
    return Manager(url=local.management_url, token=lambda scope: token_of(local, scope)[0], ca=local.ca.resolve())


def door_of(manager: Manager, endpoint_id: str) -> Door:
    """Where and with what the endpoint is asked. Raises Gone; CliError where Azure does not say, with what to do."""
    named = _ID.fullmatch(endpoint_id)
    if named is None:
        raise CliError(f"the app names {escaped(endpoint_id, 200)!r} as the endpoint, which is no id of one")
    endpoint = named["endpoint"]
    token = manager.token(f"{manager.url}/.default")
    shown = _asked(manager, token, "GET", endpoint_id, endpoint, "read")
    found = shown.get("properties") or {}
    mode, address = _mode(found.get("authMode")), str(found.get("scoringUri") or "")
    if not address:
        raise CliError(f"endpoint {endpoint} has no address yet: try again in a minute")
    match mode:
        case "aad_token":
            secret: object = manager.token(ENTRA)
        case "aml_token":
            secret = _asked(manager, token, "POST", f"{endpoint_id}/token", endpoint, "token/action").get("accessToken")
        case _:
            given = _asked(manager, token, "POST", f"{endpoint_id}/listKeys", endpoint, "listKeys/action")
            secret = given.get("primaryKey") or given.get("secondaryKey")
    if not secret:
        raise CliError(f"Azure gives out no key of endpoint {endpoint} (auth mode {mode or 'unknown'}): try again")
    return Door(endpoint=endpoint, address=address, mode=mode, secret=str(secret), ca=manager.ca)


def may_ask(mode: str) -> str:
    """What a caller needs whom an endpoint in that mode does not let in."""
    if mode != "aad_token":
        return "keys that somebody has regenerated are known everywhere after a while: try again in a minute"
    return f"it takes tokens of Microsoft Entra: you need a role with {_ACTIONS}/score/action, as {ROLE} is"


def _asked(manager: Manager, token: str, method: str, path: str, endpoint: str, action: str) -> dict[str, Any]:
    """What Resource Manager answers. Raises as `door_of`."""
    url = f"{manager.url}{path}?api-version={API_VERSION}"
    body = b"" if method == "POST" else None
    try:
        reply = send(method, url, secret=token, body=body, ca=manager.ca, timeout=TIMEOUT)
    except Silent as error:
        raise CliError(f"Azure Resource Manager at {manager.url}: {error}") from None
    if reply.status == 200:
        try:
            return dict(json.loads(reply.body))
        except (ValueError, TypeError, RecursionError):
            raise CliError(f"{manager.url} answers with something else than Azure Resource Manager does") from None
    code, message = _error(reply)
    match reply.status:
        case 401:
            raise CliError(
                f"Azure refuses your token ({code or 401}): sign in again with `az login`, to the right tenant"
            )
        case 403:
            raise CliError(
                f"you may not fetch the key of endpoint {endpoint} ({code or 403}): that takes a role with "
                f"{_ACTIONS}/{action} on its workspace, as {ROLE} is"
            )
        case 404:
            raise Gone(f"endpoint {endpoint} is gone")
        case 408 | 409 | 429 | 500 | 502 | 503 | 504:
            raise CliError(f"Azure can't be asked for the key of endpoint {endpoint} now ({reply.status}): try again")
    said = ": ".join(filter(None, (code, message))) or reply.reason
    raise CliError(f"Azure does not give out the key of endpoint {endpoint} ({reply.status}): {said}")


def _error(reply: Reply) -> tuple[str, str]:
    """Code and message of Resource Manager's; both empty where it is somebody else who answers."""
    try:
        error = json.loads(reply.body)["error"]
        return escaped(str(error["code"]), 80), escaped(" ".join(str(error["message"]).split()), 400)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""


def _mode(value: object) -> str:
    mode = str(value or "").lower()
    return {"aadtoken": "aad_token", "amltoken": "aml_token"}.get(mode, mode)


def _token_of_caller(scope: str) -> str:
    from shared.cloud.caller import token_of_caller
    from shared.errors import Permanent

    try:
        return token_of_caller(scope)
    except Permanent as error:
        raise CliError(str(error)) from None
